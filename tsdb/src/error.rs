//! What can go wrong in the store.

use std::io;
use std::path::PathBuf;

/// What happened, and where.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Bytes that this program cannot have written, or that changed since.
    #[error("{}: corrupt at byte {offset}: {what}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// Another process has the data directory open.
    #[error("{}: in use by another process", path.display())]
    Locked {
        /// The data directory.
        path: PathBuf,
    },
    /// The store cannot take samples now.
    #[error("ingestion is paused: {reason}")]
    Paused {
        /// Why, and what ends it.
        reason: String,
    },
}
