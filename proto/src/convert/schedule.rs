//! Epochs, marks and phases.

use barrage_model::ids::{EpochId, LoadId, SegmentId, ShardId};
use barrage_model::phase::{Mark, Marks, Phase};
use barrage_model::schedule::{Curve, Epoch, Piece, Wheel};
use barrage_model::time::Moment;
use barrage_model::units::Rate;

use super::load::{arrivals_in, arrivals_out};
use super::{BadMessage, Result, bad, each, micros, narrow, span};
use crate::v1;

/// An epoch together with the load it belongs to.
pub fn epoch_out(load: LoadId, epoch: &Epoch) -> v1::Epoch {
    v1::Epoch {
        load: u32::from(load.0),
        id: epoch.id.0,
        first_index: epoch.first_index,
        first_time_us: epoch.first_time.as_micros(),
        curve: epoch
            .curve
            .pieces()
            .map(|piece| v1::CurvePiece {
                from_micro_per_s: piece.from.micro(),
                to_micro_per_s: piece.to.micro(),
                over_us: micros(piece.over),
            })
            .collect(),
        wheel: epoch.wheel.table().iter().map(|shard| shard.0).collect(),
        arrivals: arrivals_out(epoch.arrivals).into(),
        seed: epoch.seed,
    }
}

/// Reads an epoch and the load it belongs to.
///
/// # Errors
/// When the curve or the wheel is not one.
pub fn epoch_in(wire: v1::Epoch) -> Result<(LoadId, Epoch)> {
    let arrivals = arrivals_in(wire.arrivals())?;
    let pieces = each(wire.curve, |piece| {
        let rate = |micro| Rate::from_micro(micro).ok_or_else(|| bad("epoch.curve", "a rate is too high"));
        Ok(Piece {
            from: rate(piece.from_micro_per_s)?,
            to: rate(piece.to_micro_per_s)?,
            over: span("epoch.curve.over_us", piece.over_us)?,
        })
    })?;
    let epoch = Epoch {
        id: EpochId(wire.id),
        first_index: wire.first_index,
        first_time: Moment::from_micros(wire.first_time_us),
        curve: Curve::new(pieces).map_err(|error| bad("epoch.curve", error.to_string()))?,
        wheel: Wheel::from_table(wire.wheel.into_iter().map(ShardId).collect())
            .map_err(|error| bad("epoch.wheel", error.to_string()))?,
        arrivals,
        seed: wire.seed,
    };
    Ok((LoadId(narrow("epoch.load", wire.load)?), epoch))
}

/// The marks of a run.
pub fn marks_out(marks: &Marks) -> Vec<v1::Mark> {
    marks
        .iter()
        .map(|mark| v1::Mark {
            segment: mark.segment.0,
            at_us: mark.at.as_micros(),
            phases: mark.phases.iter().map(Into::into).collect(),
        })
        .collect()
}

/// Reads the marks of a run.
///
/// # Errors
/// When they are not in order of time, not numbered from 0, or too many.
pub fn marks_in(wire: Vec<v1::Mark>) -> Result<Marks> {
    let marks = each(wire, |mark| {
        Ok(Mark {
            segment: SegmentId(mark.segment),
            at: Moment::from_micros(mark.at_us),
            phases: each(mark.phases, TryInto::try_into)?,
        })
    })?;
    Marks::new(marks).ok_or_else(|| bad("marks", "are not in order of time and numbered from 0"))
}

impl From<&Phase> for v1::Phase {
    fn from(phase: &Phase) -> Self {
        use v1::phase::Kind;
        let (kind, name) = match phase {
            Phase::WarmUp => (Kind::WarmUp, ""),
            Phase::Steady => (Kind::Steady, ""),
            Phase::Stage(name) => (Kind::Stage, name.as_str()),
            Phase::Baseline(name) => (Kind::Baseline, name.as_str()),
            Phase::Fault(name) => (Kind::Fault, name.as_str()),
            Phase::Recovery(name) => (Kind::Recovery, name.as_str()),
            Phase::Undoing => (Kind::Undoing, ""),
        };
        Self {
            kind: kind.into(),
            name: name.to_owned(),
        }
    }
}

impl TryFrom<v1::Phase> for Phase {
    type Error = BadMessage;

    fn try_from(wire: v1::Phase) -> Result<Self> {
        use v1::phase::Kind;
        Ok(match wire.kind() {
            Kind::WarmUp => Self::WarmUp,
            Kind::Steady => Self::Steady,
            Kind::Stage => Self::Stage(wire.name),
            Kind::Baseline => Self::Baseline(wire.name),
            Kind::Fault => Self::Fault(wire.name),
            Kind::Recovery => Self::Recovery(wire.name),
            Kind::Undoing => Self::Undoing,
            Kind::Unspecified => return Err(bad("phase.kind", "is missing")),
        })
    }
}
