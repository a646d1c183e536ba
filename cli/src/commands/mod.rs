//! One module for each command.

pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod health;
pub(crate) mod plan;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod runs;
pub(crate) mod serve;
pub(crate) mod stop;
pub(crate) mod submit;
pub(crate) mod target;
pub(crate) mod tried;
pub(crate) mod watch;

use tokio::io::AsyncReadExt as _;

use crate::signals::Signals;

/// Waits until this process is told to stop: by a signal, or, when it is tied to its parent, by the end of stdin.
///
/// Signals are taken over before the process says that it is there, so that none of them can find it unprepared.
pub(crate) async fn until_told(signals: &mut Signals, tied: bool) {
    tokio::select! {
        _ = signals.next() => {}
        () = end_of_stdin(), if tied => {}
    }
}

async fn end_of_stdin() {
    let mut input = tokio::io::stdin();
    let mut ignored = [0_u8; 256];
    // An error on the pipe means the same as its end: the parent is gone.
    while input.read(&mut ignored).await.is_ok_and(|read| read > 0) {}
}
