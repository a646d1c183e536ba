//! Work that blocks, on a thread of its own.
//!
//! Not in a runtime's pool: where the system gives it no thread, that one panics and keeps the work for later.

use std::io;

use tokio::sync::oneshot;

/// The system gives no thread.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no thread")]
pub(crate) struct NoThread(#[source] pub(crate) io::Error);

/// A thread's whole work.
pub(crate) type Work = Box<dyn FnOnce() + Send>;

/// Begins `work` on a thread of this name. What it gives comes through the channel; nothing does if it panics.
///
/// # Errors
/// [`NoThread`]; the work is dropped then.
pub(crate) fn aside<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<oneshot::Receiver<T>, NoThread> {
    let (say, said) = oneshot::channel();
    let work = move || {
        // Nobody listens any more when the caller has given up.
        let _gone = say.send(work());
    };
    begin(name, Box::new(work))?;
    Ok(said)
}

/// Begins work that nobody waits for.
///
/// # Errors
/// As [`aside`].
pub(crate) fn begin(name: &str, work: Work) -> Result<(), NoThread> {
    let begun = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    begun.map(drop).map_err(NoThread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_work_gives_comes_back() {
        assert_eq!(aside("sum", || 1 + 1).unwrap().await, Ok(2));
        let died = aside("dies", || assert!(std::thread::current().name().is_none())).unwrap();
        assert!(died.await.is_err());
    }
}
