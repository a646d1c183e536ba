//! Request bodies.

use barrage_model::plan::{Body as PlanBody, Part, PartBody};
use bytes::Bytes;
use regex::bytes::Regex;
use sha2::{Digest, Sha256};

use super::super::encode::{Encoding, percent};
use super::super::error::StepProblem;
use super::super::text::{Layout, Text};
use super::json::json;
use super::link::Linker;
use super::patterns::regex;

/// A request's body.
#[derive(Clone, Debug)]
pub(in crate::scenario) enum Body {
    /// The same always; a file's bytes are shared with it.
    Fixed(Bytes),
    /// Made anew for each request.
    Made(Text, Option<Boundary>),
}

/// What separates the parts of a multipart body, and how often it has to be found there.
#[derive(Clone, Debug)]
pub(in crate::scenario) struct Boundary {
    pattern: Regex,
    count: usize,
}

impl Boundary {
    /// Whether no part contains the boundary itself.
    pub(in crate::scenario) fn is_kept(&self, body: &[u8]) -> bool {
        self.pattern.find_iter(body).count() == self.count
    }
}

/// Lays out a body; the second is the content type it has unless the plan says another.
pub(super) fn body(linker: &mut Linker<'_>, step: u32, body: &PlanBody) -> Result<(Body, Option<String>), StepProblem> {
    let (text, content_type) = match body {
        PlanBody::Empty => return Ok((Body::Fixed(Bytes::new()), None)),
        PlanBody::File(file) => {
            return Ok((
                Body::Fixed(Bytes::from_owner(linker.file(file)?)),
                Some("application/octet-stream".to_owned()),
            ));
        }
        PlanBody::Json(template) => (json(linker, template)?, "application/json".to_owned()),
        PlanBody::Raw(template) => (
            linker.text(template, Encoding::Plain)?,
            "text/plain; charset=utf-8".to_owned(),
        ),
        PlanBody::Form(fields) => {
            let mut layout = Layout::new();
            for (name, value) in fields {
                if !layout.is_empty() {
                    layout.bytes("&");
                }
                let mut bytes = Vec::new();
                // A name is written like a value; encoding it cannot fail.
                let _ = Encoding::Form.append(name, &mut bytes);
                layout.bytes(&bytes).bytes("=");
                let value = linker.encoded(value, Encoding::Form)?;
                layout.text(&value);
            }
            (layout.finish(), "application/x-www-form-urlencoded".to_owned())
        }
        PlanBody::Multipart(parts) => return multipart(linker, step, parts),
    };
    Ok((made(text, None), Some(content_type)))
}

fn made(text: Text, boundary: Option<Boundary>) -> Body {
    match text.as_static() {
        Some(bytes) => Body::Fixed(Bytes::copy_from_slice(bytes)),
        None => Body::Made(text, boundary),
    }
}

fn multipart(linker: &mut Linker<'_>, step: u32, parts: &[Part]) -> Result<(Body, Option<String>), StepProblem> {
    let name = boundary_name(linker.context.seed, step);
    let mut layout = Layout::new();
    for part in parts {
        layout.bytes(format!("--{name}\r\ncontent-disposition: form-data; name=\""));
        layout.bytes(quoted(&part.name)).bytes("\"");
        if let Some(filename) = &part.filename {
            layout.bytes("; filename=\"").bytes(quoted(filename)).bytes("\"");
        }
        let file_type = matches!(part.body, PartBody::File(_)).then_some("application/octet-stream");
        if let Some(content_type) = part.content_type.as_deref().or(file_type) {
            if content_type.bytes().any(|byte| byte.is_ascii_control()) {
                let name = "content-type".to_owned();
                return Err(StepProblem::Header {
                    name,
                    problem: "holds a control character",
                });
            }
            layout.bytes("\r\ncontent-type: ").bytes(content_type);
        }
        layout.bytes("\r\n\r\n");
        match &part.body {
            PartBody::Text(template) => {
                let text = linker.text(template, Encoding::Plain)?;
                layout.text(&text);
            }
            PartBody::File(file) => {
                let content = linker.file(file)?;
                layout.shared(&content);
            }
        }
        layout.bytes("\r\n");
    }
    layout.bytes(format!("--{name}--\r\n"));
    let boundary = Boundary {
        pattern: regex(&name)?,
        count: parts.len() + 1,
    };
    let body = made(layout.finish(), Some(boundary));
    Ok((body, Some(format!("multipart/form-data; boundary={name}"))))
}

/// The same for the same seed and step, and not guessable from one plan to another.
fn boundary_name(seed: u64, step: u32) -> String {
    let hash = Sha256::digest(format!("boundary {seed} {step}"));
    let digits = hash.iter().take(16).map(|byte| format!("{byte:02x}"));
    format!("barrage-{}", digits.collect::<String>())
}

/// A name between quotes in a `content-disposition`: quotes and line ends as browsers write them.
fn quoted(name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    percent(name, &mut out, |byte| byte != b'"' && !byte.is_ascii_control());
    out
}
