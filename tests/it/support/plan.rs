//! Plans of tests.

use tempfile::TempDir;

/// Writes `plan.yaml` and returns its path.
pub fn write(home: &TempDir, text: &str) -> String {
    let file = home.path().join("plan.yaml");
    std::fs::write(&file, text).expect("a plan can be written");
    file.into_os_string()
        .into_string()
        .expect("temporary folders are UTF-8")
}
