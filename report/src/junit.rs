//! `JUnit` XML: a suite with one case for each SLA, and one with the verdict of the run.
//!
//! A breached SLA is a `failure`. `not enough samples` and `not judged` are an `error`, never `skipped`: a pipeline that
//! goes green on them would take silence for success. Only an SLA of a run that still goes on is skipped. The verdict
//! has a suite of its own, so that an inconsistent or invalid run is red although every SLA held.

use std::time::Duration;

use barrage_metrics::exit::Verdict;
use barrage_metrics::summary::{SlaResult, SlaVerdict, Summary};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::clean::{MESSAGE_MAX, NAME_MAX, clean};
use crate::render::RenderError;
use crate::section::{PAGE, head, scope, words};

/// Most SLAs listed.
const CASES_MAX: usize = 1_000;

pub(crate) fn render(summary: &Summary) -> Result<Vec<u8>, RenderError> {
    let name = clean(&summary.run.name, NAME_MAX);
    let mut report = Report::new("barrage");
    let mut suite = TestSuite::new(name.as_str());
    suite.set_time(Duration::from_micros(summary.run.duration_us));
    for (key, value) in properties(summary) {
        suite.add_property((key.as_str(), value.as_str()));
    }
    let all = crate::section::judged(summary);
    for sla in all.iter().take(CASES_MAX) {
        suite.add_test_case(case(sla, &name));
    }
    if all.len() > CASES_MAX {
        suite.set_system_out(format!("{} more SLAs left out", all.len() - CASES_MAX));
    }
    let mut run = TestSuite::new(format!("{name}: run"));
    run.add_test_case(verdict(summary, &name));
    report.add_test_suite(suite).add_test_suite(run);
    let mut out = Vec::new();
    report.serialize(&mut out).map_err(RenderError::Junit)?;
    Ok(out)
}

fn properties(summary: &Summary) -> Vec<(String, String)> {
    let run = &summary.run;
    let mut properties = vec![
        ("run_id".to_owned(), run.id.to_string()),
        ("seed".to_owned(), run.seed.to_string()),
        ("version".to_owned(), clean(&run.version, NAME_MAX)),
        ("plan_hash".to_owned(), clean(&run.plan_hash, NAME_MAX)),
        ("started_at".to_owned(), clean(&run.started_at, NAME_MAX)),
        ("verdict".to_owned(), summary.verdict.word().to_owned()),
        ("exit_code".to_owned(), summary.exit_code.number().to_string()),
        ("generator".to_owned(), summary.generator.verdict.word().to_owned()),
    ];
    let strains = head(summary, &PAGE).strains;
    properties.extend(
        strains
            .iter()
            .map(|strain| ("generator_reason".to_owned(), clean(&strain.text, MESSAGE_MAX))),
    );
    let targets = run.targets.iter().take(8);
    properties.extend(targets.map(|target| ("target".to_owned(), clean(target, NAME_MAX))));
    let labels = run.labels.iter().take(64);
    properties.extend(labels.map(|(name, value)| {
        let name = clean(name, NAME_MAX);
        (format!("label.{name}"), clean(value, NAME_MAX))
    }));
    properties
}

fn case(sla: &SlaResult, class: &str) -> TestCase {
    let status = match sla.verdict {
        SlaVerdict::Passed => TestCaseStatus::success(),
        SlaVerdict::Failed => bad(NonSuccessKind::Failure, sla),
        SlaVerdict::NotEnoughSamples | SlaVerdict::NotJudged => bad(NonSuccessKind::Error, sla),
        SlaVerdict::Provisional => {
            let mut status = TestCaseStatus::skipped();
            status.set_message("the run goes on");
            status
        }
    };
    let name = match scope(sla).as_str() {
        "run" => sla.that.clone(),
        scope => format!("{} ({scope})", sla.that),
    };
    let mut case = TestCase::new(clean(&name, NAME_MAX), status);
    case.set_classname(class);
    if !sla.observed.is_empty() {
        case.set_system_out(clean(&format!("observed {}", sla.observed), MESSAGE_MAX));
    }
    case
}

fn bad(kind: NonSuccessKind, sla: &SlaResult) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    let observed = if sla.observed.is_empty() {
        "no samples"
    } else {
        &sla.observed
    };
    status.set_type(words(sla.verdict)).set_message(clean(
        &format!("expected {}, observed {observed}", sla.that),
        MESSAGE_MAX,
    ));
    if !sla.reason.is_empty() {
        status.set_description(clean(&sla.reason, MESSAGE_MAX));
    }
    status
}

fn verdict(summary: &Summary, class: &str) -> TestCase {
    let kind = match summary.verdict {
        Verdict::Passed => None,
        Verdict::Failed => Some(NonSuccessKind::Failure),
        Verdict::Inconclusive
        | Verdict::Invalid
        | Verdict::Aborted
        | Verdict::RolledBack
        | Verdict::UndoFailed
        | Verdict::Inconsistent => Some(NonSuccessKind::Error),
    };
    let status = kind.map_or_else(TestCaseStatus::success, |kind| {
        let head = head(summary, &PAGE);
        let reasons: Vec<String> = head.reasons.iter().map(|reason| clean(reason, MESSAGE_MAX)).collect();
        let mut status = TestCaseStatus::non_success(kind);
        let message = format!("{}, exit code {}", head.verdict, summary.exit_code.number());
        status.set_type(summary.verdict.word()).set_message(message);
        status.set_description(reasons.join("\n"));
        status
    });
    let mut case = TestCase::new("verdict", status);
    case.set_classname(class);
    case.set_system_out(head(summary, &PAGE).generator.text);
    case
}
