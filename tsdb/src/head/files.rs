//! Sealed chunks that have left the heap: files that are written once and mapped. Bytes: `docs/format/head.md`.
//!
//! A series knows where its newest stored chunk is; each record says where the one before it is. So the chunks of a
//! series cost page cache, not heap, however many there are.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::RwLock;

use crate::chunk::{Column, SealedChunk, TimesOfColumn, decode_chunk, decode_column, encode_column};
use crate::codec::{Decoder, Encoder, Malformed, crc32c};
use crate::error::Error;
use crate::fs::{AtPath, File, Fs, Map, names_in, number_of};
use crate::pages::CUT;
use crate::querier::Columns;
use crate::sample::TimeRange;
use crate::wal::{Origin, SeriesId};

/// Directory of the files within the data directory.
pub(crate) const CHUNKS_DIR: &str = "head";

/// Begins a file.
const MAGIC: [u8; 4] = *b"SBhc";
const VERSION: u32 = 1;
/// Magic, version, number, checksum of these.
pub(super) const HEADER_BYTES: usize = 4 + 4 + 4 + 4;
/// Checksum and length of what follows.
pub(super) const RECORD_HEADER_BYTES: usize = 4 + 4;
/// Bytes that a record of a chunk has before the chunk itself.
const CHUNK_FIELDS_BYTES: usize = 1 + 8 + 4 + 4 + 8 + 8 + 8 + 4;

const CHUNK: u8 = 1;
pub(super) const COLUMN: u8 = 2;

/// Bytes gathered before they are written.
const WRITE_BYTES: usize = 1 << 20;
/// A file that has reached this takes no more chunks.
const FULL_BYTES: usize = 64 << 20;

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: NonZeroU32,
    pub(crate) offset: u32,
}

/// Where a chunk is, and the time of its last sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) place: Place,
    pub(crate) max_ms: i64,
}

impl Stored {
    /// As a checkpoint has it.
    pub(crate) fn from_log((file, offset, max_ms): (u32, u32, i64)) -> Option<Self> {
        NonZeroU32::new(file).map(|file| Self { place: Place { file, offset }, max_ms })
    }
}

/// The files of a head.
#[derive(Debug)]
pub(crate) struct ChunkFiles {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    files: RwLock<HashMap<NonZeroU32, Arc<ChunkFile>>>,
    /// Files that are needed and could not be opened: they are damaged, and stay.
    damaged: RwLock<Vec<NonZeroU32>>,
    last: AtomicU32,
}

/// A complete file, mapped.
#[derive(Debug)]
pub(crate) struct ChunkFile {
    path: PathBuf,
    pub(super) map: Map,
    /// The time of the last sample in it.
    max_ms: i64,
}

/// A chunk as it lies in its file.
#[derive(Debug)]
pub(crate) struct StoredChunk {
    /// The chunk of the same series before this one.
    pub(crate) before: Option<Stored>,
    pub(crate) range: TimeRange,
    /// Where the column of its times is in the same file; 0 if it has its own.
    column: u32,
    /// Where its bytes are in the file.
    bytes: Range<usize>,
}

/// Numbers of the files in `dir`, ascending.
fn numbers(fs: &dyn Fs, dir: &Path) -> Result<Vec<NonZeroU32>, Error> {
    let number = |name: &String| NonZeroU32::new(u32::try_from(number_of(name)?).ok()?);
    let mut numbers: Vec<NonZeroU32> = names_in(fs, dir)?.iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

impl ChunkFiles {
    /// The files in `dir`; none is open yet, see [`load`](Self::load).
    pub(crate) fn open(fs: &Arc<dyn Fs>, dir: PathBuf) -> Result<Self, Error> {
        let last = numbers(&**fs, &dir)?.last().map_or(0, |last| last.get());
        let (files, damaged) = (RwLock::default(), RwLock::default());
        Ok(Self { fs: fs.clone(), dir, files, damaged, last: AtomicU32::new(last) })
    }

    fn path(&self, number: NonZeroU32) -> PathBuf {
        self.dir.join(format!("{number:08}"))
    }

    /// Opens a file that is there and ends at `max_ms`.
    pub(crate) fn load(&self, number: NonZeroU32, max_ms: i64) -> Result<(), Error> {
        let path = self.path(number);
        let size = self.fs.open_read(&path).at(&path)?.size().at(&path)?;
        let map = self.fs.map(&path, size).at(&path)?;
        let header = map.get(..HEADER_BYTES).filter(|header| *header == file_header(number).as_slice());
        if header.is_none() {
            self.damaged.write().push(number);
            return Err(Error::Corrupt {
                path,
                offset: 0,
                what: "no header of a chunk file of this number and version",
            });
        }
        self.files.write().insert(number, Arc::new(ChunkFile { path, map, max_ms }));
        Ok(())
    }

    /// Opens all files that are there, as if each went on for ever. What cannot be opened is told of.
    pub(crate) fn load_all(&self) -> Vec<Error> {
        match numbers(&*self.fs, &self.dir) {
            Ok(numbers) => numbers.into_iter().filter_map(|number| self.load(number, i64::MAX).err()).collect(),
            Err(error) => vec![error],
        }
    }

    /// An open file.
    pub(crate) fn get(&self, number: NonZeroU32) -> Result<Arc<ChunkFile>, Error> {
        self.files.read().get(&number).cloned().ok_or_else(|| Error::Corrupt {
            path: self.path(number),
            offset: 0,
            what: "chunk file is missing",
        })
    }

    /// Begins a file.
    pub(crate) fn begin(&self) -> Result<ChunkFileWriter<'_>, Error> {
        let number = NonZeroU32::MIN.saturating_add(self.last.fetch_add(1, Ordering::Relaxed));
        let path = self.path(number);
        self.fs.create_dir_all(&self.dir).at(&self.dir)?;
        let file = self.fs.create(&path).at(&path)?;
        let buffer = file_header(number);
        Ok(ChunkFileWriter {
            files: self,
            number,
            path,
            file,
            written: 0,
            buffer,
            columns: HashMap::new(),
            max_ms: i64::MIN,
            done: false,
        })
    }

    /// The open files and the time at which each ends.
    pub(crate) fn list(&self) -> Vec<(NonZeroU32, i64)> {
        let mut files: Vec<_> = self.files.read().iter().map(|(&number, file)| (number, file.max_ms)).collect();
        files.sort_unstable();
        files
    }

    /// Deletes open files. Who reads in one goes on: it stays mapped.
    pub(crate) fn delete(&self, which: impl Fn(NonZeroU32, i64) -> bool) -> Result<(), Error> {
        for (number, _) in self.list().into_iter().filter(|&(number, max_ms)| which(number, max_ms)) {
            self.files.write().remove(&number);
            let path = self.path(number);
            self.fs.remove(&path).at(&path)?;
        }
        Ok(())
    }

    /// Deletes the files that are there and neither open nor damaged: nothing names them.
    pub(crate) fn sweep(&self) -> Result<(), Error> {
        for number in numbers(&*self.fs, &self.dir)? {
            if !self.files.read().contains_key(&number) && !self.damaged.read().contains(&number) {
                let path = self.path(number);
                self.fs.remove(&path).at(&path)?;
            }
        }
        Ok(())
    }

    /// Bytes of all open files.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.files.read().values().map(|file| file.map.len() as u64).sum()
    }
}

/// Origin of the file `path`, which is named by `number`; a file that is not there is blank. Cost: a short read.
pub(crate) fn is_chunk_file(fs: &dyn Fs, path: &Path, number: u64) -> Result<Origin, Error> {
    let mut header = [0; HEADER_BYTES];
    let len = match fs.open_read(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => 0,
        other => other.and_then(|file| file.read_at(0, &mut header)).at(path)?,
    };
    let header = &header[..len];
    let magic = &header[..len.min(MAGIC.len())];
    // A damaged header of ours is known by its other fields.
    let is_numbered = || header.get(4..12) == Some(&(u64::from(VERSION) | number << 32).to_le_bytes());
    Ok(if header.iter().all(|&byte| byte == 0) {
        Origin::Blank
    } else if *magic == MAGIC[..magic.len()] || is_numbered() {
        Origin::Ours
    } else {
        Origin::Foreign
    })
}

/// The bytes that begin file `number`.
fn file_header(number: NonZeroU32) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.put_u32(VERSION);
    out.put_u32(number.get());
    let crc = crc32c(&out);
    out.put_u32(crc);
    out
}

impl ChunkFile {
    pub(super) fn corrupt(&self, offset: u32, what: &'static str) -> Error {
        Error::Corrupt { path: self.path.clone(), offset: offset.into(), what }
    }

    /// What the checksum of the record at `offset` covers.
    pub(super) fn record(&self, offset: u32) -> Result<&[u8], Error> {
        let rest = self.map.get(offset as usize..).unwrap_or_default();
        let mut input = Decoder::new(rest);
        let (crc, len) = match (input.u32(), input.u32()) {
            (Ok(crc), Ok(len)) => (crc, len as usize),
            _ => return Err(self.corrupt(offset, "record reaches beyond the file")),
        };
        let end = RECORD_HEADER_BYTES.checked_add(len).filter(|&end| end <= rest.len());
        let body = &rest[4..end.ok_or_else(|| self.corrupt(offset, "record reaches beyond the file"))?];
        if crc32c(body) != crc {
            return Err(self.corrupt(offset, "checksum of a record does not hold"));
        }
        Ok(&body[4..])
    }

    /// The chunk at `offset`, of `series`.
    pub(crate) fn chunk(&self, offset: u32, series: SeriesId) -> Result<StoredChunk, Error> {
        let (found, chunk) = self.any_chunk(offset)?;
        if found != series {
            return Err(self.corrupt(offset, "chunk of another series"));
        }
        Ok(chunk)
    }

    /// The chunk at `offset`, and whose it is.
    pub(super) fn any_chunk(&self, offset: u32) -> Result<(SeriesId, StoredChunk), Error> {
        let record = self.record(offset)?;
        let end = offset as usize + RECORD_HEADER_BYTES + record.len();
        let read = || -> Result<(u64, StoredChunk), Malformed> {
            let mut input = Decoder::new(record);
            if input.u8()? != CHUNK {
                return Err(input.malformed("not a record of a chunk"));
            }
            let series = input.u64()?;
            let (file, at, max_ms) = (input.u32()?, input.u32()?, input.u64()? as i64);
            let before = NonZeroU32::new(file).map(|file| Stored { place: Place { file, offset: at }, max_ms });
            let range = TimeRange::from_millis(input.u64()? as i64, input.u64()? as i64);
            let column = input.u32()?;
            Ok((series, StoredChunk { before, range, column, bytes: end - input.remaining()..end }))
        };
        let found =
            read().map(|(series, chunk)| (SeriesId(series), chunk)).map_err(|e| self.corrupt(offset, e.what))?;
        self.whole(offset)?;
        Ok(found)
    }

    /// What has been read so far is what the file held when it was opened.
    fn whole(&self, offset: u32) -> Result<(), Error> {
        if self.map.is_whole() { Ok(()) } else { Err(self.corrupt(offset, CUT)) }
    }

    /// Appends the samples of a chunk within `range` to `columns`.
    pub(crate) fn read(
        &self,
        place: Place,
        chunk: &StoredChunk,
        range: TimeRange,
        columns: &mut Columns,
    ) -> Result<(), Error> {
        let failed = |e: Malformed| self.corrupt(place.offset, e.what);
        let bytes = &self.map[chunk.bytes.clone()];
        if chunk.column == 0 {
            decode_chunk(bytes, TimesOfColumn::None, usize::MAX, range, columns).map_err(failed)?;
            return self.whole(place.offset);
        }
        let key = (place.file.get(), chunk.column);
        let mut column = std::mem::take(&mut columns.column);
        if columns.column_key != key {
            let record = self.record(chunk.column)?;
            column.clear();
            columns.column_key = (0, 0);
            match record.split_first() {
                Some((&COLUMN, bytes)) => {
                    decode_column(bytes, &mut column).map_err(|e| self.corrupt(chunk.column, e.what))?;
                }
                _ => return Err(self.corrupt(chunk.column, "not a record of times")),
            }
            columns.column_key = key;
        }
        let read = decode_chunk(bytes, TimesOfColumn::Stored(&column), usize::MAX, range, columns);
        columns.column = column;
        read.map_err(failed)?;
        self.whole(place.offset)
    }
}

/// A file being written. Dropped unfinished, it is removed.
#[derive(Debug)]
pub(crate) struct ChunkFileWriter<'f> {
    files: &'f ChunkFiles,
    number: NonZeroU32,
    path: PathBuf,
    file: Arc<dyn File>,
    written: usize,
    buffer: Vec<u8>,
    /// Columns that are in the file.
    columns: HashMap<*const Column, u32>,
    max_ms: i64,
    done: bool,
}

impl ChunkFileWriter<'_> {
    pub(crate) fn is_full(&self) -> bool {
        self.offset() as usize >= FULL_BYTES
    }

    fn offset(&self) -> u32 {
        u32::try_from(self.written + self.buffer.len()).expect("a file ends soon after it is full")
    }

    /// Adds a chunk of `series` that comes after the one stored `before`.
    pub(crate) fn push(
        &mut self,
        series: SeriesId,
        before: Option<Stored>,
        chunk: &SealedChunk,
    ) -> Result<Stored, Error> {
        let column = match chunk.column() {
            None => 0,
            Some(column) => match self.columns.get(&Arc::as_ptr(column)) {
                Some(&offset) => offset,
                None => {
                    let offset = self.offset();
                    let from = self.begin_record(COLUMN);
                    encode_column(column, &mut self.buffer);
                    self.finish_record(from)?;
                    self.columns.insert(Arc::as_ptr(column), offset);
                    offset
                }
            },
        };
        let offset = self.offset();
        let from = self.begin_record(CHUNK);
        let out = &mut self.buffer;
        out.put_u64(series.0);
        out.put_u32(before.map_or(0, |b| b.place.file.get()));
        out.put_u32(before.map_or(0, |b| b.place.offset));
        out.put_u64(before.map_or(i64::MIN, |b| b.max_ms) as u64);
        out.put_u64(chunk.range().start.millis() as u64);
        out.put_u64(chunk.range().end.millis() as u64);
        out.put_u32(column);
        debug_assert_eq!(out.len() - from - RECORD_HEADER_BYTES, CHUNK_FIELDS_BYTES);
        out.extend_from_slice(chunk.bytes());
        self.finish_record(from)?;
        self.max_ms = self.max_ms.max(chunk.range().end.millis());
        Ok(Stored { place: Place { file: self.number, offset }, max_ms: chunk.range().end.millis() })
    }

    fn begin_record(&mut self, kind: u8) -> usize {
        let from = self.buffer.len();
        self.buffer.extend_from_slice(&[0; RECORD_HEADER_BYTES]);
        self.buffer.put_u8(kind);
        from
    }

    fn finish_record(&mut self, from: usize) -> Result<(), Error> {
        let len = (self.buffer.len() - from - RECORD_HEADER_BYTES) as u32;
        self.buffer[from + 4..from + 8].copy_from_slice(&len.to_le_bytes());
        let crc = crc32c(&self.buffer[from + 4..]);
        self.buffer[from..from + 4].copy_from_slice(&crc.to_le_bytes());
        if self.buffer.len() >= WRITE_BYTES { self.write_out() } else { Ok(()) }
    }

    fn write_out(&mut self) -> Result<(), Error> {
        self.file.write_at(self.written as u64, &self.buffer).at(&self.path)?;
        self.written += self.buffer.len();
        self.buffer.clear();
        Ok(())
    }

    /// Writes the rest, makes it survive a power cut, and opens the file for reading.
    pub(crate) fn finish(mut self) -> Result<NonZeroU32, Error> {
        self.write_out()?;
        self.file.sync().at(&self.path)?;
        self.files.fs.sync_dir(&self.files.dir).at(&self.files.dir)?;
        self.files.load(self.number, self.max_ms)?;
        self.done = true;
        Ok(self.number)
    }
}

impl Drop for ChunkFileWriter<'_> {
    fn drop(&mut self) {
        if !self.done {
            // Nothing names the file; what cannot be removed now is at the next checkpoint.
            drop(self.files.fs.remove(&self.path));
        }
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::chunk::Sealer;
    use crate::testing::FaultFs;

    #[test]
    fn the_worked_example_of_the_format_document() {
        let disk = FaultFs::default();
        let (fs, dir): (Arc<dyn Fs>, _) = (Arc::new(disk.clone()), PathBuf::from("/data/head"));
        let files = ChunkFiles::open(&fs, dir.clone()).unwrap();
        let mut columns = Columns::default();
        (1..5).for_each(|i| columns.push(i * 1000, i as f64, 0));
        let chunk = SealedChunk::of_floats(&columns, &mut Sealer::default()).unwrap();
        let mut writer = files.begin().unwrap();
        let stored = writer.push(SeriesId(5), None, &chunk).unwrap();
        let number = writer.finish().unwrap();
        let written = disk.bytes(&dir.join("00000001")).unwrap();
        let documented = crate::wal::worked_example(include_str!("../../docs/format/head.md"));
        assert_eq!(documented, written, "the document shows other bytes; these are written: {written:02x?}");
        let file = files.get(number).unwrap();
        let found = file.chunk(stored.place.offset, SeriesId(5)).unwrap();
        let mut read = Columns::default();
        file.read(stored.place, &found, TimeRange::ALL, &mut read).unwrap();
        assert_eq!((read.timestamps_ms, read.values), (columns.timestamps_ms, columns.values));
        assert!(file.chunk(stored.place.offset, SeriesId(6)).is_err(), "a chunk of another series");
    }
}
