//! The arrival rate over time, and its integral Λ.
//!
//! Λ is kept in *half-pico-arrivals* (5·10⁻¹³ of an arrival): with rates in micro-arrivals per second and time in
//! microseconds, `Λ(t) = 2·r₀·t + (r₁ − r₀)·t²/D` is a whole number at every border of a piece, and inside a piece a
//! comparison with a whole number needs no rounding after both sides are multiplied by D. With at most 10⁸ arrivals per
//! second and seven days all products stay below 2¹²⁷.

use std::time::Duration;

use crate::{
    time::{Moment, whole_micros},
    units::{DURATION_MAX, Rate, Ratio},
};

/// One arrival in half-pico-arrivals.
pub const ARRIVAL: u128 = 2_000_000_000_000;
/// Most pieces of a curve.
pub const PIECES_MAX: usize = 10_000;

/// A stretch of time in which the rate goes from `from` to `to` in a straight line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Rate at the begin.
    pub from: Rate,
    /// Rate at the end.
    pub to: Rate,
    /// Length, in whole microseconds; a finer part is cut off.
    pub over: Duration,
}

impl Piece {
    /// A piece of constant rate.
    pub fn hold(rate: Rate, over: Duration) -> Self {
        Self {
            from: rate,
            to: rate,
            over,
        }
    }

    /// A piece whose rate goes from `from` to `to`.
    pub fn ramp(from: Rate, to: Rate, over: Duration) -> Self {
        Self { from, to, over }
    }
}

/// Pieces that are not a curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CurveError {
    /// More than [`PIECES_MAX`] pieces.
    #[error("a curve of {0} pieces is over the limit of {PIECES_MAX}")]
    TooManyPieces(usize),
    /// Longer than seven days in all.
    #[error("a curve longer than 7 days")]
    TooLong,
}

/// A piecewise linear arrival rate. Times are relative to its begin.
///
/// Arrival n falls due at the first whole microsecond at which Λ has reached n, and it belongs to the piece whose
/// half-open interval of Λ holds n. So a pause owns no arrival: one that would fall on its begin falls due at its end.
/// What Λ reaches within the curve's last microsecond falls due at that one's begin: before the end, as all others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Curve {
    spans: Vec<Span>,
}

/// A piece with its place in time and in Λ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    /// Begin, in µs.
    start: u64,
    /// Length, in µs, at least 1.
    len: u64,
    /// Rate at the begin, micro per s.
    from: u64,
    /// Rate at the end, micro per s.
    to: u64,
    /// Λ at the begin.
    floor: u128,
    /// Λ at the end.
    ceiling: u128,
}

impl Curve {
    /// Checks and adds up `pieces`. Pieces without length are jumps of the rate and take no part.
    ///
    /// # Errors
    /// More than [`PIECES_MAX`] pieces, or more than seven days in all.
    pub fn new(pieces: Vec<Piece>) -> Result<Self, CurveError> {
        if pieces.len() > PIECES_MAX {
            return Err(CurveError::TooManyPieces(pieces.len()));
        }
        let mut spans = Vec::with_capacity(pieces.len());
        let (mut start, mut floor) = (0u64, 0u128);
        for piece in pieces {
            let len = whole_micros(piece.over);
            if len == 0 {
                continue;
            }
            let end = start.checked_add(len).filter(|end| *end <= whole_micros(DURATION_MAX));
            let (from, to) = (piece.from.micro(), piece.to.micro());
            let ceiling = floor + u128::from(from + to) * u128::from(len);
            spans.push(Span {
                start,
                len,
                from,
                to,
                floor,
                ceiling,
            });
            (start, floor) = (end.ok_or(CurveError::TooLong)?, ceiling);
        }
        Ok(Self { spans })
    }

    /// The pieces, without the empty ones.
    pub fn pieces(&self) -> impl Iterator<Item = Piece> + '_ {
        self.spans.iter().map(Span::piece)
    }

    /// Length of the curve.
    pub fn duration(&self) -> Duration {
        Duration::from_micros(self.end())
    }

    /// Number of arrivals: every n below Λ at the end. 3,000/s for 10 s are exactly 30,000.
    pub fn total(&self) -> u64 {
        self.total_phase().div_ceil(ARRIVAL) as u64
    }

    /// Λ at the end, in half-pico-arrivals.
    pub fn total_phase(&self) -> u128 {
        self.spans.last().map_or(0, |span| span.ceiling)
    }

    /// When arrival `n` falls due, or `None` when the curve ends before.
    pub fn due(&self, n: u64) -> Option<Moment> {
        self.due_at(u128::from(n) * ARRIVAL)
    }

    /// When Λ reaches `phase` half-pico-arrivals, as [`Curve::due`] rounds, or `None` when the curve ends before.
    pub fn due_at(&self, phase: u128) -> Option<Moment> {
        let span = &self.spans[self.owner(phase)?];
        Some(self.due_in(span, phase))
    }

    fn due_in(&self, span: &Span, phase: u128) -> Moment {
        Moment::from_micros((span.start + span.reach(phase)).min(self.end() - 1))
    }

    /// How many arrivals fall due before `time`: the number of n with `due(n) < time`.
    pub fn count_before(&self, time: Moment) -> u64 {
        self.phase_before(time).div_ceil(ARRIVAL) as u64
    }

    /// The bound that tells what falls due before `time`: `due_at(phase) < time` just when `phase < phase_before(time)`.
    pub fn phase_before(&self, time: Moment) -> u128 {
        if time.as_micros() >= self.end() {
            return self.total_phase();
        }
        let Some(last) = time.as_micros().checked_sub(1) else {
            return 0;
        };
        let Some(place) = self.spans.partition_point(|span| span.start <= last).checked_sub(1) else {
            return 0;
        };
        let span = &self.spans[place];
        // What Λ has reached, rounded down, is due; so is nothing that belongs to the next piece.
        (span.floor + span.reached((last - span.start).min(span.len)) + 1).min(span.ceiling)
    }

    /// The rate at `time`; of two pieces that meet there, the later one's. Zero from the end on.
    pub fn rate_at(&self, time: Moment) -> Rate {
        let time = time.as_micros();
        let place = self.spans.partition_point(|span| span.start + span.len <= time);
        self.spans
            .get(place)
            .map_or(Rate::ZERO, |span| span.rate_at(time - span.start))
    }

    /// The highest rate.
    pub fn peak(&self) -> Rate {
        let micro = self.spans.iter().map(|span| span.from.max(span.to)).max().unwrap_or(0);
        Rate::from_micro(micro).expect("the rates came in as rates")
    }

    /// What is left from `time` on, as a curve of its own. A ramp that is cut begins at its rate then, rounded down.
    ///
    /// Cut at the due instant of arrival k, the rest makes arrival k its number 0, due at its begin; so an epoch that
    /// begins with index k at that instant goes on without a gap.
    #[must_use]
    pub fn rest(&self, time: Moment) -> Self {
        let time = time.as_micros();
        let mut rest = Self::default();
        for span in self.spans.iter().filter(|span| span.start + span.len > time) {
            let cut = time.saturating_sub(span.start);
            let from = if cut == 0 { span.from } else { span.rate_at(cut).micro() };
            let (len, floor) = (span.len - cut, rest.total_phase());
            let ceiling = floor + u128::from(from + span.to) * u128::from(len);
            rest.spans.push(Span {
                start: rest.end(),
                len,
                from,
                floor,
                ceiling,
                ..*span
            });
        }
        rest
    }

    /// The same curve with every rate times `ratio`, rounded down; `None` when a rate would go over the ceiling.
    pub fn scaled(&self, ratio: Ratio) -> Option<Self> {
        let scaled = |piece: Piece| {
            Some(Piece {
                from: piece.from.scale(ratio)?,
                to: piece.to.scale(ratio)?,
                over: piece.over,
            })
        };
        Self::new(self.pieces().map(scaled).collect::<Option<_>>()?).ok()
    }

    fn end(&self) -> u64 {
        self.spans.last().map_or(0, |span| span.start + span.len)
    }

    /// The piece whose interval of Λ holds `phase`. Pieces without arrivals have an empty one.
    fn owner(&self, phase: u128) -> Option<usize> {
        let place = self.spans.partition_point(|span| span.ceiling <= phase);
        (place < self.spans.len()).then_some(place)
    }
}

impl Span {
    fn piece(&self) -> Piece {
        let rate = |micro| Rate::from_micro(micro).expect("the rate came in as a rate");
        Piece {
            from: rate(self.from),
            to: rate(self.to),
            over: Duration::from_micros(self.len),
        }
    }

    /// The rate `time` µs after the begin, rounded down.
    fn rate_at(&self, time: u64) -> Rate {
        let (len, time) = (u128::from(self.len), u128::from(time));
        let micro = (u128::from(self.from) * (len - time) + u128::from(self.to) * time) / len;
        Rate::from_micro(micro as u64).expect("between two rates")
    }

    /// Λ `time` µs after the begin, less Λ at the begin, times the length. At most (r₀ + r₁)·D² < 2¹²⁷.
    fn area(&self, time: u64) -> u128 {
        let (len, time) = (u128::from(self.len), u128::from(time));
        let (from, to) = (u128::from(self.from), u128::from(self.to));
        if to >= from {
            time * (2 * from * len + (to - from) * time)
        } else {
            time * (2 * from * len - (from - to) * time)
        }
    }

    /// Λ `time` µs after the begin, less Λ at the begin, rounded down.
    fn reached(&self, time: u64) -> u128 {
        if self.from == self.to {
            return 2 * u128::from(self.from) * u128::from(time);
        }
        self.area(time) / u128::from(self.len)
    }

    /// The first µs of the piece at which Λ has reached `phase`, which the piece must hold.
    fn reach(&self, phase: u128) -> u64 {
        let target = phase - self.floor;
        if self.from == self.to {
            return quotient_up(target, 2 * self.from);
        }
        let goal = target * u128::from(self.len);
        let guess = self.guess(target as f64);
        // The guess is right within rounding; widen the bracket until it holds the answer: area(low) < goal <= area(high).
        let (mut low, mut high, mut step) = (guess, guess, 1u64);
        while low > 0 && self.area(low) >= goal {
            high = low;
            low = low.saturating_sub(step);
            step *= 2;
        }
        if low == 0 && self.area(0) >= goal {
            return 0;
        }
        step = 1;
        while self.area(high) < goal {
            low = high;
            high = (high + step).min(self.len);
            step *= 2;
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.area(middle) < goal {
                low = middle;
            } else {
                high = middle;
            }
        }
        high
    }

    /// About when a ramp reaches `target`; only a first guess, so rounding does not matter.
    fn guess(&self, target: f64) -> u64 {
        let slope = (self.to as f64 - self.from as f64) / self.len as f64;
        let double = 2.0 * self.from as f64;
        let root = (double * double + 4.0 * slope * target).max(0.0).sqrt();
        let guess = 2.0 * target / (double + root);
        // 0/0 at the foot of a ramp from zero gives NaN, which becomes 0.
        (guess as u64).min(self.len)
    }
}

/// ⌈a / b⌉ for a quotient that fits.
fn quotient_up(a: u128, b: u64) -> u64 {
    match u64::try_from(a) {
        Ok(a) => a.div_ceil(b),
        Err(_) => a.div_ceil(u128::from(b)) as u64,
    }
}

/// A place on a curve, for callers who ask for rising phases: each step begins at the piece of the step before.
#[derive(Clone, Copy, Debug, Default)]
pub struct CurveWalk {
    piece: usize,
}

impl CurveWalk {
    /// [`Curve::due_at`] of `phase`. Always right; cheap when `phase` is not below that of the call before, and `curve`
    /// the same.
    pub fn due_at(&mut self, curve: &Curve, phase: u128) -> Option<Moment> {
        if curve.spans.get(self.piece).is_none_or(|span| phase < span.floor) {
            self.piece = curve.owner(phase)?;
        }
        loop {
            let span = curve.spans.get(self.piece)?;
            if phase < span.ceiling {
                return Some(curve.due_in(span, phase));
            }
            self.piece += 1;
        }
    }
}
