//! Files that plans name, by content.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

/// Most bytes of one file.
pub const FILE_MAX: u64 = 256 * 1024 * 1024;
/// A file that no run uses is kept for this long, since it may be about to be used.
const UNUSED_KEPT: Duration = Duration::from_hours(1);

/// The SHA-256 of a file's content.
pub type Hash = [u8; 32];

/// Why a file was not taken or given.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Over [`FILE_MAX`].
    #[error("a file of more than 256 MiB")]
    TooLarge,
    /// Its content is not what its name says.
    #[error("the content does not match its SHA-256")]
    Hash,
    /// Nobody has uploaded it.
    #[error("no file {}", hex(.0))]
    Unknown(Hash),
    /// The disk.
    #[error("could not store a file")]
    Io(#[from] io::Error),
}

/// Lower-case hexadecimal digits.
pub fn hex(hash: &[u8]) -> String {
    hash.iter()
        .fold(String::with_capacity(hash.len() * 2), |mut text, byte| {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from_digit(digit.into(), 16).expect("four bits are a hexadecimal digit"));
            }
            text
        })
}

/// The folder of files.
#[derive(Clone, Debug)]
pub struct Files {
    dir: PathBuf,
}

impl Files {
    /// `alone` says that no other process has the store open: then what is half-written is nobody's and goes.
    pub(super) fn open(dir: PathBuf, alone: bool) -> io::Result<Self> {
        super::private_dir(&dir)?;
        let found = if alone { Some(fs::read_dir(&dir)?) } else { None };
        for entry in found.into_iter().flatten() {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "part") {
                fs::remove_file(path)?;
            }
        }
        Ok(Self { dir })
    }

    fn path(&self, hash: &Hash) -> PathBuf {
        self.dir.join(hex(hash))
    }

    /// Whether a file is there.
    pub fn has(&self, hash: &Hash) -> bool {
        self.path(hash).is_file()
    }

    /// Begins to take a file. `number` tells uploads of the same file at the same time apart.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn take(&self, hash: Hash, number: u64) -> Result<Incoming, FileError> {
        let part = self
            .dir
            .join(format!("{}.{}-{number}.part", hex(&hash), std::process::id()));
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&part)?;
        let target = self.path(&hash);
        Ok(Incoming {
            file,
            part,
            target,
            hash,
            sum: Sha256::new(),
            bytes: 0,
            kept: false,
        })
    }

    /// Opens a file, its content checked against its name.
    ///
    /// # Errors
    /// [`FileError::Unknown`] for one that was never uploaded, [`FileError::Hash`] for a damaged one, which is removed.
    pub fn give(&self, hash: &Hash) -> Result<File, FileError> {
        let mut file = match File::open(self.path(hash)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(FileError::Unknown(*hash)),
            opened => opened?,
        };
        let mut sum = Sha256::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                read => sum.update(&buffer[..read]),
            }
        }
        if sum.finalize()[..] != hash[..] {
            fs::remove_file(self.path(hash))?;
            return Err(FileError::Hash);
        }
        file.rewind()?;
        Ok(file)
    }

    /// Removes what is not in `used` and has not been touched for an hour.
    pub(super) fn sweep(&self, used: &BTreeSet<Vec<u8>>) -> io::Result<()> {
        let used: BTreeSet<String> = used.iter().map(|hash| hex(hash)).collect();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let kept = used.contains(&*entry.file_name().to_string_lossy());
            let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
            if !kept && age > UNUSED_KEPT {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// A file on its way in. Dropped before [`Incoming::keep`], it leaves nothing behind.
#[derive(Debug)]
pub struct Incoming {
    file: File,
    part: PathBuf,
    target: PathBuf,
    hash: Hash,
    sum: Sha256,
    bytes: u64,
    kept: bool,
}

impl Incoming {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`FileError::TooLarge`], or the disk.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        if self.bytes > FILE_MAX {
            return Err(FileError::TooLarge);
        }
        self.sum.update(bytes);
        self.file.write_all(bytes)?;
        Ok(())
    }

    /// Checks the content and gives the file its name, in one step. Returns its length.
    ///
    /// # Errors
    /// [`FileError::Hash`], or the disk.
    pub fn keep(mut self) -> Result<u64, FileError> {
        if self.sum.clone().finalize()[..] != self.hash[..] {
            return Err(FileError::Hash);
        }
        self.file.sync_all()?;
        fs::rename(&self.part, &self.target)?;
        self.kept = true;
        sync_dir(&self.target)?;
        Ok(self.bytes)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = fs::remove_file(&self.part)
        {
            tracing::warn!(%error, "could not remove a half-uploaded file");
        }
    }
}

fn sync_dir(file: &Path) -> io::Result<()> {
    file.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(content: &[u8]) -> Hash {
        Sha256::digest(content).into()
    }

    #[test]
    fn a_file_is_there_only_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(dir.path().join("files"), true).unwrap();
        let name = hash(b"hello");
        let mut good = files.take(name, 1).unwrap();
        good.write(b"hel").unwrap();
        assert!(!files.has(&name));
        good.write(b"lo").unwrap();
        assert_eq!(good.keep().unwrap(), 5);
        let mut text = String::new();
        files.give(&name).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");

        let mut wrong = files.take(hash(b"other"), 2).unwrap();
        wrong.write(b"hello").unwrap();
        assert!(matches!(wrong.keep(), Err(FileError::Hash)));
        drop(files.take(hash(b"third"), 3).unwrap());
        assert_eq!(fs::read_dir(dir.path().join("files")).unwrap().count(), 1);
        assert!(matches!(files.give(&hash(b"third")), Err(FileError::Unknown(_))));
    }

    #[test]
    fn a_damaged_file_is_not_given() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(dir.path().to_owned(), true).unwrap();
        let name = hash(b"hello");
        fs::write(files.path(&name), b"hallo").unwrap();
        assert!(matches!(files.give(&name), Err(FileError::Hash)));
        assert!(!files.has(&name));
    }

    #[test]
    fn what_nobody_uses_goes_after_an_hour() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(dir.path().to_owned(), true).unwrap();
        for content in [b"a", b"b"] {
            fs::write(files.path(&hash(content)), content).unwrap();
        }
        let used = BTreeSet::from([hash(b"a").to_vec()]);
        files.sweep(&used).unwrap();
        assert!(files.has(&hash(b"b")), "it may be about to be used");
        for content in [b"a", b"b"] {
            let file = fs::OpenOptions::new()
                .write(true)
                .open(files.path(&hash(content)))
                .unwrap();
            let old = file.metadata().unwrap().modified().unwrap() - Duration::from_hours(2);
            file.set_modified(old).unwrap();
        }
        files.sweep(&used).unwrap();
        assert!(files.has(&hash(b"a")) && !files.has(&hash(b"b")));
    }
}
