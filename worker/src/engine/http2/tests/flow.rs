//! What passes over one stream: methods, fields, bodies in both directions, trailers, limits.

use barrage_model::plan::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use url::Url;

use super::failures::{OK, SETTINGS, frame, go_away};
use super::server::{Http2Server, Manner};
use super::{Ask, PATIENCE_MS, get, on_a_shard, post, slots};
use crate::engine::testing::Slot;
use crate::engine::{EngineOptions, Limits, Origin};

#[test]
fn requests_arrive_as_they_were_made() {
    on_a_shard(async {
        let server = Http2Server::start(Manner::default()).await;
        let origin = server.origin();
        let mut slot = Slot::new(EngineOptions::default());
        let mut ask = post("/a/b?c=d%20e", "body");
        ask.method = Method::Put;
        ask.fields = vec![
            ("x-one", "1".to_owned()),
            ("x-two", "2".to_owned()),
            ("x-one", "3".to_owned()),
        ];
        let result = ask.by(&mut slot, &origin, PATIENCE_MS).await;
        assert_eq!(slot.word(&result), "200 hello", "{result:?}");
        let seen = server.seen().remove(0);
        assert_eq!((seen.method.as_str(), seen.body_bytes), ("PUT", 4));
        assert_eq!(seen.uri, format!("http://{}/a/b?c=d%20e", origin.authority));
        let fields: Vec<_> = seen
            .fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            fields,
            [("user-agent", "test"), ("x-one", "1"), ("x-one", "3"), ("x-two", "2")]
        );
        assert_eq!(slot.answer.headers.get("x-path"), Some(&b"/a/b"[..]));
        assert_eq!(slot.answer.wire_requests, 1);
    });
}

#[test]
fn answers_of_every_shape_are_read_to_their_end() {
    on_a_shard(async {
        let server = Http2Server::start(Manner::default()).await;
        let origin = server.origin();
        let head = Ask {
            method: Method::Head,
            ..get("/head")
        };
        let table = [
            (get("/"), "200 hello", 5),
            (get("/empty"), "204 ", 0),
            (get("/interim"), "200 final", 5),
            (get("/trailers"), "200 body", 4),
            (head, "200 ", 0),
            (post("/echo", ""), "200 ", 0),
            (post("/echo", "what was said"), "200 what was said", 13),
            (post("/early", vec![0_u8; 10_000_000]), "200 early", 5),
        ];
        let mut slot = Slot::new(EngineOptions::default());
        for _ in 0..3 {
            for (ask, word, bytes) in &table {
                let result = ask.by(&mut slot, &origin, PATIENCE_MS).await;
                assert_eq!(slot.word(&result), *word, "{ask:?}: {result:?}");
                assert_eq!(slot.answer.body_bytes_in, *bytes);
            }
        }
        assert_eq!((server.accepted(), server.seen().len()), (1, 24));
    });
}

/// The library forgets the end of such an answer when it learns in the same turn that the connection is gone.
#[test]
fn an_early_answer_is_whole_though_the_connection_ends_with_it() {
    let answers = [
        (vec![frame(1, 5, 1, &[OK])], "200 "),
        (vec![frame(1, 4, 1, &[OK]), frame(0, 1, 1, b"early")], "200 early"),
        (vec![frame(1, 5, 1, &[OK]), go_away(1, 0)], "200 "),
        // Its end is only announced.
        (
            vec![frame(1, 4, 1, &[OK]), frame(0, 1, 1, b"early")[..13].to_vec()],
            "failed reset",
        ),
        (vec![frame(1, 4, 1, &[OK]), frame(0, 0, 1, b"early")], "failed reset"),
    ];
    on_a_shard(async {
        for (frames, word) in answers {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
            let origin = Origin::from_url(0, &url).unwrap();
            let answer = [SETTINGS, &frames.concat()].concat();
            tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                // What the client may send ahead: a close with any of it unread would be a reset.
                let (mut bytes, mut have) = (vec![0; 100_000], 0);
                while have < 65_535 {
                    have += stream.read(&mut bytes).await.unwrap();
                }
                stream.write_all(&answer).await.unwrap();
                stream.shutdown().await.unwrap();
                while stream.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
            });
            let mut slot = Slot::new(EngineOptions::default());
            let ask = post("/", vec![0_u8; 300_000]);
            let result = ask.by(&mut slot, &origin, PATIENCE_MS).await;
            assert_eq!(slot.word(&result), word, "{result:?}");
        }
    });
}

#[test]
fn bodies_larger_than_any_window_pass_both_ways() {
    on_a_shard(async {
        let manner = Manner {
            window: Some(20_000),
            ..Manner::default()
        };
        let server = Http2Server::start(manner).await;
        let origin = server.origin();
        let limits = Limits {
            body_bytes: 100_000_000,
            ..Limits::default()
        };
        let options = EngineOptions {
            limits,
            streams_per_connection: 3,
            ..EngineOptions::default()
        };
        let mut all = slots(Slot::new(options), 3);
        let [one, two, three] = &mut all[..] else {
            unreachable!()
        };
        let up: Vec<u8> = (0..3_000_000_u32).map(|at| at as u8).collect();
        let (up, down, large) = (post("/echo", up), get("/bytes/30000000"), get("/bytes/25000000"));
        let results = tokio::join!(
            up.by(one, &origin, PATIENCE_MS),
            down.by(two, &origin, PATIENCE_MS),
            large.by(three, &origin, PATIENCE_MS),
        );
        assert_eq!(results, (Ok(()), Ok(()), Ok(())));
        assert_eq!(one.answer.body, up.body);
        assert_eq!(
            (two.answer.body.len(), three.answer.body.len()),
            (30_000_000, 25_000_000)
        );
        assert_eq!(server.accepted(), 1);
    });
}

#[test]
fn bodies_over_the_limit_are_protocol_failures_and_spare_the_connection() {
    on_a_shard(async {
        let server = Http2Server::start(Manner::default()).await;
        let origin = server.origin();
        let limits = Limits {
            body_bytes: 1_000,
            ..Limits::default()
        };
        let mut slot = Slot::new(EngineOptions {
            limits,
            ..EngineOptions::default()
        });
        for (path, word) in [
            ("/bytes/1001", "failed protocol"),
            ("/bytes/10000000", "failed protocol"),
        ] {
            let result = get(path).by(&mut slot, &origin, PATIENCE_MS).await;
            assert_eq!(slot.word(&result), word);
            assert!(slot.answer.body_bytes_in <= 1_000);
        }
        let result = get("/bytes/1000").by(&mut slot, &origin, PATIENCE_MS).await;
        assert_eq!(
            (result, slot.answer.body_bytes_in, server.accepted()),
            (Ok(()), 1_000, 1)
        );
    });
}

#[test]
fn what_is_not_wanted_is_counted_and_not_kept() {
    on_a_shard(async {
        let server = Http2Server::start(Manner::default()).await;
        let mut slot = Slot::new(EngineOptions::default());
        let mut terms = slot.terms(PATIENCE_MS);
        (terms.keep_body, terms.want_headers) = (false, false);
        let result = get("/bytes/70000").within(&mut slot, &server.origin(), terms).await;
        assert_eq!(result, Ok(()));
        let answer = &slot.answer;
        assert_eq!(
            (answer.status, answer.body.len(), answer.body_bytes_in),
            (200, 0, 70_000)
        );
        assert!(answer.headers.is_empty());
    });
}
