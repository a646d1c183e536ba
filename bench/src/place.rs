//! Where a page goes.

use std::path::Path;

use anyhow::{Result, ensure};

/// Refuses a place for a page before anything is measured for it.
///
/// # Errors
/// Its folder does not exist, or there is a folder in its place.
pub(crate) fn writable(page: &Path) -> Result<()> {
    let folder = page.parent().filter(|folder| !folder.as_os_str().is_empty());
    ensure!(
        folder.is_none_or(Path::is_dir),
        "{} cannot be written: its folder does not exist",
        page.display()
    );
    ensure!(!page.is_dir(), "{} is a folder", page.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_needs_a_folder_and_a_place_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        assert!(writable(Path::new("page.md")).is_ok());
        assert!(writable(&folder.path().join("page.md")).is_ok());
        assert!(writable(&folder.path().join("none/page.md")).is_err());
        assert!(writable(folder.path()).is_err());
    }
}
