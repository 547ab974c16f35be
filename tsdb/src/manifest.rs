//! What a store consists of, in one record: nothing else is truth. Bytes: `docs/format/manifest.md`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::block::BlockId;
use crate::codec::{Decoder, Encoder, Malformed};
use crate::error::Error;
use crate::fs::{AtPath, File, Fs};
use crate::wal::{begin_frame, finish_frame, read_frames, segment_header};

/// The file within the data directory.
pub(crate) const MANIFEST: &str = "MANIFEST";
/// What becomes the file when it is written anew.
const MANIFEST_NEW: &str = "MANIFEST.tmp";
/// A file that has reached this is written anew with the last record only.
const LONG_BYTES: u64 = 64 << 10;

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
}

impl Default for State {
    fn default() -> Self {
        Self { blocks: Vec::new(), checkpoint: 0, first_segment: 0, flushed_until_ms: i64::MIN }
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
}

impl Manifest {
    /// Reads the manifest of the store in `dir`: the last record that is whole. `None` if there is no manifest, or none
    /// of its records is whole.
    ///
    /// A record cut short at the end is what a crash leaves of a change that never was. The caller must see whether what
    /// the state names is there: if it is not, the last record was damaged, not torn.
    pub(crate) fn read(fs: &dyn Fs, dir: &Path) -> Result<Option<State>, Error> {
        if !fs.list(dir).at(dir)?.iter().any(|name| name == MANIFEST) {
            return Ok(None);
        }
        let mut state = None;
        let visit = |frame: crate::wal::Frame<'_>| {
            state = Some(take_state(frame.payload).map_err(|malformed| frame.corrupt(malformed))?);
            Ok(())
        };
        read_frames(fs, &dir.join(MANIFEST), 0, &mut Vec::new(), visit, |_| ())?;
        Ok(state)
    }

    /// Checks one record.
    pub(crate) fn check(frame: &crate::wal::Frame<'_>) -> Result<(), Error> {
        take_state(frame.payload).map(drop).map_err(|malformed| frame.corrupt(malformed))
    }

    /// A manifest that says `state`. Written with the first change.
    pub(crate) fn begin(fs: &Arc<dyn Fs>, dir: &Path, state: State) -> Self {
        Self { fs: fs.clone(), dir: dir.to_owned(), state, file: None }
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Makes the store consist of what `state` says. After an error either may hold; the next change decides.
    pub(crate) fn change(&mut self, state: State) -> Result<(), Error> {
        let mut record = Vec::new();
        begin_frame(&mut record);
        put_state(&mut record, &state);
        finish_frame(&mut record);
        match self.file.take() {
            Some((file, len)) if len < LONG_BYTES => {
                let path = self.dir.join(MANIFEST);
                file.write_at(len, &record).and_then(|()| file.sync()).at(&path)?;
                self.file = Some((file, len + record.len() as u64));
            }
            _ => self.write_anew(&record)?,
        }
        self.state = state;
        Ok(())
    }

    fn write_anew(&mut self, record: &[u8]) -> Result<(), Error> {
        let (path, new) = (self.dir.join(MANIFEST), self.dir.join(MANIFEST_NEW));
        drop(self.fs.remove(&new));
        let file = self.fs.create(&new).at(&new)?;
        let mut bytes = segment_header(0);
        bytes.extend_from_slice(record);
        file.write_at(0, &bytes).and_then(|()| file.sync()).at(&new)?;
        self.fs.rename(&new, &path).at(&path)?;
        self.fs.sync_dir(&self.dir).at(&self.dir)?;
        self.file = Some((file, bytes.len() as u64));
        Ok(())
    }
}

fn put_state(out: &mut Vec<u8>, state: &State) {
    out.put_uvarint(state.checkpoint);
    out.put_uvarint(state.first_segment);
    out.put_varint(state.flushed_until_ms);
    out.put_uvarint(state.blocks.len() as u64);
    state.blocks.iter().for_each(|block| out.put_bytes(block.to_string().as_bytes()));
}

fn take_state(bytes: &[u8]) -> Result<State, Malformed> {
    let mut input = Decoder::new(bytes);
    let (checkpoint, first_segment) = (input.uvarint()?, input.uvarint()?);
    let flushed_until_ms = input.varint()?;
    let blocks = (0..input.count(2)?)
        .map(|_| {
            let at = input;
            input.text()?.parse().map_err(|_| at.malformed("not the name of a block"))
        })
        .collect::<Result<_, _>>()?;
    Ok(State { blocks, checkpoint, first_segment, flushed_until_ms })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Timestamp;
    use crate::testing::FaultFs;

    fn state(n: u64) -> State {
        let blocks = (0..n % 5).map(|i| BlockId::new(Timestamp::from_millis(1000), u128::from(n * 10 + i))).collect();
        State { blocks, checkpoint: n, first_segment: n * 2, flushed_until_ms: n as i64 * 1000 - 3 }
    }

    #[test]
    fn the_worked_example_of_the_format_document() {
        let disk = FaultFs::default();
        let (fs, dir): (Arc<dyn Fs>, _) = (Arc::new(disk.clone()), Path::new("/data"));
        fs.create_dir_all(dir).unwrap();
        let blocks = vec!["01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap()];
        let state = State { blocks, checkpoint: 3, first_segment: 7, flushed_until_ms: 1000 };
        Manifest::begin(&fs, dir, State::default()).change(state.clone()).unwrap();
        let written = disk.bytes(&dir.join(MANIFEST)).unwrap();
        let documented = crate::wal::worked_example(include_str!("../docs/format/manifest.md"));
        assert_eq!(documented, written, "the document shows other bytes; these are written: {written:02x?}");
        assert_eq!(Manifest::read(&*fs, dir).unwrap(), Some(state));
    }

    #[test]
    fn the_last_change_holds_however_long_the_file_gets() {
        let disk = FaultFs::default();
        let (fs, dir): (Arc<dyn Fs>, _) = (Arc::new(disk.clone()), Path::new("/data"));
        fs.create_dir_all(dir).unwrap();
        assert_eq!(Manifest::read(&*fs, dir).unwrap(), None);
        let mut manifest = Manifest::begin(&fs, dir, State::default());
        for n in 1..2000 {
            manifest.change(state(n)).unwrap();
            if n % 97 == 0 {
                assert_eq!(Manifest::read(&*fs, dir).unwrap(), Some(state(n)));
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
                let found = Manifest::read(&disk, dir).unwrap();
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
            if let Ok(Some(found)) = Manifest::read(&*fs, dir) {
                assert!(states.contains(&found), "flipped at {at}: {found:?}");
            }
        }
    }
}
