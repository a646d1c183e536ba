//! Fuzz target of the answer parser, a plain function that stable tests replay.

use super::answer::Answer;
use super::http1::{Expected, Limits, Parser, ProtocolError};

/// What a reader of one answer can observe.
#[derive(Debug, PartialEq)]
struct Observed {
    taken: usize,
    done: bool,
    keep_alive: bool,
    answer: (u16, Vec<u8>, u64, super::answer::HeaderBlock),
}

/// Parses `bytes` as an answer, whole, in pieces and once more, and panics when that changes what is observed: neither the
/// split nor what a parser remembers of an earlier answer may.
///
/// The first byte chooses how the request was made and how long the pieces are; the rest is what the server sends.
///
/// # Panics
/// When a split changes the result, or a limit does not hold.
pub fn parse_any(bytes: &[u8]) {
    let Some((choice, input)) = bytes.split_first() else {
        return;
    };
    let mut again = Parser::new(LIMITS);
    let whole = observe(&mut again, *choice, input, input.len().max(1));
    let once_more = observe(&mut again, *choice, input, input.len().max(1));
    assert_eq!(once_more, whole, "by a parser that knows the head");
    let mut piece = 1 + usize::from(choice >> 3);
    if input.len() > 4_096 {
        piece *= 61;
    }
    for piece in [1 + input.len() / 64, piece, piece + 1] {
        assert_eq!(
            observe(&mut again, *choice, input, piece),
            whole,
            "in pieces of {piece}"
        );
        let fresh = &mut Parser::new(LIMITS);
        assert_eq!(observe(fresh, *choice, input, piece), whole, "in pieces of {piece}");
    }
    if let Ok(whole) = &whole {
        assert!(whole.answer.2 <= LIMITS.body_bytes, "the body limit holds");
        assert!(whole.taken <= input.len(), "nothing is taken that was not given");
    }
}

const LIMITS: Limits = Limits {
    head_bytes: 1_024,
    body_bytes: 4_096,
};

fn observe(parser: &mut Parser, choice: u8, input: &[u8], piece: usize) -> Result<Observed, ProtocolError> {
    let mut answer = Answer::default();
    parser.start(Expected {
        to_head: choice & 1 != 0,
        keep_body: choice & 2 != 0,
        want_headers: choice & 4 != 0,
    });
    let mut taken = 0;
    let mut done = false;
    for part in input.chunks(piece) {
        let fed = parser.feed(part, &mut answer)?;
        taken += fed.taken;
        done = fed.done;
        if done {
            break;
        }
        assert_eq!(fed.taken, part.len(), "an incomplete answer takes everything");
    }
    let done = done || parser.finish();
    let answer = (answer.status, answer.body, answer.body_bytes_in, answer.headers);
    Ok(Observed {
        taken,
        done,
        keep_alive: parser.keep_alive(),
        answer,
    })
}
