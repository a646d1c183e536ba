//! The parser alone, for answers that are there in full.

use super::parser::{Expected, Limits, Parser, ProtocolError};
use crate::clock::Stamp;
use crate::engine::answer::Answer;

/// Parses one answer after another with the buffers of one slot. For benches; the engine itself feeds pieces.
#[derive(Debug)]
pub struct WholeAnswers {
    parser: Parser,
    answer: Answer,
}

impl WholeAnswers {
    /// With these limits.
    pub fn new(limits: Limits) -> Self {
        Self {
            parser: Parser::new(limits),
            answer: Answer::default(),
        }
    }

    /// The answer at the begin of `bytes`; `None` when it goes on behind them. Headers are kept only together with the
    /// body.
    ///
    /// # Errors
    /// Bytes that are no acceptable answer.
    pub fn parse(&mut self, bytes: &[u8], keep: bool) -> Result<Option<&Answer>, ProtocolError> {
        self.answer.clear(Stamp::default());
        self.parser.start(Expected {
            to_head: false,
            keep_body: keep,
            want_headers: keep,
        });
        let fed = self.parser.feed(bytes, &mut self.answer)?;
        Ok(fed.done.then_some(&self.answer))
    }
}
