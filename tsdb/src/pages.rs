//! Files of checksummed pages: written once from front to back, then mapped.
//!
//! A body, a checksum for each page of it, and a footer. The body is one run of bytes: what lies in it may cross pages.
//! A page is checked when it is first read; what is read has been checked. Bytes: `docs/format/block.md`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::codec::{Decoder, Encoder, crc32c};
use crate::error::Error;
use crate::fs::{AtPath, File, Fs, Map};

/// Fault of a mapped file whose end is not where it was, or of which a page could not be read.
pub(crate) const CUT: &str = "has become shorter since it was opened, or cannot be read";

/// Bytes that one checksum covers.
pub(crate) const PAGE_BYTES: usize = 1 << 14;

/// Bytes that are written at once.
const WRITE_BYTES: usize = 16 * PAGE_BYTES;

/// Length of the body, checksum of the checksums, version, magic, checksum of these.
const FOOTER_BYTES: usize = 8 + 4 + 4 + 4 + 4;

/// What a file is: its magic and the one version that is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileKind {
    pub(crate) magic: [u8; 4],
    pub(crate) version: u32,
}

impl FileKind {
    /// Whether the footer of the file `path` has the magic of this kind. Cost: a short read.
    pub(crate) fn is_at_end_of(self, fs: &dyn Fs, path: &Path) -> Result<bool, Error> {
        let file = match fs.open_read(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            other => other.at(path)?,
        };
        let Some(from) = file.size().at(path)?.checked_sub(8) else { return Ok(false) };
        let mut magic = [0; 4];
        // A directory of this name opens, and cannot be read.
        let read = file.read_at(from, &mut magic).unwrap_or(0);
        Ok(read == magic.len() && magic == self.magic)
    }
}

/// Writes such a file.
#[derive(Debug)]
pub(crate) struct PageWriter {
    file: Arc<dyn File>,
    path: PathBuf,
    kind: FileKind,
    /// What has not been written yet.
    buffer: Vec<u8>,
    /// Bytes written: whole pages.
    written: u64,
    checksums: Vec<u32>,
}

impl PageWriter {
    pub(crate) fn create(fs: &dyn Fs, path: PathBuf, kind: FileKind) -> Result<Self, Error> {
        let file = fs.create(&path).at(&path)?;
        Ok(Self { file, path, kind, buffer: Vec::new(), written: 0, checksums: Vec::new() })
    }

    /// Bytes of the body so far.
    pub(crate) fn len(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Where to append to the body. Call [`flush`](Self::flush) now and then.
    pub(crate) fn body(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Writes what has piled up, if that is much.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        if self.buffer.len() >= WRITE_BYTES { self.write(self.buffer.len() / PAGE_BYTES * PAGE_BYTES) } else { Ok(()) }
    }

    /// Writes the first `n` bytes of the buffer.
    fn write(&mut self, n: usize) -> Result<(), Error> {
        let bytes = &self.buffer[..n];
        self.checksums.extend(bytes.chunks(PAGE_BYTES).map(crc32c));
        self.file.write_at(self.written, bytes).at(&self.path)?;
        self.written += n as u64;
        self.buffer.drain(..n);
        Ok(())
    }

    /// Writes the rest and syncs the file. Gives its size.
    pub(crate) fn finish(mut self) -> Result<u64, Error> {
        self.write(self.buffer.len())?;
        let mut end = Vec::with_capacity(self.checksums.len() * 4 + FOOTER_BYTES);
        self.checksums.iter().for_each(|&checksum| end.put_u32(checksum));
        let checksum = crc32c(&end);
        let footer = end.len();
        end.put_u64(self.written);
        end.put_u32(checksum);
        end.put_u32(self.kind.version);
        end.extend_from_slice(&self.kind.magic);
        end.put_u32(crc32c(&end[footer..]));
        self.file.write_at(self.written, &end).at(&self.path)?;
        self.file.sync().at(&self.path)?;
        Ok(self.written + end.len() as u64)
    }
}

/// Reads such a file.
#[derive(Debug)]
pub(crate) struct Pages {
    path: PathBuf,
    map: Map,
    body: usize,
    /// A bit for each page that has been found good.
    good: Box<[AtomicU64]>,
}

impl Pages {
    /// Maps the file and checks its footer. Cost: a checksum of 4 bytes per page.
    pub(crate) fn open(fs: &dyn Fs, path: PathBuf, kind: FileKind) -> Result<Self, Error> {
        let file = fs.open_read(&path).at(&path)?;
        let map = fs.map(&path, file.size().at(&path)?).at(&path)?;
        let pages = Self { path, map, body: 0, good: Box::default() };
        let size = pages.map.len();
        let footer_at = size.checked_sub(FOOTER_BYTES).ok_or(pages.corrupt(size as u64, "ends too early"))?;
        let footer = &pages.map[footer_at..];
        let mut input = Decoder::new(footer);
        let mut take = || -> Result<_, crate::codec::Malformed> {
            Ok((input.u64()?, input.u32()?, input.u32()?, input.take(4)?, input.u32()?))
        };
        let (body, table_checksum, version, magic, checksum) =
            take().map_err(|e| e.at(&pages.path, footer_at as u64))?;
        let end = footer_at as u64;
        if magic != kind.magic || checksum != crc32c(&footer[..FOOTER_BYTES - 4]) {
            return Err(pages.corrupt(end, "no footer where one should be"));
        }
        if version != kind.version {
            return Err(pages.corrupt(end, "unknown version"));
        }
        let count = body.div_ceil(PAGE_BYTES as u64);
        if body > end || end - body != count * 4 {
            return Err(pages.corrupt(end, "length does not fit the file"));
        }
        let body = body as usize;
        if crc32c(&pages.map[body..footer_at]) != table_checksum {
            return Err(pages.corrupt(body as u64, "checksum of the checksums does not match"));
        }
        let good = (0..count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Ok(Self { body, good, ..pages })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the body.
    pub(crate) fn len(&self) -> u64 {
        self.body as u64
    }

    /// Bytes of the file.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.map.len() as u64
    }

    /// The error for bytes of this file that are not what they should be.
    pub(crate) fn corrupt(&self, offset: u64, what: &'static str) -> Error {
        Error::Corrupt { path: self.path.clone(), offset, what }
    }

    /// What has been read so far is what the file held when it was opened. Asked at the end of each read.
    ///
    /// # Errors
    /// If somebody has made the file shorter since, or the disk could not read it.
    #[inline]
    pub(crate) fn whole(&self) -> Result<(), Error> {
        if self.map.is_whole() { Ok(()) } else { Err(self.corrupt(self.file_bytes(), CUT)) }
    }

    /// `len` bytes of the body, checked.
    #[inline]
    pub(crate) fn bytes(&self, offset: u64, len: usize) -> Result<&[u8], Error> {
        let from = offset as usize;
        match from.checked_add(len) {
            Some(to) if to <= self.body => {
                self.check(from, to)?;
                Ok(&self.map[from..to])
            }
            _ => Err(self.corrupt(offset, "points beyond the end")),
        }
    }

    #[inline]
    fn check(&self, from: usize, to: usize) -> Result<(), Error> {
        for page in from / PAGE_BYTES..to.div_ceil(PAGE_BYTES) {
            if self.good[page / 64].load(Ordering::Relaxed) & 1 << (page % 64) == 0 {
                self.check_page(page)?;
            }
        }
        Ok(())
    }

    #[cold]
    fn check_page(&self, page: usize) -> Result<(), Error> {
        let from = page * PAGE_BYTES;
        let bytes = &self.map[from..(from + PAGE_BYTES).min(self.body)];
        let stored = Decoder::new(&self.map[self.body + page * 4..]).u32().expect("a checksum per page was counted");
        if crc32c(bytes) != stored {
            return Err(self.corrupt(from as u64, "checksum of the page does not match"));
        }
        self.good[page / 64].fetch_or(1 << (page % 64), Ordering::Relaxed);
        Ok(())
    }

    /// Checks every page again, also those found good before.
    pub(crate) fn verify(&self, each: &mut dyn FnMut(Error)) {
        for page in 0..self.body.div_ceil(PAGE_BYTES) {
            if let Err(e) = self.check_page(page) {
                self.good[page / 64].fetch_and(!(1 << (page % 64)), Ordering::Relaxed);
                each(e);
            }
        }
    }
}

/// A place in the body of a file from which values are taken one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    pages: &'a Pages,
    base: u64,
    pub(crate) input: Decoder<'a>,
}

impl<'a> Cursor<'a> {
    /// Over exactly `len` bytes at `offset`.
    pub(crate) fn exactly(pages: &'a Pages, offset: u64, len: usize) -> Result<Self, Error> {
        Ok(Self { pages, base: offset, input: Decoder::new(pages.bytes(offset, len)?) })
    }

    /// Takes something off; what is wrong with it is told with its place in the file.
    #[inline]
    pub(crate) fn take<T>(
        &mut self,
        take: impl FnOnce(&mut Decoder<'a>) -> Result<T, crate::codec::Malformed>,
    ) -> Result<T, Error> {
        take(&mut self.input).map_err(|e| e.at(&self.pages.path, self.base))
    }

    /// The error for what lies here.
    pub(crate) fn corrupt(&self, what: &'static str) -> Error {
        self.input.malformed(what).at(&self.pages.path, self.base)
    }
}
