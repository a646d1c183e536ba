//! Where the file system is touched.

pub mod files;
