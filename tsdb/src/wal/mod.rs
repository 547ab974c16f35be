//! The write-ahead log: what is committed is here before it can be read.

mod record;
mod replay;
mod segment;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::Error;
use crate::fs::{AtPath, File, Fs, names_in, number_of};

pub(crate) use record::{
    ColumnId, LoggedHead, LoggedLabels, LoggedSample, LoggedSamples, LoggedState, Record, Records, SamplesWriter,
    SeriesId, put_deletion, put_exemplar, put_exemplar_deletion, put_head, put_histogram, put_metadata, put_series,
    put_state,
};
pub(crate) use replay::{Frame, LogFound, LogTail, Walked, read_frames, replay, walk_frames};
pub(crate) use segment::{
    FRAME_HEADER_BYTES, MAX_FRAME_BYTES, Origin, begin_frame, finish_frame, origin, segment_header,
};
use segment::{SEGMENT_HEADER_BYTES, SegmentReader};

/// When what is logged is made to survive a power cut. `kill -9` loses nothing under any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Before a commit returns. A power cut loses nothing that was acknowledged.
    EveryCommit,
    /// Every so often, in the background. A power cut loses at most what came in since.
    Interval(std::time::Duration),
    /// When the system sees fit, typically within half a minute.
    Never,
}

/// Directory of the log within the data directory.
pub(crate) const WAL_DIR: &str = "wal";

/// The end of the log, where commits are appended.
#[derive(Debug)]
pub(crate) struct Wal {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    segment_bytes: u64,
    segment: Segment,
    /// Files written to since [`unsynced`](Self::unsynced) was last asked, the current one aside.
    finished: Vec<LogFile>,
    /// Bytes of all segments before the current one.
    older_bytes: u64,
}

#[derive(Debug)]
struct Segment {
    number: u64,
    file: LogFile,
    at: u64,
    reserved: u64,
}

/// A segment's file and its name, for errors.
#[derive(Clone, Debug)]
pub(crate) struct LogFile {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn File>,
}

/// The file of segment `number`.
pub(crate) fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}"))
}

/// The numbers of the segments in `dir`, ascending; none if there is no such directory. Other files are left alone.
pub(crate) fn segments(fs: &dyn Fs, dir: &Path) -> Result<Vec<u64>, Error> {
    let mut numbers: Vec<u64> = names_in(fs, dir)?.iter().filter_map(|name| number_of(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Removes the segments below `number`, oldest first, and answers how many bytes they held.
pub(crate) fn remove_before(fs: &dyn Fs, dir: &Path, number: u64) -> Result<u64, Error> {
    let mut bytes = 0;
    for old in segments(fs, dir)?.into_iter().filter(|&old| old < number) {
        let path = segment_path(dir, old);
        bytes += fs.open_read(&path).and_then(|file| file.size()).at(&path)?;
        fs.remove(&path).at(&path)?;
    }
    Ok(bytes)
}

impl Wal {
    /// Begins segment `number` in `dir`, after segments of `older_bytes`.
    pub(crate) fn begin(
        fs: Arc<dyn Fs>,
        dir: PathBuf,
        number: u64,
        segment_bytes: u64,
        older_bytes: u64,
    ) -> Result<Self, Error> {
        let segment = Segment::create(&*fs, &dir, number, segment_bytes)?;
        Ok(Self { fs, dir, segment_bytes, segment, finished: Vec::new(), older_bytes })
    }

    /// Begins the next segment, unless the current one is empty. Answers its number: what is logged from now on is in
    /// it or after it.
    pub(crate) fn roll(&mut self) -> Result<u64, Error> {
        if self.segment.at > SEGMENT_HEADER_BYTES {
            self.next_segment(self.segment_bytes)?;
        }
        Ok(self.segment.number)
    }

    fn next_segment(&mut self, size: u64) -> Result<(), Error> {
        let next = Segment::create(&*self.fs, &self.dir, self.segment.number + 1, size)?;
        let full = std::mem::replace(&mut self.segment, next);
        // The reserved rest is given back; that it could not be is no reason to stop.
        let _ = full.file.file.set_len(full.at);
        self.older_bytes += full.at;
        self.finished.push(full.file);
        Ok(())
    }

    /// Tells the log that [`remove_before`] has removed `bytes`.
    pub(crate) fn removed(&mut self, bytes: u64) {
        self.older_bytes = self.older_bytes.saturating_sub(bytes);
    }

    /// Appends a finished frame. After an error the log is as before: the next frame takes the place of this one.
    pub(crate) fn append(&mut self, frame: &[u8]) -> Result<(), Error> {
        let len = frame.len() as u64;
        if self.segment.at + len > self.segment.reserved && self.segment.at > SEGMENT_HEADER_BYTES {
            self.next_segment(self.segment_bytes.max(SEGMENT_HEADER_BYTES + len))?;
        }
        let Segment { file, at, .. } = &mut self.segment;
        file.file.write_at(*at, frame).at(&file.path)?;
        *at += len;
        Ok(())
    }

    /// The files that must be synced for all that has been appended to survive a power cut. The caller syncs them and,
    /// if that fails, must not call this again as if it had not.
    pub(crate) fn unsynced(&mut self) -> Vec<LogFile> {
        let mut files = std::mem::take(&mut self.finished);
        files.push(self.segment.file.clone());
        files
    }

    /// Forgets files that have been written to: what they hold is elsewhere.
    pub(crate) fn forget_unsynced(&mut self) {
        self.finished.clear();
    }

    /// Bytes that the log holds.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.older_bytes + self.segment.at
    }

    /// The number of the current segment.
    pub(crate) fn segment(&self) -> u64 {
        self.segment.number
    }

    /// Gives the reserved rest of the current segment back and syncs it.
    pub(crate) fn close(&mut self) -> Result<(), Error> {
        let Segment { file, at, reserved, .. } = &mut self.segment;
        file.file.set_len(*at).at(&file.path)?;
        *reserved = *at;
        for file in self.unsynced() {
            file.file.sync().at(&file.path)?;
        }
        Ok(())
    }
}

impl Segment {
    fn create(fs: &dyn Fs, dir: &Path, number: u64, size: u64) -> Result<Self, Error> {
        let path = segment_path(dir, number);
        let made = || {
            let file = fs.create(&path)?;
            file.reserve(size)?;
            file.write_at(0, &segment_header(number))?;
            fs.sync_dir(dir)?;
            Ok(file)
        };
        let file = made().inspect_err(|_| drop(fs.remove(&path))).at(&path)?;
        Ok(Self { number, file: LogFile { path, file }, at: SEGMENT_HEADER_BYTES, reserved: size })
    }
}

#[cfg(test)]
mod tests;
#[cfg(all(test, feature = "testing"))]
pub(crate) use tests::worked_example;
