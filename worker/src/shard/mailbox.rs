//! How a slot's task gets its next iteration: one place, one waiter, one thread.

use std::cell::{Cell, RefCell};
use std::task::{Poll, Waker};

use super::machine::Start;

/// Holds at most one iteration: the machine gives a slot the next one only after the last has ended.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    start: Cell<Option<Start>>,
    waker: RefCell<Option<Waker>>,
}

impl Mailbox {
    /// Gives the slot its next iteration and wakes its task.
    pub(super) fn put(&self, start: Start) {
        let before = self.start.replace(Some(start));
        debug_assert!(before.is_none(), "a slot goes through one iteration at a time");
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Takes the iteration that is there, if any.
    pub(super) fn take(&self) -> Option<Start> {
        self.start.take()
    }

    /// Waits for the next iteration.
    pub(super) async fn next(&self) -> Start {
        std::future::poll_fn(|context| {
            if let Some(start) = self.start.take() {
                return Poll::Ready(start);
            }
            self.waker.replace(Some(context.waker().clone()));
            Poll::Pending
        })
        .await
    }
}
