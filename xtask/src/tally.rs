//! Counts tests from the lines that the test harness prints, and the tests that said they could not run.

use std::collections::BTreeSet;

/// What the test binaries reported in total.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
    skipped: Vec<String>,
}

impl Tally {
    /// Adds one line of the harness's output, if it is a result line.
    pub(crate) fn add_line(&mut self, line: &str) {
        let Some((_, counts)) = line.split_once("test result:") else {
            return;
        };
        self.passed += count_before(counts, " passed");
        self.failed += count_before(counts, " failed");
        self.ignored += count_before(counts, " ignored");
    }

    /// Adds the log to which tests append one `SKIPPED <test>: <reason>` line each.
    pub(crate) fn add_skips(&mut self, log: &str) {
        self.skipped.extend(
            log.lines()
                .filter(|line| line.starts_with("SKIPPED"))
                .map(str::to_owned),
        );
    }

    /// Makes a run that ended badly without a failed test (a crash, a build error) visible as one failure.
    pub(crate) fn note_failed_run(&mut self) {
        self.failed = self.failed.max(1);
    }

    /// The lines of the tests that could not run.
    pub(crate) fn skipped(&self) -> &[String] {
        &self.skipped
    }

    /// The closing line. A test that said it could not run returned normally, so the harness counted it as passed; here
    /// it counts as skipped alone, once per test however many lines it wrote.
    pub(crate) fn closing_line(&self) -> String {
        let names: BTreeSet<&str> = self
            .skipped
            .iter()
            .map(|line| line.split_once(':').map_or(line.as_str(), |(name, _)| name))
            .collect();
        let skipped = names.len() as u64;
        let passed = self.passed.saturating_sub(skipped);
        format!(
            "{passed} passed, {} failed, {} skipped",
            self.failed,
            skipped + self.ignored
        )
    }
}

/// The number that stands right before `word`; 0 when there is none.
fn count_before(text: &str, word: &str) -> u64 {
    let Some((before, _)) = text.split_once(word) else {
        return 0;
    };
    let digits = before.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_summed_and_others_ignored() {
        let mut tally = Tally::default();
        tally.add_line("running 3 tests");
        tally.add_line("test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s");
        tally.add_line("test result: \u{1b}[31mFAILED\u{1b}[m. 7 passed; 2 failed; 0 ignored; 0 measured");
        assert_eq!(tally.closing_line(), "12 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn a_skipped_test_is_not_a_passed_one() {
        let mut tally = Tally::default();
        tally.add_line("test result: ok. 5 passed; 0 failed; 0 ignored;");
        tally.add_skips("SKIPPED nginx_log: no nginx\nnoise\nSKIPPED nginx_log: again\nSKIPPED compose: no docker\n");
        assert_eq!(tally.skipped().len(), 3);
        assert_eq!(tally.closing_line(), "3 passed, 0 failed, 2 skipped");
    }

    #[test]
    fn a_run_that_crashed_counts_as_a_failure() {
        let mut tally = Tally::default();
        tally.note_failed_run();
        assert_eq!(tally.closing_line(), "0 passed, 1 failed, 0 skipped");
    }
}
