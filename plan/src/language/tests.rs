//! The tables against what is written with them.

use std::collections::BTreeSet;
use std::path::Path;

use expect_test::expect_file;

use super::{Object, PLAN, Shape};
use crate::yaml::{Kind, Node, compose};

static WHOLE: Shape = Shape::Object(&PLAN);

/// Every object that a plan may contain.
fn objects() -> Vec<&'static Object> {
    fn inside(shape: &'static Shape, found: &mut Vec<&'static Object>) {
        match shape {
            Shape::Object(object) if !found.iter().any(|known| known.name == object.name) => {
                found.push(object);
                object.keys.iter().for_each(|key| inside(&key.shape, found));
            }
            Shape::List { of, .. } | Shape::Map { of, .. } => inside(of, found),
            Shape::OneOf(shapes) => shapes.iter().for_each(|one| inside(one, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    inside(&WHOLE, &mut found);
    found
}

/// Notes the keys that a value uses, by the shape that fits it.
fn note(node: &Node, shape: &'static Shape, used: &mut BTreeSet<String>) {
    match (shape, &node.kind) {
        (Shape::Object(object), Kind::Map(entries)) => {
            for entry in entries {
                if let Some(key) = object.key(&entry.key) {
                    used.insert(format!("{}.{}", object.name, key.name));
                    note(&entry.value, &key.shape, used);
                }
            }
        }
        (Shape::List { of, .. }, Kind::List(items)) => {
            for item in items {
                note(item, of, used);
            }
        }
        (Shape::Map { of, .. }, Kind::Map(entries)) => {
            for entry in entries {
                note(&entry.value, of, used);
            }
        }
        (Shape::OneOf(shapes), _) => {
            for one in *shapes {
                note(node, one, used);
            }
        }
        _ => {}
    }
}

#[test]
fn names_of_objects_are_distinct_and_keys_fit_a_word() {
    let objects = objects();
    let names: BTreeSet<&str> = objects.iter().map(|object| object.name).collect();
    assert_eq!(names.len(), objects.len());
    for object in objects {
        let keys: BTreeSet<&str> = object.names().collect();
        assert_eq!(keys.len(), object.keys.len(), "{} has a key twice", object.name);
        assert!(
            object.keys.len() < 63,
            "{} has too many keys to note which were read",
            object.name
        );
        for choice in object.choices {
            assert!(
                choice.keys.iter().all(|key| object.key(key).is_some()),
                "{}",
                object.name
            );
        }
        for key in object.keys {
            assert!(key.doc.ends_with('.'), "{}.{}: {}", object.name, key.name, key.doc);
            assert!(!(key.required && key.default.is_some()), "{}.{}", object.name, key.name);
        }
    }
}

#[test]
fn every_key_is_used_by_a_plan_that_is_read_in_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut used = BTreeSet::new();
    for folder in ["../examples", "tests/good"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|end| end == "yaml") {
                let text = std::fs::read_to_string(&path).unwrap();
                let node = compose(&text).unwrap_or_else(|error| panic!("{}: {error:?}", path.display()));
                note(&node, &WHOLE, &mut used);
            }
        }
    }
    let mut unused = Vec::new();
    for object in objects() {
        for key in object.keys {
            let name = format!("{}.{}", object.name, key.name);
            if !matches!(key.shape, Shape::Later) && !used.contains(&name) {
                unused.push(name);
            }
        }
    }
    assert_eq!(unused, Vec::<String>::new());
}

#[test]
fn every_key_is_in_the_schema() {
    let schema = crate::schema();
    for object in objects() {
        let place = if object.name == "plan" {
            &schema
        } else {
            &schema["$defs"][object.name]
        };
        for key in object.keys {
            let found = &place["properties"][key.name];
            assert!(
                found["description"]
                    .as_str()
                    .is_some_and(|doc| doc.starts_with(key.doc)),
                "{}",
                key.name
            );
        }
        assert_eq!(place["additionalProperties"], false, "{}", object.name);
    }
}

#[test]
fn the_schema_is_the_published_one() {
    let shown = serde_json::to_string_pretty(&crate::schema()).unwrap() + "\n";
    expect_file!["../../plan.schema.json"].assert_eq(&shown);
}

#[test]
fn the_reference_is_the_published_one() {
    expect_file!["../../reference.md"].assert_eq(&crate::reference());
}
