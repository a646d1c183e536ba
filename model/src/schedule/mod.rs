//! When arrivals fall due, and whose they are: integer arithmetic throughout, so every host agrees to the bit.
//!
//! A [`Curve`] says when arrival n of an epoch falls due, a [`Wheel`] which shard makes it, an [`Epoch`] binds the two to
//! the run's one sequence of indices, and a [`Cursor`] walks the indices of one shard. A [`UserCurve`] is the closed
//! model's counterpart of a curve.

mod curve;
mod epoch;
mod poisson;
mod users;
mod wheel;

pub use curve::{ARRIVAL, Curve, CurveError, CurveWalk, PIECES_MAX, Piece};
pub use epoch::{Arrivals, Cursor, Epoch, Hole};
pub use poisson::ExpStream;
pub use users::{UserCurve, UserPiece};
pub use wheel::{WHEEL_MAX, Wheel, WheelError};

/// Length of a grant: without a renewal a shard makes no arrival that falls due later than this.
pub const GRANT: std::time::Duration = std::time::Duration::from_secs(10);

#[cfg(test)]
mod tests;
