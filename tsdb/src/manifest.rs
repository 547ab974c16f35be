//! What a store consists of, in one file: nothing else is truth. Bytes: `docs/format/manifest.md`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::block::{Block, BlockId};
use crate::codec::{Decoder, Encoder, Malformed};
use crate::error::Error;
use crate::fs::{AtPath, File, Fs};
use crate::head::LogEnd;
use crate::wal::{Frame, LogExtent, MAX_SEGMENT, begin_frame, file_header, finish_frame, read_frames};

/// The file within the data directory.
pub(crate) const MANIFEST: &str = "MANIFEST";
/// What becomes the file when it is written anew.
const MANIFEST_NEW: &str = "MANIFEST.tmp";
/// A file that has reached this is written anew with the last state only.
const LONG_BYTES: u64 = 64 << 10;
/// Version that is written. Version 1, which is read too, has states only.
pub(crate) const MANIFEST_VERSION: u32 = 2;

/// Kinds of records.
const STATE: u8 = 1;
const BEGUN: u8 = 2;
const ENDED: u8 = 3;
const TOMBSTONES: u8 = 4;

/// The live blocks, and where the head begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) blocks: Vec<BlockId>,
    /// The current checkpoint; 0 if there is none.
    pub(crate) checkpoint: u64,
    /// The first segment of the log that is needed.
    pub(crate) first_segment: u64,
    /// What is older is in blocks; late samples aside.
    pub(crate) flushed_until_ms: i64,
    /// Segments of the log that there must be.
    pub(crate) log: LogExtent,
    /// Generation of the tombstones of each block that has any.
    pub(crate) tombstones: BTreeMap<BlockId, u64>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            blocks: Vec::new(),
            checkpoint: 0,
            first_segment: 0,
            flushed_until_ms: i64::MIN,
            log: LogExtent::default(),
            tombstones: BTreeMap::new(),
        }
    }
}

impl State {
    /// Whether both name the same blocks, the same checkpoint and the same beginning of the log: what a reader of one opens is
    /// what a reader of the other opens.
    pub(crate) fn names_the_same(&self, other: &Self) -> bool {
        (&self.blocks, self.checkpoint, self.first_segment, self.flushed_until_ms)
            == (&other.blocks, other.checkpoint, other.first_segment, other.flushed_until_ms)
    }

    /// Forgets what is said of segments and blocks that are no longer needed.
    fn prune(&mut self) {
        self.log.begin_at(self.first_segment);
        let Self { blocks, tombstones, .. } = self;
        tombstones.retain(|id, _| blocks.contains(id));
    }
}

/// Statement of a manifest on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) state: State,
    /// `None` if the file ends with a whole record.
    pub(crate) torn_at: Option<TornRecord>,
}

/// Bytes at the end of the file that are no whole record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TornRecord {
    path: PathBuf,
    offset: u64,
}

impl TornRecord {
    /// Names the manifest as the cause of `damage`, if there is any: parts that the state names are missing because the
    /// record behind it named others.
    pub(crate) fn blame(&self, damage: &mut Vec<String>) {
        if !damage.is_empty() {
            let Self { path, offset } = self;
            damage.insert(0, format!("{}: corrupt at byte {offset}: the last record is damaged", path.display()));
        }
    }
}

/// The manifest of an open store. A change is one record, appended and synced: it is there whole or not at all.
#[derive(Debug)]
pub(crate) struct Manifest {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    state: State,
    /// The file and its length; none while it is to be written anew.
    file: Option<(Arc<dyn File>, u64)>,
    /// Whether there is a file on the disk.
    is_written: bool,
    /// Whether its file system tells by a path which file is there.
    has_ids: bool,
}

/// A manifest that the log and the blocks change. No other lock is taken while it is locked.
pub(crate) type SharedManifest = Arc<Mutex<Manifest>>;

impl Manifest {
    /// Reads the manifest of the store in `dir`: what its whole records say. `None` if there is no manifest, none of its
    /// records is whole, or one is damaged that others follow, which `damage` then tells: what they say may not fit together.
    ///
    /// A record cut short at the end is what a crash leaves of a change that never was. The caller must see whether what
    /// the state names is there: if it is not, the last record was damaged, not torn. See [`TornRecord::blame`].
    pub(crate) fn read(fs: &dyn Fs, dir: &Path, damage: &mut Vec<String>) -> Result<Option<Said>, Error> {
        if !fs.list(dir).at(dir)?.iter().any(|name| name == MANIFEST) {
            return Ok(None);
        }
        let mut state = None;
        let visit = |frame: Frame<'_>| apply(&mut state, &frame);
        let mut found = Vec::new();
        let path = dir.join(MANIFEST);
        let end = read_frames(fs, &path, 0, &mut found, visit, |_| ())?;
        if !found.is_empty() {
            damage.append(&mut found);
            return Ok(None);
        }
        let torn_at = end.unfinished.map(|_| TornRecord { path, offset: end.good_until });
        Ok(state.map(|state| Said { state, torn_at }))
    }

    /// Checks one record.
    pub(crate) fn check(frame: &Frame<'_>) -> Result<(), Error> {
        // Changes of a state are checked as if there were one.
        apply(&mut Some(State::default()), frame)
    }

    /// A manifest that says `state`. Written with the first change.
    pub(crate) fn begin(fs: &Arc<dyn Fs>, dir: &Path, state: State) -> Self {
        Self { fs: fs.clone(), dir: dir.to_owned(), state, file: None, is_written: false, has_ids: false }
    }

    /// Notes that the file is on the disk.
    pub(crate) fn is_found(&mut self) {
        self.is_written = true;
    }

    pub(crate) fn shared(self) -> SharedManifest {
        Arc::new(Mutex::new(self))
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Adds what an older manifest, or none, left out: where the log begins, and the tombstones that there are. Written with the
    /// next record, which is of all of it.
    pub(crate) fn complete(&mut self, log: &LogEnd, blocks: &[Arc<Block>]) {
        let state = &mut self.state;
        if state.first_segment == 0 && state.log.last.is_none() {
            state.first_segment = log.ends.keys().next().copied().unwrap_or(log.next_segment);
        }
        for block in blocks.iter().filter(|block| block.deletions() > 0) {
            let generation = state.tombstones.entry(block.meta().ulid).or_insert(0);
            *generation = block.deletions().max(*generation);
        }
    }

    /// Makes the store consist of what `state` says. After an error either may hold; the next change decides.
    pub(crate) fn change(&mut self, mut state: State) -> Result<(), Error> {
        state.prune();
        self.append(state, put_state)
    }

    /// Writes the file if there is none: before any part of a store is, so that parts without a manifest are those of a store
    /// that has lost it.
    pub(crate) fn ensure_written(&mut self) -> Result<(), Error> {
        let is_there = || Ok(self.fs.list(&self.dir).at(&self.dir)?.iter().any(|name| name == MANIFEST));
        if self.file.is_some() || is_there()? { Ok(()) } else { self.change(self.state.clone()) }
    }

    /// Names segment `number` of the log, whose file is there, and the lengths of those that have ended.
    pub(crate) fn begun(&mut self, number: u64, ended: &[(u64, u64)]) -> Result<(), Error> {
        let mut state = self.state.clone();
        state.log.begin(number);
        ended.iter().for_each(|&(number, bytes)| state.log.end(number, bytes));
        self.append(state, |out, _| {
            out.put_u8(BEGUN);
            out.put_uvarint(number);
            put_ended(out, ended.iter().copied());
        })
    }

    /// Names the lengths of segments that have ended and survive a power cut.
    pub(crate) fn ended(&mut self, ended: &[(u64, u64)]) -> Result<(), Error> {
        let mut state = self.state.clone();
        ended.iter().for_each(|&(number, bytes)| state.log.end(number, bytes));
        self.append(state, |out, _| {
            out.put_u8(ENDED);
            put_ended(out, ended.iter().copied());
        })
    }

    /// Names the generation of the tombstones of a live block, which are on the disk.
    pub(crate) fn deleted(&mut self, block: BlockId, generation: u64) -> Result<(), Error> {
        if !self.state.blocks.contains(&block) || self.state.tombstones.get(&block) == Some(&generation) {
            return Ok(());
        }
        let mut state = self.state.clone();
        state.tombstones.insert(block, generation);
        self.append(state, |out, _| {
            out.put_u8(TOMBSTONES);
            out.put_bytes(block.to_string().as_bytes());
            out.put_uvarint(generation);
        })
    }

    /// Makes `state` the current one with the record that `put` writes, or, where the file is written anew, with all of it.
    fn append(&mut self, state: State, put: impl FnOnce(&mut Vec<u8>, &State)) -> Result<(), Error> {
        let mut record = Vec::new();
        begin_frame(&mut record);
        match self.file.take() {
            Some((file, len)) if len < LONG_BYTES => {
                put(&mut record, &state);
                finish_frame(&mut record);
                let path = self.dir.join(MANIFEST);
                file.write_at(len, &record).and_then(|()| file.sync()).at(&path)?;
                self.file = Some((file, len + record.len() as u64));
            }
            _ => {
                put_state(&mut record, &state);
                finish_frame(&mut record);
                self.write_anew(&record)?;
            }
        }
        self.state = state;
        Ok(())
    }

    fn write_anew(&mut self, record: &[u8]) -> Result<(), Error> {
        let (path, new) = (self.dir.join(MANIFEST), self.dir.join(MANIFEST_NEW));
        drop(self.fs.remove(&new));
        let file = self.fs.create(&new).at(&new)?;
        let mut bytes = file_header(MANIFEST_VERSION, 0);
        bytes.extend_from_slice(record);
        file.write_at(0, &bytes).and_then(|()| file.sync()).at(&new)?;
        self.fs.rename(&new, &path).at(&path)?;
        self.fs.sync_dir(&self.dir).at(&self.dir)?;
        self.has_ids = self.fs.id(&path).and_then(|found| Ok(found.is_same(&file.id()?))).unwrap_or(false);
        self.file = Some((file, bytes.len() as u64));
        self.is_written = true;
        Ok(())
    }

    /// Refuses a data directory that was deleted, moved or replaced since the manifest was written. Cost: two system calls.
    pub(crate) fn must_be_there(&self) -> Result<(), Error> {
        if !self.is_written {
            return Ok(());
        }
        let path = self.dir.join(MANIFEST);
        let is_ours = match self.fs.id(&path) {
            Ok(found) => match &self.file {
                Some((file, _)) if self.has_ids => file.id().at(&path)?.is_same(&found),
                _ => true,
            },
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => false,
            Err(e) => return Err(e).at(&path),
        };
        if is_ours { Ok(()) } else { Err(Error::Deleted { path }) }
    }
}

fn put_state(out: &mut Vec<u8>, state: &State) {
    out.put_u8(STATE);
    out.put_uvarint(state.checkpoint);
    out.put_uvarint(state.first_segment);
    out.put_varint(state.flushed_until_ms);
    // Segments count from 1.
    out.put_uvarint(state.log.last.unwrap_or(0));
    put_ended(out, state.log.ended.iter().map(|(&number, &bytes)| (number, bytes)));
    out.put_uvarint(state.blocks.len() as u64);
    for block in &state.blocks {
        out.put_bytes(block.to_string().as_bytes());
        // Generations count from 1, too.
        out.put_uvarint(state.tombstones.get(block).copied().unwrap_or(0));
    }
}

fn put_ended(out: &mut Vec<u8>, ended: impl ExactSizeIterator<Item = (u64, u64)>) {
    out.put_uvarint(ended.len() as u64);
    for (number, bytes) in ended {
        out.put_uvarint(number);
        out.put_uvarint(bytes);
    }
}

/// Takes over what one record says.
fn apply(state: &mut Option<State>, frame: &Frame<'_>) -> Result<(), Error> {
    let mut input = Decoder::new(frame.payload);
    let mut take = || {
        if frame.version < MANIFEST_VERSION {
            *state = Some(take_first_version(&mut input)?);
            return Ok(());
        }
        let at = input;
        match (input.u8()?, state.as_mut()) {
            (STATE, _) => *state = Some(take_state(&mut input)?),
            (BEGUN, Some(state)) => {
                state.log.begin(take_number(&mut input)?);
                take_ended(&mut input, &mut state.log)?;
            }
            (ENDED, Some(state)) => take_ended(&mut input, &mut state.log)?,
            (TOMBSTONES, Some(state)) => {
                let block = take_block(&mut input)?;
                state.tombstones.insert(block, input.uvarint()?);
            }
            (BEGUN | ENDED | TOMBSTONES, None) => return Err(at.malformed("change of a state that is not there")),
            _ => return Err(at.malformed("unknown record")),
        }
        if input.is_empty() { Ok(()) } else { Err(input.malformed("more than a record")) }
    };
    take().map_err(|malformed| frame.corrupt(malformed))
}

fn take_first_version(input: &mut Decoder<'_>) -> Result<State, Malformed> {
    let (checkpoint, first_segment) = (input.uvarint()?, take_number(input)?);
    let flushed_until_ms = input.varint()?;
    let blocks = (0..input.count(BLOCK_BYTES - 1)?).map(|_| take_block(input)).collect::<Result<_, _>>()?;
    Ok(State { blocks, checkpoint, first_segment, flushed_until_ms, ..State::default() })
}

fn take_state(input: &mut Decoder<'_>) -> Result<State, Malformed> {
    let mut state = State {
        checkpoint: input.uvarint()?,
        first_segment: take_number(input)?,
        flushed_until_ms: input.varint()?,
        ..State::default()
    };
    state.log.last = Some(take_number(input)?).filter(|&last| last > 0);
    take_ended(input, &mut state.log)?;
    for _ in 0..input.count(BLOCK_BYTES)? {
        let block = take_block(input)?;
        state.blocks.push(block);
        let generation = input.uvarint()?;
        if generation > 0 {
            state.tombstones.insert(block, generation);
        }
    }
    Ok(state)
}

/// Bytes of a block in a record, at the least: the length of its name, its name, and a generation.
const BLOCK_BYTES: usize = 1 + 26 + 1;

fn take_block(input: &mut Decoder<'_>) -> Result<BlockId, Malformed> {
    let at = *input;
    input.text()?.parse().map_err(|_| at.malformed("not the name of a block"))
}

fn take_number(input: &mut Decoder<'_>) -> Result<u64, Malformed> {
    let at = *input;
    Some(input.uvarint()?).filter(|&number| number <= MAX_SEGMENT).ok_or(at.malformed("number too large"))
}

fn take_ended(input: &mut Decoder<'_>, log: &mut LogExtent) -> Result<(), Malformed> {
    for _ in 0..input.count(2)? {
        let number = take_number(input)?;
        log.end(number, input.uvarint()?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Timestamp;
    use crate::testing::FaultFs;

    fn read(fs: &dyn Fs, dir: &Path) -> Result<Option<State>, Error> {
        Manifest::read(fs, dir, &mut Vec::new()).map(|said| said.map(|said| said.state))
    }

    fn state(n: u64) -> State {
        let blocks = (0..n % 5).map(|i| BlockId::new(Timestamp::from_millis(1000), u128::from(n * 10 + i))).collect();
        State { blocks, checkpoint: n, first_segment: n * 2, flushed_until_ms: n as i64 * 1000 - 3, ..State::default() }
    }

    #[test]
    fn the_worked_example_of_the_format_document() {
        let disk = FaultFs::default();
        let (fs, dir): (Arc<dyn Fs>, _) = (Arc::new(disk.clone()), Path::new("/data"));
        fs.create_dir_all(dir).unwrap();
        let blocks = vec!["01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap()];
        let log = LogExtent { last: Some(8), ended: [(7, 300)].into() };
        let tombstones = [(blocks[0], 1)].into();
        let mut state = State { blocks, checkpoint: 3, first_segment: 7, flushed_until_ms: 1000, log, tombstones };
        let mut manifest = Manifest::begin(&fs, dir, State::default());
        manifest.change(state.clone()).unwrap();
        manifest.begun(9, &[]).unwrap();
        manifest.ended(&[(8, 200)]).unwrap();
        manifest.deleted(state.blocks[0], 2).unwrap();
        state.log = LogExtent { last: Some(9), ended: [(7, 300), (8, 200)].into() };
        state.tombstones.insert(state.blocks[0], 2);
        assert_eq!(manifest.state(), &state);
        let written = disk.bytes(&dir.join(MANIFEST)).unwrap();
        let documented = crate::wal::worked_example(include_str!("../docs/format/manifest.md"));
        assert_eq!(documented, written, "the document shows other bytes; these are written: {written:02x?}");
        assert_eq!(read(&*fs, dir).unwrap(), Some(state));
    }

    #[test]
    fn the_last_change_holds_however_long_the_file_gets() {
        let disk = FaultFs::default();
        let (fs, dir): (Arc<dyn Fs>, _) = (Arc::new(disk.clone()), Path::new("/data"));
        fs.create_dir_all(dir).unwrap();
        assert_eq!(read(&*fs, dir).unwrap(), None);
        let mut manifest = Manifest::begin(&fs, dir, State::default());
        for n in 1..2000 {
            manifest.change(state(n)).unwrap();
            if n % 97 == 0 {
                assert_eq!(read(&*fs, dir).unwrap(), Some(state(n)));
                assert!(disk.bytes(&dir.join(MANIFEST)).unwrap().len() < LONG_BYTES as usize + 300);
            }
        }
    }

    #[test]
    fn a_power_cut_at_any_operation_leaves_the_state_before_or_after_a_change() {
        for stop in 1..60 {
            let disk = FaultFs::default();
            let (fs, dir): (Arc<dyn Fs>, _) = (Arc::new(disk.clone()), Path::new("/data"));
            fs.create_dir_all(dir).unwrap();
            disk.fail_from(stop);
            let mut manifest = Manifest::begin(&fs, dir, State::default());
            let (mut done, mut tried) = (None, None);
            for n in 1..12 {
                tried = Some(state(n));
                if manifest.change(state(n)).is_ok() {
                    done = tried.clone();
                } else {
                    break;
                }
            }
            for disk in [disk.after_power_cut(), disk.after_kill()] {
                let found = read(&disk, dir).unwrap();
                assert!(found == done || found == tried, "stopped at {stop}: {found:?}");
            }
        }
    }

    #[test]
    fn a_flipped_byte_never_makes_another_state() {
        let disk = FaultFs::default();
        let (fs, dir): (Arc<dyn Fs>, _) = (Arc::new(disk.clone()), Path::new("/data"));
        fs.create_dir_all(dir).unwrap();
        let mut manifest = Manifest::begin(&fs, dir, State::default());
        let states: Vec<State> = (1..4).map(state).collect();
        states.iter().for_each(|state| manifest.change(state.clone()).unwrap());
        let path = dir.join(MANIFEST);
        let good = disk.bytes(&path).unwrap();
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 0x41;
            disk.set_bytes(&path, bytes);
            if let Ok(Some(found)) = read(&*fs, dir) {
                assert!(states.contains(&found), "flipped at {at}: {found:?}");
            }
        }
    }
}
