//! Servers that break off, break the rules or speak another language, byte by byte.

use std::time::Duration;

use futures_util::future::join_all;
use proptest::prelude::*;

use super::server::{Http2Server, Manner};
use super::{PATIENCE_MS, get, on_a_shard, slots};
use crate::engine::fuzz::answer_http2_with;
use crate::engine::testing::{Do, Server, Slot, send};
use crate::engine::{EngineOptions, Limits};

/// Empty settings.
pub(super) const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// `:status: 200`.
pub(super) const OK: u8 = 0x88;
/// `:status: 204` and `:status: 304`.
const NO_CONTENT: u8 = 0x89;
const NOT_MODIFIED: u8 = 0x8b;

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

pub(super) fn settings_and(frames: &[Vec<u8>]) -> Do {
    Do::Send([SETTINGS, &frames.concat()].concat())
}

/// `content-length: N` of one digit.
fn with_length(digit: u8) -> Vec<u8> {
    vec![OK, 0x0f, 0x0d, 1, digit]
}

pub(super) fn go_away(last: u32, reason: u32) -> Vec<u8> {
    frame(7, 0, 0, &[last.to_be_bytes(), reason.to_be_bytes()].concat())
}

#[test]
#[expect(clippy::too_many_lines, reason = "the table is one")]
fn each_failure_has_its_class() {
    let oversize = vec![vec![0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]];
    let header = |name: &str, length: usize| {
        let mut block = vec![OK, 0, name.len() as u8];
        block.extend(name.as_bytes());
        // An integer of seven bits and two continuations.
        let rest = length - 127;
        block.extend([127, (rest & 127) as u8 | 128, (rest >> 7) as u8]);
        block.extend(vec![b'v'; length]);
        block
    };
    let continuations = |count: usize| -> Vec<Vec<u8>> {
        let first = frame(1, 1, 1, &[OK]);
        let more = (0..count).map(|_| frame(9, 0, 1, &[0, 1, b'a', 1, b'b']));
        std::iter::once(first).chain(more).collect()
    };
    let table: Vec<(&str, Vec<Do>, &str)> = vec![
        (
            "an answer",
            vec![settings_and(&[frame(1, 5, 1, &[OK])]), Do::Hang],
            "200 ",
        ),
        ("no word", vec![Do::Cut], "failed reset"),
        ("settings only", vec![settings_and(&[]), Do::Cut], "failed reset"),
        ("a reset socket", vec![settings_and(&[]), Do::Reset], "failed reset"),
        (
            "half an answer",
            vec![settings_and(&[frame(1, 4, 1, &[OK])]), Do::Cut],
            "failed reset",
        ),
        (
            "half a frame",
            vec![settings_and(&[vec![0, 0, 9, 1]]), Do::Cut],
            "failed reset",
        ),
        (
            "a reset stream",
            vec![settings_and(&[frame(3, 0, 1, &[0, 0, 0, 2])]), Do::Hang],
            "failed reset",
        ),
        (
            "a refused stream",
            vec![settings_and(&[frame(3, 0, 1, &[0, 0, 0, 7])]), Do::Hang],
            "failed reset",
        ),
        (
            "a stream ended in the middle",
            vec![
                settings_and(&[
                    frame(1, 4, 1, &with_length(b'5')),
                    frame(0, 0, 1, b"hel"),
                    frame(3, 0, 1, &[0; 4]),
                ]),
                Do::Hang,
            ],
            "failed reset",
        ),
        (
            "farewell",
            vec![settings_and(&[go_away(0, 0)]), Do::Hang],
            "failed reset",
        ),
        (
            "a complaint",
            vec![settings_and(&[go_away(0, 11)]), Do::Hang],
            "failed reset",
        ),
        (
            "another protocol",
            vec![send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"), Do::Hang],
            "failed protocol",
        ),
        (
            "yet another",
            vec![send("SSH-2.0-OpenSSH_9.6\r\n\r\n"), Do::Hang],
            "failed protocol",
        ),
        (
            "no settings",
            vec![Do::Send(frame(6, 0, 5, &[0; 8])), Do::Hang],
            "failed protocol",
        ),
        (
            "a huge frame",
            vec![settings_and(&oversize), Do::Hang],
            "failed protocol",
        ),
        (
            "a longer body than announced",
            vec![
                settings_and(&[frame(1, 4, 1, &with_length(b'2')), frame(0, 1, 1, b"hello")]),
                Do::Hang,
            ],
            "failed protocol",
        ),
        (
            "a shorter body than announced",
            vec![
                settings_and(&[frame(1, 4, 1, &with_length(b'9')), frame(0, 1, 1, b"hello")]),
                Do::Hang,
            ],
            "failed protocol",
        ),
        (
            "a body where there is none",
            vec![
                settings_and(&[frame(1, 4, 1, &[NO_CONTENT]), frame(0, 1, 1, b"hello")]),
                Do::Hang,
            ],
            "failed protocol",
        ),
        (
            "an empty body where there is none",
            vec![
                settings_and(&[frame(1, 4, 1, &[NO_CONTENT]), frame(0, 1, 1, b"")]),
                Do::Hang,
            ],
            "204 ",
        ),
        (
            "a body that was not modified",
            vec![
                settings_and(&[frame(1, 4, 1, &[NOT_MODIFIED]), frame(0, 1, 1, b"hello")]),
                Do::Hang,
            ],
            "failed protocol",
        ),
        (
            "another protocol in the middle",
            vec![
                settings_and(&[frame(1, 4, 1, b"\x08\x03101"), frame(1, 5, 1, &[OK])]),
                Do::Hang,
            ],
            "failed protocol",
        ),
        (
            "no status",
            vec![settings_and(&[frame(1, 5, 1, &[0, 1, b'a', 1, b'b'])]), Do::Hang],
            "failed protocol",
        ),
        (
            "a body before the head",
            vec![settings_and(&[frame(0, 1, 1, b"hello")]), Do::Hang],
            "failed protocol",
        ),
        (
            "a promise",
            vec![settings_and(&[frame(5, 4, 1, &[0, 0, 0, 2, 0x82])]), Do::Hang],
            "failed protocol",
        ),
        (
            "a large head",
            vec![settings_and(&[frame(1, 5, 1, &header("x-large", 5_000))]), Do::Hang],
            "failed protocol",
        ),
        (
            "a head without end",
            vec![settings_and(&continuations(5_000)), Do::Hang],
            "failed protocol",
        ),
        ("silence", vec![Do::Hang], "timeout"),
    ];
    let limits = Limits {
        head_bytes: 2_000,
        ..Limits::default()
    };
    on_a_shard(async {
        for (what, mut script, word) in table {
            script.insert(0, Do::ReadHttp2);
            let server = Server::start(vec![script]).await;
            let mut slot = Slot::new(EngineOptions {
                limits,
                ..EngineOptions::default()
            });
            let timeout_ms = if word == "timeout" { 100 } else { PATIENCE_MS };
            let result = get("/").by(&mut slot, &server.origin(0), timeout_ms).await;
            assert_eq!(slot.word(&result), word, "{what}: {result:?}");
            if what == "another protocol" {
                assert!(result.unwrap_err().message.contains("answered in HTTP/1"));
            }
            assert_eq!((server.accepted(), server.seen().len()), (1, 1), "{what}: once");
        }
    });
}

#[test]
fn the_error_of_a_farewell_is_told_though_it_spares_the_stream() {
    let answer = settings_and(&[frame(1, 5, 1, &[OK])]);
    let begun = frame(1, 4, 3, &[OK]);
    let given_up = "the server gave up the connection: ENHANCE_YOUR_CALM";
    let table = [
        (go_away(3, 11), "failed reset", given_up),
        ([go_away(3, 0), go_away(3, 11)].concat(), "failed reset", given_up),
        ([begun, go_away(3, 11)].concat(), "failed reset", given_up),
        (go_away(3, 0), "failed closed_on_reuse", ""),
    ];
    on_a_shard(async {
        for (said, word, message) in table {
            let server = Server::start(vec![vec![
                Do::ReadHttp2,
                answer.clone(),
                Do::ReadHttp2,
                Do::Send(said.clone()),
                Do::Cut,
            ]])
            .await;
            let mut slot = Slot::new(EngineOptions::default());
            get("/").by(&mut slot, &server.origin(0), PATIENCE_MS).await.unwrap();
            let result = get("/").by(&mut slot, &server.origin(0), PATIENCE_MS).await;
            assert_eq!(slot.word(&result), word, "{said:?}: {result:?}");
            assert!(result.unwrap_err().message.contains(message));
        }
    });
}

#[test]
fn an_interim_answer_is_the_begin_of_an_answer() {
    let interim = frame(1, 4, 3, b"\x08\x03103");
    let table = [(Vec::new(), "failed closed_on_reuse"), (interim, "failed reset")];
    on_a_shard(async {
        for (said, word) in table {
            for end in [Do::Cut, Do::Reset] {
                for pause in [Duration::ZERO, Duration::from_millis(30)] {
                    let server = Server::start(vec![vec![
                        Do::ReadHttp2,
                        settings_and(&[frame(1, 5, 1, &[OK])]),
                        Do::ReadHttp2,
                        Do::Send(said.clone()),
                        Do::Wait(pause),
                        end.clone(),
                    ]])
                    .await;
                    let mut slot = Slot::new(EngineOptions::default());
                    get("/").by(&mut slot, &server.origin(0), PATIENCE_MS).await.unwrap();
                    let result = get("/").by(&mut slot, &server.origin(0), PATIENCE_MS).await;
                    // A reset may overtake what was said before it.
                    let lost = pause.is_zero() && matches!(end, Do::Reset);
                    let shown = format!("{said:?} {pause:?} {end:?}: {result:?}");
                    assert!(slot.word(&result) == word || lost, "{shown}");
                }
            }
        }
    });
}

#[test]
fn interim_answers_without_end_are_none() {
    let interim = frame(1, 4, 1, b"\x08\x03103");
    on_a_shard(async {
        for (count, word) in [(100, "200 "), (101, "failed protocol")] {
            let mut said = vec![interim.clone(); count];
            said.push(frame(1, 5, 1, &[OK]));
            let server = Server::start(vec![vec![Do::ReadHttp2, settings_and(&said), Do::Hang]]).await;
            let mut slot = Slot::new(EngineOptions::default());
            let result = get("/").by(&mut slot, &server.origin(0), PATIENCE_MS).await;
            assert_eq!(slot.word(&result), word, "{count}: {result:?}");
        }
    });
}

#[test]
fn a_failed_stream_spares_its_neighbours() {
    on_a_shard(async {
        let server = Http2Server::start(Manner::default()).await;
        let origin = server.origin();
        let options = EngineOptions {
            streams_per_connection: 4,
            ..EngineOptions::default()
        };
        let mut all = slots(Slot::new(options), 4);
        for _ in 0..5 {
            let paths = ["/slow", "/reset", "/refuse", "/half"];
            let asked = all.iter_mut().zip(paths).map(|(slot, path)| {
                let origin = &origin;
                async move {
                    let result = get(path).by(slot, origin, PATIENCE_MS).await;
                    slot.word(&result)
                }
            });
            let words = join_all(asked).await;
            assert_eq!(words, ["200 slow", "failed reset", "failed reset", "failed reset"]);
        }
        assert_eq!((server.accepted(), server.seen().len()), (1, 20));
    });
}

#[test]
fn a_lost_connection_fails_what_it_carried_and_nothing_else() {
    on_a_shard(async {
        let server = Http2Server::start(Manner::default()).await;
        let origin = server.origin();
        let options = EngineOptions {
            streams_per_connection: 4,
            ..EngineOptions::default()
        };
        let mut all = slots(Slot::new(options), 4);
        for slot in &mut all {
            get("/").by(slot, &origin, PATIENCE_MS).await.unwrap();
        }
        let paths = ["/hang", "/hang", "/abrupt"];
        let asked = all.iter_mut().zip(paths).map(|(slot, path)| {
            let origin = &origin;
            async move {
                if path == "/abrupt" {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                let result = get(path).by(slot, origin, PATIENCE_MS).await;
                slot.word(&result)
            }
        });
        let words = join_all(asked).await;
        assert!(words.iter().all(|word| word.starts_with("failed ")), "{words:?}");
        // The fourth was idle: it goes on with a new connection, and so do the others.
        for slot in all.iter_mut().rev() {
            let result = get("/").by(slot, &origin, PATIENCE_MS).await;
            assert_eq!(slot.word(&result), "200 hello", "{result:?}");
        }
        assert_eq!(server.accepted(), 2);
    });
}

/// Frames and near-frames, of which the random inputs are made too.
fn pieces() -> Vec<Vec<u8>> {
    vec![
        SETTINGS.to_vec(),
        frame(4, 1, 0, &[]),
        frame(4, 0, 0, &[0, 3, 0, 0, 0, 0]),
        frame(4, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]),
        frame(1, 5, 1, &[OK]),
        frame(1, 4, 1, &[OK]),
        frame(1, 4, 1, &with_length(b'5')),
        frame(1, 4, 1, &[0x08, 3, b'1', b'0', b'3']),
        frame(0, 0, 1, b"hello"),
        frame(0, 1, 1, b"hello"),
        frame(0, 0, 1, &[]),
        frame(3, 0, 1, &[0, 0, 0, 8]),
        frame(6, 0, 0, &[7; 8]),
        frame(7, 0, 0, &[0; 8]),
        go_away(1, 0),
        frame(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
        frame(8, 0, 1, &[0, 0, 0, 1]),
        frame(9, 4, 1, &[OK]),
        frame(5, 4, 1, &[0, 0, 0, 2, 0x82]),
        frame(2, 0, 1, &[0; 5]),
        frame(99, 0, 1, &[1; 20]),
        vec![0, 0, 1],
        b"HTTP/1.1 400\r\n\r\n".to_vec(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_frames_end_in_an_answer_or_a_failure(order in proptest::collection::vec(0..23_usize, 0..40)) {
        let pieces = pieces();
        let frames: Vec<u8> = order.iter().flat_map(|at| pieces[*at].clone()).collect();
        answer_http2_with(&[SETTINGS, &frames].concat());
    }

    #[test]
    fn any_damaged_frames_end_as_well(
        order in proptest::collection::vec(0..23_usize, 1..12),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let pieces = pieces();
        let mut bytes: Vec<u8> = order.iter().flat_map(|at| pieces[*at].clone()).collect();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        answer_http2_with(&bytes);
    }

    #[test]
    fn any_bytes_end_as_well(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        answer_http2_with(&bytes);
    }
}

#[test]
fn floods_end() {
    for piece in [
        frame(6, 0, 0, &[7; 8]),
        frame(4, 0, 0, &[0, 3, 0, 0, 0, 9]),
        frame(1, 4, 1, &[0x08, 3, b'1', b'0', b'3']),
        frame(8, 0, 0, &[0, 0, 0, 1]),
        frame(2, 0, 1, &[0; 5]),
        frame(0, 0, 1, &[]),
    ] {
        let head = if piece[3] == 0 {
            frame(1, 4, 1, &[OK])
        } else {
            Vec::new()
        };
        answer_http2_with(&[SETTINGS, &head, &piece.repeat(200_000)].concat());
    }
}
