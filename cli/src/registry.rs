//! Where running coordinators of this user register, so that `watch` and `stop` find them without an address.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use crate::exit::Failure;

/// A registration; taken back when dropped.
#[derive(Debug)]
pub(crate) struct Registration(PathBuf);

impl Drop for Registration {
    fn drop(&mut self) {
        // The file may be gone with its whole folder at the end of a login session.
        let _gone = fs::remove_file(&self.0);
    }
}

/// `$XDG_RUNTIME_DIR/barrage`, or a folder of this user's own under the temporary directory.
fn folder() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir).join("barrage"),
        None => std::env::temp_dir().join(format!("barrage-{}", rustix::process::getuid().as_raw())),
    }
}

/// Registers a coordinator's address until the registration is dropped. Where that cannot be (an empty file system, say)
/// it says so: everything works without, given an address.
pub(crate) fn register(url: &str) -> Option<Registration> {
    match try_register(url) {
        Ok(registration) => Some(registration),
        Err(failure) => {
            tracing::warn!(%failure, "other commands will need --coordinator");
            None
        }
    }
}

/// A folder that belongs to someone else is not used: another user could put addresses into it.
fn try_register(url: &str) -> Result<Registration, Failure> {
    let folder = folder();
    let failed = |error: &std::io::Error| Failure::own(format!("could not register in {}", folder.display()), error);
    if !folder.exists() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(|e| failed(&e))?;
    }
    let owner = fs::symlink_metadata(&folder).map_err(|e| failed(&e))?;
    if !owner.is_dir() || owner.uid() != rustix::process::getuid().as_raw() {
        return Err(Failure::Own(format!(
            "{} is not a folder of this user",
            folder.display()
        )));
    }
    let path = folder.join(format!("{}.url", std::process::id()));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .map_err(|e| failed(&e))?;
    file.write_all(url.as_bytes()).map_err(|e| failed(&e))?;
    Ok(Registration(path))
}

/// Addresses registered by live processes, the newest first.
pub(crate) fn registered() -> Vec<String> {
    let folder = folder();
    let Ok(entries) = fs::read_dir(&folder) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        let pid = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .and_then(|stem| stem.parse::<u32>().ok());
        let own = entry
            .metadata()
            .is_ok_and(|meta| meta.uid() == rustix::process::getuid().as_raw());
        let (Some(pid), true) = (pid, own) else { continue };
        if !PathBuf::from(format!("/proc/{pid}")).exists() {
            continue;
        }
        if let (Ok(url), Ok(meta)) = (fs::read_to_string(&path), entry.metadata()) {
            found.push((meta.modified().ok(), url));
        }
    }
    found.sort();
    found.into_iter().rev().map(|(_, url)| url).collect()
}
