//! The one place of the worker that draws entropy.

/// A random number that tells this process from every other.
///
/// # Errors
/// When the system has no random numbers to give.
pub(crate) fn incarnation() -> std::io::Result<u64> {
    let mut bytes = [0; 8];
    #[expect(clippy::disallowed_methods, reason = "this is the worker's entropy.rs")]
    getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
    // 0 is what an unset field reads as.
    Ok(u64::from_le_bytes(bytes).max(1))
}
