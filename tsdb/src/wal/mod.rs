//! The write-ahead log: what is committed is here before it can be read.

mod extent;
mod record;
mod replay;
mod segment;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::Error;
use crate::fs::{AtPath, File, Fs, names_in, number_of};
use crate::manifest::SharedManifest;

pub(crate) use extent::LogExtent;
pub(crate) use record::{
    ColumnId, LoggedHead, LoggedLabels, LoggedSample, LoggedSamples, LoggedState, Record, Records, SamplesWriter,
    SeriesId, put_deletion, put_exemplar, put_exemplar_deletion, put_head, put_histogram, put_metadata, put_series,
    put_state,
};
pub(crate) use replay::{Frame, LogFound, LogTail, Walked, read_frames, replay, walk_frames};
use segment::SegmentReader;
pub(crate) use segment::{
    Damage, FRAME_HEADER_BYTES, MAX_FRAME_BYTES, Origin, SEGMENT_HEADER_BYTES, begin_frame, file_header, finish_frame,
    origin, segment_header,
};

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

/// Numbers that segments may have.
pub(crate) const MAX_SEGMENT: u64 = 1 << 53;

/// The end of the log, where commits are appended.
#[derive(Debug)]
pub(crate) struct Wal {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    segment_bytes: u64,
    sync: SyncPolicy,
    /// Names the segments; locked within whatever lock the log is behind.
    manifest: SharedManifest,
    /// None until one could be begun.
    segment: Option<Segment>,
    /// The number of the next segment.
    next: u64,
    /// The file of the next segment.
    unnamed: Unnamed,
    /// Files written to since [`unsynced`](Self::unsynced) was last asked, the current one aside.
    finished: Vec<LogFile>,
    /// Bytes of all segments before the current one.
    older_bytes: u64,
}

/// The file of a segment that the manifest does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unnamed {
    Absent,
    /// There, though the manifest could not name it for sure.
    Made,
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
    /// Its number and length, if nothing is appended to it any more.
    pub(crate) ended: Option<(u64, u64)>,
    /// Whether its file system counts the names of files.
    has_links: bool,
}

impl LogFile {
    /// Refuses a file that somebody has deleted: what is in it does not survive the process. Cost: one system call, about
    /// 0.2 µs.
    pub(crate) fn must_be_there(&self) -> Result<(), Error> {
        if !self.has_links || self.file.id().at(&self.path)?.links > 0 {
            return Ok(());
        }
        Err(Error::Deleted { path: self.path.clone() })
    }
}

/// Where and how the log goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WalOptions {
    pub(crate) next_segment: u64,
    pub(crate) segment_bytes: u64,
    /// Bytes of the segments there are.
    pub(crate) older_bytes: u64,
    pub(crate) sync: SyncPolicy,
}

/// The file of segment `number`.
pub(crate) fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}"))
}

/// The numbers of the segments in `dir`, ascending; none if there is no such directory. Other files are left alone.
pub(crate) fn segments(fs: &dyn Fs, dir: &Path) -> Result<Vec<u64>, Error> {
    let mut numbers: Vec<u64> =
        names_in(fs, dir)?.iter().filter_map(|name| number_of(name)).filter(|&n| n <= MAX_SEGMENT).collect();
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
    /// A log in `dir` that goes on with a segment of its own, which is begun by [`begin`](Self::begin) or with the first frame.
    pub(crate) fn new(fs: Arc<dyn Fs>, dir: PathBuf, options: WalOptions, manifest: SharedManifest) -> Self {
        let WalOptions { next_segment, segment_bytes, older_bytes, sync } = options;
        Self {
            fs,
            dir,
            segment_bytes,
            sync,
            manifest,
            segment: None,
            next: next_segment,
            unnamed: Unnamed::Absent,
            finished: Vec::new(),
            older_bytes,
        }
    }

    /// Begins a segment if there is none. `ended` are the lengths of segments that have ended, for the manifest.
    pub(crate) fn begin(&mut self, ended: &[(u64, u64)]) -> Result<(), Error> {
        if self.segment.is_none() { self.next_segment(self.segment_bytes, ended) } else { Ok(()) }
    }

    /// Begins the next segment, unless the current one is empty. Answers its number: what is logged from now on is in
    /// it or after it.
    pub(crate) fn roll(&mut self) -> Result<u64, Error> {
        if self.segment.as_ref().is_none_or(|segment| segment.at > SEGMENT_HEADER_BYTES) {
            self.next_segment(self.segment_bytes, &[])?;
        }
        Ok(self.segment.as_ref().map_or(self.next, |segment| segment.number))
    }

    /// The file is made first, then named: a crash between leaves a segment that nobody misses.
    fn next_segment(&mut self, size: u64, ended: &[(u64, u64)]) -> Result<(), Error> {
        self.manifest.lock().ensure_written()?;
        if self.segment.is_none() {
            self.fs.create_dir_all(&self.dir).at(&self.dir)?;
        }
        let next = Segment::make(&*self.fs, &self.dir, self.next, size, self.unnamed)?;
        self.unnamed = Unnamed::Made;
        let full = self.segment.as_ref().map(|full| (full.number, full.at));
        // Where nothing is synced in the background, a power cut may take any end; else the length is named once it is safe.
        let unsafe_end = full.filter(|_| self.sync == SyncPolicy::Never);
        let ended: Vec<_> = ended.iter().copied().chain(unsafe_end).collect();
        self.manifest.lock().begun(self.next, &ended)?;
        self.next += 1;
        self.unnamed = Unnamed::Absent;
        if let Some(full) = self.segment.replace(next) {
            self.finish(full);
        }
        Ok(())
    }

    fn finish(&mut self, full: Segment) {
        // The reserved rest is given back; that it could not be is no reason to stop.
        let _ = full.file.file.set_len(full.at);
        self.older_bytes += full.at;
        self.finished.push(LogFile { ended: Some((full.number, full.at)), ..full.file });
    }

    /// Tells the log that [`remove_before`] has removed `bytes`.
    pub(crate) fn removed(&mut self, bytes: u64) {
        self.older_bytes = self.older_bytes.saturating_sub(bytes);
    }

    /// Appends a finished frame. After an error the log is as before: the next frame takes the place of this one.
    pub(crate) fn append(&mut self, frame: &[u8]) -> Result<(), Error> {
        let len = frame.len() as u64;
        let fits = |segment: &Segment| segment.at + len <= segment.reserved || segment.at == SEGMENT_HEADER_BYTES;
        if !self.segment.as_ref().is_some_and(fits) {
            self.next_segment(self.segment_bytes.max(SEGMENT_HEADER_BYTES + len), &[])?;
        }
        let Segment { file, at, .. } = self.segment.as_mut().expect("begun a moment ago");
        file.file.write_at(*at, frame).at(&file.path)?;
        if let Err(error) = file.must_be_there() {
            // The next frame begins another file.
            self.segment.take().into_iter().for_each(|gone| self.finish(gone));
            return Err(error);
        }
        *at += len;
        Ok(())
    }

    /// The files that must be synced for all that has been appended to survive a power cut. The caller syncs them, then calls
    /// [`Manifest::ended`](crate::manifest::Manifest::ended) with those that have ended, and, if syncing fails, must not call
    /// this again as if it had not.
    pub(crate) fn unsynced(&mut self) -> Vec<LogFile> {
        let mut files = std::mem::take(&mut self.finished);
        files.extend(self.segment.as_ref().map(|segment| segment.file.clone()));
        files
    }

    /// Forgets files that have been written to: what they hold is elsewhere.
    pub(crate) fn forget_unsynced(&mut self) {
        self.finished.clear();
    }

    /// Bytes that the log holds.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.older_bytes + self.segment.as_ref().map_or(0, |segment| segment.at)
    }

    pub(crate) fn manifest(&self) -> SharedManifest {
        self.manifest.clone()
    }

    /// The number of the current segment, or of the one that is to be begun.
    pub(crate) fn segment(&self) -> u64 {
        self.segment.as_ref().map_or(self.next, |segment| segment.number)
    }

    /// Ends the current segment: gives its reserved rest back, syncs it and names its length. The next frame begins another.
    pub(crate) fn close(&mut self) -> Result<(), Error> {
        if let Some(segment) = self.segment.take() {
            self.finish(segment);
        }
        let files = self.unsynced();
        for file in &files {
            file.file.sync().at(&file.path)?;
        }
        let ended = ended(&files);
        if ended.is_empty() { Ok(()) } else { self.manifest.lock().ended(&ended) }
    }
}

/// Numbers and lengths of the files that have ended.
pub(crate) fn ended(files: &[LogFile]) -> Vec<(u64, u64)> {
    files.iter().filter_map(|file| file.ended).collect()
}

impl Segment {
    /// Makes the file of segment `number`, or takes the one that was made before.
    fn make(fs: &dyn Fs, dir: &Path, number: u64, size: u64, file: Unnamed) -> Result<Self, Error> {
        let path = segment_path(dir, number);
        let make = || {
            let file = match file {
                Unnamed::Absent => fs.create(&path)?,
                Unnamed::Made => fs.open(&path)?,
            };
            file.reserve(size)?;
            file.write_at(0, &segment_header(number))?;
            fs.sync_dir(dir)?;
            Ok(file)
        };
        // One that may have been named stays.
        let made = make().inspect_err(|_| {
            if file == Unnamed::Absent {
                drop(fs.remove(&path));
            }
        });
        let file = made.at(&path)?;
        let has_links = file.id().at(&path)?.links > 0;
        let file = LogFile { file, path, ended: None, has_links };
        Ok(Self { number, file, at: SEGMENT_HEADER_BYTES, reserved: size })
    }
}

#[cfg(test)]
mod tests;
#[cfg(all(test, feature = "testing"))]
pub(crate) use tests::worked_example;
