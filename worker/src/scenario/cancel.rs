//! Giving up what is in flight, within one thread.
//!
//! Every request looks whether it shall be given up, so looking costs a few nanoseconds: a slot puts its waker down once and
//! not for each request, and nothing is locked.

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio_util::sync::CancellationToken;

/// Tells everything that listens to it to give up. Stays on one thread; clones are the same signal.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Rc<State>);

#[derive(Debug, Default)]
struct State {
    fired: Cell<bool>,
    /// One place for each listener.
    wakers: RefCell<Vec<Option<Waker>>>,
    /// Places of listeners that are gone.
    spare: RefCell<Vec<usize>>,
}

impl Cancel {
    /// Gives the signal. It cannot be taken back.
    pub fn fire(&self) {
        self.0.fired.set(true);
        for waker in self.0.wakers.borrow_mut().iter_mut() {
            if let Some(waker) = waker.take() {
                waker.wake();
            }
        }
    }

    /// Somebody who waits for the signal: one for each task.
    pub fn listen(&self) -> Cancelled {
        let place = self.0.spare.borrow_mut().pop().unwrap_or_else(|| {
            let mut wakers = self.0.wakers.borrow_mut();
            wakers.push(None);
            wakers.len() - 1
        });
        Cancelled {
            cancel: self.clone(),
            place,
        }
    }
}

/// One task's view of a [`Cancel`].
#[derive(Debug)]
pub struct Cancelled {
    cancel: Cancel,
    place: usize,
}

impl Cancelled {
    /// Whether the signal has been given.
    pub fn is_fired(&self) -> bool {
        self.cancel.0.fired.get()
    }

    /// Ready once the signal has been given; the task is woken then. May be polled again at any time.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_fired() {
            return Poll::Ready(());
        }
        let mut wakers = self.cancel.0.wakers.borrow_mut();
        let waker = &mut wakers[self.place];
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// The work's result, unless the signal comes first. Work that is done already counts as done.
    pub async fn unless<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => self.poll(cx).map(|()| None),
        })
        .await
    }
}

impl Drop for Cancelled {
    fn drop(&mut self) {
        self.cancel.0.wakers.borrow_mut()[self.place] = None;
        self.cancel.0.spare.borrow_mut().push(self.place);
    }
}

/// Does `work` with a signal that is given when `token` is.
pub(super) async fn under<T>(token: &CancellationToken, work: impl AsyncFnOnce(&mut Cancelled) -> T) -> T {
    let cancel = Cancel::default();
    let mut listener = cancel.listen();
    let pass_on = async {
        token.cancelled().await;
        cancel.fire();
        pending().await
    };
    tokio::select! {
        biased;
        never = pass_on => never,
        done = work(&mut listener) => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everybody_who_listens_is_woken_once() {
        let cancel = Cancel::default();
        drop(cancel.listen());
        let (mut first, mut second) = (cancel.listen(), cancel.listen());
        assert_eq!((first.place, second.place), (0, 1), "places are used again");
        let waiting = async {
            let one = first.unless(pending::<()>());
            let other = second.unless(pending::<()>());
            tokio::join!(one, other)
        };
        let fire = async {
            tokio::task::yield_now().await;
            cancel.fire();
        };
        assert_eq!(tokio::join!(waiting, fire).0, (None, None));
        assert_eq!(
            cancel.listen().unless(async { 7 }).await,
            Some(7),
            "what is done is done"
        );
        assert_eq!(cancel.listen().unless(pending::<()>()).await, None);
    }

    #[tokio::test]
    async fn a_token_of_another_thread_is_passed_on() {
        let token = CancellationToken::new();
        let work = under(&token, async |cancel| cancel.unless(pending::<()>()).await);
        let fire = async {
            tokio::task::yield_now().await;
            token.cancel();
        };
        assert_eq!(tokio::join!(work, fire).0, None);
        assert_eq!(under(&token, async |_| 3).await, 3);
    }
}
