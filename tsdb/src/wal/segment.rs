//! One file of the log: frames, each with its checksum. Bytes: `docs/format/wal.md`.

use std::path::Path;

use crate::codec::{Decoder, Encoder, crc32c};
use crate::error::Error;
use crate::fs::{AtPath, File, Fs};
use crate::manifest::MANIFEST_VERSION;

/// Begins a segment.
const SEGMENT_MAGIC: [u8; 4] = *b"SBwl";
const VERSION: u32 = 1;
/// Magic, version, number, checksum of these.
pub(crate) const SEGMENT_HEADER_BYTES: u64 = 4 + 4 + 8 + 4;

/// Begins a frame. No frame begins with zeros, which is what a reserved file is filled with.
const FRAME_MAGIC: [u8; 4] = *b"SBfr";
/// Magic, length of the payload, CRC-32C of length and payload.
pub(crate) const FRAME_HEADER_BYTES: usize = 4 + 4 + 4;

/// The newest version of a file of frames: that of segments and checkpoints, or of the manifest, whose number is 0.
fn newest_version(number: u64) -> u32 {
    if number == 0 { MANIFEST_VERSION } else { VERSION }
}

/// Bytes that a frame may hold; a larger claim is damage.
pub(crate) const MAX_FRAME_BYTES: usize = 1 << 30;

/// Bytes read from the file at once.
const READ_BYTES: usize = 1 << 20;

/// The bytes that begin segment `number`.
pub(crate) fn segment_header(number: u64) -> Vec<u8> {
    file_header(VERSION, number)
}

/// The bytes that begin a file of frames.
pub(crate) fn file_header(version: u32, number: u64) -> Vec<u8> {
    let mut out = SEGMENT_MAGIC.to_vec();
    out.put_u32(version);
    out.put_u64(number);
    let crc = crc32c(&out);
    out.put_u32(crc);
    out
}

/// Leaves room for a frame's header at the end of `out`; [`finish_frame`] fills it in.
pub(crate) fn begin_frame(out: &mut Vec<u8>) {
    out.extend_from_slice(&FRAME_MAGIC);
    out.extend_from_slice(&[0; 8]);
}

/// Completes the frame that fills `out`.
pub(crate) fn finish_frame(out: &mut [u8]) {
    let len = u32::try_from(out.len() - FRAME_HEADER_BYTES).expect("a commit's size is checked before it is logged");
    out[4..8].copy_from_slice(&len.to_le_bytes());
    let crc = frame_crc(&out[4..8], &out[FRAME_HEADER_BYTES..]);
    out[8..12].copy_from_slice(&crc.to_le_bytes());
}

/// Of the payload, with the length mixed in so that it is covered too.
fn frame_crc(len: &[u8], payload: &[u8]) -> u32 {
    crc32c(payload) ^ crc32c(len).rotate_left(16)
}

/// Origin of a file, told by its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// This program has written it.
    Ours,
    /// Nothing has been written to its beginning.
    Blank,
    /// Another program has written it.
    Foreign,
}

/// Origin of the file of frames `path`, which is named by `number`. A damaged header of ours is known by its other fields, or
/// by a frame that is whole; a file that is not there is blank. Cost: a short read, unless the header is not ours.
pub(crate) fn origin(fs: &dyn Fs, path: &Path, number: u64) -> Result<Origin, Error> {
    let file = match fs.open_read(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Origin::Blank),
        other => other.at(path)?,
    };
    let mut header = [0; SEGMENT_HEADER_BYTES as usize];
    let len = file.read_at(0, &mut header).at(path)?;
    let header = &header[..len];
    let magic = &header[..len.min(SEGMENT_MAGIC.len())];
    if header.iter().all(|&byte| byte == 0) {
        return Ok(Origin::Blank);
    }
    let is_numbered = || {
        let of_version = |version: u32| [&version.to_le_bytes()[..], &number.to_le_bytes()].concat();
        (VERSION..=newest_version(number)).any(|version| header.get(4..16) == Some(of_version(version).as_slice()))
    };
    if *magic == SEGMENT_MAGIC[..magic.len()] || is_numbered() {
        return Ok(Origin::Ours);
    }
    let mut reader = SegmentReader::open(&*file, path, number)?;
    Ok(if reader.next_frame()?.is_some() { Origin::Ours } else { Origin::Foreign })
}

/// What is wrong with a stretch of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    /// Where it begins.
    pub(crate) offset: u64,
    /// Bytes up to the next good frame; up to the end of the file if there is none.
    pub(crate) bytes: u64,
    /// Whether nothing good follows: what a crash leaves.
    pub(crate) at_end: bool,
}

/// Hands out the frames of a segment in order, in bounded memory: one frame and a read buffer.
#[derive(Debug)]
pub(crate) struct SegmentReader<'a> {
    file: &'a dyn File,
    path: &'a Path,
    len: u64,
    /// Bytes of the file from `start` on.
    buffer: Vec<u8>,
    start: u64,
    /// The next byte to look at, in the buffer.
    at: usize,
    damage: Vec<Damage>,
    /// Where the last good frame ends.
    good_until: u64,
    version: u32,
}

impl<'a> SegmentReader<'a> {
    /// Checks the header of segment `number`.
    pub(crate) fn open(file: &'a dyn File, path: &'a Path, number: u64) -> Result<Self, Error> {
        let len = file.size().at(path)?;
        let newest = newest_version(number);
        let mut reader = Self {
            file,
            path,
            len,
            buffer: Vec::new(),
            start: 0,
            at: 0,
            damage: Vec::new(),
            good_until: 0,
            version: newest,
        };
        let header = reader.peek(SEGMENT_HEADER_BYTES as usize)?;
        let corrupt = |offset, what| Error::Corrupt { path: path.to_owned(), offset, what };
        if header.len() < SEGMENT_HEADER_BYTES as usize {
            // A crash right after the file was made: nothing was acknowledged from it.
            if header.iter().all(|&b| b == 0) {
                return Ok(reader);
            }
            reader.good_until = 1;
            return Ok(reader);
        }
        let mut input = Decoder::new(header);
        let magic = input.take(4).expect("the header is there");
        let (version, found) = (input.u32().expect("the header is there"), input.u64().expect("the header is there"));
        let crc = crc32c(&header[..16]);
        let stored = input.u32().expect("the header is there");
        if header.iter().all(|&b| b == 0) {
            // Space that was reserved and nothing else, or a beginning that is lost.
            reader.good_until = u64::from(!reader.only_zeros_follow()?);
            return Ok(reader);
        }
        if magic != SEGMENT_MAGIC || crc != stored {
            // The frames may be sound; finding the first one tells of what was skipped.
            reader.good_until = 1;
            return Ok(reader);
        }
        if version == 0 || version > newest {
            return Err(corrupt(4, "file of frames of an unknown version"));
        }
        reader.version = version;
        if found != number {
            return Err(corrupt(8, "log segment under another's name"));
        }
        reader.at = SEGMENT_HEADER_BYTES as usize;
        reader.good_until = SEGMENT_HEADER_BYTES;
        Ok(reader)
    }

    /// The payload of the next good frame and its offset in the file; `None` at the end.
    pub(crate) fn next_frame(&mut self) -> Result<Option<(u64, &[u8])>, Error> {
        if self.good_until == 0 {
            return Ok(None);
        }
        let mut bad_from = None;
        let mut looked_again = false;
        loop {
            let offset = self.start + self.at as u64;
            if let Some(len) = self.frame_here()? {
                if let Some(from) = bad_from.filter(|_| !looked_again) {
                    // Whoever writes to the file meanwhile had finished what lies before this frame when it began it.
                    looked_again = true;
                    self.go_to(from);
                    if self.frame_here()?.is_some() {
                        bad_from = None;
                    } else {
                        self.go_to(offset);
                    }
                    continue;
                }
                if let Some(from) = bad_from {
                    self.damage.push(Damage { offset: from, bytes: offset - from, at_end: false });
                }
                let from = self.at + FRAME_HEADER_BYTES;
                self.at = from + len;
                self.good_until = self.start + self.at as u64;
                return Ok(Some((offset + FRAME_HEADER_BYTES as u64, &self.buffer[from..from + len])));
            }
            if bad_from.is_none() && self.only_zeros_follow()? {
                return Ok(None);
            }
            bad_from.get_or_insert(offset);
            if !self.skip_to_magic()? {
                let offset = bad_from.unwrap_or(offset);
                self.damage.push(Damage { offset, bytes: self.len - offset, at_end: true });
                self.good_until = self.good_until.min(offset);
                self.at = self.buffer.len();
                return Ok(None);
            }
        }
    }

    /// The length of the payload if a good frame begins at `at`.
    fn frame_here(&mut self) -> Result<Option<usize>, Error> {
        let header = self.peek(FRAME_HEADER_BYTES)?;
        if header.len() < FRAME_HEADER_BYTES || header[..4] != FRAME_MAGIC {
            return Ok(None);
        }
        let mut input = Decoder::new(&header[4..]);
        let (len, crc) = (input.u32().expect("the header is there"), input.u32().expect("the header is there"));
        let len_bytes = len.to_le_bytes();
        let len = len as usize;
        let left = self.len - (self.start + self.at as u64) - FRAME_HEADER_BYTES as u64;
        if len > MAX_FRAME_BYTES || len as u64 > left {
            return Ok(None);
        }
        let frame = self.peek(FRAME_HEADER_BYTES + len)?;
        Ok((frame.len() == FRAME_HEADER_BYTES + len && frame_crc(&len_bytes, &frame[FRAME_HEADER_BYTES..]) == crc)
            .then_some(len))
    }

    /// Goes on at `offset`, with what the file has there now.
    fn go_to(&mut self, offset: u64) {
        self.buffer.clear();
        (self.start, self.at) = (offset, 0);
    }

    /// The next `n` bytes from `at` on, or as many as the file has.
    fn peek(&mut self, n: usize) -> Result<&[u8], Error> {
        if self.buffer.len() - self.at < n {
            self.buffer.drain(..self.at);
            self.start += self.at as u64;
            self.at = 0;
            let have = self.buffer.len();
            // What is written behind it meanwhile is not looked at.
            let left = usize::try_from(self.len.saturating_sub(self.start)).unwrap_or(usize::MAX);
            self.buffer.resize(n.max(READ_BYTES).min(left).max(have), 0);
            let read = self.file.read_at(self.start + have as u64, &mut self.buffer[have..]).at(self.path)?;
            self.buffer.truncate(have + read);
        }
        let end = self.buffer.len().min(self.at + n);
        Ok(&self.buffer[self.at..end])
    }

    /// Whether the rest of the file is reserved space. Reads all of it: zeros may also be damage with frames behind.
    fn only_zeros_follow(&self) -> Result<bool, Error> {
        if self.buffer[self.at..].iter().any(|&b| b != 0) {
            return Ok(false);
        }
        let mut offset = self.start + self.buffer.len() as u64;
        let mut bytes = vec![0; READ_BYTES];
        while offset < self.len {
            let read = self.file.read_at(offset, &mut bytes).at(self.path)?;
            if read == 0 {
                break;
            }
            if bytes[..read].iter().any(|&b| b != 0) {
                return Ok(false);
            }
            offset += read as u64;
        }
        Ok(true)
    }

    /// Moves on to the next place where a frame may begin.
    fn skip_to_magic(&mut self) -> Result<bool, Error> {
        self.at = (self.at + 1).min(self.buffer.len());
        loop {
            let bytes = self.peek(READ_BYTES)?;
            if bytes.len() < FRAME_MAGIC.len() {
                return Ok(false);
            }
            if let Some(found) = bytes.windows(FRAME_MAGIC.len()).position(|w| w == FRAME_MAGIC) {
                self.at += found;
                return Ok(true);
            }
            self.at += bytes.len() - (FRAME_MAGIC.len() - 1);
        }
    }

    /// The version of the file; the newest where its header is damaged.
    pub(crate) fn version(&self) -> u32 {
        self.version
    }

    /// What was skipped, once the end has been reached.
    pub(crate) fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// Where the last good frame ends; 0 if the segment has no header.
    pub(crate) fn good_until(&self) -> u64 {
        self.good_until
    }
}
