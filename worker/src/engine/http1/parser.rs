//! Incremental parser of one HTTP/1.1 answer: bytes in, an [`Answer`] out. No I/O, no clock.
//!
//! What it says depends on the bytes alone, never on how they were split; `engine::fuzz` holds it to that.

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::rc::Rc;

use super::chunked::ChunkDecoder;
use crate::engine::answer::{Answer, HeaderBlock};
use crate::engine::body::NoRoom;

/// Header fields of one head.
const HEADERS_MAX: usize = 256;
/// Interim (1xx) answers before the final one.
pub(crate) const INTERIM_MAX: u8 = 100;
/// A longer head is not remembered.
const KNOWN_MAX: usize = 1_024;
/// Heads that are remembered.
const KNOWN_HEADS: usize = 4;
/// What every answer begins with.
const START: &[u8] = b"HTTP/1.";

/// Upper bounds on what an answer may make us hold or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one head. A longer one is a protocol failure.
    pub head_bytes: usize,
    /// Bytes of one body, kept or only counted. A longer one is a protocol failure.
    pub body_bytes: u64,
}

impl Default for Limits {
    /// 64 KiB of head, 64 MiB of body.
    fn default() -> Self {
        Self {
            head_bytes: 64 * 1024,
            body_bytes: 64 * 1024 * 1024,
        }
    }
}

/// Why the bytes are not an acceptable answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The first line is not a status line of HTTP/1.
    #[error("the answer does not begin like HTTP/1.1")]
    NotHttp,
    /// It begins with `HTTP/1.`, and goes on as no status line does.
    #[error("malformed status line: {0}")]
    StatusLine(httparse::Error),
    /// The head is malformed.
    #[error("malformed answer head: {0}")]
    Head(httparse::Error),
    /// The head is over its limit.
    #[error("the answer's head is too large")]
    HeadTooLarge,
    /// The status is not between 100 and 999.
    #[error("the answer's status is out of range")]
    Status,
    /// 101 without having asked for another protocol.
    #[error("the server switched protocols without being asked")]
    Switched,
    /// Data of an answer that has none.
    #[error("the answer has a body, which its status rules out")]
    Content,
    /// 1xx answers without end.
    #[error("too many interim answers")]
    Interim,
    /// Not a number, or numbers that differ.
    #[error("invalid content-length, or several that differ")]
    ContentLength,
    /// Both `Transfer-Encoding` and `Content-Length`, or `Transfer-Encoding` in HTTP/1.0.
    #[error("transfer-encoding and content-length that contradict each other or HTTP")]
    Framing,
    /// `chunked` twice.
    #[error("invalid transfer-encoding")]
    TransferEncoding,
    /// The body is over its limit.
    #[error("the answer's body is over the limit")]
    BodyTooLarge,
    /// The worker keeps too many bodies already.
    #[error("the answer's body cannot be kept")]
    NoRoom(#[from] NoRoom),
    /// The chunked framing is broken.
    #[error("malformed chunked body")]
    Chunk,
    /// A chunk's size has more than 16 digits behind zeros.
    #[error("chunk size is too large")]
    ChunkSize,
    /// Extensions of a chunk or trailers without end.
    #[error("too many bytes of chunk extensions or trailers")]
    ChunkOverhead,
}

#[derive(Debug)]
enum State {
    Head,
    Length(u64),
    Chunked(ChunkDecoder),
    UntilClose,
    Done,
}

/// What one call of [`Parser::feed`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fed {
    /// Bytes that belong to this answer; fewer than given only when it is done.
    pub(crate) taken: usize,
    /// The answer is complete.
    pub(crate) done: bool,
}

/// What the request decides about its answer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Expected {
    /// The method was HEAD: there is no body, whatever the head says.
    pub(crate) to_head: bool,
    /// Keep the body, not only its length.
    pub(crate) keep_body: bool,
    /// Keep the headers.
    pub(crate) want_headers: bool,
}

/// The parser of one slot, started anew for each request.
#[derive(Debug)]
pub(crate) struct Parser {
    limits: Limits,
    state: State,
    /// An incomplete head; empty as long as heads arrive in one piece.
    carry: Vec<u8>,
    /// Where the search for the end of the head in `carry` goes on.
    searched: usize,
    status_line_checked: bool,
    interim: u8,
    expected: Expected,
    touched: bool,
    keep_alive: bool,
    known: Rc<RefCell<KnownHeads>>,
}

/// The last few heads that came in one piece, with what they said: a server's heads differ in the second of their date and
/// in little else, and comparing is ten times as fast as parsing. Slots share them, so they stay in the cache.
#[derive(Debug, Default)]
pub(crate) struct KnownHeads {
    /// The latest first: with a date in them it is the one that comes next.
    heads: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    bytes: Vec<u8>,
    framing: Framing,
}

impl KnownHeads {
    /// The length of a known head at the beginning of `input`, and what it says.
    fn find(&self, input: &[u8]) -> Option<(usize, Framing)> {
        let known = self.heads.iter().find(|known| input.starts_with(&known.bytes))?;
        Some((known.bytes.len(), known.framing))
    }

    fn remember(&mut self, head: &[u8], framing: Framing) {
        if self.heads.len() < KNOWN_HEADS {
            let bytes = head.to_vec();
            return self.heads.insert(0, Known { bytes, framing });
        }
        self.heads.rotate_right(1);
        if let Some(known) = self.heads.first_mut() {
            known.bytes.clear();
            known.bytes.extend_from_slice(head);
            known.framing = framing;
        }
    }
}

/// How the body is coded for the transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Coding {
    /// Not at all.
    #[default]
    Identity,
    /// In a way that does not show where the body ends.
    Other,
    /// In chunks, perhaps around other codings.
    Chunked,
    /// In chunks inside of another coding, so that the body goes on to the end of the connection (RFC 9112, section 6.3).
    ChunkedWithin,
}

/// What a head says about the message that follows.
#[derive(Clone, Copy, Debug, Default)]
struct Framing {
    status: u16,
    http_1_0: bool,
    length: Option<u64>,
    coding: Coding,
    says_close: bool,
    says_keep_alive: bool,
}

/// Whether a well-formed head is also acceptable.
type Verdict = Result<Framing, ProtocolError>;

impl Parser {
    pub(crate) fn new(limits: Limits) -> Self {
        Self::sharing(limits, Rc::default())
    }

    /// A parser that shares what it knows with others.
    pub(crate) fn sharing(limits: Limits, known: Rc<RefCell<KnownHeads>>) -> Self {
        Self {
            limits,
            state: State::Done,
            carry: Vec::new(),
            searched: 0,
            status_line_checked: false,
            interim: 0,
            expected: Expected::default(),
            touched: false,
            keep_alive: false,
            known,
        }
    }

    /// Awaits the answer to the next request.
    pub(crate) fn start(&mut self, expected: Expected) {
        self.state = State::Head;
        self.begin_head();
        self.interim = 0;
        self.expected = expected;
        self.touched = false;
        self.keep_alive = false;
    }

    /// Whether any byte has arrived since the start.
    pub(crate) fn touched(&self) -> bool {
        self.touched
    }

    /// Interim answers (1xx) that are complete.
    pub(crate) fn interim(&self) -> u8 {
        self.interim
    }

    /// Whether nothing of the head that comes next has arrived.
    pub(crate) fn awaits_head(&self) -> bool {
        matches!(self.state, State::Head) && self.carry.is_empty()
    }

    /// Whether the complete answer leaves the connection open for another request.
    pub(crate) fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Takes the next bytes.
    pub(crate) fn feed(&mut self, input: &[u8], answer: &mut Answer) -> Result<Fed, ProtocolError> {
        self.touched |= !input.is_empty();
        let mut at = 0;
        loop {
            let rest = &input[at..];
            match &mut self.state {
                State::Done => return Ok(Fed { taken: at, done: true }),
                _ if rest.is_empty() => return Ok(Fed { taken: at, done: false }),
                State::Head => at += self.head(rest, answer)?,
                State::Length(left) => {
                    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= count as u64;
                    if *left == 0 {
                        self.state = State::Done;
                    }
                    store(answer, &rest[..count], self.expected.keep_body, self.limits)?;
                    at += count;
                }
                State::Chunked(decoder) => {
                    let (keep, limits) = (self.expected.keep_body, self.limits);
                    at += decoder.feed(rest, |data, left| {
                        check_room(answer, left, limits)?;
                        store(answer, data, keep, limits)
                    })?;
                    check_room(answer, decoder.left(), limits)?;
                    if decoder.ended() {
                        self.state = State::Done;
                    }
                }
                State::UntilClose => {
                    store(answer, rest, self.expected.keep_body, self.limits)?;
                    at = input.len();
                }
            }
        }
    }

    /// The server has closed in an orderly way. Returns whether that completes the answer.
    pub(crate) fn finish(&mut self) -> bool {
        if matches!(self.state, State::UntilClose) {
            self.state = State::Done;
        }
        matches!(self.state, State::Done)
    }

    /// Takes bytes of a head and says how many; the state changes when it is complete.
    fn head(&mut self, input: &[u8], answer: &mut Answer) -> Result<usize, ProtocolError> {
        let remembers = self.carry.is_empty() && !self.expected.want_headers;
        let found = remembers.then(|| self.known.borrow().find(input)).flatten();
        if let Some((taken, framing)) = found {
            self.apply(&framing, answer)?;
            return Ok(taken);
        }
        if self.carry.is_empty()
            && input.starts_with(START)
            && let Ok(Some((taken, framing))) = self.parse(input, answer)
            && taken <= self.limits.head_bytes
        {
            let framing = framing?;
            self.apply(&framing, answer)?;
            self.remember(&input[..taken], framing);
            return Ok(taken);
        }
        // In pieces, or wrong: every decision below looks at the bytes from the beginning of the head, not at the pieces.
        let before = self.carry.len();
        let room = self.limits.head_bytes.saturating_sub(before).min(input.len());
        self.carry.extend_from_slice(&input[..room]);
        self.check_start()?;
        let Some(end) = self.find_end() else {
            let full = self.carry.len() >= self.limits.head_bytes;
            return if full {
                Err(ProtocolError::HeadTooLarge)
            } else {
                Ok(room)
            };
        };
        let carry = std::mem::take(&mut self.carry);
        let parsed = self.parse(&carry[..end], answer);
        self.carry = carry;
        match parsed.map_err(ProtocolError::Head)? {
            Some((taken, framing)) if taken == end => self.apply(&framing?, answer)?,
            _ => return Err(ProtocolError::Head(httparse::Error::Token)),
        }
        Ok(end - before)
    }

    fn remember(&self, head: &[u8], framing: Framing) {
        if head.len() <= KNOWN_MAX && framing.status >= 200 && !self.expected.want_headers {
            self.known.borrow_mut().remember(head, framing);
        }
    }

    /// Whatever does not speak HTTP is found out by its first line; waiting for an empty line could take for ever.
    fn check_start(&mut self) -> Result<(), ProtocolError> {
        if self.status_line_checked {
            return Ok(());
        }
        let known = self.carry.len().min(START.len());
        if self.carry[..known] != START[..known] {
            return Err(ProtocolError::NotHttp);
        }
        // A minor version that is not known yet is to be read as the highest that is (RFC 9110, section 2.5).
        if let Some(minor @ b'2'..=b'9') = self.carry.get_mut(START.len()) {
            *minor = b'1';
        }
        if let Some(line_end) = self.carry.iter().position(|byte| *byte == b'\n') {
            let mut response = httparse::Response::new(&mut []);
            response
                .parse(&self.carry[..=line_end])
                .map_err(ProtocolError::StatusLine)?;
            self.status_line_checked = true;
        }
        Ok(())
    }

    /// The length of the head in `carry`, its empty line included.
    fn find_end(&mut self) -> Option<usize> {
        let bytes = &self.carry;
        while let Some(found) = bytes[self.searched..].iter().position(|byte| *byte == b'\n') {
            let line_end = self.searched + found;
            match &bytes[line_end + 1..] {
                [b'\n', ..] => return Some(line_end + 2),
                [b'\r', b'\n', ..] => return Some(line_end + 3),
                [] | [b'\r'] => {
                    self.searched = line_end;
                    return None;
                }
                _ => self.searched = line_end + 1,
            }
        }
        self.searched = bytes.len();
        None
    }

    /// Parses a head; `None` = incomplete.
    fn parse(&self, input: &[u8], answer: &mut Answer) -> Result<Option<(usize, Verdict)>, httparse::Error> {
        self.parse_lines(input, answer).or_else(|error| {
            let unfolded = unfold(input).ok_or(error)?;
            self.parse_lines(&unfolded, answer)
        })
    }

    fn parse_lines(&self, input: &[u8], answer: &mut Answer) -> Result<Option<(usize, Verdict)>, httparse::Error> {
        let mut fields = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut []);
        let parsed =
            httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut response, input, &mut fields)?;
        let httparse::Status::Complete(taken) = parsed else {
            return Ok(None);
        };
        let kept = self.expected.want_headers.then_some(&mut answer.headers);
        Ok(Some((taken, Framing::read(&response, kept))))
    }

    fn apply(&mut self, framing: &Framing, answer: &mut Answer) -> Result<(), ProtocolError> {
        self.begin_head();
        match framing.status {
            101 => return Err(ProtocolError::Switched),
            100..=199 => {
                self.interim += 1;
                return if self.interim > INTERIM_MAX {
                    Err(ProtocolError::Interim)
                } else {
                    Ok(())
                };
            }
            _ => {}
        }
        answer.status = framing.status;
        self.keep_alive = !framing.says_close && (framing.says_keep_alive || !framing.http_1_0);
        self.state = if self.expected.to_head || matches!(framing.status, 204 | 304) {
            State::Done
        } else if framing.coding == Coding::Chunked {
            State::Chunked(ChunkDecoder::new())
        } else if let (false, Some(length)) = (framing.coding != Coding::Identity, framing.length) {
            match length {
                0 => State::Done,
                _ if length > self.limits.body_bytes => return Err(ProtocolError::BodyTooLarge),
                _ => State::Length(length),
            }
        } else {
            self.keep_alive = false;
            State::UntilClose
        };
        Ok(())
    }

    fn begin_head(&mut self) {
        self.carry.clear();
        self.searched = 0;
        self.status_line_checked = false;
    }
}

impl Framing {
    fn read(response: &httparse::Response<'_, '_>, kept: Option<&mut HeaderBlock>) -> Result<Self, ProtocolError> {
        // A complete head has a code and a version.
        let status = response.code.unwrap_or(0);
        if !(100..=999).contains(&status) {
            return Err(ProtocolError::Status);
        }
        let mut framing = Self {
            status,
            http_1_0: response.version == Some(0),
            ..Self::default()
        };
        for field in response.headers.iter() {
            framing.field(field.name, field.value)?;
        }
        if framing.coding != Coding::Identity && (framing.length.is_some() || framing.http_1_0) {
            return Err(ProtocolError::Framing);
        }
        if let Some(kept) = kept
            && status >= 200
        {
            kept.clear();
            for field in response.headers.iter() {
                kept.push(field.name, field.value);
            }
        }
        Ok(framing)
    }

    fn field(&mut self, name: &str, value: &[u8]) -> Result<(), ProtocolError> {
        // The lengths tell nearly all fields apart without looking at a letter.
        match name.len() {
            10 if name.eq_ignore_ascii_case("connection") => {
                for token in tokens(value) {
                    self.says_close |= token.eq_ignore_ascii_case(b"close");
                    self.says_keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            14 if name.eq_ignore_ascii_case("content-length") => {
                // Repeated, in a list or in a field of its own, it is good as long as it says the same (RFC 9110, section 8.6).
                for one in value.split(|byte| *byte == b',') {
                    let length = decimal(one.trim_ascii()).ok_or(ProtocolError::ContentLength)?;
                    if self.length.replace(length).is_some_and(|before| before != length) {
                        return Err(ProtocolError::ContentLength);
                    }
                }
            }
            17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                if self.coding == Coding::Identity {
                    self.coding = Coding::Other;
                }
                for token in tokens(value) {
                    let chunked = token.eq_ignore_ascii_case(b"chunked");
                    self.coding = match (self.coding, chunked) {
                        (Coding::Identity | Coding::Other, true) => Coding::Chunked,
                        (Coding::Chunked | Coding::ChunkedWithin, true) => return Err(ProtocolError::TransferEncoding),
                        (Coding::Chunked | Coding::ChunkedWithin, false) => Coding::ChunkedWithin,
                        (Coding::Identity | Coding::Other, false) => Coding::Other,
                    };
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The bytes with spaces for the line ends inside folded fields (RFC 9112, section 5.2); `None` if there are none.
fn unfold(input: &[u8]) -> Option<Vec<u8>> {
    let mut found = None;
    let mut line = 0;
    while let Some(length) = input[line..].iter().position(|byte| *byte == b'\n') {
        let end = line + length;
        let text = input[line..end].strip_suffix(b"\r").unwrap_or(&input[line..end]);
        // What follows the empty line is the body, and the status line is no field.
        if text.is_empty() {
            break;
        }
        if line > 0 && matches!(input.get(end + 1), Some(b' ' | b'\t')) {
            let unfolded: &mut Vec<u8> = found.get_or_insert_with(|| input.to_vec());
            unfolded[line + text.len()..=end + 1].fill(b' ');
        }
        line = end + 1;
    }
    found
}

fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

/// Digits only, as the grammar has it: no sign, no space.
fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Refuses an announced length that the limit has no room for.
fn check_room(answer: &Answer, announced: u64, limits: Limits) -> Result<(), ProtocolError> {
    let total = answer.body_bytes_in.saturating_add(announced);
    (total <= limits.body_bytes)
        .then_some(())
        .ok_or(ProtocolError::BodyTooLarge)
}

fn store(answer: &mut Answer, data: &[u8], keep: bool, limits: Limits) -> Result<(), ProtocolError> {
    let more = data.len() as u64;
    check_room(answer, more, limits)?;
    answer.body_bytes_in += more;
    if keep {
        answer.body.push(data)?;
    }
    Ok(())
}
