//! Reading the log from its beginning.

use std::path::Path;

use super::{SegmentReader, segment_path, segments};
use crate::codec::Malformed;
use crate::error::Error;
use crate::fs::{AtPath, Fs};

/// What reading the log found.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogFound {
    pub(crate) segments: usize,
    pub(crate) bytes: u64,
    /// The number of the last segment; 0 if there is none.
    pub(crate) last: u64,
    /// What was wrong, in words.
    pub(crate) damage: Vec<String>,
}

/// A frame of the log and where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) payload: &'a [u8],
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
/// Damage in the middle is skipped and told of. What follows the last good frame of the last segment is what a crash
/// leaves of a commit that was never acknowledged: it is cut off, and told of too. `progress` gets the bytes read and
/// the bytes there are.
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
        total += fs.open(&path).at(&path)?.size().at(&path)?;
    }
    let last = numbers.last().copied().unwrap_or(0).max(first.saturating_sub(1));
    let mut found = LogFound { segments: numbers.len(), last, ..LogFound::default() };
    let mut before = Some(first).filter(|&first| first > 0).map(|first| first - 1);
    for &number in &numbers {
        let path = segment_path(dir, number);
        if let Some(before) = before.filter(|&before| before + 1 != number) {
            found
                .damage
                .push(format!("{}: the segments after {before:08} and before this one are missing", path.display()));
        }
        before = Some(number);
        let (bytes, cut) = read_frames(fs, &path, number, &mut found.damage, &mut visit, |read| {
            progress(found.bytes + read, total);
        })?;
        if number == found.last && cut {
            let file = fs.open(&path).at(&path)?;
            file.set_len(bytes).and_then(|()| file.sync()).at(&path)?;
        }
        found.bytes += bytes;
    }
    progress(total, total);
    Ok(found)
}

/// Hands every good frame of one file to `visit`, in order. Answers where the last good frame ends, and whether
/// anything follows it. `progress` gets the bytes read.
pub(crate) fn read_frames(
    fs: &dyn Fs,
    path: &Path,
    number: u64,
    damage: &mut Vec<String>,
    mut visit: impl FnMut(Frame<'_>) -> Result<(), Error>,
    mut progress: impl FnMut(u64),
) -> Result<(u64, bool), Error> {
    let file = fs.open(path).at(path)?;
    let mut reader = SegmentReader::open(&*file, path, number)?;
    let mut read = 0;
    while let Some((offset, payload)) = reader.next_frame()? {
        let end = offset + payload.len() as u64;
        if let Err(error) = visit(Frame { payload, path, offset }) {
            damage.push(error.to_string());
        }
        // Not for every frame: whoever watches wants a few steps, not millions.
        if end - read > 1 << 20 {
            read = end;
            progress(read);
        }
    }
    for found in reader.damage() {
        let what = if found.at_end { "an unfinished commit, cut off" } else { "damaged, skipped" };
        damage.push(format!("{}: {} bytes at {}: {what}", path.display(), found.bytes, found.offset));
    }
    let good = reader.good_until();
    Ok((good, file.size().at(path)? != good))
}
