//! When the server is killed.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::model::Rng;

/// What it is doing at that moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Anything.
    Any,
    /// Recovering.
    Starting,
    /// Writing a block, cut or compacted, or removing one.
    Block,
    /// Writing a checkpoint.
    Checkpoint,
    /// Moving chunks to a file, or removing one.
    ChunkFile,
    /// Changing the manifest, or removing what it does not name any more.
    Manifest,
    /// Beginning a segment of the log, or removing one.
    Segment,
    /// Deleting.
    Deleting,
}

pub(crate) const ALL: [Moment; 8] = [
    Moment::Any,
    Moment::Starting,
    Moment::Block,
    Moment::Checkpoint,
    Moment::ChunkFile,
    Moment::Manifest,
    Moment::Segment,
    Moment::Deleting,
];

/// A moment that does not come is not waited for any longer.
const PATIENCE: Duration = Duration::from_millis(2500);

impl Moment {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Any => "at any moment",
            Self::Starting => "recovering",
            Self::Block => "at blocks",
            Self::Checkpoint => "at a checkpoint",
            Self::ChunkFile => "at chunk files",
            Self::Manifest => "at the manifest",
            Self::Segment => "at the log",
            Self::Deleting => "deleting",
        }
    }

    /// Waits for the moment; `deleting` says whether something is being deleted. Answers whether it has come.
    #[expect(clippy::disallowed_methods, reason = "the moment is one of the real time")]
    pub(crate) fn wait(self, dir: &Path, rng: &mut Rng, deleting: &dyn Fn() -> bool) -> bool {
        let begun = Instant::now();
        let data = dir.join("data");
        // Not what comes first: later ones find more there.
        let earliest = Duration::from_millis(match self {
            Self::Any => 50 + rng.below(2200),
            Self::Starting => rng.below(120),
            _ => rng.below(1500),
        });
        std::thread::sleep(earliest);
        let state = |moment| -> BTreeSet<String> {
            match moment {
                Self::Block => names(&data.join("blocks")).into_iter().filter(|name| name.ends_with(".tmp")).collect(),
                Self::Checkpoint => names(&data.join("checkpoints")),
                Self::ChunkFile => names(&data.join("head")),
                Self::Segment => names(&data.join("wal")),
                Self::Manifest => {
                    let changed = std::fs::metadata(data.join("MANIFEST")).and_then(|meta| meta.modified());
                    changed.into_iter().map(|at| format!("{at:?}")).collect()
                }
                Self::Any | Self::Starting | Self::Deleting => BTreeSet::new(),
            }
        };
        let before = state(self);
        let met = loop {
            let come = match self {
                Self::Any | Self::Starting => true,
                Self::Deleting => deleting(),
                // One that is there already is being written, too.
                Self::Block => !state(self).is_empty(),
                _ => state(self) != before,
            };
            if come || begun.elapsed() > PATIENCE {
                break come;
            }
            std::thread::sleep(Duration::from_micros(100));
        };
        // And a little into it.
        let most = if rng.below(2) == 0 { 300 } else { 8000 };
        let into = Duration::from_micros(rng.below(most));
        let at = Instant::now();
        while at.elapsed() < into {
            std::hint::spin_loop();
        }
        met
    }
}

fn names(dir: &Path) -> BTreeSet<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return BTreeSet::new() };
    entries.map_while(Result::ok).map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
