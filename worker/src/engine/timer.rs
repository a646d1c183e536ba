//! A deadline that costs nothing per request.
//!
//! Arming and disarming a timer for each request takes a few hundred nanoseconds of a budget of six microseconds. Deadlines
//! of successive requests only move forward, so the timer of an earlier request is left armed: it fires no later than the
//! present deadline, and is then set anew.

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::task::coop::has_budget_remaining;
use tokio::task::yield_now;
use tokio::time::{Sleep, sleep};

use crate::clock::{Clock, Stamp};
use crate::net::Reactor;

/// So many turns of the runtime, each with a look at the sockets, are enough for a connection's task to read and hand over what
/// is there.
const TURNS: u8 = 4;

/// The timer of one slot; one deadline at a time.
#[derive(Debug, Default)]
pub(crate) struct DeadlineTimer {
    armed: Option<Armed>,
    /// Who must not sleep through it.
    reactor: Option<Rc<Reactor>>,
    /// Turns that others have had since it was found to be overdue.
    turns: u8,
}

#[derive(Debug)]
struct Armed {
    timer: Pin<Box<Sleep>>,
    fires_at: Stamp,
    /// Whom the timer wakes: a slot has one task, so it need not be told again for each request.
    wakes: Option<Waker>,
}

impl DeadlineTimer {
    /// A timer that a shard's sockets know of.
    pub(crate) fn known_to(reactor: Option<Rc<Reactor>>) -> Self {
        Self {
            reactor,
            ..Self::default()
        }
    }

    /// Ready once `deadline` has passed, never before; the waker is registered otherwise. `now` is what the clock has just
    /// said, if it was asked.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, clock: Clock, now: Option<Stamp>, deadline: Stamp) -> Poll<()> {
        loop {
            if let Some(armed) = &mut self.armed
                && armed.fires_at <= deadline
                && (armed.is_ahead(cx, now) || armed.poll(cx).is_pending())
            {
                return Poll::Pending;
            }
            let now = clock.now();
            if now >= deadline {
                return Poll::Ready(());
            }
            let fresh = sleep(deadline.since(now));
            if let Some(reactor) = &self.reactor {
                reactor.set_alarm(now, deadline);
            }
            match &mut self.armed {
                Some(armed) => {
                    armed.timer.set(fresh);
                    armed.fires_at = deadline;
                    armed.wakes = None;
                }
                None => {
                    self.armed = Some(Armed {
                        timer: Box::pin(fresh),
                        fires_at: deadline,
                        wakes: None,
                    });
                }
            }
        }
    }

    /// The same for an answer that other tasks read: they have their turns first, after a look at the sockets. Who stood still
    /// may see timers before answers that have lain there for long: a wait for events that a signal interrupts, as that does
    /// which lets a stopped process go on, has no events but does fire timers.
    pub(crate) fn poll_last(&mut self, cx: &mut Context<'_>, clock: Clock, deadline: Stamp) -> Poll<()> {
        if self.poll(cx, clock, None, deadline).is_pending() {
            self.turns = 0;
            return Poll::Pending;
        }
        if self.turns < TURNS {
            self.turns += 1;
            // Wakes after the runtime has looked at its sockets, which it does not do while a task is awake.
            if pin!(yield_now()).poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        self.turns = 0;
        Poll::Ready(())
    }

    /// The same with a deadline that is put off by what is known only once it has passed: `until` is asked then, at each poll.
    pub(crate) fn poll_put_off(
        &mut self,
        cx: &mut Context<'_>,
        clock: Clock,
        deadline: Stamp,
        until: impl FnOnce(Stamp) -> Stamp,
    ) -> Poll<()> {
        if self.poll(cx, clock, None, deadline).is_pending() {
            self.turns = 0;
            return Poll::Pending;
        }
        self.poll_last(cx, clock, until(clock.now()))
    }
}

impl Armed {
    /// Whether the timer cannot have fired yet and wakes this task when it does.
    fn is_ahead(&self, cx: &Context<'_>, now: Option<Stamp>) -> bool {
        now.is_some_and(|now| now < self.fires_at) && self.tells(cx)
    }

    fn tells(&self, cx: &Context<'_>) -> bool {
        self.wakes.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.tells(cx) && !self.timer.is_elapsed() {
            return Poll::Pending;
        }
        // A timer that is polled beyond the task's budget is pending without having noted whom to wake.
        let noted = has_budget_remaining();
        let polled = self.timer.as_mut().poll(cx);
        self.wakes = (noted && polled.is_pending()).then(|| cx.waker().clone());
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write as _;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use tokio::io::AsyncReadExt as _;
    use tokio::task::{JoinSet, LocalSet};

    use super::*;

    #[tokio::test]
    async fn it_fires_after_the_deadline_whatever_was_armed_before() {
        let clock = Clock::boot();
        let mut timer = DeadlineTimer::default();
        // Long, then short, then longer than the one that is still armed, then one already passed.
        for (first_ms, then_ms) in [(5_000, 20), (10, 40), (30, 30)] {
            let long = clock.now() + Duration::from_millis(first_ms);
            poll_fn(|cx| {
                let _ = timer.poll(cx, clock, None, long);
                Poll::Ready(())
            })
            .await;
            let deadline = clock.now() + Duration::from_millis(then_ms);
            poll_fn(|cx| timer.poll(cx, clock, Some(clock.now()), deadline)).await;
            let late = clock.now().since(deadline);
            assert!(clock.now() >= deadline);
            assert!(late < Duration::from_secs(2), "{late:?}");
        }
        let past = clock.now() - Duration::from_millis(1);
        poll_fn(|cx| timer.poll(cx, clock, None, past)).await;
    }

    #[tokio::test]
    async fn whoever_reads_sees_what_lies_in_the_socket_before_a_deadline_is_over() {
        let clock = Clock::boot();
        for late_ms in [1, 50] {
            let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
            theirs.set_nonblocking(true).unwrap();
            let mut theirs = tokio::net::UnixStream::from_std(theirs).unwrap();
            let has_read = Arc::new(AtomicBool::new(false));
            let reads = Arc::clone(&has_read);
            let (mut tasks, local) = (JoinSet::new(), LocalSet::new());
            let reader = async move {
                theirs.read_u8().await.unwrap();
                reads.store(true, Ordering::Relaxed);
            };
            let waiter = async move {
                // The reader waits for its socket; nobody looks at that while the rest happens.
                tokio::time::sleep(Duration::from_millis(1)).await;
                ours.write_all(b"x").unwrap();
                let deadline = clock.now() - Duration::from_millis(late_ms);
                let mut timer = DeadlineTimer::default();
                poll_fn(|cx| timer.poll_last(cx, clock, deadline)).await;
                assert!(has_read.load(Ordering::Relaxed), "{late_ms} ms");
            };
            tasks.spawn_local_on(reader, &local);
            tasks.spawn_local_on(waiter, &local);
            local.run_until(tasks.join_all()).await;
        }
    }
}
