//! What targets say about their metric families: `TYPE`, `HELP`, `UNIT`.
//!
//! A thousand targets of a kind say the same of the same families, so the texts are kept once and shared.

use std::borrow::{Borrow, Cow};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use tsdb::{Metadata, MetricKind};

use crate::parse::Entry;

/// Families kept per target; what comes after is forgotten.
const MAX_FAMILIES: usize = 20_000;
/// Bytes of names, help and units kept per target.
const MAX_BYTES: usize = 2 << 20;
/// Bytes kept of one text.
const MAX_TEXT_BYTES: usize = 4096;
/// Scrapes for which a family that is no longer exposed is kept.
const KEPT_SCRAPES: u64 = 10;

/// A family and what is said of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub family: String,
    /// Type, help and unit.
    pub metadata: Metadata,
}

impl Described {
    fn bytes(&self) -> usize {
        self.family.len() + self.metadata.help.len() + self.metadata.unit.len()
    }
}

/// Descriptions that targets have in common, each once. Cheap to clone: a clone is the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Descriptions(Arc<Mutex<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    table: HashTable<Arc<Described>>,
    hasher: RandomState,
    /// When the table has grown to this, those that nobody uses are thrown out.
    tidy_at: usize,
}

impl Descriptions {
    /// The one description that is equal to this.
    fn get(&self, family: &str, metadata: &Seen<'_>) -> Arc<Described> {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Shared { table, hasher, tidy_at } = &mut *shared;
        let hash = |family: &str, kind: MetricKind, help: &str, unit: &str| hasher.hash_one((family, kind, help, unit));
        let hash_of = |d: &Arc<Described>| hash(&d.family, d.metadata.kind, &d.metadata.help, &d.metadata.unit);
        let wanted = hash(family, metadata.kind, &metadata.help, &metadata.unit);
        if let Some(known) = table.find(wanted, |d| d.family == family && metadata.is(&d.metadata)) {
            return Arc::clone(known);
        }
        if table.len() >= *tidy_at {
            table.retain(|described| Arc::strong_count(described) > 1);
            *tidy_at = (table.len() * 2).max(1024);
        }
        let described = Arc::new(Described { family: family.to_owned(), metadata: metadata.to_owned() });
        table.insert_unique(wanted, Arc::clone(&described), hash_of);
        described
    }
}

/// The families of one target. Cheap to clone: a clone shows the same families.
#[derive(Clone, Debug, Default)]
pub struct FamilyTable {
    descriptions: Descriptions,
    families: Arc<Mutex<Families>>,
}

#[derive(Debug, Default)]
struct Families {
    entries: BTreeMap<ByName, Family>,
    bytes: usize,
    /// Updates so far.
    updates: u32,
}

/// A description that is found by the name of its family.
#[derive(Debug)]
struct ByName(Arc<Described>);

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.0.family == other.0.family
    }
}

impl Eq for ByName {}

impl PartialOrd for ByName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.family.cmp(&other.0.family)
    }
}

impl Borrow<str> for ByName {
    fn borrow(&self) -> &str {
        &self.0.family
    }
}

#[derive(Debug)]
struct Family {
    described: Arc<Described>,
    /// The update that saw it last.
    update: u32,
    /// Whether that update brought news.
    changed: bool,
    /// The scrape in which it was found missing.
    gone: Option<u64>,
}

/// What has been read of a family.
struct Seen<'a> {
    kind: MetricKind,
    help: Cow<'a, str>,
    unit: Cow<'a, str>,
}

impl<'a> Seen<'a> {
    /// What is known of a family after `lines`, of which `before` was known.
    fn after(before: Option<&'a Metadata>, lines: &'a Line<'a>) -> Self {
        Self {
            kind: lines.kind.or(before.map(|m| m.kind)).unwrap_or_default(),
            help: cut(lines.help.as_deref().or(before.map(|m| m.help.as_str())).unwrap_or_default()).into(),
            unit: cut(lines.unit.or(before.map(|m| m.unit.as_str())).unwrap_or_default()).into(),
        }
    }

    fn is(&self, metadata: &Metadata) -> bool {
        self.kind == metadata.kind && self.help == metadata.help && self.unit == metadata.unit
    }

    fn to_owned(&self) -> Metadata {
        Metadata { kind: self.kind, help: (*self.help).to_owned(), unit: (*self.unit).to_owned() }
    }
}

impl FamilyTable {
    /// An empty table that shares its texts with others of `descriptions`.
    pub(crate) fn new(descriptions: Descriptions) -> Self {
        Self { descriptions, families: Arc::default() }
    }

    /// All families by name.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Arc<Described>> {
        self.lock().entries.values().map(|family| Arc::clone(&family.described)).collect()
    }

    /// What is said of `family`.
    #[must_use]
    pub fn get(&self, family: &str) -> Option<Arc<Described>> {
        self.lock().entries.get(family).map(|family| Arc::clone(&family.described))
    }

    /// How many families there are and the bytes of their texts.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let families = self.lock();
        (families.entries.len(), families.bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Families> {
        self.families.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what a whole body says; `scrape` counts the scrapes of the target. Calls `changed` with each family that
    /// is new or has changed. What a body says nothing of stays as it was.
    ///
    /// Cost: a look-up per entry; only news allocates.
    pub(crate) fn update<'a>(
        &self,
        scrape: u64,
        entries: impl Iterator<Item = Entry<'a>>,
        changed: impl FnMut(&str, &Metadata),
    ) {
        let mut families = self.lock();
        families.take_all(&self.descriptions, entries);
        families.finish(scrape);
        families.tell(changed);
    }

    /// Takes what the beginning of a body says, the rest of which cannot be read: nothing is missing yet.
    pub(crate) fn update_partly<'a>(
        &self,
        entries: impl Iterator<Item = Entry<'a>>,
        changed: impl FnMut(&str, &Metadata),
    ) {
        let mut families = self.lock();
        families.take_all(&self.descriptions, entries);
        families.tell(changed);
    }
}

/// What one or more lines say about a family.
#[derive(Default)]
struct Line<'a> {
    kind: Option<MetricKind>,
    help: Option<Cow<'a, str>>,
    unit: Option<&'a str>,
}

impl<'a> Line<'a> {
    fn add(&mut self, later: Line<'a>) {
        self.kind = later.kind.or(self.kind);
        self.unit = later.unit.or(self.unit);
        if later.help.is_some() {
            self.help = later.help;
        }
    }
}

impl Families {
    fn take_all<'a>(&mut self, descriptions: &Descriptions, entries: impl Iterator<Item = Entry<'a>>) {
        self.updates = self.updates.wrapping_add(1);
        // The lines of a family stand together, so that most families are looked up once.
        let mut pending: Option<(Cow<'a, str>, Line<'a>)> = None;
        for entry in entries {
            let (family, line) = match entry {
                Entry::Type { family, kind } => (family, Line { kind: Some(kind), ..Line::default() }),
                Entry::Help { family, help } => (family, Line { help: Some(help), ..Line::default() }),
                Entry::Unit { family, unit } => (family, Line { unit: Some(unit), ..Line::default() }),
                Entry::Comment | Entry::Sample(_) => continue,
            };
            match &mut pending {
                Some((name, lines)) if *name == family => lines.add(line),
                _ => {
                    if let Some((name, lines)) = pending.replace((family, line)) {
                        self.take(descriptions, &name, &lines);
                    }
                }
            }
        }
        if let Some((name, lines)) = pending {
            self.take(descriptions, &name, &lines);
        }
    }

    /// Calls `changed` with each family that is new or has changed since the last call.
    fn tell(&mut self, mut changed: impl FnMut(&str, &Metadata)) {
        for family in self.entries.values_mut().filter(|family| family.changed) {
            family.changed = false;
            changed(&family.described.family, &family.described.metadata);
        }
    }

    /// Takes what is said about a family, unless there is no more room.
    fn take(&mut self, descriptions: &Descriptions, name: &str, lines: &Line<'_>) {
        let (full, update) = (self.bytes >= MAX_BYTES, self.updates);
        let room = self.entries.len() < MAX_FAMILIES && name.len() <= MAX_TEXT_BYTES;
        match self.entries.get_mut(name) {
            Some(family) => {
                (family.update, family.gone) = (update, None);
                let seen = Seen::after(Some(&family.described.metadata), lines);
                if !full && !seen.is(&family.described.metadata) {
                    let described = descriptions.get(name, &seen);
                    self.bytes = self.bytes + described.bytes() - family.described.bytes();
                    // The key holds the description, too: none of it stays.
                    self.entries.remove(name);
                    let key = ByName(Arc::clone(&described));
                    self.entries.insert(key, Family { described, update, changed: true, gone: None });
                }
            }
            None if full || !room => {}
            None => {
                let described = descriptions.get(name, &Seen::after(None, lines));
                self.bytes += described.bytes();
                let key = ByName(Arc::clone(&described));
                self.entries.insert(key, Family { described, update, changed: true, gone: None });
            }
        }
    }

    /// Notes what this update has not seen, and drops what has been missing for too long.
    fn finish(&mut self, scrape: u64) {
        let (update, mut freed) = (self.updates, 0);
        self.entries.retain(|_, family| {
            if family.update != update && family.gone.is_none() {
                family.gone = Some(scrape);
            }
            let keep = family.gone.is_none_or(|gone| scrape.saturating_sub(gone) <= KEPT_SCRAPES);
            freed += if keep { 0 } else { family.described.bytes() };
            keep
        });
        self.bytes -= freed;
    }
}

/// The beginning of `text`, at most [`MAX_TEXT_BYTES`] of it.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_TEXT_BYTES);
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
        assert_eq!(update(&table, 1, "# HELP b y\n# TYPE a counter\n# HELP a x\n"), ["a counter x", "b unknown y"]);
        assert_eq!(update(&table, 2, "# TYPE a gauge\n# HELP b y\n# HELP a x\n"), ["a gauge x"]);
        assert_eq!(update(&table, 3, "# TYPE a gauge\n# HELP b y\n"), Vec::<String>::new());
        assert_eq!(table.size(), (2, 4));
        assert_eq!(table.get("a").unwrap().metadata.help, "x");
        assert!(table.get("c").is_none());
    }

    #[test]
    fn targets_share_their_texts() {
        let descriptions = Descriptions::default();
        let [a, b] = [(); 2].map(|()| FamilyTable::new(descriptions.clone()));
        for table in [&a, &b] {
            update(table, 1, "# HELP m x\n# TYPE m gauge\n");
        }
        assert!(Arc::ptr_eq(&a.snapshot()[0], &b.snapshot()[0]));
        for scrape in 2..5000 {
            update(&a, scrape, &format!("# HELP m{scrape} x\n"));
        }
        let kept = descriptions.0.lock().unwrap().table.len();
        assert!(kept <= 1100, "{kept}");
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
        let help = "é".repeat(MAX_TEXT_BYTES);
        let body: String = (0..5000).map(|n| format!("# HELP a{n} {help}\n")).collect();
        update(&table, 1, &body);
        let (families, bytes) = table.size();
        assert!(bytes <= MAX_BYTES + MAX_TEXT_BYTES + 10 && families > 400, "{families} {bytes}");
    }
}
