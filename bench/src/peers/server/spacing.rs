//! How evenly requests arrived, from their arrival instants alone.

use serde::{Deserialize, Serialize};

/// Length of the bins whose counts the coefficient of variation is taken over.
const BIN_NS: u64 = 1_000_000;

/// Arrivals beside an ideal schedule.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spacing {
    /// Arrivals.
    pub(crate) count: u64,
    /// First to last arrival, s.
    pub(crate) span_s: f64,
    /// (arrivals − 1) / span: the rate that was reached, per s.
    pub(crate) rate_per_s: f64,
    /// Distance to the ideal schedule at the offered rate, half of the arrivals at most this, µs.
    pub(crate) deviation_p50_us: f64,
    /// The same, 99 of 100.
    pub(crate) deviation_p99_us: f64,
    /// Distance to the even schedule that fits best, whatever its rate: leaves a drift out. p50, µs.
    pub(crate) fitted_p50_us: f64,
    /// The same, 99 of 100.
    pub(crate) fitted_p99_us: f64,
    /// Standard deviation / mean of the counts per ms: 0 = perfectly even.
    pub(crate) cv: f64,
}

/// Judges arrival instants (ns, ascending) beside `rate` per second. `None` for fewer than 16 arrivals.
///
/// Arrival i of an ideal schedule comes at `offset + i / rate`, with the offset at which half of the arrivals come
/// before their instant. A schedule that fits best has the slope between the medians of the first and the last quarter.
pub(crate) fn spacing(arrivals: &[u64], rate: f64) -> Option<Spacing> {
    if arrivals.len() < 16 || rate <= 0.0 {
        return None;
    }
    let (first, last) = (*arrivals.first()?, *arrivals.last()?);
    let since = |at: u64| (at - first) as f64;
    let interval = 1e9 / rate;
    let mut distances: Vec<f64> = arrivals
        .iter()
        .enumerate()
        .map(|(index, at)| since(*at) - index as f64 * interval)
        .collect();
    let slope = slope(&distances);
    let mut fitted: Vec<f64> = distances
        .iter()
        .enumerate()
        .map(|(index, distance)| distance - index as f64 * slope)
        .collect();
    let (deviation_p50_us, deviation_p99_us) = deviations(&mut distances);
    let (fitted_p50_us, fitted_p99_us) = deviations(&mut fitted);
    let span_s = since(last) / 1e9;
    Some(Spacing {
        count: arrivals.len() as u64,
        span_s,
        rate_per_s: (arrivals.len() - 1) as f64 / span_s.max(1e-9),
        deviation_p50_us,
        deviation_p99_us,
        fitted_p50_us,
        fitted_p99_us,
        cv: variation(arrivals),
    })
}

/// How much later per arrival they come than the offered rate says, ns.
fn slope(distances: &[f64]) -> f64 {
    let quarter = distances.len() / 4;
    let median = |part: &[f64]| {
        let mut part = part.to_vec();
        middle(&mut part)
    };
    let (head, tail) = (&distances[..quarter], &distances[distances.len() - quarter..]);
    (median(tail) - median(head)) / (distances.len() - quarter) as f64
}

/// p50 and p99 of the distance to the median, µs.
fn deviations(distances: &mut [f64]) -> (f64, f64) {
    let offset = middle(distances);
    for distance in distances.iter_mut() {
        *distance = (*distance - offset).abs();
    }
    distances.sort_unstable_by(f64::total_cmp);
    (rank(distances, 0.5) / 1e3, rank(distances, 0.99) / 1e3)
}

fn middle(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    rank(values, 0.5)
}

/// The value of rank ⌈q·n⌉ of sorted values.
fn rank(sorted: &[f64], q: f64) -> f64 {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// Over the whole bins between the first and the last arrival; 0 when there are fewer than two.
fn variation(arrivals: &[u64]) -> f64 {
    let (Some(first), Some(last)) = (arrivals.first(), arrivals.last()) else {
        return 0.0;
    };
    let bins = ((last - first) / BIN_NS) as usize;
    if bins < 2 {
        return 0.0;
    }
    let mut counts = vec![0_u32; bins];
    for at in arrivals {
        if let Some(count) = counts.get_mut(((at - first) / BIN_NS) as usize) {
            *count += 1;
        }
    }
    let mean = counts.iter().map(|count| f64::from(*count)).sum::<f64>() / bins as f64;
    let squares = counts
        .iter()
        .map(|count| (f64::from(*count) - mean).powi(2))
        .sum::<f64>()
        / bins as f64;
    squares.sqrt() / mean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, want: f64) {
        assert!(
            (found - want).abs() < 1e-6 * want.abs().max(1.0),
            "{found} is not {want}"
        );
    }

    #[test]
    fn an_even_stream_deviates_by_nothing() {
        let arrivals: Vec<u64> = (0..1000).map(|index| 5_000 + index * 200_000).collect();
        let spacing = spacing(&arrivals, 5_000.0).unwrap();
        assert_eq!(spacing.count, 1000);
        close(spacing.rate_per_s, 5_000.0);
        close(spacing.deviation_p99_us, 0.0);
        close(spacing.fitted_p99_us, 0.0);
        close(spacing.cv, 0.0);
    }

    #[test]
    fn arrivals_in_bunches_of_ten_deviate_by_up_to_half_a_bunch() {
        // Due every 100 µs, sent together every ms: late by 0, 100, … 900 µs, around a median of 400.
        let arrivals: Vec<u64> = (0..1000).map(|index| index / 10 * 1_000_000).collect();
        let spacing = spacing(&arrivals, 10_000.0).unwrap();
        // Distances to −500 (rank 500 of −900..0 in steps of 100): 0,100,100,200,200,300,300,400,400,500.
        close(spacing.deviation_p50_us, 200.0);
        close(spacing.deviation_p99_us, 500.0);
        close(spacing.cv, 0.0);
    }

    #[test]
    fn a_drift_counts_beside_the_offered_rate_and_not_beside_the_fit() {
        // Asked for 1,000/s, came at 990/s: 1/99 of a ms later each time.
        let arrivals: Vec<u64> = (0..10_000_u64).map(|index| index * 1_000_000_000 / 990).collect();
        let spacing = spacing(&arrivals, 1_000.0).unwrap();
        close(spacing.rate_per_s, 990.0);
        assert!(
            (spacing.deviation_p50_us - 25_250.0).abs() < 50.0,
            "{}",
            spacing.deviation_p50_us
        );
        assert!(spacing.fitted_p99_us < 0.01, "{}", spacing.fitted_p99_us);
    }

    #[test]
    fn the_variation_of_counts_is_their_standard_deviation_over_their_mean() {
        // Ten bins of 1 ms, alternately with 4 and with no arrivals: mean 2, standard deviation 2.
        let mut arrivals = Vec::new();
        for bin in 0..5_u64 {
            arrivals.extend([bin * 2 * BIN_NS; 4]);
        }
        arrivals.push(10 * BIN_NS);
        close(variation(&arrivals), 1.0);
    }

    #[test]
    fn too_few_arrivals_say_nothing() {
        assert_eq!(spacing(&[1; 15], 1.0), None);
        assert_eq!(spacing(&[], 1.0), None);
    }
}
