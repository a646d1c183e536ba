//! The timeline as comma-separated values (RFC 4180), one row for each stretch of run time. Units stand in the header,
//! absent numbers are empty cells.

use barrage_metrics::summary::{Quantile, Summary, TimelinePoint};

use crate::clean::{NAME_MAX, clean};
use crate::put::put;

const HEADER: &str = "t_s,length_s,stage,offered,started,sent,ok,failed,timeout,dropped,active,body_bytes_in,\
    response_p50_us,response_p50_at_least,response_p95_us,response_p95_at_least,response_p99_us,response_p99_at_least,\
    service_p50_us,service_p50_at_least,service_p99_us,service_p99_at_least,error_rate_ratio,workers_reported,\
    workers_expected,hole,cancelled";

pub(crate) fn render(summary: &Summary) -> String {
    let mut out = String::with_capacity(128 * (summary.timeline.len() + 1));
    out.push_str(HEADER);
    out.push_str("\r\n");
    for point in &summary.timeline {
        row(&mut out, point);
        out.push_str("\r\n");
    }
    out
}

fn row(out: &mut String, point: &TimelinePoint) {
    let stage = point.stage.as_deref().map(cell).unwrap_or_default();
    put!(out, "{},{},{stage}", point.t_s, point.length_s);
    for count in [
        point.offered,
        point.started,
        point.sent,
        point.ok,
        point.failed,
        point.timeouts,
        point.dropped,
        point.active,
        point.body_bytes_in,
    ] {
        put!(out, ",{count}");
    }
    for quantile in [
        point.response_p50,
        point.response_p95,
        point.response_p99,
        point.service_p50,
        point.service_p99,
    ] {
        match quantile {
            Some(Quantile { value_us, at_least }) => put!(out, ",{value_us},{at_least}"),
            None => out.push_str(",,"),
        }
    }
    match point.error_rate.filter(|rate| rate.is_finite()) {
        Some(rate) => put!(out, ",{rate}"),
        None => out.push(','),
    }
    put!(out, ",{},{},{}", point.reported, point.expected, point.hole);
    put!(out, ",{}", point.cancelled);
}

/// A cell from outside. One that a spreadsheet would take for a formula gets a `'` in front.
pub(crate) fn cell(text: &str) -> String {
    let text = clean(text, NAME_MAX);
    let formula = text
        .trim_start()
        .starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠', '|', '%']);
    let text = if formula { format!("'{text}") } else { text };
    if text.contains(['"', ',', '\n', '\r', ';', '\'']) || text.starts_with(' ') || text.ends_with(' ') {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        for (text, want) in [
            ("peak", "peak"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("=1+1", "\"'=1+1\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            (" =1", "\"' =1\""),
            ("\t=1", "\\t=1"),
            ("a\nb", "a\\nb"),
        ] {
            assert_eq!(cell(text), want, "{text:?}");
        }
    }
}
