//! The closed model: how many users there are over time, and when each of them lives.

use std::time::Duration;

use super::curve::{CurveError, PIECES_MAX};
use crate::{
    time::{Moment, whole_micros},
    units::DURATION_MAX,
};

/// A stretch of time in which the number of users goes from `from` to `to` in a straight line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserPiece {
    /// Users at the begin.
    pub from: u32,
    /// Users at the end.
    pub to: u32,
    /// Length, in whole microseconds; a finer part is cut off.
    pub over: Duration,
}

/// A piecewise linear number of users U(t). User u (0, 1, 2, …) lives while U(t) > u, at whole microseconds; a piece
/// holds its begin but not its end, and nobody lives after the last. Times are relative to the curve's begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserCurve {
    spans: Vec<Span>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    start: u64,
    len: u64,
    from: u32,
    to: u32,
}

impl UserCurve {
    /// Checks `pieces`. Pieces without length are jumps and take no part.
    ///
    /// # Errors
    /// More than [`PIECES_MAX`] pieces, or more than seven days in all.
    pub fn new(pieces: Vec<UserPiece>) -> Result<Self, CurveError> {
        if pieces.len() > PIECES_MAX {
            return Err(CurveError::TooManyPieces(pieces.len()));
        }
        let mut spans = Vec::with_capacity(pieces.len());
        let mut start = 0u64;
        for UserPiece { from, to, over } in pieces {
            let len = whole_micros(over);
            if len > 0 {
                spans.push(Span { start, len, from, to });
            }
            let end = start.checked_add(len).filter(|end| *end <= whole_micros(DURATION_MAX));
            start = end.ok_or(CurveError::TooLong)?;
        }
        Ok(Self { spans })
    }

    /// The pieces, without the empty ones.
    pub fn pieces(&self) -> impl Iterator<Item = UserPiece> + '_ {
        self.spans.iter().map(|Span { len, from, to, .. }| UserPiece {
            from: *from,
            to: *to,
            over: Duration::from_micros(*len),
        })
    }

    /// Length of the curve.
    pub fn duration(&self) -> Duration {
        Duration::from_micros(self.spans.last().map_or(0, |span| span.start + span.len))
    }

    /// The most users that ever live at once: users 0 to `peak` − 1 exist.
    pub fn peak(&self) -> u32 {
        self.spans.iter().map(|span| span.from.max(span.to)).max().unwrap_or(0)
    }

    /// How many users live at `time`: ⌈U(t)⌉, for user u lives while U(t) > u.
    pub fn level(&self, time: Moment) -> u32 {
        self.span_at(time).map_or(0, |(span, time)| {
            span.scaled(time).div_ceil(u128::from(span.len)) as u32
        })
    }

    /// Whether user `user` lives at `time`.
    pub fn alive(&self, user: u32, time: Moment) -> bool {
        self.span_at(time)
            .is_some_and(|(span, time)| span.scaled(time) > u128::from(user) * u128::from(span.len))
    }

    /// The stretches in which user `user` lives, in order: from the first instant to the one after the last. At most one
    /// for each piece; they do not touch.
    pub fn lives(&self, user: u32) -> Vec<(Moment, Moment)> {
        let mut lives: Vec<(Moment, Moment)> = Vec::new();
        for span in &self.spans {
            let Some((begin, end)) = span.life(user) else {
                continue;
            };
            let begin = Moment::from_micros(span.start + begin);
            let end = Moment::from_micros(span.start + end);
            match lives.last_mut() {
                Some((_, last)) if *last == begin => *last = end,
                _ => lives.push((begin, end)),
            }
        }
        lives
    }

    fn span_at(&self, time: Moment) -> Option<(&Span, u64)> {
        let time = time.as_micros();
        let span = self
            .spans
            .get(self.spans.partition_point(|span| span.start + span.len <= time))?;
        Some((span, time - span.start))
    }
}

impl Span {
    /// U times the length, `time` µs after the begin: exact.
    fn scaled(&self, time: u64) -> u128 {
        u128::from(self.from) * u128::from(self.len - time) + u128::from(self.to) * u128::from(time)
    }

    /// When `user` lives within the piece, in µs after its begin: from the first to the one after the last.
    fn life(&self, user: u32) -> Option<(u64, u64)> {
        let len = u128::from(self.len);
        // U(t) > user ⇔ t·(to − from) > (user − from)·len; each case divides by a positive number.
        let (begin, end) = if self.from > user && self.to >= self.from {
            (0, self.len)
        } else if self.to > self.from {
            let rise = u128::from(self.to - self.from);
            (
                (u128::from(user - self.from) * len / rise + 1).min(len) as u64,
                self.len,
            )
        } else if self.from > user {
            let fall = u128::from(self.from - self.to);
            (0, (u128::from(self.from - user) * len).div_ceil(fall).min(len) as u64)
        } else {
            return None;
        };
        (begin < end).then_some((begin, end))
    }
}
