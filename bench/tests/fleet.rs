//! The fleet bench itself, small, against the binary of this build: everything that workers send is in the report.

use std::path::PathBuf;

use barrage_bench::fleet::{Options, measure};

/// Where a build of the workspace puts it.
fn binary() -> PathBuf {
    let own = std::env::current_exe().expect("a test knows its own file");
    let folder = own
        .parent()
        .and_then(|deps| deps.parent())
        .expect("tests lie in target/PROFILE/deps");
    let binary = folder.join("barrage");
    assert!(
        binary.exists(),
        "{} is missing; build the workspace first",
        binary.display()
    );
    binary
}

#[test]
fn what_a_fleet_sends_is_what_the_report_says() {
    let options = Options {
        binary: binary(),
        workers: 20,
        seconds: 4,
        pinned: false,
    };
    // It compares every count and the percentiles with its own account, and wants a passed run.
    let figures = measure(&options).unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!((figures.workers, figures.seconds), (20, 4));
    assert!(figures.whole.rss_bytes > 0 && figures.store_bytes > 0, "{figures:?}");
    assert!(
        figures.whole.lag_us[2] > 0 && figures.whole.commit_us[2] > 0,
        "{figures:?}"
    );
}
