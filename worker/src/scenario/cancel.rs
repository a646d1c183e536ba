//! Giving up what is in flight, within one thread.
//!
//! Every request looks whether it shall be given up, so looking costs a few nanoseconds: a slot puts its waker down once and
//! not for each request, and nothing is locked.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::pin::Pin;
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
            told: None,
        }
    }
}

/// One task's view of a [`Cancel`].
#[derive(Debug)]
pub struct Cancelled {
    cancel: Cancel,
    place: usize,
    /// Whom the signal wakes.
    told: Option<Waker>,
}

/// Work that may be given up.
#[derive(Debug)]
struct Unless<'a, 'w, F> {
    cancel: &'a mut Cancelled,
    work: Pin<&'w mut F>,
}

impl<F: Future> Future for Unless<'_, '_, F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        match this.work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => this.cancel.poll(cx).map(|()| None),
        }
    }
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
        if !self.told.as_ref().is_some_and(|told| told.will_wake(cx.waker())) {
            self.cancel.0.wakers.borrow_mut()[self.place] = Some(cx.waker().clone());
            self.told = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// The work's result, unless the signal comes first. Work that is done already counts as done.
    pub fn unless<F: Future>(&mut self, work: Pin<&mut F>) -> impl Future<Output = Option<F::Output>> {
        Unless { cancel: self, work }
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
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn everybody_who_listens_is_woken_once() {
        let cancel = Cancel::default();
        drop(cancel.listen());
        let (mut first, mut second) = (cancel.listen(), cancel.listen());
        assert_eq!((first.place, second.place), (0, 1), "places are used again");
        let waiting = async {
            let works = (pin!(pending::<()>()), pin!(pending::<()>()));
            tokio::join!(first.unless(works.0), second.unless(works.1))
        };
        let fire = async {
            tokio::task::yield_now().await;
            cancel.fire();
        };
        assert_eq!(tokio::join!(waiting, fire).0, (None, None));
        assert_eq!(
            cancel.listen().unless(pin!(async { 7 })).await,
            Some(7),
            "what is done is done"
        );
        assert_eq!(cancel.listen().unless(pin!(pending::<()>())).await, None);
    }

    #[tokio::test]
    async fn a_token_of_another_thread_is_passed_on() {
        let token = CancellationToken::new();
        let work = under(&token, async |cancel| cancel.unless(pin!(pending::<()>())).await);
        let fire = async {
            tokio::task::yield_now().await;
            token.cancel();
        };
        assert_eq!(tokio::join!(work, fire).0, None);
        assert_eq!(under(&token, async |_| 3).await, 3);
    }
}
