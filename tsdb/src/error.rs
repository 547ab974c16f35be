//! What can go wrong in the store.

use std::io;
use std::path::{Path, PathBuf};

use crate::foreign::{Beside, Writer};

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
    /// The directory holds no store.
    #[error("{}: not a data directory: it has neither MANIFEST nor wal nor blocks", path.display())]
    NoStore {
        /// The directory.
        path: PathBuf,
    },
    /// Another program has written the directory, or part of it.
    #[error("{}: not a data directory of this program: {} is {}", dir.display(), found.display(), by(*writer))]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// The file or directory in it that this program has not written.
        found: PathBuf,
        /// The program that has.
        writer: Writer,
        /// Owner of the manifest beside it.
        beside: Beside,
    },
    /// A file of the store that is open was deleted by somebody.
    #[error("{}: was deleted while the store is open", path.display())]
    Deleted {
        /// The file.
        path: PathBuf,
    },
    /// The store cannot take samples now.
    #[error("ingestion is paused: {reason}")]
    Paused {
        /// Why, and what ends it.
        reason: String,
    },
    /// A chunk in memory cannot be read: a defect of this program or of the machine's memory.
    #[error("chunk in memory is damaged: {what}")]
    Memory {
        /// What is wrong with it.
        what: &'static str,
    },
    /// A commit is larger than a frame of the log can be.
    #[error("commit of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// Its size in the log.
        bytes: usize,
        /// The most that is possible.
        limit: usize,
    },
    /// The log is being replayed, and what is asked for takes all of it.
    #[error("the write-ahead log is being replayed")]
    Replaying,
    /// What was begun was given up because the store is being closed.
    #[error("cancelled")]
    Cancelled,
}

fn by(writer: Writer) -> &'static str {
    match writer {
        Writer::Prometheus => "of Prometheus",
        Writer::VictoriaMetrics => "of VictoriaMetrics",
        Writer::Unknown => "of another program",
    }
}

impl Error {
    /// Whether the disk has no room, or the user no more of it.
    pub(crate) fn is_full_disk(&self) -> bool {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        matches!(self, Self::Io { source, .. } if full.contains(&source.kind()))
    }

    /// Whether the disk refused to read what is there: it may give it another time, so nothing follows from it.
    pub(crate) fn is_refusal(&self) -> bool {
        use io::ErrorKind as Kind;
        let absent = [Kind::NotFound, Kind::UnexpectedEof, Kind::NotADirectory, Kind::IsADirectory];
        matches!(self, Self::Io { source, .. } if !absent.contains(&source.kind()))
    }

    /// A store in `dir` that cannot be read as of one moment.
    pub(crate) fn changing(dir: &Path) -> Self {
        Self::Io { path: dir.to_owned(), source: io::Error::other("changes faster than it can be read") }
    }
}
