//! Where a request goes, and its request-target.
//!
//! What the author wrote stands as it is; only what cannot stand in a URL is percent-encoded. A value is percent-encoded
//! whole, so it stays inside its segment or parameter, except at the very beginning of the URL, where it is a URL itself.

use std::collections::VecDeque;

use barrage_model::plan::Request;
use url::{Position, Url};

use super::super::encode::{Encoding, is_url_byte, percent};
use super::super::error::StepProblem;
use super::super::text::{Fill, Layout, Piece, Text};
use super::link::{Linker, Segment, put};
use super::origins::Origins;

/// Where a request goes.
#[derive(Clone, Debug)]
pub(in crate::scenario) enum Destination {
    /// The origin of this number.
    Fixed(u32),
    /// The URL begins with a value: it is a path, or leads to any origin that the plan names.
    Dynamic {
        /// The URL.
        url: Text,
        /// The origin of a path.
        target: u32,
    },
}

/// The destination, and the request-target when that is laid out already.
pub(super) struct Located {
    pub(super) destination: Destination,
    pub(super) path: Text,
}

/// Lays out the URL of a request.
pub(super) fn locate(
    linker: &mut Linker<'_>,
    origins: &mut Origins,
    request: &Request,
) -> Result<Located, StepProblem> {
    let mut segments: VecDeque<Segment> = linker.segments(&request.url)?.into();
    let known = known_beginning(&segments);
    let mut writer = PathWriter::default();
    if is_absolute(&known) {
        let length = authority_length(&known, &segments)?;
        let origin = origins.absolute(&known[..length])?;
        drop_beginning(&mut segments, length);
        writer.slash_before(&known[length..]);
        let path = writer.finish(linker, request, segments)?;
        return Ok(Located {
            destination: Destination::Fixed(origin),
            path,
        });
    }
    let target = origins.target(request.target)?;
    match segments.pop_front() {
        Some(Segment::Fill { from, filters, shown }) => {
            writer.layout.piece(Piece::Fill(Fill {
                from,
                filters,
                how: Encoding::Url,
                shown,
            }));
            // The value may bring a query with it, so how a parameter is joined on is not known.
            let marks_query = |segment: &Segment| matches!(segment, Segment::Literal(text) if text.contains('?'));
            if !request.query.is_empty() && !segments.iter().any(marks_query) {
                let problem = "with `query` it must not begin with a value; put the value behind a path";
                return Err(StepProblem::Url(problem.to_owned()));
            }
            let url = writer.finish(linker, request, segments)?;
            let mut path = Layout::new();
            path.piece(Piece::Target);
            return Ok(Located {
                destination: Destination::Dynamic { url, target },
                path: path.finish(),
            });
        }
        // At the beginning a constant is part of the URL that the author wrote.
        Some(Segment::Literal(text) | Segment::Value { text, .. }) => segments.push_front(Segment::Literal(text)),
        None => {}
    }
    let base = origins.base_path(target);
    writer.literal(base);
    if base.is_empty() || !(known.is_empty() || known.starts_with(['?', '#'])) {
        writer.slash_before(&known);
    }
    let path = writer.finish(linker, request, segments)?;
    Ok(Located {
        destination: Destination::Fixed(target),
        path,
    })
}

/// The origin's number and the request-target of a URL that was rendered for one request.
pub(in crate::scenario) fn resolve(url: &str, origins: &Origins, target: u32) -> Result<(u32, String), &'static str> {
    if !is_absolute(url) {
        let base = origins.base_path(target);
        let slash = if url.starts_with('/') || (!base.is_empty() && (url.is_empty() || url.starts_with('?'))) {
            ""
        } else {
            "/"
        };
        return Ok((target, format!("{base}{slash}{url}")));
    }
    let url = Url::parse(url).map_err(|_| "its URL is not valid")?;
    let origin = origins
        .find(&url)
        .ok_or("its URL leads to a host that the plan does not name")?;
    Ok((origin, url[Position::BeforePath..Position::AfterQuery].to_owned()))
}

fn is_absolute(url: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| {
        let beginning = url.as_bytes().get(..scheme.len());
        beginning.is_some_and(|beginning| beginning.eq_ignore_ascii_case(scheme.as_bytes()))
    })
}

/// Everything before the first value that is only known in the iteration.
fn known_beginning(segments: &VecDeque<Segment>) -> String {
    let mut known = String::new();
    for segment in segments {
        match segment {
            Segment::Literal(text) | Segment::Value { text, .. } => known.push_str(text),
            Segment::Fill { .. } => break,
        }
    }
    known
}

/// Length of scheme and authority of an absolute URL.
fn authority_length(known: &str, segments: &VecDeque<Segment>) -> Result<usize, StepProblem> {
    let start = known.find("://").map_or(0, |at| at + 3);
    if let Some(at) = known[start..].find(['/', '?', '#']) {
        return Ok(start + at);
    }
    if segments.iter().any(|segment| matches!(segment, Segment::Fill { .. })) {
        return Err(StepProblem::Url("its host must be known before the run".to_owned()));
    }
    Ok(known.len())
}

/// Takes `length` bytes off the front; they end on a character border.
fn drop_beginning(segments: &mut VecDeque<Segment>, mut length: usize) {
    while length > 0 {
        let Some(Segment::Literal(text) | Segment::Value { text, .. }) = segments.pop_front() else {
            return;
        };
        if text.len() > length {
            segments.push_front(Segment::Literal(text[length..].to_owned()));
            return;
        }
        length -= text.len();
    }
}

/// Writes path and query and knows where it is.
#[derive(Default)]
struct PathWriter {
    layout: Layout,
    has_query: bool,
    open_end: bool,
    ended: bool,
}

impl PathWriter {
    /// Puts a slash in unless what follows begins with one.
    fn slash_before(&mut self, rest: &str) {
        if !rest.starts_with('/') {
            self.layout.bytes("/");
        }
    }

    fn literal(&mut self, text: &str) {
        if self.ended {
            return;
        }
        let (text, rest) = text
            .split_once('#')
            .map_or((text, None), |(text, rest)| (text, Some(rest)));
        let mut bytes = Vec::with_capacity(text.len());
        percent(text, &mut bytes, is_url_byte);
        self.layout.bytes(&bytes);
        self.has_query |= text.contains('?');
        if !text.is_empty() {
            self.open_end = text.ends_with(['?', '&']);
        }
        self.ended = rest.is_some();
    }

    /// Writes the rest of the URL and the parameters.
    fn finish(
        mut self,
        linker: &mut Linker<'_>,
        request: &Request,
        rest: VecDeque<Segment>,
    ) -> Result<Text, StepProblem> {
        for segment in rest {
            match segment {
                Segment::Literal(text) => self.literal(&text),
                _ if self.ended => {}
                value => {
                    put(&mut self.layout, value, Encoding::Percent)?;
                    self.open_end = false;
                }
            }
        }
        for (name, value) in &request.query {
            let joint = match (self.open_end, self.has_query) {
                (true, _) => "",
                (false, true) => "&",
                (false, false) => "?",
            };
            self.layout.bytes(joint);
            (self.open_end, self.has_query) = (false, true);
            let mut bytes = Vec::new();
            percent(name, &mut bytes, |byte| {
                byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
            });
            self.layout.bytes(&bytes).bytes("=");
            let value = linker.encoded(value, Encoding::Percent)?;
            self.layout.text(&value);
        }
        Ok(self.layout.finish())
    }
}
