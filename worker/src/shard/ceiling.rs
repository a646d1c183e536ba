//! The ceilings in front of the slots: token buckets that hold arrivals back, whatever the load says.
//!
//! They never pace: a bucket holds 50 ms of its rate, so an arrival that comes a little late is not punished.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use barrage_model::ids::{LoadId, ScenarioId, ShardId};
use barrage_model::plan::{Action, Plan, Step};
use barrage_model::schedule::Wheel;
use barrage_model::time::Moment;
use barrage_model::units::Rate;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use super::machine::{Gate, Held};
use crate::clock::{Clock, Stamp};

/// A bucket holds this much of its rate, and at least one token.
const BURST: Duration = Duration::from_millis(50);
/// A worker's own limit lets so many through at once at least: where it is asked for exactly that rate, the arrivals that fall to it
/// are those of the fleet's even schedule, of which one may come early.
const OWN_LEAST: NonZeroU32 = NonZeroU32::new(2).expect("two is not zero");
/// A ceiling of zero lets nothing through and is asked again this much later.
const CLOSED: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
struct BootClock(Clock);

impl governor::clock::Clock for BootClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.0.now().since(Stamp::default()))
    }
}

/// One bucket; `None` for a ceiling of zero.
#[derive(Debug)]
struct Bucket(Option<RateLimiter<NotKeyed, InMemoryState, BootClock, NoOpMiddleware<Nanos>>>);

impl Bucket {
    /// Lets at least so many through at once.
    fn new(rate: Rate, least: NonZeroU32, clock: Clock) -> Arc<Self> {
        let period = 1_000_000_000_000_000_u64
            .checked_div(rate.micro())
            .map(|ns| Duration::from_nanos(ns.max(1)));
        let burst = rate.micro() / 1_000_000 * BURST.as_millis() as u64 / 1_000;
        let burst = NonZeroU32::new(u32::try_from(burst).unwrap_or(u32::MAX)).map_or(least, |burst| burst.max(least));
        let quota = period
            .and_then(Quota::with_period)
            .map(|quota| quota.allow_burst(burst));
        Arc::new(Self(
            quota.map(|quota| RateLimiter::direct_with_clock(quota, BootClock(clock))),
        ))
    }

    fn admit(&self) -> Result<(), Duration> {
        let Some(limiter) = &self.0 else { return Err(CLOSED) };
        limiter
            .check()
            .map_err(|not_until| not_until.wait_time_from(governor::clock::Clock::now(limiter.clock())))
    }
}

/// The buckets of one worker; every shard has a clone.
#[derive(Clone, Debug, Default)]
pub struct Ceilings {
    /// Those of the worker as a whole, and whether it is a limit of its own.
    worker: Vec<(Arc<Bucket>, bool)>,
    /// By target.
    targets: Vec<Arc<Bucket>>,
    /// The target of each scenario's first request.
    target_of: Vec<Option<usize>>,
    /// Worker buckets that have been paid for the arrival that a later bucket held back.
    paid: usize,
}

impl Ceilings {
    /// The plan's ceilings, with `own` as the worker's own limit. What is for all workers together is divided as the
    /// wheel divides arrivals.
    pub fn new(plan: &Plan, own: Option<Rate>, shards: &[ShardId], wheel: Option<&Wheel>, clock: Clock) -> Self {
        let worker = [(plan.ceilings.per_worker, false), (own, true)].into_iter();
        let share = |rate: Rate| {
            let Some(wheel) = wheel else { return rate };
            let own: u64 = shards.iter().map(|shard| u64::from(wheel.share(*shard).0)).sum();
            let micro = u128::from(rate.micro()) * u128::from(own) / wheel.len() as u128;
            u64::try_from(micro).ok().and_then(Rate::from_micro).unwrap_or(rate)
        };
        let targets = plan.ceilings.per_target.into_iter();
        Self {
            worker: worker
                .filter_map(|(rate, own)| {
                    let least = if own { OWN_LEAST } else { NonZeroU32::MIN };
                    Some((Bucket::new(rate?, least, clock), own))
                })
                .collect(),
            targets: targets
                .flat_map(|rate| {
                    plan.targets
                        .iter()
                        .map(move |_| Bucket::new(share(rate), NonZeroU32::MIN, clock))
                })
                .collect(),
            target_of: plan
                .scenarios
                .iter()
                .map(|scenario| first_target(&scenario.steps))
                .collect(),
            paid: 0,
        }
    }
}

impl Gate for Ceilings {
    fn admit(&mut self, _load: LoadId, scenario: ScenarioId, now: Moment) -> Result<(), Held> {
        let held = |wait, own| Held { until: now + wait, own };
        while let Some((bucket, own)) = self.worker.get(self.paid) {
            bucket.admit().map_err(|wait| held(wait, *own))?;
            self.paid += 1;
        }
        let target = self.target_of.get(usize::from(scenario.0)).copied().flatten();
        if let Some(bucket) = target.and_then(|target| self.targets.get(target)) {
            bucket.admit().map_err(|wait| held(wait, false))?;
        }
        self.paid = 0;
        Ok(())
    }
}

/// The target of the first request in reading order.
fn first_target(steps: &[Step]) -> Option<usize> {
    steps.iter().find_map(|step| match &step.action {
        Action::Request(request) => Some(usize::from(request.target)),
        action => action.inner().find_map(first_target),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lets_its_burst_through_and_then_says_when() {
        let bucket = Bucket::new(Rate::per_second(100), NonZeroU32::MIN, Clock::boot());
        let passed = (0..50).take_while(|_| bucket.admit().is_ok()).count();
        assert!((5..=10).contains(&passed), "{passed}");
        let wait = bucket.admit().unwrap_err();
        assert!(wait <= Duration::from_millis(10) && wait > Duration::ZERO, "{wait:?}");
    }

    #[test]
    fn a_ceiling_of_zero_lets_nothing_through() {
        assert_eq!(
            Bucket::new(Rate::ZERO, NonZeroU32::MIN, Clock::boot()).admit(),
            Err(CLOSED)
        );
    }

    #[test]
    fn a_slow_ceiling_still_lets_one_through() {
        let bucket = Bucket::new(Rate::from_micro(1_000).unwrap(), NonZeroU32::MIN, Clock::boot());
        assert_eq!(bucket.admit(), Ok(()));
        assert!(bucket.admit().unwrap_err() > Duration::from_mins(15));
        let own = Bucket::new(Rate::from_micro(1_000).unwrap(), OWN_LEAST, Clock::boot());
        assert_eq!((own.admit(), own.admit()), (Ok(()), Ok(())));
        assert!(own.admit().is_err());
    }
}
