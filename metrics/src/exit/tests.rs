use super::*;

fn sla(verdict: SlaVerdict) -> SlaResult {
    SlaResult {
        that: "p95 < 250ms".to_owned(),
        during: None,
        over: None,
        in_a_row: 1,
        stop: false,
        implicit: false,
        observed: String::new(),
        verdict,
        reason: String::new(),
        at: None,
        breached_at: None,
    }
}

/// Builds evidence word by word, and compares verdict and exit code.
#[track_caller]
fn check(words: &str, want: Verdict, code: u8) {
    let (mut slas, mut mismatches, mut aftermath) = (Vec::new(), Vec::new(), Vec::new());
    let mut evidence = Evidence::default();
    for word in words.split_whitespace() {
        let mut stop = |cause| evidence.stop = Some((cause, "because"));
        match word {
            "passed" => slas.push(sla(SlaVerdict::Passed)),
            "failed" => slas.push(sla(SlaVerdict::Failed)),
            "unsure" => slas.push(sla(SlaVerdict::NotEnoughSamples)),
            "unjudged" => slas.push(sla(SlaVerdict::NotJudged)),
            "degraded" => evidence.generator = GeneratorVerdict::Degraded,
            "invalid" => evidence.generator = GeneratorVerdict::Invalid,
            "accepted" => evidence.accept_untrusted = true,
            "inconsistent" => mismatches.push("1 arrival too many".to_owned()),
            "loss" => evidence.loss = Some("lost".to_owned()),
            "rolled-back" => aftermath.push(Aftermath::RolledBack),
            "undo-failed" => aftermath.push(Aftermath::UndoFailed),
            "breach" => stop(StopCause::SlaBreached),
            "operator" => stop(StopCause::Operator),
            "guard" => stop(StopCause::Guard),
            "lost-worker" => stop(StopCause::WorkerLost),
            "sigint" => stop(StopCause::Interrupted),
            "sigterm" => stop(StopCause::Terminated),
            "no-data" => stop(StopCause::DataEnded),
            other => panic!("what is {other}?"),
        }
    }
    let evidence = Evidence {
        sla: &slas,
        mismatches: &mismatches,
        aftermath: &aftermath,
        ..evidence
    };
    let found = decide(&evidence);
    let got = (found.verdict, found.exit_code.number());
    assert_eq!(got, (want, code), "{words}: {:?}", found.reasons);
    let accepting = decide(&Evidence {
        accept_untrusted: true,
        ..evidence
    });
    assert_eq!(found.accepted, accepting.exit_code, "{words}");
}

#[test]
fn the_strongest_reason_decides() {
    check("", Verdict::Passed, 0);
    check("passed degraded", Verdict::Passed, 0);
    check("passed failed", Verdict::Failed, 99);
    check("unsure passed", Verdict::Inconclusive, 95);
    check("unsure failed", Verdict::Failed, 99);
    check("unsure accepted", Verdict::Inconclusive, 0);
    check("unjudged degraded passed", Verdict::Inconclusive, 95);
    check("unjudged failed", Verdict::Failed, 99);
    check("unjudged accepted", Verdict::Inconclusive, 0);
    check("unjudged invalid", Verdict::Invalid, 95);
    check("invalid", Verdict::Invalid, 95);
    check("invalid failed", Verdict::Invalid, 95);
    check("invalid accepted", Verdict::Invalid, 0);
    check("invalid accepted failed", Verdict::Invalid, 99);
    check("invalid inconsistent", Verdict::Inconsistent, 94);
    check("loss", Verdict::Inconclusive, 95);
    check("breach", Verdict::Failed, 99);
    check("operator", Verdict::Aborted, 96);
    check("guard failed", Verdict::Aborted, 96);
    check("lost-worker", Verdict::Inconclusive, 95);
    check("sigint", Verdict::Aborted, 130);
    check("sigterm", Verdict::Aborted, 143);
    check("sigint failed", Verdict::Failed, 99);
    check("sigint unsure", Verdict::Inconclusive, 95);
    check("no-data", Verdict::Passed, 0);
    check("rolled-back failed operator", Verdict::RolledBack, 97);
    check("rolled-back inconsistent undo-failed failed", Verdict::UndoFailed, 100);
}

#[test]
fn every_reason_is_named() {
    let slas = [sla(SlaVerdict::Failed)];
    let mismatches = ["1 arrival too many".to_owned()];
    let evidence = Evidence {
        sla: &slas,
        mismatches: &mismatches,
        stop: Some((StopCause::Operator, "stopped by alice")),
        ..Evidence::default()
    };
    let want = [
        "the ledgers do not add up: 1 arrival too many",
        "stopped by alice",
        "p95 < 250ms: ",
    ];
    assert_eq!(decide(&evidence).reasons, want);
}

#[test]
fn precedence_is_that_of_the_table() {
    let numbers = ExitCode::PRECEDENCE.map(ExitCode::number);
    assert_eq!(numbers, [100, 94, 95, 97, 96, 99, 98, 130, 143, 0]);
    for code in ExitCode::PRECEDENCE {
        assert_eq!(ExitCode::from_number(code.number()), Some(code));
        assert_eq!(code.or_stronger(ExitCode::Passed), code);
        assert_eq!(ExitCode::UndoFailed.or_stronger(code), ExitCode::UndoFailed);
    }
    assert_eq!(ExitCode::SlaFailed.or_stronger(ExitCode::Aborted), ExitCode::Aborted);
    assert_eq!(Verdict::from_word("rolled_back"), Some(Verdict::RolledBack));
    assert_eq!(Verdict::from_word("fine"), None);
}
