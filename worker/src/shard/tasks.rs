//! The slots' tasks, all polled by one task of the runtime.
//!
//! A shard has as many tasks as slots, and each is woken for every answer. A list of numbers does for them what the
//! runtime's queue would do at a greater cost: it knows of no other threads, handles or names.
//!
//! # Invariants
//!
//! - Tasks are polled in the order in which they were woken, and none twice before another that was woken in between.
//! - The runtime looks for new events after [`TURN`] tasks, however many are ready.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use tokio::task::coop::has_budget_remaining;

use crate::net::reactor::{BATCH, Reactor};

/// Most tasks that are polled before the runtime looks for events again.
const TURN: usize = 128;
/// With so many events at once there are likely to be more by the time they are worked on; with fewer the runtime's own
/// look does as well.
const LOOK_AGAIN: usize = 4;

/// Tasks that stay on one thread. Dropping it, or [`Tasks::clear`], drops them.
#[derive(Default)]
pub(super) struct Tasks {
    all: RefCell<Vec<Option<Task>>>,
    woken: Arc<Woken>,
    /// Those that are to be polled next, woken before all that are in `woken`.
    turn: RefCell<VecDeque<u32>>,
}

struct Task {
    work: Pin<Box<dyn Future<Output = ()>>>,
    place: Arc<Place>,
    waker: Waker,
}

/// Wakes one task.
struct Place {
    number: u32,
    /// Whether it waits to be polled.
    is_listed: AtomicBool,
    woken: Arc<Woken>,
}

/// The tasks that have been woken and not been polled since.
#[derive(Default)]
struct Woken(Mutex<List>);

#[derive(Default)]
struct List {
    numbers: Vec<u32>,
    /// The task of the runtime, while it waits.
    poller: Option<Waker>,
}

impl Wake for Place {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_listed.swap(true, Ordering::AcqRel) {
            self.woken.push(self.number);
        }
    }
}

impl Woken {
    fn push(&self, number: u32) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.numbers.push(number);
        if let Some(poller) = list.poller.take() {
            drop(list);
            poller.wake();
        }
    }

    /// The task of the runtime is at work, and need not be woken for what it will look at anyway.
    fn forget_poller(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).poller = None;
    }

    /// Moves what is there to `turn`; if nothing is, `poller` will be woken.
    fn take(&self, turn: &mut VecDeque<u32>, poller: &Waker) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if list.numbers.is_empty() {
            list.poller = Some(poller.clone());
        } else {
            turn.extend(list.numbers.drain(..));
        }
    }
}

impl Tasks {
    /// Adds a task, to be polled as soon as its turn comes.
    pub(super) fn add(&self, work: impl Future<Output = ()> + 'static) {
        let mut all = self.all.borrow_mut();
        let place = Arc::new(Place {
            number: all.len() as u32,
            is_listed: AtomicBool::new(false),
            woken: Arc::clone(&self.woken),
        });
        let waker = Waker::from(Arc::clone(&place));
        waker.wake_by_ref();
        all.push(Some(Task {
            work: Box::pin(work),
            place,
            waker,
        }));
    }

    /// Polls the tasks that are woken, and those that the sockets wake. Never ready: there may always come more. `busy` tasks
    /// are at work, and not idle: while each of them waits for its socket, it is waited here.
    pub(super) fn poll(&self, cx: &mut Context<'_>, sockets: Option<&Reactor>, busy: &Cell<usize>) -> Poll<()> {
        let (mut left, mut waits) = (TURN, false);
        if let Some(sockets) = sockets {
            sockets.listen(cx);
        }
        loop {
            // Else what the look finds would wake this very task, which would come before the runtime's own turn again.
            self.woken.forget_poller();
            let see = if waits { Reactor::wait } else { Reactor::look };
            let seen = sockets.map_or(0, see);
            let idle = self.turn(cx.waker(), sockets, &mut left);
            if !idle {
                break;
            }
            let in_vain = waits && seen == 0;
            waits = sockets.is_some_and(|sockets| sockets.may_wait(busy.get()));
            if in_vain || !waits && seen < LOOK_AGAIN {
                return Poll::Pending;
            }
        }
        // Woken again after the runtime has looked for events; a plain wake would come before them.
        let _ = pin!(tokio::task::yield_now()).poll(cx);
        Poll::Pending
    }

    /// Polls the tasks that are woken, `left` of them at most, and sends what they hand in, a batch at a time. Whether there
    /// are no more: then `poller` is woken with the next.
    fn turn(&self, poller: &Waker, sockets: Option<&Reactor>, left: &mut usize) -> bool {
        let Some(sockets) = sockets else {
            return self.work(poller, left);
        };
        while *left > 0 && has_budget_remaining() {
            let mut batch = BATCH.min(*left);
            *left -= batch;
            sockets.gather();
            let idle = self.work(poller, &mut batch);
            sockets.flush();
            *left += batch;
            if idle {
                return true;
            }
        }
        false
    }

    fn work(&self, poller: &Waker, left: &mut usize) -> bool {
        while *left > 0 && has_budget_remaining() {
            *left -= 1;
            let Some(number) = self.next(poller) else {
                return true;
            };
            // Taken out meanwhile: a task may add others.
            let Some(mut task) = self.all.borrow_mut()[number as usize].take() else {
                continue;
            };
            task.place.is_listed.store(false, Ordering::Release);
            let ended = task.work.as_mut().poll(&mut Context::from_waker(&task.waker));
            if ended.is_pending() {
                self.all.borrow_mut()[number as usize] = Some(task);
            }
        }
        false
    }

    /// Drops every task, but the one that is being polled.
    pub(super) fn clear(&self) {
        drop(self.all.take());
    }

    fn next(&self, poller: &Waker) -> Option<u32> {
        let mut turn = self.turn.borrow_mut();
        if turn.is_empty() {
            self.woken.take(&mut turn, poller);
        }
        turn.pop_front()
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::rc::Rc;

    use super::*;

    /// Wakes itself so many times.
    async fn again(times: usize, each: impl Fn(usize)) {
        let mut left = times;
        poll_fn(|cx| {
            each(left);
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            cx.waker().wake_by_ref();
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    #[tokio::test]
    async fn they_take_turns_in_the_order_in_which_they_were_woken() {
        let tasks = Tasks::default();
        let said = Rc::new(RefCell::new(Vec::new()));
        for name in ['a', 'b', 'c'] {
            let said = Rc::clone(&said);
            tasks.add(again(2, move |left| said.borrow_mut().push((left, name))));
        }
        poll_fn(|cx| Poll::Ready(tasks.poll(cx, None, &Cell::new(0)).is_pending())).await;
        let order: Vec<(usize, char)> = [2, 1, 0]
            .into_iter()
            .flat_map(|left| ['a', 'b', 'c'].map(|name| (left, name)))
            .collect();
        assert_eq!(
            *said.borrow(),
            order,
            "nobody is polled twice in a turn, however often it is woken"
        );
    }

    #[tokio::test]
    async fn the_runtime_has_its_turn_however_many_are_ready() {
        let tasks = Rc::new(Tasks::default());
        let polls = Rc::new(Cell::new(0));
        let count = Rc::clone(&polls);
        tasks.add(again(usize::MAX, move |_| count.set(count.get() + 1)));
        let late = tokio::time::sleep(std::time::Duration::from_millis(2));
        tokio::select! {
            biased;
            () = poll_fn(|cx| tasks.poll(cx, None, &Cell::new(0))) => unreachable!("it is never ready"),
            () = late => {}
        }
        assert!(polls.get() >= TURN, "{}", polls.get());
    }

    #[tokio::test]
    async fn what_the_sockets_bring_costs_one_poll() {
        let reactor = Reactor::new(crate::clock::Clock::boot()).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = tokio::net::TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        let line = reactor.adopt(stream).unwrap();
        let (tasks, read, polls) = (Rc::new(Tasks::default()), Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let count = Rc::clone(&read);
        tasks.add(async move {
            loop {
                let read = poll_fn(|cx| line.poll_read(cx, &mut [0; 16])).await.unwrap();
                count.set(count.get() + read);
            }
        });
        let local = tokio::task::LocalSet::new();
        let (polled, counted) = (Rc::clone(&tasks), Rc::clone(&polls));
        local.spawn_local(poll_fn(move |cx| {
            counted.set(counted.get() + 1);
            polled.poll(cx, Some(&reactor), &Cell::new(0))
        }));
        let rounds = 20;
        local
            .run_until(async {
                for round in 1..=rounds {
                    std::io::Write::write_all(&mut peer, b"x").unwrap();
                    for _ in 0..5_000 {
                        if read.get() == round {
                            break;
                        }
                        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                    }
                    assert_eq!(read.get(), round);
                }
            })
            .await;
        tasks.clear();
        // One to begin with, and one for each event; each was followed by an empty one where the sockets woke their own reader.
        assert!(polls.get() <= rounds + rounds / 2, "{} polls", polls.get());
    }

    #[tokio::test]
    async fn whoever_is_woken_otherwise_finds_what_lies_in_its_socket_however_many_there_are() {
        let count = 2 * BATCH + 10;
        let reactor = Reactor::new(crate::clock::Clock::boot()).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (tasks, found, alarm) = (
            Tasks::default(),
            Rc::new(Cell::new(0)),
            Rc::new(tokio::sync::Notify::new()),
        );
        // It has rung before anything else happened.
        let (bell, mut rings) = std::os::unix::net::UnixStream::pair().unwrap();
        reactor.mount_bell(&bell).unwrap();
        let mut peers = Vec::new();
        for _ in 0..count {
            let stream = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await;
            let line = reactor.adopt(stream.unwrap()).unwrap();
            peers.push(listener.accept().unwrap().0);
            let (found, alarm) = (Rc::clone(&found), Rc::clone(&alarm));
            tasks.add(async move {
                let rung = alarm.notified();
                let read = poll_fn(|cx| line.poll_read(cx, &mut [0; 16]));
                tokio::select! {
                    biased;
                    read = read => found.set(found.get() + read.unwrap()),
                    () = rung => {}
                }
            });
        }
        let mut cx = Context::from_waker(Waker::noop());
        // All wait, in as many turns as that takes.
        for _ in 0..=count / TURN {
            assert!(tasks.poll(&mut cx, Some(&reactor), &Cell::new(0)).is_pending());
        }
        std::io::Write::write_all(&mut rings, b"x").unwrap();
        for peer in &mut peers {
            std::io::Write::write_all(peer, b"x").unwrap();
        }
        alarm.notify_waiters();
        for _ in 0..=count / TURN {
            assert!(tasks.poll(&mut cx, Some(&reactor), &Cell::new(0)).is_pending());
        }
        assert_eq!(found.get(), count);
        tasks.clear();
    }

    #[tokio::test]
    async fn the_runtime_is_left_alone_while_every_task_waits_for_its_socket() {
        let rounds = 200;
        let clock = crate::clock::Clock::boot();
        let reactor = Reactor::new(clock).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = tokio::net::TcpStream::connect(listener.local_addr().unwrap());
        let line = reactor.adopt(stream.await.unwrap()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        let echo = std::thread::spawn(move || {
            let mut byte = [0];
            while std::io::Read::read_exact(&mut peer, &mut byte).is_ok() {
                std::io::Write::write_all(&mut peer, &byte).unwrap();
            }
        });
        let (tasks, polls, busy) = (Rc::new(Tasks::default()), Rc::new(Cell::new(0)), Rc::new(Cell::new(1)));
        let (done, ended) = tokio::sync::oneshot::channel();
        let idle = Rc::clone(&busy);
        tasks.add(async move {
            for _ in 0..rounds {
                let sent = poll_fn(|cx| line.poll_write(cx, &[std::io::IoSlice::new(b"x")])).await;
                assert_eq!(sent.unwrap(), 1);
                assert_eq!(poll_fn(|cx| line.poll_read(cx, &mut [0; 16])).await.unwrap(), 1);
            }
            idle.set(0);
            done.send(()).unwrap();
        });
        // As long as the timer's keeper sleeps.
        reactor.set_bell(Some(clock.now() + std::time::Duration::from_mins(5)));
        let counted = Rc::clone(&polls);
        tokio::select! {
            biased;
            () = poll_fn(|cx| {
                counted.set(counted.get() + 1);
                tasks.poll(cx, Some(&reactor), &busy)
            }) => unreachable!("it is never ready"),
            said = ended => said.unwrap(),
        }
        tasks.clear();
        echo.join().unwrap();
        // A few for those that were busy for long enough, and for sleeps that lasted too long on a busy machine.
        assert!(polls.get() < rounds / 4, "{} polls", polls.get());
    }

    #[tokio::test]
    async fn a_task_may_add_others_and_be_woken_from_another_thread() {
        let tasks = Rc::new(Tasks::default());
        let (done, heard) = tokio::sync::oneshot::channel();
        let (add, mut done) = (Rc::clone(&tasks), Some(done));
        tasks.add(async move {
            let (ask, answer) = tokio::sync::oneshot::channel();
            let thread = std::thread::spawn(move || ask.send(7));
            add.add(async move {
                let said = answer.await.ok();
                let _ = done.take().map(|done| done.send(said));
            });
            drop(thread);
        });
        let said = tokio::select! {
            () = poll_fn(|cx| tasks.poll(cx, None, &Cell::new(0))) => unreachable!("it is never ready"),
            said = heard => said,
        };
        assert_eq!(said, Ok(Some(7)));
        tasks.clear();
        assert_eq!(Rc::strong_count(&tasks), 1, "nothing is left of what was dropped");
    }
}
