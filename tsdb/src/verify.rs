//! Proves that a data directory is whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::block::{self, Block, BlockId};
use crate::blocks::blocks_dir;
use crate::error::Error;
use crate::fs::Fs;
use crate::head::{HeadFound, checkpoints, finished_checkpoint, verify_checkpoint};
use crate::manifest::{MANIFEST, Manifest, State};
use crate::wal::{Damage, Frame, Records, SEGMENT_HEADER_BYTES, WAL_DIR, Walked, segment_path, segments, walk_frames};

/// How often all is looked at anew because a server changed it meanwhile.
const TRIES: usize = 8;

/// What was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Live blocks.
    pub blocks: usize,
    /// Chunk files of the head.
    pub chunk_files: usize,
    /// Segments of the log.
    pub segments: usize,
    /// Records of the log, of the checkpoint and of chunk files.
    pub records: u64,
    /// Bytes of all these.
    pub bytes: u64,
    /// What follows the last whole commit of the log, if anything does: what a server is writing now, what a crash has left,
    /// or a last commit that was damaged. The next start cuts it off.
    pub unfinished: Option<String>,
}

/// Reads all that the manifest of the store in `dir` names: every page, posting, chunk, frame and record. Each fault goes to
/// `each` and names file and offset. `progress` gets the bytes read and the bytes there are. Writes nothing; a server may
/// have the directory open.
///
/// # Errors
/// If there is no store in `dir`, it cannot be read, or a server changes it faster than it can be read.
pub fn verify(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    mut each: impl FnMut(&Error),
    mut progress: impl FnMut(u64, u64),
) -> Result<Verified, Error> {
    crate::read_only::is_store(&**fs, dir)?;
    for _ in 0..TRIES {
        let (state, refused) = match Manifest::read(&**fs, dir, &mut Vec::new()) {
            Ok(said) => (said.map(|said| said.state), None),
            Err(error) => (None, Some(error)),
        };
        let mut run = Run {
            fs,
            dir,
            state,
            each: &mut each,
            progress: &mut progress,
            changed: false,
            read: 0,
            total: 0,
            found: Verified::default(),
        };
        refused.into_iter().for_each(|error| run.fault(&error));
        let finished = run.all();
        if !run.changed {
            finished?;
            return Ok(run.found);
        }
    }
    Err(Error::changing(dir))
}

struct Run<'a> {
    fs: &'a Arc<dyn Fs>,
    dir: &'a Path,
    state: Option<State>,
    each: &'a mut dyn FnMut(&Error),
    progress: &'a mut dyn FnMut(u64, u64),
    /// Whether a server has changed the manifest since it was read: what is missing may be missing for that.
    changed: bool,
    read: u64,
    total: u64,
    found: Verified,
}

impl Run<'_> {
    fn fault(&mut self, error: &Error) {
        let now = Manifest::read(&**self.fs, self.dir, &mut Vec::new()).ok().flatten();
        self.changed |= now.map(|said| said.state) != self.state;
        if !self.changed {
            (self.each)(error);
        }
    }

    fn took(&mut self, bytes: u64) {
        self.found.bytes += bytes;
        self.read += bytes;
        (self.progress)(self.read.min(self.total), self.total);
    }

    fn all(&mut self) -> Result<(), Error> {
        let wal = self.dir.join(WAL_DIR);
        let first = self.state.as_ref().map_or(0, |state| state.first_segment);
        let log: Vec<u64> = segments(&**self.fs, &wal)?.into_iter().filter(|&number| number >= first).collect();
        for &number in &log {
            let path = segment_path(&wal, number);
            // A file that is gone is met again below.
            self.total += self.fs.open_read(&path).and_then(|file| file.size()).unwrap_or(0);
        }
        let blocks = self.blocks()?;
        self.manifest()?;
        self.head()?;
        for block in blocks {
            self.found.blocks += 1;
            let bytes = block.size_bytes();
            block.verify(|error| self.fault(&error));
            self.took(bytes);
        }
        self.log(&wal, &log, first);
        (self.progress)(self.total, self.total);
        Ok(())
    }

    /// Opens the blocks that there should be.
    fn blocks(&mut self) -> Result<Vec<Block>, Error> {
        let dir = blocks_dir(self.dir);
        let ids: Vec<BlockId> = match &self.state {
            Some(state) => state.blocks.clone(),
            None => block::list(&**self.fs, &dir)?,
        };
        let mut blocks = Vec::with_capacity(ids.len());
        for id in ids {
            match Block::open(self.fs, &dir, id) {
                Ok(block) => {
                    let named = self.state.as_ref().and_then(|state| state.tombstones.get(&id)).copied().unwrap_or(0);
                    if block.deletions() < named {
                        self.fault(&block.lost_tombstones());
                    }
                    self.total += block.size_bytes();
                    blocks.push(block);
                }
                Err(error) => self.fault(&error),
            }
        }
        if self.state.is_none() && (!blocks.is_empty() || !checkpoints(&**self.fs, self.dir)?.is_empty()) {
            let path = self.dir.join(MANIFEST);
            self.fault(&Error::Corrupt { path, offset: 0, what: "names nothing, but there are blocks or checkpoints" });
        }
        Ok(blocks)
    }

    fn manifest(&mut self) -> Result<(), Error> {
        let path = self.dir.join(MANIFEST);
        if !crate::fs::names_in(&**self.fs, self.dir)?.iter().any(|name| name == MANIFEST) {
            return Ok(());
        }
        self.whole(&path, |frame| Manifest::check(&frame));
        Ok(())
    }

    /// Checks a file that consists of frames, all of them whole.
    fn whole(&mut self, path: &Path, check: impl Fn(Frame<'_>) -> Result<(), Error>) {
        let mut faults = Vec::new();
        let walked = walk_frames(&**self.fs, path, 0, |frame| faults.extend(check(frame).err()), |_| ());
        let corrupt = |offset, what| Error::Corrupt { path: path.to_owned(), offset, what };
        match walked {
            Ok(Walked { damage, good_until, size }) => {
                faults.extend(damage.iter().map(|damage| corrupt(damage.offset, "damaged frame")));
                if damage.is_empty() && good_until != size {
                    faults.push(corrupt(good_until, "more than frames"));
                }
                self.found.bytes += size;
            }
            Err(error) => faults.push(error),
        }
        faults.iter().for_each(|fault| self.fault(fault));
    }

    fn head(&mut self) -> Result<(), Error> {
        let (number, flushed_until_ms) = match &self.state {
            Some(state) => (state.checkpoint, state.flushed_until_ms),
            None => (finished_checkpoint(&**self.fs, self.dir, &mut Vec::new())?, i64::MIN),
        };
        if number == 0 {
            return Ok(());
        }
        let fs = self.fs;
        match verify_checkpoint(fs, self.dir, number, flushed_until_ms, &mut |error| self.fault(&error)) {
            Ok(HeadFound { files, records, bytes }) => {
                self.found.chunk_files = files;
                self.found.records += records;
                self.total += bytes;
                self.took(bytes);
            }
            Err(error) => self.fault(&error),
        }
        Ok(())
    }

    fn log(&mut self, dir: &Path, numbers: &[u64], first: u64) {
        let extent = self.state.as_ref().map(|state| state.log.clone()).unwrap_or_default();
        let mut ends = BTreeMap::new();
        let mut open: Option<(PathBuf, Damage)> = None;
        for &number in numbers {
            let path = segment_path(dir, number);
            let Some((good_until, at_end)) = self.segment(&path, number) else { continue };
            ends.insert(number, good_until);
            // Nothing was logged to one without frames: the one before may still end with what a crash left.
            if good_until > SEGMENT_HEADER_BYTES || open.is_none() {
                open.take().into_iter().for_each(|(path, damage)| self.damaged(&path, damage));
                match at_end {
                    Some(damage) if extent.ended.contains_key(&number) => self.damaged(&path, damage),
                    at_end => open = at_end.map(|damage| (path, damage)),
                }
            }
        }
        if let Some((path, Damage { bytes, offset, .. })) = open {
            let what = "after the last whole commit";
            self.found.unfinished = Some(format!("{}: {bytes} bytes at {offset} {what}", path.display()));
        }
        extent.faults(dir, first, &ends).iter().for_each(|fault| self.fault(fault));
    }

    fn damaged(&mut self, path: &Path, damage: Damage) {
        self.fault(&Error::Corrupt { path: path.to_owned(), offset: damage.offset, what: "damaged frame" });
    }

    /// Answers where the good frames of the segment end, and what follows them.
    fn segment(&mut self, path: &Path, number: u64) -> Option<(u64, Option<Damage>)> {
        let (mut faults, mut records) = (Vec::new(), 0);
        let visit = |frame: Frame<'_>| {
            for record in Records::new(frame.payload) {
                records += 1;
                faults.extend(record.err().map(|malformed| frame.corrupt(malformed)));
            }
        };
        let mut end = None;
        match walk_frames(&**self.fs, path, number, visit, |_| ()) {
            Ok(Walked { damage, size, good_until }) => {
                let (at_end, within): (Vec<Damage>, Vec<Damage>) = damage.into_iter().partition(|damage| damage.at_end);
                end = Some((good_until, at_end.first().copied()));
                within.into_iter().for_each(|damage| self.damaged(path, damage));
                self.took(size);
            }
            Err(error) => faults.push(error),
        }
        self.found.segments += 1;
        self.found.records += records;
        faults.iter().for_each(|fault| self.fault(fault));
        end
    }
}
