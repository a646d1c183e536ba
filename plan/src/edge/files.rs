//! The files that a plan names: read once, known by their content from then on.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use barrage_model::plan::{Action, Body, FileRef, PartBody, Plan, Step};
use sha2::{Digest as _, Sha256};

/// The largest file, in bytes.
pub const FILE_MAX: u64 = 256 * 1024 * 1024;
/// The most bytes of all files of a plan together.
pub const TOTAL_MAX: u64 = 1024 * 1024 * 1024;

/// The contents of a plan's files by their SHA-256.
pub type Contents = BTreeMap<[u8; 32], Vec<u8>>;

/// A file of a plan that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The plan's folder cannot be opened.
    #[error("could not open the plan's folder {}", .0.display())]
    Folder(PathBuf, #[source] io::Error),
    /// The file cannot be read.
    #[error("could not read `{}`, which the plan names", .0.escape_debug())]
    Unreadable(String, #[source] io::Error),
    /// The path leads out of the plan's folder.
    #[error("`{}` leads out of the plan's folder", .0.escape_debug())]
    Outside(String),
    /// A folder, a pipe or a device.
    #[error("`{}` is not a regular file", .0.escape_debug())]
    NotAFile(String),
    /// The file is too large.
    #[error("`{}` is larger than 256MiB", .0.escape_debug())]
    TooLarge(String),
    /// The files together are too large.
    #[error("the files of the plan are larger than 1GiB together")]
    TooLargeTogether,
}

impl FileError {
    /// The file, as the plan names it; `None` where it is about more than one.
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::Unreadable(path, _) | Self::Outside(path) | Self::NotAFile(path) | Self::TooLarge(path) => Some(path),
            Self::Folder(..) | Self::TooLargeTogether => None,
        }
    }
}

/// Reads every file that the plan names, and writes its hash into the plan.
///
/// `folder` is the plan's folder; symbolic links may point to places below it only. At most [`FILE_MAX`] bytes each and
/// [`TOTAL_MAX`] in all, held in memory.
///
/// # Errors
/// The first file that is missing, unreadable, outside the folder, not a regular file, or too large.
pub fn load(plan: &mut Plan, folder: &Path) -> Result<Contents, FileError> {
    let root = folder
        .canonicalize()
        .map_err(|error| FileError::Folder(folder.to_owned(), error))?;
    let mut hashes: BTreeMap<String, [u8; 32]> = BTreeMap::new();
    let mut contents = Contents::new();
    let mut total = 0_u64;
    let paths: Vec<String> = plan.files().into_iter().map(|file| file.path.clone()).collect();
    for path in paths {
        let content = read_below(&root, &path)?;
        total += content.len() as u64;
        if total > TOTAL_MAX {
            return Err(FileError::TooLargeTogether);
        }
        let hash: [u8; 32] = Sha256::digest(&content).into();
        hashes.insert(path, hash);
        contents.insert(hash, content);
    }
    each_file(plan, &mut |file| file.sha256 = hashes.get(&file.path).copied());
    Ok(contents)
}

fn read_below(root: &Path, path: &str) -> Result<Vec<u8>, FileError> {
    let unreadable = |error| FileError::Unreadable(path.to_owned(), error);
    let full = root.join(path).canonicalize().map_err(unreadable)?;
    if !full.starts_with(root) {
        return Err(FileError::Outside(path.to_owned()));
    }
    // Looked at before it is opened: opening a pipe would wait for its writer.
    let about = full.symlink_metadata().map_err(unreadable)?;
    if !about.is_file() {
        return Err(FileError::NotAFile(path.to_owned()));
    }
    if about.len() > FILE_MAX {
        return Err(FileError::TooLarge(path.to_owned()));
    }
    let mut content = Vec::with_capacity(about.len() as usize);
    let file = File::open(&full).map_err(unreadable)?;
    file.take(FILE_MAX + 1).read_to_end(&mut content).map_err(unreadable)?;
    if content.len() as u64 > FILE_MAX {
        return Err(FileError::TooLarge(path.to_owned()));
    }
    Ok(content)
}

/// Goes through every file reference of the plan.
pub fn each_file(plan: &mut Plan, see: &mut impl FnMut(&mut FileRef)) {
    plan.data.iter_mut().for_each(|source| see(&mut source.file));
    let tls = &mut plan.network.tls;
    [&mut tls.ca, &mut tls.certificate, &mut tls.key]
        .into_iter()
        .flatten()
        .for_each(&mut *see);
    each_in(&mut plan.setup, see);
    for scenario in &mut plan.scenarios {
        each_in(&mut scenario.on_start, see);
        each_in(&mut scenario.steps, see);
    }
    each_in(&mut plan.teardown, see);
}

fn each_in(steps: &mut [Step], see: &mut impl FnMut(&mut FileRef)) {
    for step in steps {
        match &mut step.action {
            Action::Think(_) | Action::Set(_) => {}
            Action::Request(request) => match &mut request.body {
                Body::File(file) => see(file),
                Body::Multipart(parts) => {
                    for part in parts {
                        if let PartBody::File(file) = &mut part.body {
                            see(file);
                        }
                    }
                }
                Body::Empty | Body::Json(_) | Body::Form(_) | Body::Raw(_) => {}
            },
            Action::Repeat { steps, .. } | Action::Until { steps, .. } | Action::Group { steps, .. } => {
                each_in(steps, see);
            }
            Action::If { then, otherwise, .. } => {
                each_in(then, see);
                each_in(otherwise, see);
            }
        }
    }
}
