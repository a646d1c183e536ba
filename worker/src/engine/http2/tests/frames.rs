//! Correct servers that do what no library's server does, frame by frame.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use super::failures::frame;
use super::{PATIENCE_MS, get, on_a_shard, post, slots};
use crate::engine::testing::{Slot, until};
use crate::engine::{EngineOptions, Origin};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
/// A frame of data that every peer takes.
const FRAME_BYTES: usize = 16_384;
const CANCEL: u32 = 8;
/// A reset without an error: the answer is complete, and the rest of the request is not wanted.
const NOT_WANTED: [u8; 4] = [0; 4];
/// `:status: 200`, and the same with `content-length: 5`.
const OK: &[u8] = b"\x88";
const OK_FIVE: &[u8] = b"\x88\x0f\x0d\x015";

/// Answers each request when its head is there, and never grants any window beyond the first.
struct FrameServer {
    origin: Origin,
    accepted: Arc<AtomicUsize>,
    /// Streams that were reset, and why.
    resets: Arc<Mutex<Vec<(u32, u32)>>>,
    _task: AbortOnDropHandle<()>,
}

impl FrameServer {
    async fn start(streams: u32, answer: fn(u32) -> Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let accepted: Arc<AtomicUsize> = Arc::default();
        let resets: Arc<Mutex<Vec<_>>> = Arc::default();
        let (count, log) = (Arc::clone(&accepted), Arc::clone(&resets));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                connections.spawn(serve(stream, streams, answer, Arc::clone(&log)));
            }
        });
        Self {
            origin: Origin::from_url(0, &url).unwrap(),
            accepted,
            resets,
            _task: AbortOnDropHandle::new(task),
        }
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    fn resets(&self) -> Vec<(u32, u32)> {
        self.resets.lock().unwrap().clone()
    }
}

async fn greet(stream: &mut TcpStream, streams: u32) -> std::io::Result<()> {
    let settings = [&[0, 3][..], &streams.to_be_bytes()].concat();
    stream.write_all(&frame(SETTINGS, 0, 0, &settings)).await?;
    stream.read_exact(&mut [0; 24]).await.map(drop)
}

/// Kind, flags, stream and payload of the next frame.
async fn read_frame(stream: &mut TcpStream) -> std::io::Result<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    stream.read_exact(&mut payload).await?;
    let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Ok((head[3], head[4], id, payload))
}

/// Until the client has gone.
async fn serve(
    mut stream: TcpStream,
    streams: u32,
    answer: fn(u32) -> Vec<u8>,
    resets: Arc<Mutex<Vec<(u32, u32)>>>,
) -> std::io::Result<()> {
    greet(&mut stream, streams).await?;
    loop {
        let (kind, flags, id, payload) = read_frame(&mut stream).await?;
        match (kind, flags) {
            (HEADERS, _) => stream.write_all(&answer(id)).await?,
            (RST_STREAM, _) => {
                let reason = u32::from_be_bytes(payload[..4].try_into().unwrap());
                resets.lock().unwrap().push((id, reason));
            }
            (SETTINGS, 0) => stream.write_all(&frame(SETTINGS, 1, 0, &[])).await?,
            _ => {}
        }
    }
}

/// `413` without a body, and without a word on the rest of the request's.
fn too_large(id: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, id, b"\x08\x03413")
}

#[test]
fn an_answer_that_ends_before_our_body_gives_its_stream_back() {
    on_a_shard(async {
        let server = FrameServer::start(2, too_large).await;
        let mut slot = Slot::new(EngineOptions::default());
        let ask = post("/upload", vec![b'x'; 200_000]);
        for at in 0..7 {
            let result = ask.by(&mut slot, &server.origin, 5_000).await;
            assert_eq!(slot.word(&result), "413 ", "request {at}: {result:?}");
        }
        until(|| server.resets().len() == 7).await;
        let expected: Vec<_> = (0..7).map(|at| (2 * at + 1, CANCEL)).collect();
        assert_eq!((server.resets(), server.accepted()), (expected, 1));
    });
}

fn silence(_: u32) -> Vec<u8> {
    Vec::new()
}

#[test]
fn of_a_body_that_was_cut_short_the_rest_is_known() {
    on_a_shard(async {
        // The window that a connection begins with.
        const WINDOW: u64 = 65_535;
        for (answer, bytes, unsent, word) in [
            (too_large as fn(u32) -> Vec<u8>, 200_000, 200_000 - WINDOW, "413 "),
            (silence, 200_000, 200_000 - WINDOW, "timeout"),
            (silence, 65_535, 0, "timeout"),
            (too_large, 5, 0, "413 "),
        ] {
            let server = FrameServer::start(2, answer).await;
            let mut slot = Slot::new(EngineOptions::default());
            let ask = post("/", vec![b'x'; bytes]);
            let result = ask.by(&mut slot, &server.origin, 300).await;
            assert_eq!(slot.word(&result), word, "{bytes} bytes: {result:?}");
            assert_eq!(slot.answer.body_bytes_unsent, unsent, "{bytes} bytes, {word}");
        }
    });
}

fn cut_after_the_head(id: u32) -> Vec<u8> {
    [
        frame(HEADERS, END_HEADERS, id, OK),
        frame(RST_STREAM, 0, id, &NOT_WANTED),
    ]
    .concat()
}

fn cut_in_the_body(id: u32) -> Vec<u8> {
    [
        frame(HEADERS, END_HEADERS, id, OK),
        frame(DATA, 0, id, b"hel"),
        frame(RST_STREAM, 0, id, &NOT_WANTED),
    ]
    .concat()
}

fn cut_before_its_length(id: u32) -> Vec<u8> {
    [
        frame(HEADERS, END_HEADERS, id, OK_FIVE),
        frame(DATA, 0, id, b"hel"),
        frame(RST_STREAM, 0, id, &NOT_WANTED),
    ]
    .concat()
}

fn of_its_length(id: u32) -> Vec<u8> {
    [
        frame(HEADERS, END_HEADERS, id, OK_FIVE),
        frame(DATA, 0, id, b"hello"),
        frame(RST_STREAM, 0, id, &NOT_WANTED),
    ]
    .concat()
}

fn with_an_end(id: u32) -> Vec<u8> {
    [
        frame(HEADERS, END_HEADERS, id, OK),
        frame(DATA, END_STREAM, id, b"hello"),
        frame(RST_STREAM, 0, id, &NOT_WANTED),
    ]
    .concat()
}

fn a_head_with_an_end(id: u32) -> Vec<u8> {
    [
        frame(HEADERS, END_HEADERS | END_STREAM, id, OK),
        frame(RST_STREAM, 0, id, &NOT_WANTED),
    ]
    .concat()
}

#[test]
fn an_answer_that_was_cut_short_is_none_though_the_reset_is_no_error() {
    type Answers = fn(u32) -> Vec<u8>;
    // With a body that the window has no room for, and with one that is sent whole before the answer is read.
    let table: [(&str, Answers, &str, &str); 6] = [
        ("cut after the head", cut_after_the_head, "failed reset", "failed reset"),
        ("cut in the body", cut_in_the_body, "failed reset", "failed reset"),
        (
            "cut before its length",
            cut_before_its_length,
            "failed reset",
            "failed reset",
        ),
        ("of its length", of_its_length, "200 hello", "failed reset"),
        ("with an end", with_an_end, "200 hello", "200 hello"),
        ("a head with an end", a_head_with_an_end, "200 ", "200 "),
    ];
    on_a_shard(async {
        for (what, answer, held_back, sent) in table {
            let server = FrameServer::start(2, answer).await;
            let mut slot = Slot::new(EngineOptions::default());
            for (bytes, word) in [(5, sent), (200_000, held_back)] {
                let result = post("/", vec![b'x'; bytes]).by(&mut slot, &server.origin, 5_000).await;
                assert_eq!(slot.word(&result), word, "{what}, {bytes} bytes: {result:?}");
            }
        }
    });
}

fn with_an_empty_frame(id: u32) -> Vec<u8> {
    [
        frame(HEADERS, END_HEADERS, id, b"\x88"),
        frame(DATA, 0, id, b""),
        frame(DATA, END_STREAM, id, b"hello"),
    ]
    .concat()
}

fn with_padding_alone(id: u32) -> Vec<u8> {
    [
        frame(HEADERS, END_HEADERS, id, b"\x88"),
        frame(DATA, PADDED, id, &[2, 0, 0]),
        frame(DATA, END_STREAM, id, b"hello"),
    ]
    .concat()
}

#[test]
fn an_empty_frame_in_each_answer_costs_no_answer() {
    on_a_shard(async {
        for (answer, users, connections) in [
            (with_an_empty_frame as fn(u32) -> Vec<u8>, 1, 5),
            (with_padding_alone, 1, 5),
            (with_an_empty_frame, 20, 7),
        ] {
            let server = FrameServer::start(1_000, answer).await;
            let options = EngineOptions {
                streams_per_connection: 20,
                ..EngineOptions::default()
            };
            let mut all = slots(Slot::new(options), users);
            let ask = get("/");
            let asked = all.iter_mut().map(|slot| {
                let (origin, ask) = (&server.origin, &ask);
                async move {
                    for at in 0..300 / users {
                        let result = ask.by(slot, origin, PATIENCE_MS).await;
                        assert_eq!(slot.word(&result), "200 hello", "request {at}: {result:?}");
                    }
                }
            });
            join_all(asked).await;
            // One connection is used for many answers still.
            let accepted = server.accepted();
            assert!(
                (4..=connections).contains(&accepted),
                "{users} users: {accepted} connections"
            );
        }
    });
}

/// Awaits so many requests and then sends one frame of each answer in turn, as far as the connection's window goes.
async fn answer_in_turns(stream: &mut TcpStream, requests: usize, frames: usize) -> std::io::Result<()> {
    let data = vec![b'x'; FRAME_BYTES];
    greet(stream, 1_000).await?;
    let (mut ids, mut window, mut due) = (Vec::new(), 65_535, Vec::new());
    while ids.len() < requests || !due.is_empty() {
        while window >= FRAME_BYTES && ids.len() == requests {
            let Some((id, flags)) = due.pop() else { return Ok(()) };
            stream.write_all(&frame(DATA, flags, id, &data)).await?;
            window -= FRAME_BYTES;
        }
        let (kind, flags, id, payload) = read_frame(stream).await?;
        match (kind, flags, id) {
            (HEADERS, ..) => {
                stream.write_all(&frame(HEADERS, END_HEADERS, id, OK)).await?;
                ids.push(id);
            }
            (SETTINGS, 0, _) => stream.write_all(&frame(SETTINGS, 1, 0, &[])).await?,
            (WINDOW_UPDATE, _, 0) => window += u32::from_be_bytes(payload[..4].try_into().unwrap()) as usize,
            _ => {}
        }
        if kind == HEADERS && ids.len() == requests {
            let last = ids.iter().map(|id| (*id, END_STREAM));
            let turns = (1..frames).flat_map(|_| ids.iter().map(|id| (*id, 0)));
            due = last.chain(turns).collect();
        }
    }
    Ok(())
}

/// However many answers share the connection's window, none may keep of it what the others need to go on.
#[test]
fn many_long_answers_in_turns_do_not_use_up_the_window() {
    on_a_shard(async {
        const STREAMS: usize = 200;
        const FRAMES: usize = 15;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let origin = Origin::from_url(0, &url).unwrap();
        let _server = AbortOnDropHandle::new(tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            answer_in_turns(&mut stream, STREAMS, FRAMES).await.unwrap();
            // Held open until the client has gone.
            while read_frame(&mut stream).await.is_ok() {}
        }));
        let options = EngineOptions {
            streams_per_connection: STREAMS as u32,
            ..EngineOptions::default()
        };
        let mut all = slots(Slot::new(options), STREAMS);
        let ask = get("/");
        let asked = all.iter_mut().map(|slot| ask.by(slot, &origin, PATIENCE_MS));
        for result in join_all(asked).await {
            assert_eq!(result, Ok(()));
        }
        let received: usize = all.iter().map(|slot| slot.answer.body.len()).sum();
        assert_eq!(received, STREAMS * FRAMES * FRAME_BYTES);
    });
}
