//! Files mapped into memory: the one home of `unsafe`.

use std::fmt;
use std::io;
use std::ops::Deref;
use std::sync::Arc;

use memmap2::{Mmap, MmapOptions};

/// The first bytes of a file, mapped for reading. Clones are the same mapping; it stays when the file is removed.
///
/// A mapping may reach beyond what has been written so far: what is written there later shows in it.
#[derive(Clone)]
pub struct Map(Inner);

#[derive(Clone)]
enum Inner {
    Mapped(Arc<Mmap>),
    Copied(Arc<[u8]>),
}

impl Map {
    /// Maps the first `len` bytes of `file`.
    #[expect(clippy::disallowed_types, reason = "what is to be mapped is a file")]
    #[expect(unsafe_code, reason = "a mapping is only as good as what is done to its file")]
    pub(super) fn of_file(file: &std::fs::File, len: u64) -> io::Result<Self> {
        if file.metadata()?.len() < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if len == 0 {
            return Ok(Self::copied(&[]));
        }
        let len = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        // SAFETY: the store that holds the directory locked, this one or one that is read from beside it, never makes a
        // file shorter once it can be mapped, and writes each byte of it once: files of blocks before they have their
        // name, growing files of the head only behind the length that has been published to readers. That nobody else
        // changes them is asked of whoever runs the server.
        let map = unsafe { MmapOptions::new().len(len).map(file)? };
        Ok(Self(Inner::Mapped(Arc::new(map))))
    }

    /// Bytes that look like a mapping.
    #[must_use]
    pub fn copied(bytes: &[u8]) -> Self {
        Self(Inner::Copied(bytes.into()))
    }
}

impl Deref for Map {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Inner::Mapped(map) => map,
            Inner::Copied(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Map({} bytes)", self.len())
    }
}
