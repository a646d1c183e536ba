//! Fills the gaps of a text.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::encode::BadValue;
use super::text::{Piece, Text};
use super::values::Scope;

/// Largest text that is rendered, in bytes.
const RENDERED_MAX: usize = 512 * 1024 * 1024;
/// Longest value of a variable, in bytes.
const VALUE_MAX: usize = 1024 * 1024;

/// Why a text cannot be rendered. Shown in the report: it names the value but does not quote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RenderError {
    #[error("the request was not sent: `${{{0}}}` has no value")]
    Missing(Box<str>),
    #[error("the request was not sent: `${{{0}}}` holds {1}")]
    Bad(Box<str>, BadValue),
    #[error("the request was not sent: {0}")]
    Other(&'static str),
}

/// What is only known once other parts of the request have been rendered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Given<'a> {
    /// Path and query, for a URL that is not known before.
    pub(super) target: &'a [u8],
    /// The `host` header's value that belongs to it.
    pub(super) host: &'a str,
    /// Bytes of the body.
    pub(super) length: usize,
}

impl Text {
    /// Appends the text to `out`. After an error what was appended is of no use.
    pub(super) fn render(&self, scope: &Scope<'_>, given: Given<'_>, out: &mut Vec<u8>) -> Result<(), RenderError> {
        self.render_within(scope, given, out, RENDERED_MAX)
    }

    fn render_within(
        &self,
        scope: &Scope<'_>,
        given: Given<'_>,
        out: &mut Vec<u8>,
        max: usize,
    ) -> Result<(), RenderError> {
        for piece in self.pieces() {
            if out.len() > max {
                return Err(RenderError::Other("it is too large"));
            }
            match piece {
                Piece::Bytes(bytes) => out.extend_from_slice(bytes),
                Piece::Fill(fill) => {
                    let value = scope
                        .fill(fill)
                        .ok_or_else(|| RenderError::Missing(fill.shown.clone()))?;
                    let appended = fill.how.append(&value, out);
                    appended.map_err(|problem| RenderError::Bad(fill.shown.clone(), problem))?;
                }
                Piece::Base64(inner) => {
                    let mut bytes = Vec::new();
                    inner.render_within(scope, given, &mut bytes, max)?;
                    out.extend_from_slice(STANDARD.encode(&bytes).as_bytes());
                }
                Piece::Target => out.extend_from_slice(given.target),
                Piece::Host => out.extend_from_slice(given.host.as_bytes()),
                Piece::Length => out.extend_from_slice(given.length.to_string().as_bytes()),
            }
        }
        Ok(())
    }

    /// The text as the value of a variable; `None` when something in it has no value, or it is longer than 1 MiB.
    pub(super) fn value(&self, scope: &Scope<'_>) -> Option<Arc<str>> {
        let mut out = Vec::new();
        self.render_within(scope, Given::default(), &mut out, VALUE_MAX).ok()?;
        (out.len() <= VALUE_MAX).then(|| String::from_utf8_lossy(&out).into())
    }
}
