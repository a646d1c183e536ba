use std::future::poll_fn;
use std::io::Read;
use std::net::TcpListener;
use std::time::Duration;

use super::*;

/// A line and the other end of its connection, which never blocks.
async fn pair(reactor: &Rc<Reactor>) -> (Owned, std::net::TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (peer, _) = listener.accept().unwrap();
    peer.set_nonblocking(true).unwrap();
    (reactor.adopt(stream).unwrap(), peer)
}

fn say(mut peer: &std::net::TcpStream, bytes: &[u8]) {
    std::io::Write::write_all(&mut peer, bytes).unwrap();
}

/// What has arrived at the other end; waits for so many bytes.
async fn heard(mut peer: &std::net::TcpStream, count: usize) -> Vec<u8> {
    let mut all = Vec::new();
    for _ in 0..5_000 {
        let mut some = [0; 4_096];
        match peer.read(&mut some) {
            Ok(more) => all.extend_from_slice(&some[..more]),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
        if all.len() >= count {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    all
}

/// Looks, as a shard does, until `reached` says so; the waker is that of the test.
async fn look_until(reactor: &Reactor, mut reached: impl FnMut(&mut Context<'_>) -> bool) {
    let waiting = poll_fn(|cx| {
        reactor.listen(cx);
        reactor.look();
        if reached(cx) { Poll::Ready(()) } else { Poll::Pending }
    });
    tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap();
}

fn pending(line: &Owned, cx: &Context<'_>) -> bool {
    line.poll_read(cx, &mut [0; 16]).is_pending()
}

#[tokio::test]
async fn awaited_bytes_are_there_with_their_instant_before_they_are_asked_for() {
    let clock = Clock::boot();
    let reactor = Reactor::new(clock).unwrap();
    let (awaited, others) = (pair(&reactor).await, pair(&reactor).await);
    look_until(&reactor, |cx| pending(&awaited.0, cx)).await;
    say(&awaited.1, b"one");
    say(&others.1, b"two");
    look_until(&reactor, |_| {
        awaited.0.line.ahead.get().is_some() && others.0.line.readable.get()
    })
    .await;
    assert!(others.0.line.ahead.get().is_none(), "nobody waits for it");
    let later = clock.now();
    tokio::time::sleep(Duration::from_millis(2)).await;
    let (at, bytes) = awaited.0.take_ahead(|at, read| (at, read.unwrap().to_vec())).unwrap();
    assert_eq!(bytes, b"one");
    assert!(at <= later, "stamped when it was read");
    assert_eq!((awaited.0.bytes(), others.0.bytes()), ((3, 0), (0, 0)));
    let mut into = [0; 16];
    assert_eq!(others.0.try_read(&mut into).unwrap().unwrap(), 3);
    assert!(others.0.try_read(&mut into).is_none());
    assert_eq!(reactor.held.get(), 0);
}

#[tokio::test]
async fn bytes_read_ahead_stay_until_they_are_taken_however_much_comes_after_them() {
    let reactor = Reactor::new(Clock::boot()).unwrap();
    let (kept, other) = (pair(&reactor).await, pair(&reactor).await);
    look_until(&reactor, |cx| pending(&kept.0, cx)).await;
    say(&kept.1, b"keep this");
    look_until(&reactor, |_| kept.0.line.ahead.get().is_some()).await;
    // More than there is room for: what no longer fits is left to be read by whoever waits for it.
    let (mut said, mut got) = (0, 0);
    while got < 3 * AHEAD_BYTES {
        if said == got {
            say(&other.1, &[b'x'; 8 * 1024]);
            said += 8 * 1024;
        }
        look_until(&reactor, |cx| match other.0.poll_read(cx, &mut [0; 1_000]) {
            Poll::Ready(read) => {
                got += read.unwrap();
                true
            }
            Poll::Pending => false,
        })
        .await;
    }
    let mut all = Vec::new();
    while let Some(read) = kept.0.try_read(&mut [0; 4]).map(Result::unwrap) {
        all.push(read);
    }
    assert_eq!(all, [4, 4, 1], "piece by piece");
    assert_eq!(kept.0.bytes(), (9, 0));
    drop(other);
    assert_eq!(reactor.held.get(), 0);
    // A line that goes away with something read ahead gives its room back.
    look_until(&reactor, |cx| pending(&kept.0, cx)).await;
    say(&kept.1, b"more");
    look_until(&reactor, |_| kept.0.line.ahead.get().is_some()).await;
    drop(kept);
    assert_eq!((reactor.held.get(), reactor.lines.borrow().len()), (0, 0));
}

#[tokio::test]
async fn the_end_of_a_connection_is_seen_although_bytes_came_with_it() {
    let reactor = Reactor::new(Clock::boot()).unwrap();
    for awaited in [false, true] {
        let (line, peer) = pair(&reactor).await;
        if awaited {
            look_until(&reactor, |cx| pending(&line, cx)).await;
        }
        say(&peer, b"bye");
        drop(peer);
        let mut reads = Vec::new();
        look_until(&reactor, |cx| {
            while let Poll::Ready(read) = line.poll_read(cx, &mut [0; 16]) {
                reads.push(read.unwrap());
                if reads.last() == Some(&0) {
                    return true;
                }
            }
            false
        })
        .await;
        assert_eq!(reads, [3, 0]);
    }
}

#[tokio::test]
async fn what_is_handed_in_is_sent_together_and_only_for_those_who_are_still_there() {
    let reactor = Reactor::new(Clock::boot()).unwrap();
    let (first, gone, last) = (pair(&reactor).await, pair(&reactor).await, pair(&reactor).await);
    let cx = Context::from_waker(Waker::noop());
    let hand_in = |line: &Owned, text: &str| line.gather(&cx, [text.as_bytes(), b"!"], Stamp::FAR);
    assert!(!hand_in(&first.0, "early"), "nobody gathers yet");
    reactor.gather();
    assert!(hand_in(&first.0, "first") && hand_in(&gone.0, "gone") && hand_in(&last.0, "last"));
    assert!(
        !first.0.gather(&cx, [&[0; GATHERED_MOST], b"!"], Stamp::FAR),
        "too long"
    );
    assert_eq!((first.0.bytes().1, first.0.take_written().is_some()), (0, false));
    let (line, old) = gone;
    let key = line.key;
    drop(line);
    let heir = pair(&reactor).await;
    assert_eq!(heir.0.key, key, "a place is used again");
    reactor.flush();
    assert_eq!(heard(&first.1, 6).await, b"first!");
    assert_eq!(heard(&last.1, 5).await, b"last!");
    assert!(matches!(first.0.take_written().unwrap().count, Some(Ok(6))));
    assert!(first.0.take_written().is_none(), "told once");
    assert_eq!(first.0.bytes().1, 6);
    assert_eq!(heard(&old, 0).await, b"");
    assert_eq!((heir.0.bytes().1, heir.0.take_written().is_some()), (0, false));
    reactor.flush();
    assert_eq!(first.0.bytes().1, 6, "nothing is sent twice");
}

#[tokio::test]
async fn what_is_too_late_or_more_than_the_socket_takes_is_told() {
    let clock = Clock::boot();
    let reactor = Reactor::new(clock).unwrap();
    let (line, peer) = pair(&reactor).await;
    let cx = Context::from_waker(Waker::noop());
    reactor.gather();
    assert!(line.gather(&cx, [b"late", b""], Stamp::from_us(0)));
    reactor.flush();
    assert!(line.take_written().unwrap().count.is_none());
    assert_eq!(line.bytes().1, 0);

    let block = vec![b'x'; 256 * 1024];
    let mut sent = 0;
    while let Poll::Ready(count) = line.poll_write(&cx, &[IoSlice::new(&block)]) {
        sent += count.unwrap();
    }
    assert!(!line.line.writable.get());
    reactor.gather();
    assert!(
        !line.gather(&cx, [b"more", b""], Stamp::FAR),
        "it would only have to wait"
    );
    reactor.flush();
    assert_eq!(heard(&peer, sent).await.len(), sent);
    look_until(&reactor, |cx| {
        line.poll_write(cx, &[IoSlice::new(b"on"), IoSlice::new(b"!")])
            .is_ready()
    })
    .await;
    assert_eq!(heard(&peer, 3).await, b"on!");
    assert_eq!(line.bytes().1, sent as u64 + 3);
}

#[tokio::test]
async fn who_has_read_for_itself_waits_no_longer() {
    let reactor = Reactor::new(Clock::boot()).unwrap();
    let (line, peer) = pair(&reactor).await;
    look_until(&reactor, |cx| pending(&line, cx)).await;
    // No room to read ahead.
    reactor.filled.set(AHEAD_BYTES);
    reactor.held.set(1);
    say(&peer, b"answer");
    look_until(&reactor, |_| line.line.readable.get()).await;
    assert!(!line.is_ahead());
    assert_eq!(line.try_read(&mut [0; 16]).unwrap().unwrap(), 6);
    assert!(line.take_read_at().is_none(), "it was read just now");
    reactor.filled.set(0);
    reactor.held.set(0);
    drop(peer);
    look_until(&reactor, |_| line.line.ended.get()).await;
    assert!(!line.is_ahead(), "nobody would take it");
    assert_eq!(line.try_read(&mut [0; 16]).unwrap().unwrap(), 0);
}

#[tokio::test]
async fn what_is_taken_in_pieces_keeps_its_instant() {
    let clock = Clock::boot();
    let reactor = Reactor::new(clock).unwrap();
    let (line, peer) = pair(&reactor).await;
    look_until(&reactor, |cx| pending(&line, cx)).await;
    say(&peer, b"answer");
    look_until(&reactor, |_| line.is_ahead()).await;
    let later = clock.now();
    tokio::time::sleep(Duration::from_millis(2)).await;
    for _ in 0..2 {
        assert_eq!(line.try_read(&mut [0; 3]).unwrap().unwrap(), 3);
        assert!(line.take_read_at().unwrap() <= later);
        assert!(line.take_read_at().is_none(), "told once");
    }
    assert!(!line.is_ahead() && reactor.held.get() == 0);
}

#[tokio::test]
async fn it_is_slept_on_only_while_nothing_else_is_to_come() {
    let clock = Clock::boot();
    let reactor = Reactor::new(clock).unwrap();
    let (first, second) = (pair(&reactor).await, pair(&reactor).await);
    let cx = Context::from_waker(Waker::noop());
    let bell = clock.now() + Duration::from_mins(1);
    reactor.set_bell(Some(bell));
    assert!(!reactor.may_wait(1), "nobody waits");
    assert!(pending(&first.0, &cx) && pending(&first.0, &cx));
    assert!(reactor.may_wait(1));
    assert!(
        !reactor.may_wait(0) && !reactor.may_wait(2),
        "somebody waits for something else"
    );
    assert!(pending(&second.0, &cx));
    assert!(reactor.may_wait(2));
    assert!(second.0.try_read(&mut [0; 16]).is_none());
    drop(second);
    assert!(reactor.may_wait(1), "who has read, or is gone, does not wait");
    reactor.set_alarm(clock.now(), bell);
    assert!(reactor.may_wait(1));
    reactor.set_alarm(clock.now(), clock.now() + Duration::from_millis(5));
    assert!(!reactor.may_wait(1), "a timer of the runtime's ends first");
    tokio::time::sleep(Duration::from_millis(6)).await;
    assert!(reactor.may_wait(1), "it is over");
    reactor.set_bell(None);
    assert!(!reactor.may_wait(1), "nothing would end the sleep");
    drop(first);
    assert_eq!(reactor.awaited.get(), 0);
}

#[tokio::test]
async fn a_sleep_ends_with_what_arrives() {
    let reactor = Reactor::new(Clock::boot()).unwrap();
    let (line, peer) = pair(&reactor).await;
    look_until(&reactor, |cx| pending(&line, cx)).await;
    // That the socket takes bytes is the first that there is to see of it.
    while reactor.look() > 0 {}
    let speaker = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(5));
        say(&peer, b"answer");
        peer
    });
    // On a busy machine a sleep may be over before.
    let seen = (0..1_000).map(|_| reactor.wait()).find(|seen| *seen > 0);
    assert_eq!((seen, line.is_ahead()), (Some(1), true));
    drop(speaker.join().unwrap());
}
