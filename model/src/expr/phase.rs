//! Which part of a run an expression is about.

use std::fmt;

use crate::phase::Phase;
use crate::syntax::{Cursor, Quoted, SyntaxError, TEXT_MAX, is_name_byte, nearest};

/// Which part of a run an expression is about: `steady`, `stage(peak)`, `fault("slow database")`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PhaseSelector {
    /// `whole`: everything, warm-up included, whatever was undone left out.
    Whole,
    /// `steady`: the holds outside warm-up, fault and recovery.
    Steady,
    /// `warm_up`.
    WarmUp,
    /// `stage(name)`.
    Stage(String),
    /// `fault(name)`: while the fault is being injected.
    Fault(String),
    /// `recovery(name)`: after the fault, until the target counts as recovered.
    Recovery(String),
    /// `baseline(name)`: before the fault.
    Baseline(String),
}

const WORDS: [&str; 7] = ["whole", "steady", "warm_up", "stage", "fault", "recovery", "baseline"];

impl PhaseSelector {
    /// Reads a phase of at most [`TEXT_MAX`] bytes. A name of letters, digits, `_`, `-` and `.` needs no quotes.
    ///
    /// # Errors
    /// The first place that leaves the grammar.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let mut cursor = Cursor::new(text, TEXT_MAX)?;
        cursor.skip_space();
        let start = cursor.at();
        let word = cursor.name().unwrap_or_default();
        let named: fn(String) -> Self = match word {
            "whole" => return finish(&mut cursor, Self::Whole),
            "steady" => return finish(&mut cursor, Self::Steady),
            "warm_up" => return finish(&mut cursor, Self::WarmUp),
            "stage" => Self::Stage,
            "fault" => Self::Fault,
            "recovery" => Self::Recovery,
            "baseline" => Self::Baseline,
            _ => {
                let to = cursor.at();
                cursor = Cursor::new(text, TEXT_MAX)?;
                cursor.skip_space();
                let expected = "a phase: whole, steady, warm_up, stage(…), fault(…), recovery(…) or baseline(…)";
                if word.is_empty() {
                    return Err(cursor.error(expected));
                }
                let meant = match word.to_ascii_lowercase().as_str() {
                    "all" | "run" | "total" => Some("whole"),
                    "hold" => Some("steady"),
                    "rampup" | "ramp_up" => Some("warm_up"),
                    _ => nearest(word, WORDS),
                };
                return Err(cursor.error_at(start, to, expected).suggest(meant));
            }
        };
        cursor.expect("(", "`(` and a name")?;
        cursor.skip_space();
        let start = cursor.clone();
        let name = match cursor.quoted()? {
            Some(name) => name,
            None => cursor.take_while(is_bare).to_owned(),
        };
        if name.is_empty() {
            return Err(start.error("a name, in quotes unless it is a plain word"));
        }
        cursor.expect(")", "`)`")?;
        finish(&mut cursor, named(name))
    }

    /// Whether a segment of this phase is covered. Everything but [`Phase::Undoing`] belongs to the whole.
    pub fn covers(&self, phase: &Phase) -> bool {
        match (self, phase) {
            (Self::Whole, phase) => *phase != Phase::Undoing,
            (Self::Steady, Phase::Steady) | (Self::WarmUp, Phase::WarmUp) => true,
            (Self::Stage(wanted), Phase::Stage(name))
            | (Self::Fault(wanted), Phase::Fault(name))
            | (Self::Recovery(wanted), Phase::Recovery(name))
            | (Self::Baseline(wanted), Phase::Baseline(name)) => wanted == name,
            _ => false,
        }
    }
}

fn is_bare(byte: u8) -> bool {
    is_name_byte(byte) || byte == b'.'
}

fn finish(cursor: &mut Cursor<'_>, phase: PhaseSelector) -> Result<PhaseSelector, SyntaxError> {
    cursor.skip_space();
    if cursor.is_done() {
        Ok(phase)
    } else {
        Err(cursor.error("the end of the phase"))
    }
}

impl fmt::Display for PhaseSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, name) = match self {
            Self::Whole => return f.write_str("whole"),
            Self::Steady => return f.write_str("steady"),
            Self::WarmUp => return f.write_str("warm_up"),
            Self::Stage(name) => ("stage", name),
            Self::Fault(name) => ("fault", name),
            Self::Recovery(name) => ("recovery", name),
            Self::Baseline(name) => ("baseline", name),
        };
        if name.bytes().all(is_bare) {
            write!(f, "{word}({name})")
        } else {
            write!(f, "{word}({})", Quoted(name))
        }
    }
}
