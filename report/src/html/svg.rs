//! Writes SVG. Coordinates have one decimal; every text is escaped.

use super::escape;
use crate::put::put;

/// A drawing under construction.
pub(super) struct Svg {
    out: String,
}

/// Where a text stands relative to its point.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Anchor {
    fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

/// A rectangle: left, top, width, height.
#[derive(Clone, Copy)]
pub(super) struct Area(pub(super) f64, pub(super) f64, pub(super) f64, pub(super) f64);

/// Longest text in a drawing, in characters.
const TEXT_MAX: usize = 400;

impl Svg {
    /// A drawing of `width` by `height` that scales with the page.
    pub(super) fn new(width: f64, height: f64, label: &str) -> Self {
        let mut out = String::new();
        let label = escape(label, TEXT_MAX);
        put!(
            out,
            "<svg viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{label}\">\n"
        );
        Self { out }
    }

    pub(super) fn finish(mut self) -> String {
        self.out.push_str("</svg>\n");
        self.out
    }

    /// Defines diagonal hatching under an id of our own.
    pub(super) fn hatch(&mut self, id: &str) {
        put!(
            self.out,
            "<defs><pattern id=\"{id}\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" \
             patternTransform=\"rotate(45)\"><line class=\"hatch\" x1=\"0\" y1=\"0\" x2=\"0\" y2=\"6\"/></pattern></defs>\n"
        );
    }

    pub(super) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let ((x1, y1), (x2, y2)) = (from, to);
        put!(
            self.out,
            "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>\n"
        );
    }

    pub(super) fn text(&mut self, class: &str, at: (f64, f64), anchor: Anchor, text: &str) {
        let (x, y) = at;
        let (anchor, text) = (anchor.word(), escape(text, TEXT_MAX));
        put!(
            self.out,
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>\n"
        );
    }

    /// A rectangle that shows `tip` under the pointer; `fill` is the id of a hatching.
    pub(super) fn area(&mut self, class: &str, area: Area, fill: Option<&str>, tip: &[String]) {
        let Area(x, y, width, height) = area;
        put!(
            self.out,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\""
        );
        if let Some(fill) = fill {
            put!(self.out, " fill=\"url(#{fill})\"");
        }
        if tip.is_empty() {
            self.out.push_str("/>\n");
            return;
        }
        let lines: Vec<String> = tip.iter().map(|line| escape(line, TEXT_MAX)).collect();
        put!(self.out, "><title>{}</title></rect>\n", lines.join("\n"));
    }

    /// A line through points; `None` lifts the pen. A point alone is a dot.
    pub(super) fn path(&mut self, class: &str, points: &[Option<(f64, f64)>]) {
        let mut drawn = String::new();
        let mut down = false;
        for (n, point) in points.iter().enumerate() {
            let Some((x, y)) = point else {
                down = false;
                continue;
            };
            let alone = !down && points.get(n + 1).is_none_or(Option::is_none);
            match (down, alone) {
                (true, _) => put!(drawn, "L{x:.1} {y:.1}"),
                (false, false) => put!(drawn, "M{x:.1} {y:.1}"),
                (false, true) => put!(drawn, "M{x:.1} {y:.1}h.1"),
            }
            down = true;
        }
        if !drawn.is_empty() {
            put!(self.out, "<path class=\"{class}\" d=\"{drawn}\"/>\n");
        }
    }

    /// A small triangle that points up.
    pub(super) fn triangle(&mut self, class: &str, at: (f64, f64)) {
        let (x, y) = at;
        let (left, base, top) = (x - 3.0, y + 2.5, y - 3.0);
        put!(
            self.out,
            "<path class=\"{class}\" d=\"M{left:.1} {base:.1}h6L{x:.1} {top:.1}z\"/>\n"
        );
    }
}
