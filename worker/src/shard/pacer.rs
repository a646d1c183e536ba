//! Waiting for an exact instant: a timerfd on the boot clock, tokio's millisecond timer where there is none.

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use barrage_model::plan::Pacing;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

use crate::clock::{Clock, Stamp};
use crate::net::reactor::{Reactor, watch};

/// Longest batching of wake-ups.
const QUANTUM_MAX_US: u64 = 250;
/// The quantum in µs is the rate divided by this: two arrivals for one wake-up at 20,000/s, of which the first is late by
/// the distance to the second. A wake-up for each takes half of the core at that rate, one for every third makes the
/// dispatch lag 30 µs longer in the 99th percentile.
const PER_S_FOR_1_US: u64 = 200;
/// What is waited for beyond the last arrival of a quantum, so that a timer that ends a little early has not missed it.
const MARGIN: Duration = Duration::from_micros(3);
/// Below this many starts per second each arrival gets a wake-up of its own.
const QUANTUM_FROM_PER_S: u64 = 4_000;

/// How long after the last wake-up the next one may come, at this many starts per second: 20 µs at 4,000/s, 100 µs at
/// 20,000/s, and 250 µs from 50,000/s on. A wake-up costs more than a request, so batches buy throughput.
fn quantum(starts_per_s: u64) -> Duration {
    if starts_per_s < QUANTUM_FROM_PER_S {
        return Duration::ZERO;
    }
    Duration::from_micros((starts_per_s / PER_S_FOR_1_US).min(QUANTUM_MAX_US))
}

/// How long the first arrival of a wake-up is kept waiting at most: for the last one within a quantum, if they are evenly
/// spaced. Quanta counted from the wake-ups, which are all a little late, would drift away from the arrivals, until one more
/// of them has fallen due before each.
fn hold(starts_per_s: u64) -> Duration {
    let distance = Duration::from_nanos(1_000_000_000 / starts_per_s.max(1));
    match quantum(starts_per_s).checked_sub(distance) {
        Some(hold) => hold + MARGIN,
        None => Duration::ZERO,
    }
}

/// The last part of a wait that is spent looking at the clock, where the plan asks for precise pacing. A sleeping thread is
/// woken 30 to 80 µs late, so this much earlier is nearly always early enough.
const SPIN: Duration = Duration::from_micros(100);

/// From one look at the clock to the next no more than this passes unless others work in between.
const LOOK: Duration = Duration::from_micros(3);

/// How much too late this host's timer is at its best, learned from what it did: the lateness that three of four sleeps
/// exceed. It is set earlier by that, and what is left of a wait after a sleep that ended too early is spent looking at the
/// clock.
///
/// A quantile with one number of memory: up a little when the value was larger, down three times as much when it was not.
/// (Ma, Muthukrishnan and Sandler, Frugal Streaming for Estimating Quantiles, 2013.)
#[derive(Debug, Default)]
struct Lead {
    ns: Cell<u32>,
}

impl Lead {
    /// The way up after a sleep that ended later still; a hundred sleeps are enough to learn what a virtual machine needs.
    const STEP_NS: u32 = 500;
    /// Whatever was seen: a busy shard comes late for reasons of its own, and must not pay for it by looking at the clock.
    const MAX_NS: u32 = 60_000;

    fn get(&self) -> Duration {
        Duration::from_nanos(self.ns.get().into())
    }

    /// Takes note of how late a sleep ended.
    fn learn(&self, late: Duration) {
        let known = self.ns.get();
        self.ns.set(if late > self.get() {
            (known + Self::STEP_NS).min(Self::MAX_NS)
        } else {
            known.saturating_sub(3 * Self::STEP_NS)
        });
    }
}

/// One timer of one shard.
#[derive(Debug)]
pub(crate) struct Pacer {
    clock: Clock,
    timer: Option<AsyncFd<OwnedFd>>,
    pacing: Pacing,
    /// What may sleep on the timer as well.
    reactor: Option<Rc<Reactor>>,
    lead: Lead,
    /// Time spent looking at the clock instead of sleeping, since it was last taken.
    spun: Cell<Duration>,
}

impl Pacer {
    /// Must be called within a tokio runtime.
    pub(crate) fn new(clock: Clock, pacing: Pacing) -> Self {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let made = timerfd_create(TimerfdClockId::Boottime, flags).map_err(std::io::Error::from);
        let timer = match made.and_then(watch) {
            Ok(timer) => Some(timer),
            Err(error) => {
                tracing::warn!(%error, "no timerfd; a timer of 1 ms takes its place");
                None
            }
        };
        Self {
            clock,
            timer,
            pacing,
            reactor: None,
            lead: Lead::default(),
            spun: Cell::default(),
        }
    }

    /// Lets a shard's sockets be slept on as long as the timer is set.
    pub(crate) fn heard_by(mut self, reactor: Option<Rc<Reactor>>) -> Self {
        let hung = reactor.zip(self.timer.as_ref()).map(|(reactor, timer)| {
            reactor.mount_bell(timer)?;
            Ok(reactor)
        });
        let hung: io::Result<Option<_>> = hung.transpose();
        self.reactor = hung.unwrap_or_else(|error| {
            tracing::warn!(%error, "the shard's sockets do not hear its timer");
            None
        });
        self
    }

    /// The earliest instant for which the timer of a shard is set that was last woken at `last`, has something to start at `due`
    /// and starts so many iterations per second: a quantum after the one, less than that after the other, less by how late it
    /// will be. With precise pacing each arrival has a wake-up of its own.
    pub(super) fn spared(&self, last: Stamp, due: Stamp, starts_per_s: u64) -> Stamp {
        match self.pacing {
            Pacing::Timer => {
                let (lead, quantum) = (self.lead.get(), quantum(starts_per_s));
                let held = due + hold(starts_per_s).saturating_sub(lead);
                held.min(last + (quantum + MARGIN).saturating_sub(lead))
            }
            Pacing::Precise => last,
        }
    }

    /// For how long it has looked at the clock since this was asked last. Who has no time left does none of it.
    pub(super) fn take_spun(&self) -> Duration {
        self.spun.take()
    }

    /// Waits about until `at`, which only spares wake-ups: a sleep that ends a little late costs nobody anything, and looking
    /// at the clock would take back what is spared. Returns as [`Pacer::until`] when it has passed.
    ///
    /// # Cancel safety
    /// As [`Pacer::until`].
    pub(super) async fn about(&self, at: Stamp) {
        let now = self.clock.now();
        if at <= now {
            return tokio::task::yield_now().await;
        }
        self.sleep(at, now).await;
    }

    /// Waits until `at`; returns at once, but not before other tasks have had their turn, when it has passed.
    ///
    /// # Cancel safety
    /// Cancel safe: the next call sets the timer anew.
    pub(crate) async fn until(&self, at: Stamp) {
        let now = self.clock.now();
        if at <= now {
            return tokio::task::yield_now().await;
        }
        let early = match self.pacing {
            Pacing::Precise => SPIN,
            Pacing::Timer => self.lead.get(),
        };
        self.sleep(at - early, now).await;
        // Others have their turn between two looks at the clock, so answers are read meanwhile.
        let mut looked_at = None;
        loop {
            let now = self.clock.now();
            let idle = looked_at.map_or(Duration::ZERO, |last| now.since(last));
            self.spun.set(self.spun.get() + idle.min(LOOK));
            if now >= at {
                return;
            }
            looked_at = Some(now);
            tokio::task::yield_now().await;
        }
    }

    /// Sleeps until `wake_at`, if that is still to come.
    async fn sleep(&self, wake_at: Stamp, now: Stamp) {
        if wake_at > now {
            self.sleep_until(wake_at, now).await;
            self.lead.learn(self.clock.now().since(wake_at));
        }
    }

    async fn sleep_until(&self, at: Stamp, now: Stamp) {
        let Some(timer) = &self.timer else {
            return tokio::time::sleep(at.since(now)).await;
        };
        let us = at.as_us();
        let it_value = Timespec {
            tv_sec: (us / 1_000_000).cast_signed(),
            tv_nsec: (us % 1_000_000 * 1_000).cast_signed(),
        };
        let spec = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value,
        };
        // Setting the timer takes back an expiry that nobody has read, so none ever needs to be read.
        if timerfd_settime(timer, TimerfdTimerFlags::ABSTIME, &spec).is_err() {
            return tokio::time::sleep(at.since(now)).await;
        }
        let _bell = self.reactor.as_deref().map(|reactor| Bell::set(reactor, at));
        loop {
            let Ok(mut ready) = timer.readable().await else {
                return tokio::time::sleep(at.since(now)).await;
            };
            ready.clear_ready();
            // Readiness may be that of an earlier setting.
            if self.clock.now() >= at {
                return;
            }
        }
    }
}

/// As long as somebody sleeps on the timer.
struct Bell<'a>(&'a Reactor);

impl<'a> Bell<'a> {
    fn set(reactor: &'a Reactor, at: Stamp) -> Self {
        reactor.set_bell(Some(at));
        Self(reactor)
    }
}

impl Drop for Bell<'_> {
    fn drop(&mut self) {
        self.0.set_bell(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wake_ups_are_batched_only_at_high_rates() {
        for (rate, us) in [
            (0, 0),
            (3_999, 0),
            (4_000, 20),
            (20_000, 100),
            (50_000, 250),
            (1_000_000, 250),
        ] {
            assert_eq!(quantum(rate), Duration::from_micros(us), "{rate}/s");
        }
    }

    #[tokio::test]
    async fn wake_ups_are_spared_from_the_last_one_on_and_never_with_precise_pacing() {
        let clock = Clock::boot();
        let (last, us) = (Stamp::from_us(5_000), Duration::from_micros);
        let pacer = Pacer::new(clock, Pacing::Timer);
        let due = last + us(50);
        assert_eq!(pacer.spared(last, due, 20_000), last + us(103));
        // Woken late, it does not drift away from the arrivals; after a gap nothing is kept waiting.
        assert_eq!(pacer.spared(last + us(9), due, 20_000), last + us(103));
        assert_eq!(pacer.spared(last, last + us(500), 20_000), last + us(103));
        // What the timer will be late is taken off; a quantum that is shorter spares nothing.
        for _ in 0..60 {
            pacer.lead.learn(us(50));
        }
        assert_eq!(pacer.lead.get(), us(30));
        assert_eq!(pacer.spared(last, due, 20_000), last + us(73));
        assert_eq!(pacer.spared(last, last + us(200), 5_000), last);
        assert_eq!(Pacer::new(clock, Pacing::Precise).spared(last, due, 20_000), last);
    }

    #[test]
    fn the_lead_is_what_three_of_four_sleeps_exceed() {
        let lead = Lead::default();
        let mut state = 7u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Evenly between 20 and 60 µs.
            lead.learn(Duration::from_micros(20) + Duration::from_nanos((state >> 33) % 40_000));
        }
        let learned = lead.get().as_micros();
        assert!((25..=35).contains(&learned), "{learned} µs");
        for _ in 0..20_000 {
            lead.learn(Duration::from_millis(5));
        }
        assert_eq!(
            lead.get(),
            Duration::from_micros(60),
            "a shard that is always late looks at the clock no longer"
        );
        for _ in 0..100 {
            lead.learn(Duration::ZERO);
        }
        assert_eq!(lead.get(), Duration::ZERO);
    }

    #[tokio::test]
    async fn it_wakes_at_the_instant_and_can_be_set_again() {
        let clock = Clock::boot();
        for (pacing, kept) in [
            (Pacing::Timer, true),
            (Pacing::Precise, true),
            (Pacing::Timer, false),
            (Pacing::Precise, false),
        ] {
            let mut pacer = Pacer::new(clock, pacing);
            assert!(pacer.timer.is_some());
            // As on a system that has no timerfd.
            pacer.timer = pacer.timer.filter(|_| kept);
            for ms in [3, 0, 5] {
                let at = clock.now() + Duration::from_millis(ms);
                pacer.until(at).await;
                assert!(clock.now() >= at);
            }
            let far = pacer.until(clock.now() + Duration::from_mins(1));
            assert!(tokio::time::timeout(Duration::from_millis(5), far).await.is_err());
            let at = clock.now() + Duration::from_millis(2);
            pacer.until(at).await;
            assert!(clock.now() >= at && clock.now().since(at) < Duration::from_secs(5));
        }
    }

    #[tokio::test]
    async fn a_sleep_on_the_sockets_ends_when_the_timer_does() {
        let clock = Clock::boot();
        let reactor = Reactor::new(clock).unwrap();
        let pacer = Pacer::new(clock, Pacing::Timer).heard_by(Some(Rc::clone(&reactor)));
        // A look wants a line.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = tokio::net::TcpStream::connect(listener.local_addr().unwrap());
        let line = reactor.adopt(stream.await.unwrap()).unwrap();
        let cx = &mut std::task::Context::from_waker(std::task::Waker::noop());
        assert!(line.poll_read(cx, &mut [0; 16]).is_pending());
        for round in 0..3 {
            let at = clock.now() + Duration::from_millis(10);
            let mut sleep = Box::pin(pacer.until(at));
            assert!(!reactor.may_wait(1), "nothing is set");
            assert!(sleep.as_mut().poll(cx).is_pending());
            assert!(reactor.may_wait(1));
            if round == 1 {
                drop(sleep);
                assert!(!reactor.may_wait(1), "who set it has gone");
                continue;
            }
            while reactor.may_wait(1) {
                reactor.wait();
            }
            assert!(
                clock.now() + Duration::from_micros(60) >= at,
                "it is set early by the lead at most"
            );
            sleep.await;
        }
    }
}
