//! A summary for a comment on a pull request: verdict, SLAs, the main numbers and both ledgers.
//!
//! Strings from outside stand in `<code>` with every mark of Markdown and HTML as a character reference, so that they
//! can neither format, link, mention, nor break a table.

use barrage_metrics::summary::{Latency, SlaVerdict, Summary};

use crate::clean::{MESSAGE_MAX, NAME_MAX, clean};
use crate::number::{ABSENT, count, mean, percent, quantile, rate, seconds};
use crate::put::put;
use crate::section::{PAGE, Tone, equations, head, judged, scope, words};

/// Most SLAs listed.
const SLA_MAX: usize = 30;
/// Most reasons of each kind listed.
const REASONS_MAX: usize = 5;
/// Most steps listed, those with the most errors first.
const STEPS_MAX: usize = 10;

pub(crate) fn render(summary: &Summary) -> String {
    let mut out = String::new();
    write_head(&mut out, summary);
    write_sla(&mut out, summary);
    write_numbers(&mut out, summary);
    write_steps(&mut out, summary);
    write_ledgers(&mut out, summary);
    out
}

fn write_head(out: &mut String, summary: &Summary) {
    let head = head(summary, &PAGE);
    let mark = mark(head.tone);
    let (name, exit) = (code(&summary.run.name, NAME_MAX), summary.exit_code.number());
    put!(out, "### {mark} {} {name}\n\nexit code {exit}", head.verdict);
    let lasted = seconds(summary.run.duration_us);
    put!(
        out,
        " · {lasted} · {} workers · run `{}`\n\n",
        summary.workers.len(),
        summary.run.id
    );
    for reason in head.reasons.iter().take(REASONS_MAX) {
        put!(out, "- {}\n", code(reason, MESSAGE_MAX));
    }
    put!(out, "- {}\n", head.generator.text);
    for strain in head.strains.iter().take(REASONS_MAX) {
        put!(out, "  - {}\n", code(&strain.text, MESSAGE_MAX));
    }
}

fn mark(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "✅",
        Tone::Bad => "❌",
        Tone::Warn | Tone::Plain => "⚠️",
    }
}

fn write_sla(out: &mut String, summary: &Summary) {
    let all = judged(summary);
    if all.is_empty() {
        return;
    }
    out.push_str("\n| | SLA | during | observed | verdict |\n|---|---|---|---|---|\n");
    for sla in all.iter().take(SLA_MAX) {
        let mark = mark(match sla.verdict {
            SlaVerdict::Passed => Tone::Good,
            SlaVerdict::Failed => Tone::Bad,
            SlaVerdict::NotEnoughSamples | SlaVerdict::NotJudged | SlaVerdict::Provisional => Tone::Warn,
        });
        let that = code(&sla.that, NAME_MAX);
        let (scope, observed) = (code(&scope(sla), NAME_MAX), code(&sla.observed, NAME_MAX));
        put!(
            out,
            "| {mark} | {that} | {scope} | {observed} | {} |\n",
            words(sla.verdict)
        );
    }
    if all.len() > SLA_MAX {
        put!(out, "\n{} more SLAs left out\n", all.len() - SLA_MAX);
    }
}

fn write_numbers(out: &mut String, summary: &Summary) {
    out.push_str("\n| latency | samples | mean | p50 | p95 | p99 | p99.9 | max |\n|---|--:|--:|--:|--:|--:|--:|--:|\n");
    let rows: [(&str, &Latency); 3] = [
        ("response", &summary.latency.response),
        ("response, ok", &summary.latency_ok.response),
        ("service", &summary.latency.service),
    ];
    for (name, latency) in rows {
        let mean = mean(latency.mean_us, latency.mean_at_least());
        put!(out, "| {name} | {} | {mean}", count(latency.count));
        for of in [latency.p50, latency.p95, latency.p99, latency.p999, latency.max] {
            put!(out, " | {}", quantile(of));
        }
        out.push_str(" |\n");
    }
    let (rates, counts) = (&summary.rates, &summary.steps_total.counts);
    let sent = format!("{} ({})", count(counts.sent), rate(rates.rate_per_s));
    let served = format!("{} ({})", count(counts.ok), rate(rates.goodput_per_s));
    let (errors, drops) = (percent(rates.error_rate), percent(rates.drop_rate));
    put!(
        out,
        "\nsent {sent} · served {served} · error rate {errors} · drop rate {drops}\n"
    );
}

fn write_steps(out: &mut String, summary: &Summary) {
    if summary.steps.len() < 2 {
        return;
    }
    let mut steps: Vec<_> = summary.steps.iter().collect();
    if steps.len() > STEPS_MAX {
        steps.sort_by_key(|step| {
            let counts = &step.totals.counts;
            std::cmp::Reverse(counts.failed_total().saturating_add(counts.timeout))
        });
    }
    out.push_str("\n<details><summary>Steps</summary>\n\n| step | sent | errors | p50 | p95 | p99 |\n");
    out.push_str("|---|--:|--:|--:|--:|--:|\n");
    for step in steps.iter().take(STEPS_MAX) {
        // What is sent within a group is in the rows of its requests.
        let (group, sent) = if step.group {
            ("group ", ABSENT.to_owned())
        } else {
            ("", count(step.totals.counts.sent))
        };
        let name = code(&format!("{} / {group}{}", step.scenario, step.name), NAME_MAX);
        let errors = percent(step.rates.error_rate);
        let [p50, p95, p99] = [step.response.p50, step.response.p95, step.response.p99].map(quantile);
        put!(out, "| {name} | {sent} | {errors} | {p50} | {p95} | {p99} |\n");
    }
    if steps.len() > STEPS_MAX {
        put!(out, "\n{} more steps left out\n", steps.len() - STEPS_MAX);
    }
    out.push_str("\n</details>\n");
}

fn write_ledgers(out: &mut String, summary: &Summary) {
    out.push_str("\n<details><summary>Ledgers</summary>\n\n");
    for (_, equation) in equations(&summary.conservation) {
        put!(out, "- {equation}\n");
    }
    let mismatches = &summary.conservation.mismatches;
    for mismatch in mismatches.iter().take(REASONS_MAX) {
        put!(out, "- ❌ INCONSISTENT: {}\n", code(mismatch, MESSAGE_MAX));
    }
    if mismatches.len() > REASONS_MAX {
        put!(out, "- {} more equations do not hold\n", mismatches.len() - REASONS_MAX);
    }
    out.push_str("\n</details>\n");
}

/// A string from outside as inert text.
fn code(text: &str, max: usize) -> String {
    let text = clean(text, max);
    if text.is_empty() {
        return "—".to_owned();
    }
    let mut out = String::from("<code>");
    let mut before = ' ';
    for c in text.chars() {
        // `www.` alone makes a link in some dialects; the other marks are those that Markdown or HTML give a meaning.
        let www = c == '.' && before.eq_ignore_ascii_case(&'w');
        if www || (c.is_ascii_punctuation() && !matches!(c, '.' | ',' | '-' | '/' | ';' | '%')) {
            put!(out, "&#{};", u32::from(c));
        } else {
            out.push(c);
        }
        before = c;
    }
    out.push_str("</code>");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_from_outside_are_inert() {
        for (text, want) in [
            ("list tools", "<code>list tools</code>"),
            ("p95 < 250ms", "<code>p95 &#60; 250ms</code>"),
            ("a|b`c`", "<code>a&#124;b&#96;c&#96;</code>"),
            (
                "@team #1 [x](y)",
                "<code>&#64;team &#35;1 &#91;x&#93;&#40;y&#41;</code>",
            ),
            ("http://www.example", "<code>http&#58;//www&#46;example</code>"),
            ("", "—"),
        ] {
            assert_eq!(code(text, 100), want);
        }
    }
}
