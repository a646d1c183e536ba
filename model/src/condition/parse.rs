//! Reads conditions.

use super::{Condition, Term, Test, number};
use crate::expr::Cmp;
use crate::syntax::{Cursor, Logic, SyntaxError, TEXT_MAX, logic, nearest};
use crate::template::{self, Function, Source, Splice};

const VALUE: &str = "a variable, a text in quotes, a number, true, false or null";
const OPERATOR: &str = "an operator: ==, !=, <, <=, >, >=, contains or matches";

pub(super) fn condition(text: &str) -> Result<Condition, SyntaxError> {
    Logic::read(&mut Cursor::new(text, TEXT_MAX)?, test)
}

/// Whether a variable of this name needs `${…}`.
pub(super) fn is_keyword(name: &str) -> bool {
    logic::WORDS.contains(&name) || matches!(name, "exists" | "contains" | "matches" | "true" | "false" | "null")
}

fn test(cursor: &mut Cursor<'_>) -> Result<Test, SyntaxError> {
    cursor.skip_space();
    if cursor.peek_name() == Some("exists") {
        return exists(cursor);
    }
    let start = cursor.at();
    let left = term(cursor)?;
    let end = cursor.at();
    cursor.skip_space();
    match cursor.peek_name() {
        Some(word @ "contains") => {
            cursor.advance(word.len());
            let part = term(cursor)?;
            refuse_null(cursor, start, end, &left)?;
            Ok(Test::Contains { value: left, part })
        }
        Some(word @ "matches") => {
            cursor.advance(word.len());
            cursor.skip_space();
            let pattern = cursor.quoted()?.ok_or_else(|| cursor.error("a pattern in quotes"))?;
            refuse_null(cursor, start, end, &left)?;
            Ok(Test::Matches { value: left, pattern })
        }
        _ => {
            let cmp = cmp(cursor, &left)?;
            cursor.skip_space();
            let from = cursor.at();
            let right = term(cursor)?;
            if !matches!(cmp, Cmp::Eq | Cmp::Ne) {
                refuse_null(cursor, start, end, &left)?;
                refuse_null(cursor, from, cursor.at(), &right)?;
            }
            Ok(Test::Compare { left, cmp, right })
        }
    }
}

fn refuse_null(cursor: &Cursor<'_>, from: usize, to: usize, term: &Term) -> Result<(), SyntaxError> {
    match term {
        Term::Null => Err(cursor.error_at(from, to, "a value, since null can only be equal or not")),
        _ => Ok(()),
    }
}

fn exists(cursor: &mut Cursor<'_>) -> Result<Test, SyntaxError> {
    cursor.advance("exists".len());
    cursor.expect("(", "`(` and a variable")?;
    cursor.skip_space();
    let source = if cursor.peek() == Some(b'$') {
        let from = cursor.at();
        let splice = template::splice(cursor)?;
        if !splice.filters.is_empty() {
            return Err(cursor.error_at(from, cursor.at(), "a variable without filters"));
        }
        splice.source
    } else {
        bare(cursor, "a variable, without quotes")?
    };
    cursor.expect(")", "`)`")?;
    Ok(Test::Exists(source))
}

fn term(cursor: &mut Cursor<'_>) -> Result<Term, SyntaxError> {
    cursor.skip_space();
    match cursor.peek() {
        Some(b'$') => template::splice(cursor).map(Term::Splice),
        Some(b'-' | b'+' | b'.' | b'0'..=b'9') => {
            let start = cursor.at();
            let text =
                cursor.take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'+' | b'.' | b'_' | b'%'));
            if number::is_number(text) {
                return Ok(Term::Number(text.to_owned()));
            }
            Err(cursor.error_at(start, cursor.at(), "a number such as 200, -1 or 0.5"))
        }
        _ => {
            if let Some(text) = cursor.quoted()? {
                return Ok(Term::Text(text));
            }
            let constant = match cursor.peek_name() {
                Some("true") => Term::Bool(true),
                Some("false") => Term::Bool(false),
                Some("null") => Term::Null,
                _ => return bare(cursor, VALUE).map(|source| Term::Splice(Splice::plain(source))),
            };
            cursor.name();
            Ok(constant)
        }
    }
}

/// A variable, column or call without `${…}`.
fn bare(cursor: &mut Cursor<'_>, expected: &str) -> Result<Source, SyntaxError> {
    let error = cursor.error(expected);
    let Some(name) = cursor.peek_name() else {
        let other_tools = cursor.rest().starts_with("{{");
        return Err(error.suggest(other_tools.then_some("${…}")));
    };
    if is_keyword(name) {
        return Err(error);
    }
    let after = &cursor.rest()[name.len()..];
    if matches!(name, "env" | "file") && after.starts_with(':') {
        return Err(error.suggest(Some(format!("${{{name}:…}}"))));
    }
    if after.starts_with('(') && !Function::WORDS.contains(&name) && nearest(name, ["exists"]).is_some() {
        return Err(error.suggest(Some("exists(…)")));
    }
    template::source(cursor)
}

fn cmp(cursor: &mut Cursor<'_>, left: &Term) -> Result<Cmp, SyntaxError> {
    let start = cursor.at();
    let signs = cursor.take_while(|b| b"<>=!~".contains(&b));
    if let Some(cmp) = Cmp::ALL.into_iter().find(|cmp| cmp.sign() == signs) {
        return Ok(cmp);
    }
    if signs.is_empty() {
        let meant = match cursor.peek_name() {
            Some("is" | "equals" | "eq") => Some("==".to_owned()),
            Some("includes" | "has" | "contain" | "in") => Some("contains".to_owned()),
            Some("like" | "match" | "regex") => Some("matches".to_owned()),
            Some(word) if !logic::WORDS.contains(&word) => nearest(word, ["contains", "matches"]).map(str::to_owned),
            _ => match left {
                Term::Splice(splice) => Some(Test::Exists(splice.source.clone()).to_string()),
                _ => None,
            },
        };
        return Err(cursor.error(OPERATOR).suggest(meant));
    }
    let meant = match signs {
        "=" | "===" => Some("=="),
        "=<" => Some("<="),
        "=>" => Some(">="),
        "<>" | "!==" => Some("!="),
        "=~" | "~" | "~=" => Some("matches"),
        _ => None,
    };
    Err(cursor.error_at(start, cursor.at(), OPERATOR).suggest(meant))
}
