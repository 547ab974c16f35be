//! What a store consists of, found without changing anything.

use std::path::Path;
use std::sync::Arc;

use crate::blocks::{self, Blocks};
use crate::error::Error;
use crate::fs::Fs;
use crate::head::{checkpoints, finished_checkpoint};
use crate::manifest::{MANIFEST, Manifest, Said, State, TornRecord};

/// What the store in a directory consists of.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) state: State,
    pub(crate) blocks: Blocks,
    pub(crate) found: Found,
    /// Present where the manifest does not end with a whole record.
    pub(crate) torn_at: Option<TornRecord>,
}

/// How it is known what a store consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// By the manifest: what it does not name is left over.
    Manifest,
    /// By what is there: all of it counts.
    Parts,
    /// Neither block nor checkpoint is there: a new store.
    Nothing,
}

impl Live {
    /// What the manifest in `dir` says. One that is gone or that names what is not there is made anew from the blocks, and
    /// told of; of checkpoints the newest counts that was finished.
    pub(crate) fn find(fs: &Arc<dyn Fs>, dir: &Path, damage: &mut Vec<String>) -> Result<Self, Error> {
        let manifest = dir.join(MANIFEST).display().to_string();
        let there = |number| Ok::<_, Error>(number == 0 || checkpoints(&**fs, dir)?.contains(&number));
        match Manifest::read(&**fs, dir, damage)? {
            Some(Said { state, torn_at }) if there(state.checkpoint)? => match blocks::open(fs, dir, &state) {
                Ok(blocks) => {
                    damage.extend(blocks.lost_tombstones(&state).iter().map(ToString::to_string));
                    return Ok(Self { state, blocks, found: Found::Manifest, torn_at });
                }
                Err(error) if error.is_refusal() => return Err(error),
                Err(error) => damage.push(format!("{manifest}: does not hold: {error}")),
            },
            Some(_) => damage.push(format!("{manifest}: names a checkpoint that is not there")),
            None => {}
        }
        let checkpoint = finished_checkpoint(&**fs, dir, damage)?;
        let found = blocks::rebuild(fs, dir, damage)?;
        let how = if found.is_empty() && checkpoint == 0 { Found::Nothing } else { Found::Parts };
        if how == Found::Parts {
            damage.push(format!("{manifest}: made anew from {} blocks and checkpoint {checkpoint}", found.len()));
        }
        let state = State {
            blocks: found.iter().map(|block| block.meta().ulid).collect(),
            checkpoint,
            // What the head holds beside the blocks is merged with them.
            first_segment: 0,
            flushed_until_ms: i64::MIN,
            ..State::default()
        };
        let blocks = Blocks::new(found, state.flushed_until_ms);
        Ok(Self { state, blocks, found: how, torn_at: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{Db, Options};
    use crate::labels::Labels;
    use crate::querier::{Columns, Queryable};
    use crate::sample::{TimeRange, Timestamp};
    use crate::testing::FaultFs;
    use crate::wal::segment_header;

    const DIR: &str = "/data";

    fn open(disk: &FaultFs) -> Db {
        let fs: Arc<dyn Fs> = Arc::new(disk.clone());
        let options =
            Options { checkpoint_samples: 100, maintain_every: std::time::Duration::ZERO, ..Options::default() };
        Db::open(&fs, Path::new(DIR), &options, |_, _| {}).unwrap()
    }

    fn append(db: &Db, from_ms: i64) {
        for at_ms in from_ms..from_ms + 200 {
            let mut appender = db.appender();
            let series = appender.series(&Labels::from_pairs([("__name__", "up")])).unwrap();
            appender.append_at(series, Timestamp::from_millis(at_ms), None, at_ms as f64);
            appender.commit().unwrap();
        }
    }

    fn times(db: &Db) -> Vec<i64> {
        let set = db.querier().unwrap().select(&[], TimeRange::ALL).unwrap();
        let mut columns = Columns::default();
        (0..set.len()).for_each(|index| set.read(index, TimeRange::ALL, &mut columns).unwrap());
        columns.timestamps_ms
    }

    /// What a crash leaves that comes as a checkpoint has been begun and before the manifest is lost.
    fn lose_manifest(disk: &FaultFs, unfinished: u64) {
        disk.remove(&Path::new(DIR).join(MANIFEST)).unwrap();
        disk.create_dir_all(&Path::new(DIR).join("checkpoints")).unwrap();
        let file = disk.create(&Path::new(DIR).join(format!("checkpoints/{unfinished:08}"))).unwrap();
        file.write_at(0, &segment_header(unfinished)).unwrap();
    }

    #[test]
    fn without_a_manifest_the_newest_finished_checkpoint_counts() {
        let disk = FaultFs::default();
        let db = open(&disk);
        append(&db, 1000);
        db.maintain();
        assert_eq!(db.maintenance().checkpoints, 1);
        append(&db, 1200);
        drop(db);
        lose_manifest(&disk, 2);
        let db = open(&disk);
        assert_eq!(times(&db), (1000..1400).collect::<Vec<_>>());
        let damage = &db.recovery().damage;
        assert!(damage.iter().any(|what| what.contains("00000002: an unfinished checkpoint")), "{damage:?}");
        assert!(damage.iter().any(|what| what.contains("and checkpoint 1")), "{damage:?}");
    }

    #[test]
    fn without_a_manifest_and_a_finished_checkpoint_the_log_counts() {
        let disk = FaultFs::default();
        let db = open(&disk);
        append(&db, 1000);
        drop(db);
        lose_manifest(&disk, 1);
        let db = open(&disk);
        assert_eq!(times(&db), (1000..1200).collect::<Vec<_>>());
        let damage = &db.recovery().damage;
        assert!(damage.iter().any(|what| what.contains("00000001: an unfinished checkpoint")), "{damage:?}");
    }
}
