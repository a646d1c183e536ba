//! The files that a plan names, as they were delivered to the worker.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use barrage_model::plan::FileRef;
use sha2::{Digest, Sha256};

/// Contents by their SHA-256.
#[derive(Clone, Default)]
pub struct Files(BTreeMap<[u8; 32], Arc<[u8]>>);

impl Files {
    /// No files.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a content and says its hash, under which a plan refers to it.
    pub fn insert(&mut self, content: impl Into<Arc<[u8]>>) -> [u8; 32] {
        let content = content.into();
        let hash = Sha256::digest(&content).into();
        self.0.insert(hash, content);
        hash
    }

    /// The content that a plan refers to; `None` when it has no hash yet or was not delivered.
    pub fn get(&self, file: &FileRef) -> Option<&Arc<[u8]>> {
        self.0.get(&file.sha256?)
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = self.0.values().map(|content| content.len());
        f.debug_list().entries(sizes).finish()
    }
}
