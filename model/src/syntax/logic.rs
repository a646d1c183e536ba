//! `and`, `or`, `not` and parentheses over any kind of test.

use std::fmt;

use super::{Cursor, SyntaxError};

/// Tests joined by `and`, `or` and `not` (also `&&`, `||`, `!`). `not` binds closest, then `and`, then `or`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Logic<T> {
    /// One test.
    Test(T),
    /// All of them hold; at least two.
    All(Vec<Self>),
    /// One of them holds; at least two.
    Any(Vec<Self>),
    /// It does not hold.
    Not(Box<Self>),
}

/// The words that join tests; no bare operand can have them as its name.
pub(crate) const WORDS: [&str; 3] = ["and", "or", "not"];

impl<T> Logic<T> {
    /// Reads a whole text whose tests are read by `test`.
    pub(crate) fn read(
        cursor: &mut Cursor<'_>,
        test: fn(&mut Cursor<'_>) -> Result<T, SyntaxError>,
    ) -> Result<Self, SyntaxError> {
        let logic = any(cursor, test)?;
        cursor.skip_space();
        if cursor.is_done() {
            Ok(logic)
        } else {
            Err(unjoined(cursor, "`and`, `or` or the end of the text"))
        }
    }

    /// Evaluates with three values: a test without data is `None`, and so is whatever depends on it. Every test is
    /// asked, from left to right, so a caller who keeps what it saw has seen all.
    pub fn evaluate(&self, holds: &mut dyn FnMut(&T) -> Option<bool>) -> Option<bool> {
        match self {
            Self::Test(test) => holds(test),
            Self::Not(inner) => inner.evaluate(holds).map(|truth| !truth),
            Self::All(parts) => joined(parts, false, holds),
            Self::Any(parts) => joined(parts, true, holds),
        }
    }

    /// The tests, from left to right.
    pub fn tests(&self) -> Vec<&T> {
        match self {
            Self::Test(test) => vec![test],
            Self::Not(inner) => inner.tests(),
            Self::All(parts) | Self::Any(parts) => parts.iter().flat_map(Self::tests).collect(),
        }
    }
}

/// One part with the value `decisive` decides; else one without data leaves the whole open.
fn joined<T>(parts: &[Logic<T>], decisive: bool, holds: &mut dyn FnMut(&T) -> Option<bool>) -> Option<bool> {
    let mut result = Some(!decisive);
    for part in parts {
        match part.evaluate(holds) {
            Some(truth) if truth == decisive => result = Some(decisive),
            None if result == Some(!decisive) => result = None,
            _ => {}
        }
    }
    result
}

type Test<T> = fn(&mut Cursor<'_>) -> Result<T, SyntaxError>;

fn any<T>(cursor: &mut Cursor<'_>, test: Test<T>) -> Result<Logic<T>, SyntaxError> {
    let mut parts = vec![all(cursor, test)?];
    while eat_word(cursor, "or", "||") {
        parts.push(all(cursor, test)?);
    }
    Ok(single(parts, Logic::Any))
}

fn all<T>(cursor: &mut Cursor<'_>, test: Test<T>) -> Result<Logic<T>, SyntaxError> {
    let mut parts = vec![one(cursor, test)?];
    while eat_word(cursor, "and", "&&") {
        parts.push(one(cursor, test)?);
    }
    Ok(single(parts, Logic::All))
}

fn single<T>(mut parts: Vec<Logic<T>>, join: fn(Vec<Logic<T>>) -> Logic<T>) -> Logic<T> {
    match (parts.len(), parts.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            parts.extend(last);
            join(parts)
        }
    }
}

fn one<T>(cursor: &mut Cursor<'_>, test: Test<T>) -> Result<Logic<T>, SyntaxError> {
    if eat_word(cursor, "not", "!") {
        return Ok(Logic::Not(Box::new(cursor.nested(|cursor| one(cursor, test))?)));
    }
    if cursor.eat("(") {
        let inner = cursor.nested(|cursor| any(cursor, test))?;
        cursor.skip_space();
        return if cursor.eat(")") {
            Ok(inner)
        } else {
            Err(unjoined(cursor, "`and`, `or` or `)`"))
        };
    }
    test(cursor).map(Logic::Test)
}

/// Steps over white space and then the word or its sign.
fn eat_word(cursor: &mut Cursor<'_>, word: &str, sign: &str) -> bool {
    cursor.skip_space();
    cursor.eat(sign) || (cursor.peek_name() == Some(word) && cursor.eat(word))
}

fn unjoined(cursor: &Cursor<'_>, expected: &str) -> SyntaxError {
    let meant = match cursor.peek() {
        Some(b'&' | b',') => Some("and"),
        Some(b'|') => Some("or"),
        _ => match cursor.peek_name().map(str::to_ascii_lowercase).as_deref() {
            Some("and") => Some("and"),
            Some("or") => Some("or"),
            _ => None,
        },
    };
    cursor.error(expected).suggest(meant)
}

impl<T: fmt::Display> fmt::Display for Logic<T> {
    /// No more parentheses than needed, so that what has been read never nests deeper when it is read again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Test(test) => test.fmt(f),
            Self::Not(inner) => match **inner {
                Self::Test(_) | Self::Not(_) => write!(f, "not {inner}"),
                Self::All(_) | Self::Any(_) => write!(f, "not ({inner})"),
            },
            Self::All(parts) => write_joined(f, parts, " and ", |part| matches!(part, Self::All(_) | Self::Any(_))),
            Self::Any(parts) => write_joined(f, parts, " or ", |part| matches!(part, Self::Any(_))),
        }
    }
}

fn write_joined<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    parts: &[Logic<T>],
    word: &str,
    enclosed: fn(&Logic<T>) -> bool,
) -> fmt::Result {
    for (n, part) in parts.iter().enumerate() {
        if n > 0 {
            f.write_str(word)?;
        }
        if enclosed(part) {
            write!(f, "({part})")?;
        } else {
            write!(f, "{part}")?;
        }
    }
    Ok(())
}
