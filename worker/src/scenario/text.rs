//! Texts laid out as bytes with gaps.

use std::sync::Arc;

use barrage_model::template::{Filter, Function};

use super::encode::Encoding;

/// Where the value of a gap comes from, found in the tables of the compiled plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ref {
    /// A variable that changes while the run goes on.
    Slot(u32),
    /// A column of the row that belongs to this iteration.
    Column { source: u16, column: u16 },
    /// A function; the number is the call's place in the plan.
    Call { function: Function, place: u32 },
    /// The same always.
    Constant(Arc<str>),
    /// The status of the last answer, in conditions.
    Status,
    /// The body of the last answer, in conditions.
    Body,
    /// No value.
    Absent,
}

/// A gap to be filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fill {
    pub(super) from: Ref,
    pub(super) filters: Box<[Filter]>,
    pub(super) how: Encoding,
    /// As the plan writes it, for messages.
    pub(super) shown: Box<str>,
}

/// A stretch of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Bytes(Arc<[u8]>),
    Fill(Fill),
    /// The whole inner text, encoded.
    Base64(Text),
    /// Path and query of a URL that is only known when it is rendered.
    Target,
    /// The `host` that belongs to it.
    Host,
    /// The length of the body.
    Length,
}

/// A text with gaps, in normal form: no two byte pieces side by side unless one is shared with a file, none empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Text {
    pieces: Vec<Piece>,
}

impl Text {
    pub(super) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The whole text, if it has no gap.
    pub(super) fn as_static(&self) -> Option<&[u8]> {
        match self.pieces.as_slice() {
            [] => Some(&[]),
            [Piece::Bytes(bytes)] => Some(bytes),
            _ => None,
        }
    }
}

/// Puts a [`Text`] together.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pieces: Vec<Piece>,
    tail: Vec<u8>,
}

impl Layout {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn bytes(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.tail.extend_from_slice(bytes.as_ref());
        self
    }

    /// A file's content, without copying it.
    pub(super) fn shared(&mut self, bytes: &Arc<[u8]>) -> &mut Self {
        if !bytes.is_empty() {
            self.piece(Piece::Bytes(Arc::clone(bytes)));
        }
        self
    }

    pub(super) fn piece(&mut self, piece: Piece) -> &mut Self {
        if !self.tail.is_empty() {
            let tail = std::mem::take(&mut self.tail);
            self.pieces.push(Piece::Bytes(tail.into()));
        }
        self.pieces.push(piece);
        self
    }

    pub(super) fn text(&mut self, text: &Text) -> &mut Self {
        for piece in &text.pieces {
            match piece {
                Piece::Bytes(bytes) if bytes.len() < 4_096 => self.bytes(bytes),
                other => self.piece(other.clone()),
            };
        }
        self
    }

    /// Whether nothing has been put in yet.
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.tail.is_empty()
    }

    pub(super) fn finish(mut self) -> Text {
        if !self.tail.is_empty() {
            self.pieces.push(Piece::Bytes(self.tail.into()));
        }
        Text { pieces: self.pieces }
    }
}
