//! What the plan takes from the worker's machine: environment variables and secret files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::sync::Arc;

use super::super::error::PrepareError;

/// Largest secret, in bytes; messages are searched for it.
const SECRET_MAX: u64 = 64 * 1024;

/// The machine, as far as secrets are concerned.
pub(in crate::scenario) trait Host {
    /// An environment variable.
    fn env(&self, name: &str) -> Option<String>;
    /// A regular file's content, at most `max` bytes of it.
    fn file(&self, path: &str, max: u64) -> io::Result<Option<Vec<u8>>>;
}

/// The machine that the worker runs on.
#[derive(Clone, Copy, Debug)]
pub(in crate::scenario) struct ThisHost;

impl Host for ThisHost {
    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, path: &str, max: u64) -> io::Result<Option<Vec<u8>>> {
        // A pipe or a device could keep the worker waiting for ever.
        if !std::fs::metadata(path)?.is_file() {
            return Ok(None);
        }
        let mut content = Vec::new();
        File::open(path)?.take(max).read_to_end(&mut content)?;
        Ok(Some(content))
    }
}

/// A machine on which every secret is there. What it is, is not known; this can be a host, a port and a number.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnyHost;

impl Host for AnyHost {
    fn env(&self, _: &str) -> Option<String> {
        Some("1".to_owned())
    }

    fn file(&self, _: &str, _: u64) -> io::Result<Option<Vec<u8>>> {
        Ok(Some(b"1".to_vec()))
    }
}

/// Reads each secret once and remembers it, for the redactor.
pub(in crate::scenario) struct Outside<'a> {
    host: &'a dyn Host,
    env: BTreeMap<String, Arc<str>>,
    files: BTreeMap<String, Arc<str>>,
    /// Every secret value that the run knows.
    pub(in crate::scenario) secrets: Vec<String>,
}

impl<'a> Outside<'a> {
    pub(super) fn new(host: &'a dyn Host) -> Self {
        Self {
            host,
            env: BTreeMap::new(),
            files: BTreeMap::new(),
            secrets: Vec::new(),
        }
    }

    pub(super) fn env(&mut self, name: &str) -> Result<Arc<str>, PrepareError> {
        if let Some(known) = self.env.get(name) {
            return Ok(Arc::clone(known));
        }
        let value = self
            .host
            .env(name)
            .ok_or_else(|| PrepareError::NoEnv(name.to_owned()))?;
        self.secrets.push(value.clone());
        let value: Arc<str> = value.into();
        self.env.insert(name.to_owned(), Arc::clone(&value));
        Ok(value)
    }

    /// The file's text without trailing line ends.
    pub(super) fn file(&mut self, path: &str) -> Result<Arc<str>, PrepareError> {
        if let Some(known) = self.files.get(path) {
            return Ok(Arc::clone(known));
        }
        let unreadable = |source| PrepareError::SecretFile {
            path: path.to_owned(),
            source,
        };
        let content = self.host.file(path, SECRET_MAX + 1).map_err(unreadable)?;
        let text = content
            .filter(|content| content.len() as u64 <= SECRET_MAX)
            .and_then(|content| String::from_utf8(content).ok())
            .ok_or_else(|| PrepareError::NotText(path.to_owned()))?;
        let text = text.trim_end_matches(['\n', '\r']);
        self.secrets.push(text.to_owned());
        let value: Arc<str> = text.into();
        self.files.insert(path.to_owned(), Arc::clone(&value));
        Ok(value)
    }
}
