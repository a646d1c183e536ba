//! What an answer costs to parse.

use std::hint::black_box;

use barrage_worker::engine::Limits;
use barrage_worker::engine::http1::WholeAnswers;
use criterion::{Criterion, Throughput};

const HEAD: &str = "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Wed, 25 Nov 2026 22:00:00 GMT\r\n\
                    Content-Type: text/plain\r\nConnection: keep-alive\r\n";

/// (name, answers that come in turn, whether the body is kept).
fn cases() -> Vec<(&'static str, Vec<Vec<u8>>, bool)> {
    let sized = |bytes: usize| format!("{HEAD}Content-Length: {bytes}\r\n\r\n{}", "x".repeat(bytes)).into_bytes();
    let chunks = format!("400\r\n{}\r\n", "x".repeat(1_024)).repeat(16);
    let chunked = format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n").into_bytes();
    // A head that has come before is known again without being parsed; these differ in a field, as with a trace's number.
    let other = |number| {
        let body = "x".repeat(100);
        format!("{HEAD}X-Request-Id: {number:08}\r\nContent-Length: 100\r\n\r\n{body}").into_bytes()
    };
    vec![
        ("100 bytes, counted", vec![sized(100)], false),
        (
            "100 bytes, counted, another head each time",
            (0..1_000).map(other).collect(),
            false,
        ),
        ("100 bytes, kept", vec![sized(100)], true),
        ("16 KiB, counted", vec![sized(16 * 1_024)], false),
        ("16 KiB in chunks, counted", vec![chunked.clone()], false),
        ("16 KiB in chunks, kept", vec![chunked], true),
    ]
}

fn parser(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parser");
    for (name, all, keep) in cases() {
        let mut answers = WholeAnswers::new(Limits::default());
        group.throughput(Throughput::Bytes(all[0].len() as u64));
        let mut turn = all.iter().cycle();
        group.bench_function(name, |bench| {
            bench.iter(|| {
                let bytes = turn.next().expect("it goes round");
                let answer = answers
                    .parse(black_box(bytes), keep)
                    .expect("the answer is well-formed");
                answer.expect("the answer is complete").body_bytes_in
            });
        });
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    parser(&mut criterion);
    criterion.final_summary();
}
