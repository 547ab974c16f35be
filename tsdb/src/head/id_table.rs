//! What belongs to each series that the log names.

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use crate::wal::SeriesId;

/// Names of a page.
const PAGE: usize = 1 << 12;

/// A table by the log's names. They are handed out one after the other and stand in the log in about that order, so the
/// entry looked for is most often beside the last one: no miss of the processor's cache per sample.
#[derive(Debug)]
pub(crate) struct IdTable<T> {
    pages: HashMap<u64, Box<[Option<T>; PAGE]>, FxBuildHasher>,
}

impl<T> Default for IdTable<T> {
    fn default() -> Self {
        Self { pages: HashMap::default() }
    }
}

impl<T: Copy> IdTable<T> {
    #[inline]
    pub(crate) fn get(&self, id: SeriesId) -> Option<T> {
        self.pages.get(&(id.0 / PAGE as u64))?[id.0 as usize % PAGE]
    }

    pub(crate) fn insert(&mut self, id: SeriesId, value: T) {
        let page = self.pages.entry(id.0 / PAGE as u64).or_insert_with(|| Box::new([None; PAGE]));
        page[id.0 as usize % PAGE] = Some(value);
    }
}
