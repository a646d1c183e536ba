//! Data rows.

/// A file that the plan names, with its content's hash once it has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRef {
    /// As written, relative to the plan's folder; never leaves it.
    pub path: String,
    /// SHA-256 of the content; the name under which it is uploaded and fetched.
    pub sha256: Option<[u8; 32]>,
}

/// A source of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataSource {
    /// The first part of `${name.column}`.
    pub name: String,
    /// CSV with a header line, or JSON lines.
    pub format: DataFormat,
    /// The file, at most 256 MiB.
    pub file: FileRef,
    /// Which row an iteration gets.
    pub pick: Pick,
    /// What happens when the rows run out (`sequential` and `once-per-user`).
    pub on_end: OnEnd,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataFormat {
    /// Comma-separated with a header line.
    Csv,
    /// One JSON object per line.
    JsonLines,
}

/// Which row an iteration gets. A function of (seed, arrival index) or of the user, so equal on any fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// Row = arrival index (with `on_end: wrap`: modulo the number of rows).
    Sequential,
    /// Drawn from (seed, arrival index).
    Random,
    /// Row = user number.
    OncePerUser,
}

/// What happens when the rows run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnEnd {
    /// The run stops gracefully.
    Stop,
    /// Begins again with the first row.
    Wrap,
    /// The iteration is broken off before its first step.
    Error,
}
