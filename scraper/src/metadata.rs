//! What a target says about its metric families: `TYPE`, `HELP`, `UNIT`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tsdb::Metadata;

use crate::parse::Entry;

/// Families kept per target; what comes after is forgotten.
const MAX_FAMILIES: usize = 20_000;
/// Bytes of names, help and units kept per target.
const MAX_BYTES: usize = 8 << 20;
/// Bytes kept of one help text.
const MAX_HELP_BYTES: usize = 4096;
/// Scrapes for which a family that is no longer exposed is kept.
const KEPT_SCRAPES: u64 = 10;

/// The families of one target. Cheap to clone: a clone shows the same families.
#[derive(Clone, Debug, Default)]
pub struct FamilyTable(Arc<Mutex<Families>>);

#[derive(Debug, Default)]
struct Families {
    by_name: BTreeMap<String, Family>,
    bytes: usize,
    /// Updates so far.
    updates: u64,
}

#[derive(Debug, Default)]
struct Family {
    metadata: Metadata,
    /// The update that saw it last.
    update: u64,
    /// Whether that update brought news.
    changed: bool,
    /// The scrape in which it was found missing.
    gone: Option<u64>,
}

impl FamilyTable {
    /// All families by name.
    #[must_use]
    pub fn snapshot(&self) -> Vec<(String, Metadata)> {
        let families = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        families.by_name.iter().map(|(name, family)| (name.clone(), family.metadata.clone())).collect()
    }

    /// How many families there are and the bytes that they take.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let families = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (families.by_name.len(), families.bytes)
    }

    /// Takes what a whole body says; `scrape` counts the scrapes of the target. Calls `changed` with each family that
    /// is new or has changed. What a body says nothing of stays as it was.
    ///
    /// Cost: a look-up per entry; only news allocates.
    pub(crate) fn update<'a>(
        &self,
        scrape: u64,
        entries: impl Iterator<Item = Entry<'a>>,
        mut changed: impl FnMut(&str, &Metadata),
    ) {
        let mut families = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        families.updates += 1;
        for entry in entries {
            match entry {
                Entry::Type { family, kind } => families.set(&family, |m| (m.kind != kind).then(|| m.kind = kind)),
                Entry::Help { family, help } => families.set(&family, |m| set_text(&mut m.help, &help)),
                Entry::Unit { family, unit } => families.set(&family, |m| set_text(&mut m.unit, unit)),
                Entry::Comment | Entry::Sample(_) => {}
            }
        }
        families.finish(scrape);
        for (name, family) in families.by_name.iter_mut().filter(|(_, family)| family.changed) {
            family.changed = false;
            changed(name, &family.metadata);
        }
    }
}

/// `Some` if that changes `text`.
fn set_text(text: &mut String, new: &str) -> Option<()> {
    let new = cut(new);
    (text != new).then(|| new.clone_into(text))
}

impl Families {
    /// Lets `change` at the family, which answers `Some` if it has changed something. Without effect when there is no
    /// more room.
    fn set(&mut self, name: &str, change: impl FnOnce(&mut Metadata) -> Option<()>) {
        let full = self.bytes >= MAX_BYTES;
        if !self.by_name.contains_key(name) {
            if full || self.by_name.len() >= MAX_FAMILIES {
                return;
            }
            self.bytes += name.len();
            self.by_name.insert(name.to_owned(), Family { changed: true, ..Family::default() });
        }
        let family = self.by_name.get_mut(name).expect("it has just been put there");
        (family.update, family.gone) = (self.updates, None);
        let before = texts(&family.metadata);
        if !full && change(&mut family.metadata).is_some() {
            family.changed = true;
            self.bytes = self.bytes + texts(&family.metadata) - before;
        }
    }

    /// Notes what this update has not seen, and drops what has been missing for too long.
    fn finish(&mut self, scrape: u64) {
        let (update, mut freed) = (self.updates, 0);
        self.by_name.retain(|name, family| {
            if family.update != update && family.gone.is_none() {
                family.gone = Some(scrape);
            }
            let keep = family.gone.is_none_or(|gone| scrape.saturating_sub(gone) <= KEPT_SCRAPES);
            freed += if keep { 0 } else { name.len() + texts(&family.metadata) };
            keep
        });
        self.bytes -= freed;
    }
}

fn texts(metadata: &Metadata) -> usize {
    metadata.help.len() + metadata.unit.len()
}

/// The beginning of `text`, at most [`MAX_HELP_BYTES`] of it.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_HELP_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::{Format, Parser};

    fn update(table: &FamilyTable, scrape: u64, body: &str) -> Vec<String> {
        let mut parser = Parser::new(body.as_bytes(), Format::Text);
        let mut changed = Vec::new();
        table.update(scrape, std::iter::from_fn(|| parser.entry().unwrap()), |name, m| {
            changed.push(format!("{name} {} {}", m.kind, m.help));
        });
        changed
    }

    #[test]
    fn only_news_is_reported() {
        let table = FamilyTable::default();
        assert_eq!(update(&table, 1, "# TYPE a counter\n# HELP a x\n# HELP b y\n"), ["a counter x", "b unknown y"]);
        assert_eq!(update(&table, 2, "# TYPE a gauge\n# HELP a x\n# HELP b y\n"), ["a gauge x"]);
        assert_eq!(table.size(), (2, 4));
    }

    #[test]
    fn a_family_is_kept_for_ten_scrapes_after_it_was_last_exposed() {
        let table = FamilyTable::default();
        update(&table, 1, "# HELP a x\n");
        update(&table, 2, "");
        update(&table, 12, "");
        assert_eq!(table.snapshot().len(), 1);
        update(&table, 13, "");
        assert_eq!(table.size(), (0, 0));
    }

    #[test]
    fn a_hostile_target_cannot_fill_the_memory() {
        let table = FamilyTable::default();
        let help = "é".repeat(MAX_HELP_BYTES);
        let body: String = (0..5000).map(|n| format!("# HELP a{n} {help}\n")).collect();
        update(&table, 1, &body);
        let (families, bytes) = table.size();
        assert!(bytes <= MAX_BYTES + MAX_HELP_BYTES + 10 && families > 1000, "{families} {bytes}");
    }
}
