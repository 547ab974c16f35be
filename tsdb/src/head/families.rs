//! What is known about metric families: bounded, and gone with the last of their series.

use std::collections::{BTreeMap, BTreeSet};

use super::Head;
use crate::labels::METRIC_NAME;
use crate::metadata::Metadata;

/// Families kept; further ones are refused.
const MAX_FAMILIES: usize = 50_000;
/// Bytes of names, help texts and units kept.
const MAX_BYTES: usize = 32 << 20;
/// Bytes of a family's name; a longer one is refused.
const MAX_NAME_BYTES: usize = 1024;
/// Bytes kept of a help text; the rest is cut off.
const MAX_HELP_BYTES: usize = 4096;
/// Bytes kept of a unit; the rest is cut off.
const MAX_UNIT_BYTES: usize = 256;

/// What the names of a family's series may end in.
const SUFFIXES: [&str; 9] = ["", "_total", "_bucket", "_count", "_sum", "_created", "_info", "_gcount", "_gsum"];

/// The metadata of families by name.
#[derive(Debug, Default)]
pub(crate) struct Families {
    entries: BTreeMap<String, Metadata>,
    bytes: usize,
    /// Those that had no series when it was last looked.
    unused: BTreeSet<String>,
    refused: u64,
    evicted: u64,
}

/// How much there is of families.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FamilyStats {
    /// Families that are kept.
    pub families: u64,
    /// Bytes of their names, help texts and units.
    pub bytes: u64,
    /// Times that a family was refused since the store was opened, because there were too many or its name is too long.
    pub refused: u64,
    /// Families that went with the last of their series since the store was opened.
    pub evicted: u64,
}

/// Shortens texts to what is kept of them.
pub(crate) fn cut(metadata: &mut Metadata) {
    for (text, most) in [(&mut metadata.help, MAX_HELP_BYTES), (&mut metadata.unit, MAX_UNIT_BYTES)] {
        if text.len() > most {
            let end = (0..=most).rev().find(|&end| text.is_char_boundary(end));
            text.truncate(end.unwrap_or(0));
            text.shrink_to_fit();
        }
    }
}

fn bytes_of(family: &str, metadata: &Metadata) -> usize {
    family.len() + metadata.help.len() + metadata.unit.len()
}

impl Families {
    /// Whether this is news of a family that there is room for. Counts a refusal.
    pub(super) fn takes(&mut self, family: &str, metadata: &Metadata) -> bool {
        let room = match self.entries.get(family) {
            Some(old) if old == metadata => return false,
            old => {
                let freed = old.map_or(0, |old| bytes_of(family, old));
                let is_full = old.is_none() && self.entries.len() >= MAX_FAMILIES;
                !is_full && self.bytes - freed + bytes_of(family, metadata) <= MAX_BYTES
            }
        };
        let takes = room && family.len() <= MAX_NAME_BYTES;
        self.refused += u64::from(!takes);
        takes
    }

    /// Keeps what is news of a family, if there is room.
    pub(super) fn insert(&mut self, family: String, metadata: Metadata) {
        if self.takes(&family, &metadata) {
            self.bytes += bytes_of(&family, &metadata);
            let name_bytes = family.len();
            if let Some(old) = self.entries.insert(family, metadata) {
                self.bytes -= name_bytes + old.help.len() + old.unit.len();
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Metadata)> {
        self.entries.iter()
    }

    pub(super) fn entries(&self) -> &BTreeMap<String, Metadata> {
        &self.entries
    }

    fn remove(&mut self, family: &str) {
        if let Some(old) = self.entries.remove(family) {
            self.bytes -= bytes_of(family, &old);
            self.evicted += 1;
        }
    }
}

impl Head {
    /// Evicts the families that have no series now and had none when this was called before: what is said of a family may come
    /// before its first sample. Cost: about a microsecond per family.
    pub(crate) fn evict_families(&self) {
        let names: Vec<String> = self.metadata.read().entries.keys().cloned().collect();
        let unused: BTreeSet<String> = names.into_iter().filter(|family| !self.has_series_of(family)).collect();
        let mut families = self.metadata.write();
        let (gone, new) = unused.into_iter().partition(|family| families.unused.contains(family));
        families.unused = new;
        let gone: BTreeSet<String> = gone;
        gone.iter().for_each(|family| families.remove(family));
    }

    fn has_series_of(&self, family: &str) -> bool {
        let mut name = String::with_capacity(family.len() + 8);
        SUFFIXES.iter().any(|suffix| {
            name.clear();
            name.push_str(family);
            name.push_str(suffix);
            let symbols = self.index.symbols();
            let (Some(label), Some(value)) = (symbols.find(METRIC_NAME), symbols.find(&name)) else { return false };
            drop(symbols);
            self.index.shards().iter().any(|shard| shard.read().count(label, value) > 0)
        })
    }

    pub(crate) fn family_stats(&self) -> FamilyStats {
        let families = self.metadata.read();
        FamilyStats {
            families: families.entries.len() as u64,
            bytes: families.bytes as u64,
            refused: families.refused,
            evicted: families.evicted,
        }
    }
}
