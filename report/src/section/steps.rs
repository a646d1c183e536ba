//! Rates of the whole run; every step and scenario.

use barrage_metrics::summary::{StepSummary, Summary, TagSummary};

use super::{Column, Limits, Row, Section, Table, Tone};
use crate::document::convert::all_see_wire;
use crate::number::{ABSENT, bytes, count, decimal, percent, quantile, rate, seconds};

/// Most tag values shown for one step; a plan has at most 17 combinations of one rule.
const TAGS_MAX: usize = 20;

pub(super) fn rates(summary: &Summary) -> Section {
    let mut section = Section::new("Rates");
    let rates = &summary.rates;
    let (errors, drops) = (percent(rates.error_rate), percent(rates.drop_rate));
    section.note(Tone::Plain, format!("error rate {errors}, drop rate {drops}"));
    section.note(Tone::Plain, bytes_moved(summary));
    let once = &summary.once_total.counts;
    if once.attempted > 0 {
        let failed = once.failed_total().saturating_add(once.timeout);
        let (sent, ok, failed) = (count(once.sent), count(once.ok), count(failed));
        let text = format!("setup and teardown, not in here: sent {sent}, ok {ok}, failed {failed}");
        section.note(Tone::Plain, text);
    }
    section.table(rate_table(summary));
    section
}

fn bytes_moved(summary: &Summary) -> String {
    let (counts, rates) = (&summary.steps_total.counts, &summary.rates);
    let mib = rates.throughput_mib_per_s.map(decimal);
    let mib = mib.map_or_else(|| ABSENT.to_owned(), |mib| format!("{mib} MiB/s"));
    let over = match rates.covered_us {
        0 => String::new(),
        covered_us => format!("; rates over {}", seconds(covered_us)),
    };
    let wire = |sum| {
        if all_see_wire(summary) {
            bytes(sum)
        } else {
            ABSENT.to_owned()
        }
    };
    format!(
        "answer bodies {} ({mib}), request bodies {}; on the wire {} in, {} out, {} requests{}",
        bytes(counts.body_bytes_in),
        bytes(counts.body_bytes_out),
        wire(counts.wire_bytes_in),
        wire(counts.wire_bytes_out),
        count(counts.wire_requests),
        over,
    )
}

fn rate_table(summary: &Summary) -> Table {
    let (counts, rates, iterations) = (&summary.steps_total.counts, &summary.rates, &summary.iterations);
    // A closed model has no schedule, so it offers nothing.
    let offered = Some(iterations.scheduled).filter(|n| *n > 0);
    let offered_per_s = offered.and(rates.offered_per_s);
    let rows = [
        ("offered", (offered, offered_per_s, "arrivals that fell due")),
        (
            "started",
            (Some(iterations.started), rates.started_per_s, "iterations begun"),
        ),
        (
            "attempted",
            (
                Some(counts.attempted),
                rates.attempted_per_s,
                "steps that were due to be sent",
            ),
        ),
        (
            "sent",
            (Some(counts.sent), rates.rate_per_s, "steps handed to an engine"),
        ),
        ("answered", (None, rates.throughput_per_s, "answers of any status")),
        ("served", (Some(counts.ok), rates.goodput_per_s, "answers as expected")),
    ];
    let columns = [
        Column::Text("rate"),
        Column::Number("count"),
        Column::Number("per second"),
        Column::Text("what it counts"),
    ];
    Table::of(&columns, &rows, rows.len(), |(name, (n, per_s, what))| {
        let n = n.map_or_else(|| ABSENT.to_owned(), count);
        Row::new(Tone::Plain, [(*name).to_owned(), n, rate(*per_s), (*what).to_owned()])
    })
}

pub(super) fn steps(summary: &Summary, limits: &Limits) -> Section {
    let mut section = Section::new("Steps");
    if summary.samples_in_other > 0 {
        let samples = count(summary.samples_in_other);
        let steps = summary.steps.iter().filter(|step| !step.whole).count();
        let text = format!(
            "{samples} samples are in the totals alone: the run had more series than are kept apart; steps without latencies \
             for that: {}",
            count(steps as u64)
        );
        section.note(Tone::Warn, text);
    }
    let cancelled = summary.steps_total.counts.cancelled;
    if cancelled > 0 {
        let text = format!(
            "{} of {} requests were cancelled before they had ended: they are no errors, and in latencies at the age they had \
             reached",
            count(cancelled),
            count(summary.steps_total.counts.sent)
        );
        section.note(Tone::Warn, text);
    }
    let columns = [
        Column::Text("step"),
        Column::Number("sent"),
        Column::Number("ok"),
        Column::Number("failed"),
        Column::Number("timeout"),
        Column::Number("errors"),
        Column::Number("ok/s"),
        Column::Number("p50"),
        Column::Number("p95"),
        Column::Number("p99"),
        Column::Number("max"),
        Column::Number("service p99"),
    ];
    let mut table = Table::of(&columns, &summary.steps, limits.rows, step);
    let shown = summary.steps.iter().take(limits.rows);
    let with_tags = table.rows.drain(..).zip(shown).flat_map(|(row, step)| {
        let tags = step.tags.iter().take(TAGS_MAX).map(tag);
        let more = step.tags.len().saturating_sub(TAGS_MAX);
        let mut rows: Vec<Row> = std::iter::once(row).chain(tags).collect();
        if more > 0
            && let Some(last) = rows.last_mut()
        {
            last.note = Some(format!("{more} more tag values left out"));
        }
        rows
    });
    table.rows = with_tags.collect();
    section.table(table);
    section
}

fn step(step: &StepSummary) -> Row {
    let (counts, response) = (&step.totals.counts, &step.response);
    let failed = counts.failed_total().saturating_add(counts.timeout);
    let name = if step.group { "group " } else { "" };
    let sent = |n: u64| if step.group { ABSENT.to_owned() } else { count(n) };
    let cells = [
        format!("{} / {name}{}", step.scenario, step.name),
        sent(counts.sent),
        sent(counts.ok),
        sent(counts.failed_total()),
        sent(counts.timeout),
        percent(step.rates.error_rate),
        rate(step.rates.goodput_per_s).trim_end_matches("/s").to_owned(),
        quantile(response.p50),
        quantile(response.p95),
        quantile(response.p99),
        quantile(response.max),
        quantile(step.service.p99),
    ];
    Row::new(if failed > 0 { Tone::Warn } else { Tone::Plain }, cells)
}

fn tag(tag: &TagSummary) -> Row {
    let values: Vec<String> = tag
        .tags
        .iter()
        .map(|(name, value)| format!("{name}={}", if value.is_empty() { "(none)" } else { value }))
        .collect();
    let cells = [
        format!("  · {}", values.join(" ")),
        count(tag.counts.sent),
        count(tag.counts.ok),
        count(tag.counts.failed_total()),
        count(tag.counts.timeout),
        percent(tag.error_rate),
        ABSENT.to_owned(),
        quantile(tag.response.p50),
        quantile(tag.response.p95),
        quantile(tag.response.p99),
        quantile(tag.response.max),
        quantile(tag.service.p99),
    ];
    Row::new(Tone::Plain, cells)
}

pub(super) fn scenarios(summary: &Summary, limits: &Limits) -> Section {
    let mut section = Section::new("Scenarios");
    let columns = [
        Column::Text("scenario"),
        Column::Number("scheduled"),
        Column::Number("started"),
        Column::Number("completed"),
        Column::Number("broken off"),
        Column::Number("cancelled"),
        Column::Number("dropped"),
        Column::Number("iteration p50"),
        Column::Number("p99"),
        Column::Number("lag p99"),
    ];
    section.table(Table::of(&columns, &summary.scenarios, limits.rows, |scenario| {
        let n = &scenario.iterations;
        let numbers = [
            n.scheduled,
            n.started,
            n.completed,
            n.broken_off,
            n.cancelled,
            n.dropped.total(),
        ];
        let quantiles = [
            scenario.iteration.p50,
            scenario.iteration.p99,
            scenario.dispatch_lag.p99,
        ];
        let cells = std::iter::once(scenario.name.clone())
            .chain(numbers.map(count))
            .chain(quantiles.map(quantile));
        Row::new(Tone::Plain, cells)
    }));
    super::time::without_lost(&mut section, summary);
    section
}
