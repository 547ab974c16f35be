//! Which series the labels of pushed time series name, by their bytes.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hashbrown::HashTable;
use tsdb::SeriesRef;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// Series remembered beside twice as many as the store holds: about 26 bytes each. Beyond, all are forgotten and found
/// again, so that series that have ended do not stay.
const SPARE_SERIES: u64 = 1 << 16;

/// From the bytes of labels to the series. The bytes themselves are not kept: 80 bits of a hash that is seeded anew at
/// every start stand for them, so no sender can make two label sets meet, and by chance two of ten million do once in 2^34
/// starts.
///
/// Senders write their series in the same order again and again, so the entries lie in the order in which they first
/// came, and the one after the last that was found is tried first: no miss of the processor's cache per series.
#[derive(Debug)]
pub(crate) struct SeriesCache {
    seed: u64,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    entries: Entries,
    /// Positions in `entries`, by hash.
    by_hash: HashTable<u32>,
}

/// A list that grows without being copied, so that it never takes twice its size.
#[derive(Debug, Default)]
struct Entries {
    pages: Vec<Vec<Entry>>,
}

/// Entries of a page: 64 KiB.
const PAGE: usize = 1 << 12;

impl Entries {
    fn len(&self) -> usize {
        self.pages.len().saturating_sub(1) * PAGE + self.pages.last().map_or(0, Vec::len)
    }

    #[inline]
    fn get(&self, at: usize) -> Option<&Entry> {
        self.pages.get(at / PAGE)?.get(at % PAGE)
    }

    fn push(&mut self, entry: Entry) {
        if self.pages.last().is_none_or(|page| page.len() == PAGE) {
            self.pages.push(Vec::with_capacity(PAGE));
        }
        self.pages.last_mut().expect("there is one with room").push(entry);
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.pages.iter_mut().flatten()
    }
}

impl std::ops::Index<u32> for Entries {
    type Output = Entry;

    fn index(&self, at: u32) -> &Entry {
        &self.pages[at as usize / PAGE][at as usize % PAGE]
    }
}

/// What is known of one label set, in 16 bytes.
#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u64,
    /// The series, and above it more bits of the hash.
    series: u64,
}

const MORE_HASH: u64 = u64::MAX << SeriesRef::BITS;

impl Entry {
    fn new(hash: Hash, series: SeriesRef) -> Self {
        Self { hash: hash.0[0], series: hash.0[1] & MORE_HASH | series.0 }
    }

    fn is(&self, hash: Hash) -> bool {
        self.hash == hash.0[0] && (self.series ^ hash.0[1]) & MORE_HASH == 0
    }

    fn series(&self) -> SeriesRef {
        SeriesRef(self.series & !MORE_HASH)
    }
}

/// The hash of labels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hash([u64; 2]);

impl Hash {
    pub(crate) fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.0[0]) | u128::from(self.0[1]) << 64).to_le_bytes()
    }
}

/// The cache, locked for the length of a request.
pub(crate) struct Lookup<'c> {
    seed: u64,
    known: MutexGuard<'c, Known>,
    /// Where the next series is expected.
    next: usize,
}

impl Default for SeriesCache {
    fn default() -> Self {
        Self { seed: RandomState::new().hash_one(0), known: Mutex::default() }
    }
}

impl SeriesCache {
    pub(crate) fn lookup(&self) -> Lookup<'_> {
        Lookup { seed: self.seed, known: self.lock(), next: 0 }
    }

    /// Forgets everything if that is far more than the series that the store holds.
    pub(crate) fn fit(&self, series: u64) {
        let mut known = self.lock();
        if known.entries.len() as u64 > series.saturating_mul(2).saturating_add(SPARE_SERIES) {
            *known = Known::default();
        }
    }

    /// Forgets series that are gone.
    pub(crate) fn forget(&self, gone: &[SeriesRef]) {
        let gone: HashSet<SeriesRef> = gone.iter().copied().collect();
        let mut known = self.lock();
        let Known { entries, by_hash } = &mut *known;
        by_hash.retain(|&mut at| !gone.contains(&entries[at].series()));
        // Their places stay until all is forgotten; a hash of zeros is nobody's.
        let gone = |entry: &&mut Entry| gone.contains(&entry.series());
        entries.iter_mut().filter(gone).for_each(|entry| *entry = Entry { hash: 0, series: 0 });
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lookup<'_> {
    /// The hash of labels, for [`get`](Self::get) and [`insert`](Self::insert).
    #[inline]
    pub(crate) fn hash(&self, labels: &[u8]) -> Hash {
        let hash = xxh3_128_with_seed(labels, self.seed);
        Hash([hash as u64, (hash >> 64) as u64])
    }

    /// The series that labels of this hash name, if they have been seen.
    #[inline]
    pub(crate) fn get(&mut self, hash: Hash) -> Option<SeriesRef> {
        let Known { entries, by_hash } = &*self.known;
        if let Some(entry) = entries.get(self.next).filter(|entry| entry.is(hash)) {
            self.next += 1;
            return Some(entry.series());
        }
        let at = *by_hash.find(hash.0[0], |&at| entries[at].is(hash))?;
        self.next = at as usize + 1;
        Some(entries[at].series())
    }

    pub(crate) fn insert(&mut self, hash: Hash, series: SeriesRef) {
        let Known { entries, by_hash } = &mut *self.known;
        let at = entries.len() as u32;
        entries.push(Entry::new(hash, series));
        by_hash.insert_unique(hash.0[0], at, |&at| entries[at].hash);
        self.next = entries.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_found_in_any_order_and_not_after_they_are_forgotten() {
        let cache = SeriesCache::default();
        let labels: Vec<Vec<u8>> = (0..100u8).map(|i| vec![i; 20]).collect();
        let mut lookup = cache.lookup();
        for (labels, i) in labels.iter().zip(0..) {
            let hash = lookup.hash(labels);
            assert_eq!(lookup.get(hash), None);
            lookup.insert(hash, SeriesRef(i));
        }
        for i in (0..100).chain((0..100).rev()).chain((0..100).map(|i| i * 37 % 100)) {
            let hash = lookup.hash(&labels[i]);
            assert_eq!(lookup.get(hash), Some(SeriesRef(i as u64)));
        }
        drop(lookup);
        cache.forget(&[SeriesRef(7)]);
        let mut lookup = cache.lookup();
        let (gone, there) = (lookup.hash(&labels[7]), lookup.hash(&labels[8]));
        assert_eq!((lookup.get(gone), lookup.get(there)), (None, Some(SeriesRef(8))));
    }

    #[test]
    fn series_that_have_ended_do_not_stay_for_ever() {
        let cache = SeriesCache::default();
        for round in 0..10u64 {
            cache.fit(10);
            let mut lookup = cache.lookup();
            for i in 0..20_000 {
                let hash = lookup.hash(&(round * 20_000 + i).to_le_bytes());
                lookup.insert(hash, SeriesRef(i));
            }
        }
        assert!(cache.lock().entries.len() < 100_000);
    }
}
