//! Reading the log from its beginning.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::segment::{Damage, Origin, SEGMENT_HEADER_BYTES, origin};
use super::{SegmentReader, segment_path, segments};
use crate::codec::Malformed;
use crate::error::Error;
use crate::fs::{AtPath, Fs};

/// What reading the log found.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogFound {
    pub(crate) segments: usize,
    pub(crate) bytes: u64,
    /// Where the good frames of each segment end.
    pub(crate) ends: BTreeMap<u64, u64>,
    /// What was wrong, in words.
    pub(crate) damage: Vec<String>,
    /// What follows the last good frame of the last segment that has a beginning, if anything does.
    pub(crate) tail: Option<LogTail>,
}

/// What a crash leaves of a commit that was never acknowledged, or a running server has written of one so far, or reserved
/// space: whoever goes on with the log cuts it off.
#[derive(Clone, Debug)]
pub(crate) struct LogTail {
    /// The segment.
    pub(crate) number: u64,
    path: PathBuf,
    good_until: u64,
    /// In words, if it is more than reserved space.
    pub(crate) unfinished: Option<String>,
}

impl LogTail {
    pub(crate) fn cut(&self, fs: &dyn Fs) -> Result<(), Error> {
        let file = fs.open(&self.path).at(&self.path)?;
        file.set_len(self.good_until).and_then(|()| file.sync()).at(&self.path)
    }
}

/// A frame of the log and where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) payload: &'a [u8],
    /// The version of the file.
    pub(crate) version: u32,
    path: &'a Path,
    offset: u64,
}

impl Frame<'_> {
    /// The error for something malformed within the payload.
    pub(crate) fn corrupt(&self, malformed: Malformed) -> Error {
        malformed.at(self.path, self.offset)
    }
}

/// Hands every good frame of the log in `dir` to `visit`, in order, from segment `first` on: older segments are what a
/// crash kept from being removed, and are left alone.
///
/// Damage in the middle is skipped and told of; segments that are missing are a matter of [`LogExtent`](super::LogExtent). Writes
/// nothing: see [`LogTail::cut`]. `progress` gets the bytes read and the bytes there are.
///
/// # Errors
/// If a file cannot be read, or is of a version that this program does not know.
pub(crate) fn replay(
    fs: &dyn Fs,
    dir: &Path,
    first: u64,
    mut visit: impl FnMut(Frame<'_>) -> Result<(), Error>,
    mut progress: impl FnMut(u64, u64),
) -> Result<LogFound, Error> {
    let numbers: Vec<u64> = segments(fs, dir)?.into_iter().filter(|&number| number >= first).collect();
    let mut total = 0;
    for &number in &numbers {
        let path = segment_path(dir, number);
        total += fs.open_read(&path).at(&path)?.size().at(&path)?;
    }
    let mut found = LogFound { segments: numbers.len(), ..LogFound::default() };
    for &number in &numbers {
        let path = segment_path(dir, number);
        let mut damage = std::mem::take(&mut found.damage);
        let end = read_frames(fs, &path, number, &mut damage, &mut visit, |read| progress(found.bytes + read, total))?;
        found.damage = damage;
        found.ends.insert(number, end.good_until);
        found.bytes += end.good_until;
        let has_frames = end.good_until > SEGMENT_HEADER_BYTES;
        if end.good_until == 0 && end.unfinished.is_some() && origin(fs, &path, number)? == Origin::Blank {
            // Its header is gone, and what follows it is not known to be a commit that never was: it stays as it is.
            found.damage.extend(end.unfinished);
        } else if has_frames || found.tail.is_none() {
            // What is unfinished in the one before, more was logged after.
            found.damage.extend(found.tail.take().and_then(|before| before.unfinished));
            let FramesEnd { good_until, unfinished, more } = end;
            found.tail = more.then_some(LogTail { number, path, good_until, unfinished });
        }
    }
    progress(total, total);
    Ok(found)
}

/// Where a file of frames ends.
#[derive(Clone, Debug)]
pub(crate) struct FramesEnd {
    /// Where the last good frame ends.
    pub(crate) good_until: u64,
    /// Whether anything follows it.
    more: bool,
    /// What follows it, in words, if it is more than zeros.
    pub(crate) unfinished: Option<String>,
}

/// Hands every good frame of one file to `visit`, in order. Damage before the last good frame is skipped and told of.
/// `progress` gets the bytes read.
pub(crate) fn read_frames(
    fs: &dyn Fs,
    path: &Path,
    number: u64,
    damage: &mut Vec<String>,
    mut visit: impl FnMut(Frame<'_>) -> Result<(), Error>,
    progress: impl FnMut(u64),
) -> Result<FramesEnd, Error> {
    let mut refused = None;
    let visit = |frame: Frame<'_>| match visit(frame) {
        Err(error) if error.is_refusal() => refused = Some(error),
        other => damage.extend(other.err().map(|error| error.to_string())),
    };
    let walked = walk_frames(fs, path, number, visit, progress)?;
    refused.map_or(Ok(()), Err)?;
    let mut unfinished = None;
    for found in &walked.damage {
        let told = |what| format!("{}: {} bytes at {}: {what}", path.display(), found.bytes, found.offset);
        match found.at_end {
            true => unfinished = Some(told("an unfinished commit, cut off")),
            false => damage.push(told("damaged, skipped")),
        }
    }
    let Walked { good_until, size, .. } = walked;
    Ok(FramesEnd { good_until, more: size != good_until, unfinished })
}

/// What there is beside good frames in a file.
#[derive(Clone, Debug)]
pub(crate) struct Walked {
    pub(crate) damage: Vec<Damage>,
    /// Where the last good frame ends; 0 if there is no header.
    pub(crate) good_until: u64,
    /// Bytes of the file.
    pub(crate) size: u64,
}

/// Hands every good frame of one file to `visit`, in order. `progress` gets the bytes read.
pub(crate) fn walk_frames(
    fs: &dyn Fs,
    path: &Path,
    number: u64,
    mut visit: impl FnMut(Frame<'_>),
    mut progress: impl FnMut(u64),
) -> Result<Walked, Error> {
    let file = fs.open_read(path).at(path)?;
    let mut reader = SegmentReader::open(&*file, path, number)?;
    let mut read = 0;
    let version = reader.version();
    while let Some((offset, payload)) = reader.next_frame()? {
        let end = offset + payload.len() as u64;
        visit(Frame { payload, version, path, offset });
        // Not for every frame: whoever watches wants a few steps, not millions.
        if end - read > 1 << 20 {
            read = end;
            progress(read);
        }
    }
    let size = file.size().at(path)?;
    Ok(Walked { damage: reader.damage().to_vec(), good_until: reader.good_until(), size })
}
