//! Which series the labels of pushed time series name, by their bytes.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hashbrown::HashTable;
use tsdb::SeriesRef;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// Series remembered at the most: 24 MiB per million.
const MAX_SERIES: usize = 16 << 20;

/// From the bytes of labels to the series. The bytes themselves are not kept: 128 bits of a hash that is seeded anew at
/// every start stand for them, so no sender can make two label sets meet.
#[derive(Debug)]
pub(crate) struct SeriesCache {
    seed: u64,
    table: Mutex<HashTable<Entry>>,
}

/// The half of the hash that does not place the entry, and the series.
#[derive(Clone, Copy, Debug)]
struct Entry {
    check: u64,
    place: u64,
    series: SeriesRef,
}

/// The cache, locked for the length of a request.
pub(crate) struct Lookup<'c> {
    seed: u64,
    table: MutexGuard<'c, HashTable<Entry>>,
}

impl Default for SeriesCache {
    fn default() -> Self {
        Self { seed: RandomState::new().hash_one(0), table: Mutex::default() }
    }
}

impl SeriesCache {
    pub(crate) fn lookup(&self) -> Lookup<'_> {
        Lookup { seed: self.seed, table: self.lock() }
    }

    /// Forgets series that are gone.
    pub(crate) fn forget(&self, gone: &[SeriesRef]) {
        self.lock().retain(|entry| !gone.contains(&entry.series));
    }

    fn lock(&self) -> MutexGuard<'_, HashTable<Entry>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lookup<'_> {
    fn hash(&self, labels: &[u8]) -> (u64, u64) {
        let hash = xxh3_128_with_seed(labels, self.seed);
        (hash as u64, (hash >> 64) as u64)
    }

    /// The series that these labels name, if they have been seen.
    #[inline]
    pub(crate) fn get(&self, labels: &[u8]) -> Option<SeriesRef> {
        let (place, check) = self.hash(labels);
        self.table.find(place, |entry| entry.check == check && entry.place == place).map(|entry| entry.series)
    }

    pub(crate) fn insert(&mut self, labels: &[u8], series: SeriesRef) {
        if self.table.len() >= MAX_SERIES {
            self.table.clear();
        }
        let (place, check) = self.hash(labels);
        self.table.insert_unique(place, Entry { check, place, series }, |entry| entry.place);
    }
}
