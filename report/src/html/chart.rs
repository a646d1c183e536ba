//! A chart: axes, lines, bands behind them, holes, a legend, and what stands under the pointer.

use super::axis::Scale;
use super::escape;
use super::svg::{Anchor, Area, Svg};
use crate::clean::MESSAGE_MAX;
use crate::put::put;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 290.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 948.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 256.0;
/// What a character of the chart's font takes, about.
const CHAR: f64 = 6.3;

/// A chart. Strings may come from outside.
pub(super) struct Chart {
    pub(super) title: &'static str,
    /// What the vertical axis shows.
    pub(super) unit: &'static str,
    /// Sentences below.
    pub(super) captions: Vec<String>,
    pub(super) x: Scale,
    pub(super) x_ticks: Vec<(f64, String)>,
    pub(super) y: Scale,
    pub(super) y_label: fn(f64) -> String,
    pub(super) lines: Vec<Line>,
    pub(super) bands: Vec<Band>,
    pub(super) tips: Vec<Tip>,
}

/// A line of a chart.
pub(super) struct Line {
    pub(super) name: &'static str,
    /// Its colour in the style sheet.
    pub(super) class: &'static str,
    /// `None` = there is no such number; the line is broken there.
    pub(super) dots: Vec<Option<Dot>>,
}

/// A value.
#[derive(Clone, Copy)]
pub(super) struct Dot {
    pub(super) x: f64,
    pub(super) y: f64,
    /// The value is a lower bound.
    pub(super) at_least: bool,
}

/// What a stretch of the horizontal axis is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum BandKind {
    /// A stage: named in the strip above.
    Stage,
    /// A fault: shaded.
    Fault,
    /// Missing counts: hatched.
    Hole,
}

/// A stretch of the horizontal axis.
pub(super) struct Band {
    pub(super) kind: BandKind,
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) label: String,
}

/// What the pointer shows over a stretch.
pub(super) struct Tip {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) lines: Vec<String>,
}

impl Chart {
    /// Writes the chart as a section; `number` tells charts of one page apart.
    pub(super) fn write(&self, out: &mut String, number: usize) {
        put!(
            out,
            "<section>\n<h2>{}</h2>\n<figure>\n{}",
            self.title,
            self.draw(number)
        );
        for caption in &self.captions {
            put!(out, "<figcaption>{}</figcaption>\n", escape(caption, MESSAGE_MAX));
        }
        out.push_str("</figure>\n</section>\n");
    }

    fn draw(&self, number: usize) -> String {
        let mut svg = Svg::new(WIDTH, HEIGHT, self.title);
        let hatch = format!("hatch{number}");
        if self.bands.iter().any(|band| band.kind == BandKind::Hole) {
            svg.hatch(&hatch);
        }
        self.draw_legend(&mut svg);
        self.draw_axes(&mut svg);
        for band in &self.bands {
            self.draw_band(&mut svg, band, &hatch);
        }
        for line in &self.lines {
            self.draw_line(&mut svg, line);
        }
        if self.lines.iter().all(|line| line.dots.iter().all(Option::is_none)) {
            let middle = (f64::midpoint(LEFT, RIGHT), f64::midpoint(TOP, BOTTOM));
            svg.text("empty", middle, Anchor::Middle, "no samples");
        }
        for tip in &self.tips {
            let (from, to) = (self.x_at(tip.from), self.x_at(tip.to));
            svg.area("tip", Area(from, TOP, to - from, BOTTOM - TOP), None, &tip.lines);
        }
        svg.finish()
    }

    fn x_at(&self, value: f64) -> f64 {
        LEFT + self.x.place(value) * (RIGHT - LEFT)
    }

    fn y_at(&self, value: f64) -> f64 {
        BOTTOM - self.y.place(value) * (BOTTOM - TOP)
    }

    fn draw_legend(&self, svg: &mut Svg) {
        let unit = if self.y.is_log() {
            format!("{}, logarithmic", self.unit)
        } else {
            self.unit.to_owned()
        };
        svg.text("unit", (LEFT, 14.0), Anchor::Start, &unit);
        let mut x = RIGHT;
        for line in self.lines.iter().rev() {
            x -= line.name.chars().count() as f64 * CHAR;
            svg.text("legend", (x, 14.0), Anchor::Start, line.name);
            x -= 8.0;
            svg.line(&format!("line {}", line.class), (x - 18.0, 10.0), (x, 10.0));
            x -= 34.0;
        }
    }

    fn draw_axes(&self, svg: &mut Svg) {
        for tick in self.y.ticks() {
            let y = self.y_at(tick);
            svg.line("grid", (LEFT, y), (RIGHT, y));
            svg.text("tick", (LEFT - 8.0, y + 4.0), Anchor::End, &(self.y_label)(tick));
        }
        for (tick, label) in &self.x_ticks {
            let x = self.x_at(*tick);
            svg.line("mark", (x, BOTTOM), (x, BOTTOM + 5.0));
            let anchor = if x > RIGHT - 12.0 { Anchor::End } else { Anchor::Middle };
            svg.text("tick", (x, BOTTOM + 19.0), anchor, label);
        }
        svg.line("axis", (LEFT, BOTTOM), (RIGHT, BOTTOM));
    }

    fn draw_band(&self, svg: &mut Svg, band: &Band, hatch: &str) {
        let (from, to) = (self.x_at(band.from), self.x_at(band.to));
        let wide = to - from;
        if wide <= 0.0 {
            return;
        }
        let (class, fill, area, text_y) = match band.kind {
            BandKind::Stage => ("stage", None, Area(from, TOP - 24.0, wide, 16.0), TOP - 12.0),
            BandKind::Fault => (
                "fault",
                None,
                Area(from, TOP - 6.0, wide, BOTTOM - TOP + 6.0),
                TOP + 12.0,
            ),
            BandKind::Hole => ("hole", Some(hatch), Area(from, TOP, wide, BOTTOM - TOP), TOP + 26.0),
        };
        svg.area(class, area, fill, std::slice::from_ref(&band.label));
        if band.kind == BandKind::Stage && band.from > 0.0 {
            svg.line("edge", (from, TOP - 24.0), (from, BOTTOM));
        }
        if let Some(label) = fitting(&band.label, wide - 6.0) {
            svg.text("label", (f64::midpoint(from, to), text_y), Anchor::Middle, &label);
        }
    }

    fn draw_line(&self, svg: &mut Svg, line: &Line) {
        let place = |dot: &Option<Dot>| dot.map(|dot| (self.x_at(dot.x), self.y_at(dot.y)));
        let points: Vec<Option<(f64, f64)>> = line.dots.iter().map(place).collect();
        svg.path(&format!("line {}", line.class), &points);
        for dot in line.dots.iter().flatten().filter(|dot| dot.at_least) {
            svg.triangle(&format!("bound {}", line.class), (self.x_at(dot.x), self.y_at(dot.y)));
        }
    }
}

/// The label as far as it fits; `None` when too little would be left.
fn fitting(label: &str, wide: f64) -> Option<String> {
    let fit = (wide / CHAR).max(0.0) as usize;
    let long = label.chars().count();
    if long <= fit {
        return Some(label.to_owned());
    }
    (fit >= 4).then(|| label.chars().take(fit - 1).chain(['…']).collect())
}
