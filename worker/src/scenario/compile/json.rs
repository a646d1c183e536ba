//! JSON texts with splices.

use barrage_model::template::{Part, Template};

use super::super::encode::Encoding;
use super::super::error::StepProblem;
use super::super::text::{Layout, Text};
use super::link::{Linker, Segment, put};

/// Where a place in a JSON text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Between values.
    Outside,
    /// Right behind the quote that begins a string.
    Begin,
    /// Further inside a string.
    Inside,
    /// Behind a backslash.
    Escape,
}

impl Place {
    fn after(self, text: &str) -> Self {
        text.bytes().fold(self, |place, byte| match (place, byte) {
            (Self::Outside, b'"') => Self::Begin,
            (Self::Outside, _) | (Self::Begin | Self::Inside, b'"') => Self::Outside,
            (Self::Begin | Self::Inside, b'\\') => Self::Escape,
            (Self::Begin | Self::Inside | Self::Escape, _) => Self::Inside,
        })
    }
}

/// Lays out a JSON text: values inside strings are escaped; a string that is one `| json` splice is replaced whole, its
/// quotes included; a value outside of strings stands as it is.
pub(in crate::scenario) fn json(linker: &mut Linker<'_>, template: &Template) -> Result<Text, StepProblem> {
    let is_json = |part: &Part| matches!(part, Part::Splice(splice) if splice.is_json());
    let segments = linker.segments(template)?;
    let mut layout = Layout::new();
    let mut place = Place::Outside;
    let mut skip_quote = false;
    for (at, segment) in segments.iter().enumerate() {
        let Segment::Literal(text) = segment else {
            let how = if place == Place::Outside || skip_quote {
                Encoding::Plain
            } else {
                Encoding::Json
            };
            put(&mut layout, segment.clone(), how)?;
            if place == Place::Begin && !skip_quote {
                place = Place::Inside;
            }
            continue;
        };
        let text = if std::mem::take(&mut skip_quote) {
            text.strip_prefix('"').unwrap_or(text)
        } else {
            text
        };
        if place == Place::Begin {
            // The quote that ends the replaced string has been taken off.
            place = Place::Outside;
        }
        place = place.after(text);
        let next_is_json = template.parts().get(at + 1).is_some_and(is_json);
        let closes = matches!(segments.get(at + 2), Some(Segment::Literal(next)) if next.starts_with('"'));
        skip_quote = place == Place::Begin && next_is_json && closes;
        layout.bytes(if skip_quote {
            text.strip_suffix('"').unwrap_or(text)
        } else {
            text
        });
    }
    Ok(layout.finish())
}
