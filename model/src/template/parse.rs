//! Reads templates and what stands in a splice.

use super::{Decimal, FILTERS_MAX, Filter, Function, Part, RANDOM_LENGTH_MAX, Source, Splice, TEMPLATE_MAX, Template};
use crate::syntax::{Cursor, SyntaxError, nearest};

const SOURCE: &str = "a variable, `data.column`, `env:NAME`, `file:/path` or a function call";

pub(super) fn template(text: &str) -> Result<Template, SyntaxError> {
    let mut cursor = Cursor::new(text, TEMPLATE_MAX)?;
    let mut parts = Vec::new();
    let mut literal = String::new();
    while !cursor.is_done() {
        let rest = cursor.rest();
        let plain = rest.find('$').unwrap_or(rest.len());
        literal.push_str(&rest[..plain]);
        cursor.advance(plain);
        let start = cursor.at();
        let dollars = cursor.take_while(|b| b == b'$').len();
        if cursor.peek() != Some(b'{') {
            literal.push_str(cursor.slice(start, cursor.at()));
            continue;
        }
        literal.extend(std::iter::repeat_n('$', dollars / 2));
        if dollars % 2 == 1 {
            parts.push(Part::Literal(std::mem::take(&mut literal)));
            cursor.advance(1);
            parts.push(Part::Splice(closed_splice(&mut cursor)?));
        }
    }
    parts.push(Part::Literal(literal));
    Ok(Template::from_parts(parts))
}

/// Reads `${…}`; the cursor stands at the dollar sign.
pub(crate) fn splice(cursor: &mut Cursor<'_>) -> Result<Splice, SyntaxError> {
    cursor.expect("${", "`${`")?;
    closed_splice(cursor)
}

fn closed_splice(cursor: &mut Cursor<'_>) -> Result<Splice, SyntaxError> {
    cursor.skip_space();
    let source = source(cursor)?;
    let mut filters = Vec::new();
    loop {
        cursor.skip_space();
        if cursor.eat("}") {
            return Ok(Splice { source, filters });
        }
        if !cursor.eat("|") {
            return Err(after_source(cursor));
        }
        cursor.skip_space();
        if filters.len() == FILTERS_MAX {
            return Err(cursor.error(&format!("at most {FILTERS_MAX} filters")));
        }
        filters.push(filter(cursor)?);
    }
}

/// What a text after a complete source may have been meant to be.
fn after_source(cursor: &Cursor<'_>) -> SyntaxError {
    let error = cursor.error("`}` or `| filter`");
    if let Some(text) = cursor.rest().strip_prefix(":-") {
        let text = &text[..text.find('}').unwrap_or(text.len())];
        let shown: String = text.chars().take(32).collect();
        return error.suggest(Some(format!("| default({})", crate::syntax::Quoted(&shown))));
    }
    if cursor.peek() == Some(b':') {
        return error.suggest(Some("env:NAME"));
    }
    error
}

/// Reads a source up to where a filter or the end of the splice may stand.
pub(crate) fn source(cursor: &mut Cursor<'_>) -> Result<Source, SyntaxError> {
    let start = cursor.at();
    let Some(name) = cursor.name() else {
        return Err(cursor.error(SOURCE));
    };
    match cursor.peek() {
        Some(b'(') => function(cursor, start, name).map(Source::Call),
        Some(b'.') => {
            cursor.advance(1);
            let column = match cursor.quoted()? {
                Some(column) => column,
                None => cursor
                    .name()
                    .ok_or_else(|| cursor.error("a column's name, in quotes unless it is a plain word"))?
                    .to_owned(),
            };
            Ok(Source::Column {
                data: name.to_owned(),
                column,
            })
        }
        Some(b':') if name == "env" => {
            cursor.advance(1);
            let variable = cursor
                .name()
                .ok_or_else(|| cursor.error("the name of an environment variable"))?;
            Ok(Source::Env(variable.to_owned()))
        }
        Some(b':') if name == "file" => {
            cursor.advance(1);
            path(cursor).map(Source::File)
        }
        Some(b':') => {
            let error = after_source(cursor);
            Err(match nearest(name, ["env", "file"]) {
                Some(word) => SyntaxError {
                    nearest: Some(format!("{word}:")),
                    ..cursor.error_at(start, cursor.at(), "`env:NAME` or `file:/path`")
                },
                None => error,
            })
        }
        _ => Ok(Source::Variable(name.to_owned())),
    }
}

fn path(cursor: &mut Cursor<'_>) -> Result<String, SyntaxError> {
    cursor.skip_space();
    let start = cursor.clone();
    let path = if let Some(path) = cursor.quoted()? {
        path
    } else {
        let rest = cursor.rest();
        let end = rest.find(['}', '|', '\n']).unwrap_or(rest.len());
        cursor.advance(end);
        rest[..end].trim().to_owned()
    };
    if path.is_empty() || path.contains('\0') {
        return Err(start.error("the path of a file"));
    }
    Ok(path)
}

fn function(cursor: &mut Cursor<'_>, start: usize, word: &str) -> Result<Function, SyntaxError> {
    let unknown = cursor.error_at(start, cursor.at(), "a function");
    cursor.advance(1);
    let function = match word {
        "random_int" => {
            let lo = integer(cursor)?;
            cursor.expect(",", "`,` and the greatest value")?;
            let from = cursor.at();
            let hi = integer(cursor)?;
            ordered(cursor, from, lo <= hi)?;
            Function::RandomInt { lo, hi }
        }
        "random_float" => {
            let lo = decimal(cursor)?;
            cursor.expect(",", "`,` and the greatest value")?;
            let from = cursor.at();
            let hi = decimal(cursor)?;
            ordered(cursor, from, lo <= hi)?;
            Function::RandomFloat { lo, hi }
        }
        "random_string" => Function::RandomString { len: length(cursor)? },
        "random_hex" => Function::RandomHex { len: length(cursor)? },
        "counter" => Function::Counter(text(cursor, "a counter's name in quotes")?),
        "pick" => {
            let mut choices = vec![text(cursor, "a text in quotes")?];
            loop {
                cursor.skip_space();
                if !cursor.eat(",") {
                    break;
                }
                choices.push(text(cursor, "a text in quotes")?);
            }
            Function::Pick(choices)
        }
        _ => match Function::without_arguments(word) {
            Some(function) => function,
            None => return Err(unknown.suggest(known_function(word).map(|word| format!("{word}()")))),
        },
    };
    let expected = match function {
        Function::Pick(_) => "`,` or `)`",
        _ => "`)`",
    };
    cursor.expect(")", expected)?;
    Ok(function)
}

/// The function meant by a word, with the habits of other tools.
fn known_function(word: &str) -> Option<&'static str> {
    Some(match word.to_ascii_lowercase().as_str() {
        "guid" | "uuidv4" | "uuid_v4" | "uuid4" => "uuid",
        "random" | "rand" | "randint" | "random_number" => "random_int",
        "now" | "time" | "epoch" => "timestamp",
        "choice" | "one_of" | "random_choice" => "pick",
        "sequence" | "seq" => "counter",
        "iter" | "index" => "iteration",
        "vu" | "thread" | "user_id" => "user",
        _ => return nearest(word, Function::WORDS),
    })
}

fn filter(cursor: &mut Cursor<'_>) -> Result<Filter, SyntaxError> {
    let start = cursor.at();
    let Some(word) = cursor.name() else {
        return Err(cursor.error("a filter"));
    };
    if word == "default" {
        cursor.expect("(", "`(` and a text in quotes")?;
        let value = text(cursor, "a text in quotes")?;
        cursor.expect(")", "`)`")?;
        return Ok(Filter::Default(value));
    }
    Filter::without_arguments(word).ok_or_else(|| {
        let meant = match word.to_ascii_lowercase().as_str() {
            "b64" | "base64_encode" => Some("base64"),
            "url_encode" | "percent_encode" | "uri" | "escape" => Some("urlencode"),
            "uppercase" => Some("upper"),
            "lowercase" => Some("lower"),
            "strip" => Some("trim"),
            "raw" | "tojson" => Some("json"),
            "or" | "else" => Some("default"),
            _ => nearest(word, Filter::WORDS),
        };
        cursor.error_at(start, cursor.at(), "a filter").suggest(meant)
    })
}

fn text(cursor: &mut Cursor<'_>, expected: &str) -> Result<String, SyntaxError> {
    cursor.skip_space();
    cursor.quoted()?.ok_or_else(|| cursor.error(expected))
}

/// The stretch that looks like a number, and where it begins.
fn digits<'a>(cursor: &mut Cursor<'a>) -> (usize, &'a str) {
    cursor.skip_space();
    let start = cursor.at();
    (
        start,
        cursor.take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'+' | b'.' | b'_')),
    )
}

fn integer(cursor: &mut Cursor<'_>) -> Result<i64, SyntaxError> {
    let (start, digits) = digits(cursor);
    let plain = !digits.starts_with('+');
    digits
        .parse()
        .ok()
        .filter(|_| plain)
        .ok_or_else(|| misread(cursor, start, digits, "an integer"))
}

fn decimal(cursor: &mut Cursor<'_>) -> Result<Decimal, SyntaxError> {
    let (start, digits) = digits(cursor);
    let expected = "a number with at most six decimals";
    Decimal::parse(digits).ok_or_else(|| misread(cursor, start, digits, expected))
}

fn length(cursor: &mut Cursor<'_>) -> Result<u32, SyntaxError> {
    let (start, digits) = digits(cursor);
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    let length = digits
        .parse()
        .ok()
        .filter(|len| plain && (1..=RANDOM_LENGTH_MAX).contains(len));
    length.ok_or_else(|| {
        misread(
            cursor,
            start,
            digits,
            &format!("a length from 1 to {RANDOM_LENGTH_MAX}"),
        )
    })
}

fn misread(cursor: &Cursor<'_>, start: usize, digits: &str, expected: &str) -> SyntaxError {
    if digits.is_empty() {
        cursor.error(expected)
    } else {
        cursor.error_at(start, cursor.at(), expected)
    }
}

fn ordered(cursor: &Cursor<'_>, from: usize, in_order: bool) -> Result<(), SyntaxError> {
    if in_order {
        return Ok(());
    }
    let written = cursor.slice(from, cursor.at());
    let start = cursor.at() - written.trim_start().len();
    Err(cursor.error_at(start, cursor.at(), "a greatest value not below the least one"))
}
