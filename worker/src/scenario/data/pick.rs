//! Which row belongs to an iteration: a function of the seed, the iteration and the user, so equal on any fleet.

use barrage_model::ids::LoadId;
use barrage_model::plan::{DataSource, OnEnd, Pick};
use barrage_model::rng::{Purpose, stream};

/// There is no row for the iteration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::scenario) enum NoRow {
    /// The run shall stop gracefully.
    Stop,
    /// The iteration is broken off before its first step.
    Error,
}

/// The row of data set number `place` that belongs to an iteration. `rows` is at least 1.
pub(in crate::scenario) fn pick(
    (source, place, rows): (&DataSource, usize, u32),
    seed: u64,
    (load, index, user): (LoadId, u64, u64),
) -> Result<u32, NoRow> {
    let number = match source.pick {
        Pick::Random => {
            let mut rng = stream(seed, load, index, Purpose::Row);
            // Each data set has a draw of its own, whether or not the others are used.
            for _ in 0..place {
                rng.next_u64();
            }
            return Ok(scaled(rng.next_u64(), rows));
        }
        Pick::Sequential => index,
        Pick::OncePerUser => user,
    };
    if number < u64::from(rows) {
        return Ok(number as u32);
    }
    match source.on_end {
        OnEnd::Wrap => Ok((number % u64::from(rows)) as u32),
        OnEnd::Stop => Err(NoRow::Stop),
        OnEnd::Error => Err(NoRow::Error),
    }
}

/// A number below `rows` from exactly one draw; with at most 2³² rows none is favoured by more than one in 2³².
fn scaled(draw: u64, rows: u32) -> u32 {
    ((u128::from(draw) * u128::from(rows)) >> 64) as u32
}

#[cfg(test)]
mod tests {
    use barrage_model::plan::{DataFormat, FileRef};

    use super::*;

    fn source(pick: Pick, on_end: OnEnd) -> DataSource {
        let file = FileRef {
            path: "a.csv".to_owned(),
            sha256: None,
        };
        DataSource {
            name: "a".to_owned(),
            format: DataFormat::Csv,
            file,
            pick,
            on_end,
        }
    }

    #[test]
    fn rows_follow_the_index_or_the_user() {
        let of = |how, on_end, index, user| pick((&source(how, on_end), 0, 3), 1, (LoadId(0), index, user));
        for (how, on_end, index, user, want) in [
            (Pick::Sequential, OnEnd::Stop, 2, 9, Ok(2)),
            (Pick::Sequential, OnEnd::Stop, 3, 0, Err(NoRow::Stop)),
            (Pick::Sequential, OnEnd::Wrap, 7, 0, Ok(1)),
            (Pick::Sequential, OnEnd::Error, u64::MAX, 0, Err(NoRow::Error)),
            (Pick::OncePerUser, OnEnd::Error, 9, 2, Ok(2)),
            (Pick::OncePerUser, OnEnd::Wrap, 0, 4, Ok(1)),
            (Pick::OncePerUser, OnEnd::Stop, 0, 3, Err(NoRow::Stop)),
        ] {
            assert_eq!(of(how, on_end, index, user), want, "{how:?} {on_end:?} {index} {user}");
        }
    }

    #[test]
    fn random_rows_are_even_and_repeatable() {
        let source = source(Pick::Random, OnEnd::Stop);
        let row = |place, seed, index| pick((&source, place, 4), seed, (LoadId(0), index, 0)).unwrap();
        let mut counts = [0u32; 4];
        let mut differ = 0;
        for index in 0..4_000 {
            counts[row(0, 1, index) as usize] += 1;
            assert_eq!(row(0, 1, index), row(0, 1, index));
            differ += u32::from(row(0, 1, index) != row(1, 1, index));
        }
        assert!(counts.iter().all(|count| count.abs_diff(1_000) < 140), "{counts:?}");
        assert!(differ.abs_diff(3_000) < 140, "{differ}");
    }
}
