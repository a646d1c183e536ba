//! The parser alone: nothing it says may depend on how the bytes were split.

use proptest::prelude::*;

use crate::engine::fuzz::parse_any;

/// Answers and near-answers; fragments of them are also what the random inputs are made of.
const CORPUS: [&str; 32] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nX: 1\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 None\r\n\r\n",
    "HTTP/1.0 200 OK\r\n\r\nto the end",
    "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\nContent-Length: 2\n\nok and more",
    "HTTP/1.1 200 OK\r\n\n",
    "HTTP/1.1 200 OK\n\r\n",
    "HTTP/1.1 200 OK\r\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX: 1\r\n folded\r\n\r\n",
    "HTTP/1.1 200 OK\nContent-Length:\n\t1\n \r\n\nh",
    "HTTP/1.1 200 OK\r\n X: 1\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX : 1\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: 1\r\n 2\r\nfoo\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 4097\r\n\r\n",
    "HTTP/1.1 101 Switching\r\n\r\n",
    "HTTP/1.1 000 Zero\r\n\r\n",
    "HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok and more",
    "HTTP/1.2 103 Early\r\n\r\nHTTP/1.2 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.22 200 OK\r\n\r\n",
    "HTTP/2 200\r\n\r\n",
    "HTTP/1.1",
    "HTTP/1.1\r\n\r\n",
    "\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    "SSH-2.0-x\r\n",
    "\n",
    "",
];

fn corpus() -> impl Iterator<Item = Vec<u8>> {
    let over = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(2_000));
    let exact = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(1_024 - 24));
    let large = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(5_000));
    let interim = "HTTP/1.1 102 W\r\n\r\n".repeat(110);
    CORPUS
        .iter()
        .map(ToString::to_string)
        .chain([over, exact, large, interim])
        .map(String::into_bytes)
}

#[test]
fn the_corpus_is_parsed_alike_in_every_split() {
    for input in corpus() {
        for choice in 0..=255 {
            parse_any(&[&[choice], input.as_slice()].concat());
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_parsed_alike(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        parse_any(&bytes);
    }

    #[test]
    fn fragments_of_answers_are_parsed_alike(
        choice in any::<u8>(),
        parts in proptest::collection::vec(
            prop_oneof![
                8 => proptest::sample::select(vec![
                    "HTTP/1.1 200 OK\r\n", "HTTP/1.0 200 OK\r\n", "HTTP/1.2 200 OK\r\n",
                    "HTTP/1.1 100 C\r\n\r\n", "\r\n", "\n", "\r", " ",
                    "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "Connection: close\r\n", "X: y\r\n",
                    "5\r\nhello\r\n", "0\r\n\r\n", "0\r\n", "hello", ";ext", ":", "ffffffffffffffff\r\n", "\t",
                ]).prop_map(|text| text.as_bytes().to_vec()),
                1 => proptest::collection::vec(any::<u8>(), 0..8),
            ],
            0..24,
        ),
    ) {
        parse_any(&[&[choice], parts.concat().as_slice()].concat());
    }

    #[test]
    fn damaged_answers_are_parsed_alike(
        choice in any::<u8>(),
        which in 0..CORPUS.len(),
        at in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = CORPUS[which].as_bytes().to_vec();
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        parse_any(&[&[choice], bytes.as_slice()].concat());
    }
}
