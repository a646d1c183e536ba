//! Slots on shared connections: seats, limits of the server, reuse, announced and unannounced ends, giving up.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use barrage_model::plan::Reuse;
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use h2::Reason;
use url::Url;

use super::failures::{OK, frame, go_away, settings_and};
use super::server::{Http2Server, Manner};
use super::{PATIENCE_MS, get, on_a_shard, post, slots};
use crate::engine::testing::{Do, Server, Slot, until};
use crate::engine::{EngineOptions, OnIdleClose, Origin};

fn sharing(streams_per_connection: u32) -> EngineOptions {
    EngineOptions {
        streams_per_connection,
        ..EngineOptions::default()
    }
}

/// A server that serves one stream of a connection at a time.
async fn one_stream() -> Http2Server {
    Http2Server::start(Manner {
        streams: Some(1),
        ..Manner::default()
    })
    .await
}

#[test]
fn slots_share_as_many_connections_as_the_plan_says() {
    on_a_shard(async {
        for (users, streams, connections) in [(1, 1, 1), (5, 1, 5), (8, 8, 1), (9, 8, 2), (64, 16, 4), (6, 1_000, 1)] {
            let server = Http2Server::start(Manner::default()).await;
            let origin = server.origin();
            let mut all = slots(Slot::new(sharing(streams)), users);
            for round in 1..=3 {
                let asked = all.iter_mut().map(|slot| {
                    let origin = &origin;
                    async move { get("/slow").by(slot, origin, PATIENCE_MS).await }
                });
                assert!(join_all(asked).await.iter().all(Result::is_ok));
                assert_eq!(server.accepted(), connections, "{users} users, {streams} streams");
                assert_eq!(server.seen().len(), users * round);
            }
            assert!(server.active_max() > users / 2, "streams run beside each other");
            let shared = Rc::clone(&all[0].shared);
            assert_eq!(shared.open_connections(), connections);
            // What was on the wire is carried by the answers, and nothing twice: bodies and heads are a part of it.
            let received: u64 = all.iter().map(|slot| slot.answer.wire.unwrap().received).sum();
            assert!(received > 4 * users as u64, "{received}");
            drop(all);
            until(|| shared.open_connections() == 0).await;
        }
    });
}

#[test]
fn the_servers_limit_on_streams_is_waited_for() {
    on_a_shard(async {
        for limit in [1, 3] {
            let manner = Manner {
                streams: Some(limit),
                ..Manner::default()
            };
            let server = Http2Server::start(manner).await;
            let origin = server.origin();
            let mut all = slots(Slot::new(sharing(12)), 12);
            let asked = all.iter_mut().map(|slot| {
                let origin = &origin;
                async move {
                    for _ in 0..3 {
                        get("/slow").by(slot, origin, PATIENCE_MS).await?;
                    }
                    get("/reset").by(slot, origin, PATIENCE_MS).await.unwrap_err();
                    post("/echo", "x").by(slot, origin, PATIENCE_MS).await
                }
            });
            let results = join_all(asked).await;
            assert!(results.iter().all(Result::is_ok), "{results:?}");
            assert_eq!((server.accepted(), server.seen().len()), (1, 60));
            assert!(server.active_max() <= limit as usize, "{} at once", server.active_max());
            // What one waits for before the send is not the server's time.
            let last = &all[11].answer;
            assert!(last.sent_at.unwrap() >= last.began_at);
        }
    });
}

#[test]
fn a_stream_that_does_not_come_free_is_a_timeout_without_a_send() {
    on_a_shard(async {
        let manner = Manner {
            streams: Some(1),
            ..Manner::default()
        };
        let server = Http2Server::start(manner).await;
        let origin = server.origin();
        let mut all = slots(Slot::new(sharing(2)), 2);
        let [one, two] = &mut all[..] else { unreachable!() };
        let (hang, other) = (get("/hang"), get("/"));
        let (first, second) = tokio::join!(hang.by(one, &origin, 400), other.by(two, &origin, 200));
        assert_eq!(
            (one.word(&first), two.word(&second)),
            ("timeout".to_owned(), "timeout".to_owned())
        );
        assert!(second.unwrap_err().message.contains("free stream"));
        assert_eq!((two.answer.sent_at, two.answer.wire_requests), (None, 0));
    });
}

#[test]
fn who_waited_for_a_stream_all_the_time_says_so_though_the_connection_is_given_up() {
    on_a_shard(async {
        let manner = Manner {
            streams: Some(1),
            ..Manner::default()
        };
        let server = Http2Server::start(manner).await;
        let origin = server.origin();
        let mut all = slots(Slot::new(sharing(12)), 12);
        let asked = all.iter_mut().map(|slot| {
            let origin = &origin;
            // Each takes 30 ms, and the one in progress at the deadline has heard nothing since it was sent.
            async move { get("/slow").by(slot, origin, 200).await }
        });
        let late: Vec<_> = join_all(asked).await.into_iter().filter_map(Result::err).collect();
        let told = |text: &str| late.iter().filter(|failure| failure.message.contains(text)).count();
        let (answers, streams) = (told("waiting for the answer"), told("a free stream"));
        assert!(streams >= 4 && answers <= 1, "{late:?}");
        assert_eq!(answers + streams, late.len(), "{late:?}");
    });
}

#[test]
fn a_connection_that_hangs_while_it_is_made_catches_nobody_who_comes_later() {
    on_a_shard(async {
        // Takes connections, and never shakes hands.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("https://{}/", listener.local_addr().unwrap())).unwrap();
        let origin = Origin::from_url(0, &url).unwrap();
        let mut all = slots(Slot::new(sharing(8)), 2);
        // Somebody waits at each moment, so that the first connection would never be given up.
        let users = all.iter_mut().enumerate().map(|(number, slot)| {
            let origin = &origin;
            async move {
                tokio::time::sleep(Duration::from_millis(50 * number as u64)).await;
                for _ in 0..4 {
                    let result = get("/").by(slot, origin, 100).await;
                    assert_eq!(slot.word(&result), "timeout");
                }
            }
        });
        let mut held = Vec::new();
        let accepting = async {
            loop {
                held.push(listener.accept().await.unwrap());
            }
        };
        tokio::select! {
            _ = join_all(users) => {}
            () = accepting => unreachable!("it goes on"),
        }
        assert!(held.len() >= 4, "{} connections", held.len());
    });
}

#[test]
fn connections_are_used_as_long_as_the_policy_says() {
    on_a_shard(async {
        let table = [
            (Reuse::Always, 1),
            (Reuse::Never, 6),
            (Reuse::MaxRequests(2), 3),
            (Reuse::MaxRequests(4), 2),
            (Reuse::MaxRequests(1), 6),
            (Reuse::MaxAge(Duration::from_hours(1)), 1),
            (Reuse::MaxAge(Duration::ZERO), 6),
        ];
        for (reuse, connections) in table {
            let server = Http2Server::start(Manner::default()).await;
            let origin = server.origin();
            let mut slot = Slot::new(EngineOptions {
                reuse,
                ..EngineOptions::default()
            });
            let mut fresh = 0;
            for _ in 0..6 {
                let result = get("/").by(&mut slot, &origin, PATIENCE_MS).await;
                assert_eq!(slot.word(&result), "200 hello", "{reuse:?}: {result:?}");
                let answer = &slot.answer;
                fresh += usize::from(!answer.reused);
                let phases = (answer.timings.dns.is_some(), answer.timings.connect.is_some());
                assert_eq!(
                    phases,
                    (!answer.reused, !answer.reused),
                    "phases belong to new connections alone"
                );
            }
            assert_eq!((server.accepted(), fresh), (connections, connections), "{reuse:?}");
            until(|| slot.shared.open_connections() <= 1).await;
        }
        // Shared and limited: nobody waits for a connection that is used up.
        let server = Http2Server::start(Manner::default()).await;
        let origin = server.origin();
        let reuse = Reuse::MaxRequests(5);
        let mut all = slots(Slot::new(EngineOptions { reuse, ..sharing(3) }), 3);
        for _ in 0..10 {
            let asked = all.iter_mut().map(|slot| {
                let origin = &origin;
                async move { get("/").by(slot, origin, PATIENCE_MS).await }
            });
            assert!(join_all(asked).await.iter().all(Result::is_ok));
        }
        let seen = server.seen();
        assert_eq!(seen.len(), 30);
        for connection in 0..server.accepted() {
            assert!(seen.iter().filter(|seen| seen.connection == connection).count() <= 5);
        }
    });
}

#[test]
fn a_connection_that_is_used_up_closes_with_its_last_answer() {
    on_a_shard(async {
        for (reuse, requests) in [(Reuse::Never, 1), (Reuse::MaxRequests(3), 3)] {
            let server = Http2Server::start(Manner::default()).await;
            let origin = server.origin();
            let mut slot = Slot::new(EngineOptions {
                reuse,
                ..EngineOptions::default()
            });
            for at in 0..requests {
                assert_eq!(slot.shared.open_connections(), usize::from(at > 0), "{reuse:?}");
                get("/").by(&mut slot, &origin, PATIENCE_MS).await.unwrap();
            }
            until(|| slot.shared.open_connections() == 0).await;
        }
    });
}

#[test]
fn an_announced_end_is_no_failure() {
    on_a_shard(async {
        let manner = Manner {
            requests: Some(4),
            ..Manner::default()
        };
        let server = Http2Server::start(manner).await;
        let origin = server.origin();
        let mut slot = Slot::new(EngineOptions::default());
        for _ in 0..20 {
            let result = get("/").by(&mut slot, &origin, PATIENCE_MS).await;
            assert_eq!(slot.word(&result), "200 hello", "{result:?}");
        }
        assert_eq!(server.seen().len(), 20, "each request was sent once");
        assert!(server.accepted() >= 2, "{} connections", server.accepted());
    });
}

#[test]
fn who_waits_for_a_stream_is_served_in_the_order_of_coming() {
    on_a_shard(async {
        let server = one_stream().await;
        let origin = server.origin();
        let mut all = slots(Slot::new(sharing(4)), 4);
        let loops = all.iter_mut().zip(["/a", "/b", "/c", "/d"]).map(async |(slot, path)| {
            for _ in 0..5 {
                let result = get(path).by(slot, &origin, PATIENCE_MS).await;
                assert_eq!(slot.word(&result), "200 hello", "{result:?}");
            }
        });
        join_all(loops).await;
        let seen = server.seen();
        let paths: Vec<&str> = seen.iter().map(|seen| &seen.uri[seen.uri.len() - 1..]).collect();
        assert_eq!(paths.concat(), "abcd".repeat(5));
        assert_eq!((server.accepted(), server.active_max()), (1, 1));
    });
}

#[test]
fn who_gives_up_waiting_makes_room_for_the_next() {
    on_a_shard(async {
        let server = one_stream().await;
        let origin = server.origin();
        let mut all = slots(Slot::new(sharing(3)), 3);
        let [one, two, three] = &mut all[..] else {
            unreachable!()
        };
        let (hang, other) = (get("/hang"), get("/"));
        let results = tokio::join!(
            hang.by(one, &origin, 400),
            other.by(two, &origin, 200),
            other.by(three, &origin, PATIENCE_MS),
        );
        assert!(results.0.is_err() && results.1.is_err(), "{results:?}");
        assert_eq!(three.word(&results.2), "200 hello");
    });
}

#[test]
fn who_waits_for_a_stream_leaves_when_the_end_is_announced() {
    let one_stream = frame(4, 0, 0, &[0, 3, 0, 0, 0, 1]);
    let script = |reason| {
        vec![
            vec![
                Do::ReadHttp2,
                Do::Send(one_stream.clone()),
                Do::Wait(Duration::from_millis(50)),
                Do::Send(go_away(1, reason)),
                Do::Hang,
            ],
            vec![Do::ReadHttp2, settings_and(&[frame(1, 5, 1, &[OK])]), Do::Hang],
        ]
    };
    on_a_shard(async {
        for reason in [Reason::NO_ERROR, Reason::ENHANCE_YOUR_CALM] {
            let server = Server::start(script(reason.into())).await;
            let origin = server.origin(0);
            let mut all = slots(Slot::new(sharing(2)), 2);
            let [one, two] = &mut all[..] else { unreachable!() };
            let (hang, other) = (get("/hang"), get("/"));
            let first = hang.by(one, &origin, PATIENCE_MS);
            let second = other.by(two, &origin, PATIENCE_MS);
            tokio::select! {
                biased;
                early = first => panic!("the stream in progress goes on: {early:?}"),
                result = second => assert_eq!(two.word(&result), "200 ", "{reason}: {result:?}"),
            }
            assert_eq!((two.answer.reused, server.accepted()), (false, 2));
        }
    });
}

#[test]
fn how_long_a_connection_took_is_told_by_whoever_uses_it_first() {
    on_a_shard(async {
        let good = vec![Do::ReadHttp2, settings_and(&[frame(1, 5, 1, &[OK])]), Do::Hang];
        let server = Server::start(vec![good]).await;
        let origin = server.origin(0);
        let mut all = slots(Slot::new(sharing(2)), 2);
        let [one, two] = &mut all[..] else { unreachable!() };
        let request = get("/");
        // The first has it made, and gives up before it is there.
        let mut first = Box::pin(request.by(one, &origin, PATIENCE_MS));
        let mut second = Box::pin(request.by(two, &origin, PATIENCE_MS));
        std::future::poll_fn(|cx| {
            assert!(first.as_mut().poll(cx).is_pending() && second.as_mut().poll(cx).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        drop(first);
        let result = second.await;
        assert_eq!(two.word(&result), "200 ", "{result:?}");
        assert!(two.answer.timings.connect.is_some());
        assert_eq!(server.accepted(), 1);
    });
}

#[test]
fn a_kept_connection_whose_end_was_announced_is_replaced_however_it_ends() {
    on_a_shard(async {
        let answer = settings_and(&[frame(1, 5, 1, &[OK])]);
        let farewell = Do::Send(go_away(1, 0));
        let server = Server::start(vec![vec![Do::ReadHttp2, answer, farewell, Do::Reset]]).await;
        let origin = server.origin(0);
        let mut slot = Slot::new(EngineOptions::default());
        for _ in 0..20 {
            let result = get("/").by(&mut slot, &origin, PATIENCE_MS).await;
            // A reset may overtake the answer itself, but nothing that was kept.
            if result.is_ok() || slot.answer.reused {
                assert_eq!(slot.word(&result), "200 ", "{result:?}");
            }
            until(|| slot.shared.open_connections() == 0).await;
        }
    });
}

#[test]
fn a_kept_connection_that_the_server_gave_up_says_why() {
    on_a_shard(async {
        let answer = settings_and(&[frame(1, 5, 1, &[OK])]);
        let given_up = Do::Send(go_away(1, Reason::ENHANCE_YOUR_CALM.into()));
        let server = Server::start(vec![vec![Do::ReadHttp2, answer, given_up, Do::Cut]]).await;
        let origin = server.origin(0);
        let mut slot = Slot::new(EngineOptions::default());
        let result = get("/").by(&mut slot, &origin, PATIENCE_MS).await;
        assert_eq!(slot.word(&result), "200 ", "{result:?}");
        until(|| slot.shared.open_connections() == 0).await;
        let result = get("/").by(&mut slot, &origin, PATIENCE_MS).await;
        assert_eq!(slot.word(&result), "failed reset", "{result:?}");
        let message = result.unwrap_err().message;
        assert_eq!(*message, "the server gave up the connection: ENHANCE_YOUR_CALM");
    });
}

#[test]
fn a_kept_connection_that_was_closed_is_told_once() {
    on_a_shard(async {
        for (on_idle_close, words) in [
            (OnIdleClose::Report, ["200 ", "failed closed_on_reuse", "200 "]),
            (OnIdleClose::Redial, ["200 ", "200 ", "200 "]),
        ] {
            let server = Server::start(vec![vec![
                Do::ReadHttp2,
                Do::Send(super::failures::SETTINGS.to_vec()),
                Do::Send(super::failures::frame(1, 5, 1, &[0x88])),
                Do::Cut,
            ]])
            .await;
            let origin = server.origin(0);
            let mut slot = Slot::new(EngineOptions {
                on_idle_close,
                ..EngineOptions::default()
            });
            for word in words {
                let result = get("/").by(&mut slot, &origin, PATIENCE_MS).await;
                assert_eq!(slot.word(&result), word, "{on_idle_close:?}: {result:?}");
                until(|| slot.shared.open_connections() == 0).await;
            }
        }
    });
}

#[test]
fn giving_up_resets_the_stream_and_spares_the_connection() {
    on_a_shard(async {
        let server = Http2Server::start(Manner::default()).await;
        let origin = server.origin();
        let mut slot = Slot::new(EngineOptions::default());
        get("/").by(&mut slot, &origin, PATIENCE_MS).await.unwrap();
        // By a timeout of its own, then because the caller turns away.
        let result = get("/slow").by(&mut slot, &origin, 5).await;
        assert_eq!(slot.word(&result), "timeout");
        let hang = get("/hang");
        let turned_away =
            tokio::time::timeout(Duration::from_millis(30), hang.by(&mut slot, &origin, PATIENCE_MS)).await;
        assert!(turned_away.is_err());
        assert!(slot.answer.sent_at.is_some() && slot.answer.wire.unwrap().sent > 0);
        let large = get("/bytes/60000000");
        let turned_away =
            tokio::time::timeout(Duration::from_millis(30), large.by(&mut slot, &origin, PATIENCE_MS)).await;
        assert!(turned_away.is_err());
        for _ in 0..500 {
            if server.seen().len() == 4 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(server.seen().len(), 4, "{:?}", server.seen());
        for path in ["/hang", "/bytes/60000000"] {
            let seen = server.seen();
            let given_up = seen.iter().find(|seen| seen.uri.ends_with(path)).unwrap();
            assert_eq!(given_up.reset, Some(Reason::CANCEL), "{path}");
        }
        let result = get("/").by(&mut slot, &origin, PATIENCE_MS).await;
        assert_eq!(slot.word(&result), "200 hello");
        // One connection may have been given up for its silence during the timeout, none because of the others.
        assert!(server.accepted() <= 2, "{}", server.accepted());
    });
}

#[test]
fn a_connection_that_has_fallen_silent_is_not_used_again() {
    on_a_shard(async {
        let script = vec![Do::ReadHttp2, Do::Send(super::failures::SETTINGS.to_vec()), Do::Hang];
        let server = Server::start(vec![script]).await;
        let origin = server.origin(0);
        let mut slot = Slot::new(EngineOptions::default());
        for connections in 1..=3 {
            let result = get("/").by(&mut slot, &origin, 60).await;
            assert_eq!(slot.word(&result), "timeout");
            assert!(server.accepted() <= connections);
        }
        assert!(server.accepted() >= 2, "{}", server.accepted());
    });
}

#[test]
fn nothing_is_sent_after_the_grant_has_ended() {
    on_a_shard(async {
        let server = Http2Server::start(Manner::default()).await;
        let origin = server.origin();
        let mut slot = Slot::new(EngineOptions::default());
        get("/").by(&mut slot, &origin, PATIENCE_MS).await.unwrap();
        let granted = Cell::new(Some(slot.clock.now() - Duration::from_millis(1)));
        let mut terms = slot.terms(PATIENCE_MS);
        terms.send_by = Some(&granted);
        for _ in 0..2 {
            let result = get("/late").within(&mut slot, &origin, terms).await;
            assert_eq!(slot.word(&result), "expired");
            assert_eq!((slot.answer.sent_at, slot.answer.wire_requests), (None, 0));
        }
        granted.set(Some(slot.clock.now() + Duration::from_mins(1)));
        get("/in-time").within(&mut slot, &origin, terms).await.unwrap();
        let paths: Vec<_> = server.seen().iter().map(|seen| seen.uri.clone()).collect();
        assert!(!paths.iter().any(|path| path.ends_with("/late")), "{paths:?}");
    });
}

#[test]
fn a_connection_nobody_waits_for_is_not_made() {
    on_a_shard(async {
        // A listener whose queue is full would do as well, but only some systems have one.
        let server = Http2Server::start(Manner::default()).await;
        let origin = server.origin();
        let mut all = slots(Slot::new(sharing(2)), 2);
        let [one, two] = &mut all[..] else { unreachable!() };
        let (asked, again) = (get("/"), get("/"));
        assert!(asked.by(one, &origin, PATIENCE_MS).now_or_never().is_none());
        let result = again.by(two, &origin, PATIENCE_MS).await;
        assert_eq!(two.word(&result), "200 hello");
        let result = again.by(one, &origin, PATIENCE_MS).await;
        assert_eq!(one.word(&result), "200 hello");
        assert_eq!(server.seen().len(), 2);
    });
}
