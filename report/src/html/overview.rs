//! The top of the page: verdict, trust, identity and the main numbers.

use barrage_metrics::summary::Summary;

use super::{escape, figures, note, tone_class};
use crate::clean::{MESSAGE_MAX, NAME_MAX};
use crate::put::put;
use crate::section::Head;

pub(super) fn write(out: &mut String, summary: &Summary, head: &Head) {
    let name = escape(&summary.run.name, NAME_MAX);
    let class = tone_class(head.tone);
    out.push_str("<header>\n");
    put!(
        out,
        "<h1><span class=\"badge {class}\">{}</span> {name}</h1>\n",
        head.verdict
    );
    if !head.reasons.is_empty() {
        out.push_str("<ul class=\"reasons\">\n");
        for reason in &head.reasons {
            put!(out, "<li>{}</li>\n", escape(reason, MESSAGE_MAX));
        }
        out.push_str("</ul>\n");
    }
    note(out, &head.generator);
    for strain in &head.strains {
        note(out, strain);
    }
    let code = summary.exit_code.number();
    put!(
        out,
        "<dl class=\"facts\">\n<div><dt>exit code</dt><dd>{code}</dd></div>\n"
    );
    for (name, value) in &head.facts {
        put!(out, "<div><dt>{name}</dt><dd>{}</dd></div>\n", escape(value, NAME_MAX));
    }
    out.push_str("</dl>\n</header>\n<div class=\"figures\">\n");
    for (name, value) in figures(summary) {
        put!(
            out,
            "<div><b>{}</b><span>{name}</span></div>\n",
            escape(&value, NAME_MAX)
        );
    }
    out.push_str("</div>\n");
}
