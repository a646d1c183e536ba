//! The only place where this process draws entropy.

/// Draws a random number; `None` when the system has none to give.
pub(crate) fn draw() -> Option<u64> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place of the process that draws entropy"
    )]
    getrandom::u64().ok()
}
