//! The reference of the plan language, made from its tables.

use std::fmt::Write as _;

use crate::language::{Object, PLAN, Shape};

/// Every object and key of a plan, in Markdown.
pub fn reference() -> String {
    let mut objects: Vec<&'static Object> = vec![&PLAN];
    let mut next = 0;
    while let Some(object) = objects.get(next).copied() {
        for key in object.keys {
            inside(&key.shape, &mut objects);
        }
        next += 1;
    }
    let mut out = String::from(
        "# Plan reference\n\nMade from the tables that the reader of plans uses. Units: durations `250ms` `1m30s`, \
         rates `500/s` `30k/m`, sizes `10MiB`, ratios `1%` or `0.01`. Top-level keys that begin with `x-` are left \
         alone, as a place for YAML anchors.\n",
    );
    for object in objects {
        write!(out, "\n## {}\n\n{}\n", object.name, object.doc).expect("writing to a string cannot fail");
        for choice in object.choices {
            let keys: Vec<String> = choice.keys.iter().map(|key| format!("`{key}`")).collect();
            let rule = if choice.required {
                "Exactly one of"
            } else {
                "At most one of"
            };
            writeln!(out, "{rule} {}.", keys.join(", ")).expect("writing to a string cannot fail");
        }
        out.push_str("\n| key | value | default | meaning |\n|---|---|---|---|\n");
        for key in object.keys {
            let default = match (key.required, key.default) {
                (true, _) => "required",
                (false, default) => default.unwrap_or(""),
            };
            writeln!(
                out,
                "| `{}` | {} | {} | {} |",
                key.name,
                cell(&words(&key.shape)),
                cell(default),
                cell(key.doc)
            )
            .expect("writing to a string cannot fail");
        }
    }
    out
}

/// A text that stays in its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// What a value may be, in few words.
fn words(shape: &Shape) -> String {
    match shape {
        Shape::Object(object) => format!("[{0}](#{0})", object.name),
        Shape::List { of, .. } => format!("list of {}", words(of)),
        Shape::Map { of, .. } => format!("map of {}", words(of)),
        Shape::OneOf(shapes) => shapes.iter().map(words).collect::<Vec<_>>().join(" or "),
        Shape::Json => "any value".to_owned(),
        Shape::Later => "arrives with a later version".to_owned(),
        other => other.expected(),
    }
}

/// Adds the objects that a shape contains.
fn inside(shape: &'static Shape, found: &mut Vec<&'static Object>) {
    match shape {
        Shape::Object(object) if !found.iter().any(|known| known.name == object.name) => found.push(object),
        Shape::List { of, .. } | Shape::Map { of, .. } => inside(of, found),
        Shape::OneOf(shapes) => shapes.iter().for_each(|one| inside(one, found)),
        _ => {}
    }
}
