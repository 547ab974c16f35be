//! Which commits a reader sees: all of those up to a watermark that is taken when the reader opens, and no other.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::chunk::Extent;
use crate::sample::SeriesRef;

/// Hands out watermarks and knows which are in use.
#[derive(Debug, Default)]
pub(crate) struct Isolation {
    /// The newest commit that readers may see; all before it are applied, and logged as the sync policy asks.
    published: AtomicU64,
    readers: Mutex<Readers>,
}

#[derive(Debug, Default)]
struct Readers {
    /// Watermarks in use, with how many readers use each.
    watermarks: BTreeMap<u64, usize>,
    /// The order in which those that are open were opened.
    open: BTreeSet<u64>,
    opened: u64,
}

/// A reader's watermark. Until it is dropped, what the reader needs to see the past is kept.
#[derive(Debug)]
pub(crate) struct ReadTicket {
    isolation: Arc<Isolation>,
    watermark: u64,
    order: u64,
}

impl Isolation {
    /// Lets readers that open from now on see all commits up to `commit`.
    pub(crate) fn publish(&self, commit: u64) {
        self.published.fetch_max(commit, Ordering::AcqRel);
    }

    /// The newest commit that a reader opening now would see.
    pub(crate) fn published(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    /// Opens a reader.
    pub(crate) fn open(self: &Arc<Self>) -> ReadTicket {
        let mut readers = self.readers.lock();
        let watermark = self.published();
        self.enter(&mut readers, watermark)
    }

    /// Opens a reader that sees all commits up to `watermark`, published or not. The caller keeps others from being
    /// applied meanwhile.
    pub(crate) fn open_at(self: &Arc<Self>, watermark: u64) -> ReadTicket {
        self.enter(&mut self.readers.lock(), watermark)
    }

    fn enter(self: &Arc<Self>, readers: &mut Readers, watermark: u64) -> ReadTicket {
        *readers.watermarks.entry(watermark).or_default() += 1;
        readers.opened += 1;
        readers.open.insert(readers.opened);
        ReadTicket { isolation: self.clone(), watermark, order: readers.opened }
    }

    /// A mark that tells readers opened before from those that come.
    pub(crate) fn mark(&self) -> u64 {
        self.readers.lock().opened
    }

    /// Whether all readers that were open at `mark` are gone.
    pub(crate) fn passed(&self, mark: u64) -> bool {
        self.readers.lock().open.first().is_none_or(|&oldest| oldest > mark)
    }

    /// The newest commit that every reader, those that come included, may see.
    pub(crate) fn settled(&self) -> u64 {
        let readers = self.readers.lock();
        readers.watermarks.keys().next().copied().unwrap_or(u64::MAX).min(self.published())
    }

    /// The watermarks that the next commit must keep the past for, ascending: those in use, and the one that a reader
    /// opening meanwhile would get.
    pub(crate) fn watched(&self, into: &mut Vec<u64>) {
        into.clear();
        let readers = self.readers.lock();
        into.extend(readers.watermarks.keys().copied());
        let next = self.published();
        if into.last() != Some(&next) {
            into.push(next);
        }
    }
}

impl ReadTicket {
    pub(crate) fn watermark(&self) -> u64 {
        self.watermark
    }
}

impl Drop for ReadTicket {
    fn drop(&mut self) {
        let mut readers = self.isolation.readers.lock();
        readers.open.remove(&self.order);
        if let Some(n) = readers.watermarks.get_mut(&self.watermark) {
            *n -= 1;
            if *n == 0 {
                readers.watermarks.remove(&self.watermark);
            }
        }
    }
}

/// What open readers need to know of the past beyond the last commit of each chunk.
///
/// A chunk remembers how long it was before the last commit that wrote to it. When another commit writes to it while a
/// reader with an older watermark is open, the older length is kept here: at most one entry per chunk and reader. A
/// chunk on a shared column needs none, its column knows the commit of each entry.
#[derive(Debug, Default)]
pub(crate) struct History {
    chunks: Mutex<HashMap<ChunkKey, Lengths>>,
    /// The newest commit of any entry; 0 if there is none.
    newest: AtomicU64,
}

/// A chunk: its series and the time of its first sample.
type ChunkKey = (SeriesRef, i64);
/// Ascending: a commit and the samples that were there before it.
type Lengths = SmallVec<[(u64, u8); 2]>;

impl History {
    /// Keeps what `old` says if a reader with one of the `watched` watermarks will ask for it.
    #[inline]
    pub(crate) fn keep(&self, series: SeriesRef, base_ms: i64, old: Extent, watched: &[u64]) {
        // The common case: all readers, present and coming, may see what `old` counts.
        if watched.first().is_none_or(|&oldest| old.commit <= oldest) {
            return;
        }
        self.keep_slow(series, base_ms, old, watched);
    }

    #[cold]
    fn keep_slow(&self, series: SeriesRef, base_ms: i64, old: Extent, watched: &[u64]) {
        let mut chunks = self.chunks.lock();
        let kept_until = chunks.get(&(series, base_ms)).and_then(|lengths| lengths.last()).map_or(0, |&(c, _)| c);
        // A reader below the last kept commit is served by that one; one at or above `old.commit` sees it all.
        if watched.iter().any(|&watermark| (kept_until..old.commit).contains(&watermark)) {
            chunks.entry((series, base_ms)).or_default().push((old.commit, old.before));
            self.newest.fetch_max(old.commit, Ordering::Release);
        }
    }

    /// How many samples a reader at `watermark` sees of a chunk whose last commit is newer; `None` if the chunk itself
    /// knows.
    pub(crate) fn before(&self, series: SeriesRef, base_ms: i64, watermark: u64) -> Option<u8> {
        if self.newest.load(Ordering::Acquire) <= watermark {
            return None;
        }
        let chunks = self.chunks.lock();
        chunks.get(&(series, base_ms))?.iter().find(|(commit, _)| *commit > watermark).map(|(_, before)| *before)
    }

    /// Forgets everything once all readers, the `watched`, may see all that is kept.
    pub(crate) fn prune(&self, watched: &[u64]) {
        let newest = self.newest.load(Ordering::Acquire);
        if newest > 0 && watched.first().is_none_or(|&oldest| oldest >= newest) {
            let mut chunks = self.chunks.lock();
            *chunks = HashMap::new();
            self.newest.store(0, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watermark_is_watched_until_its_last_reader_closes() {
        let isolation = Arc::new(Isolation::default());
        isolation.publish(3);
        let (a, b) = (isolation.open(), isolation.open());
        isolation.publish(5);
        let watched = || {
            let mut out = Vec::new();
            isolation.watched(&mut out);
            out
        };
        assert_eq!((a.watermark(), watched()), (3, vec![3, 5]));
        drop(a);
        assert_eq!(watched(), vec![3, 5]);
        drop(b);
        assert_eq!(watched(), vec![5]);
    }

    #[test]
    fn history_keeps_one_length_per_reader_and_serves_each() {
        let history = History::default();
        let extent = |commit, before, count| Extent { commit, before, count };
        let (series, watched) = (SeriesRef(1), [3, 6, 9]);
        // The chunk was 1 long before commit 4, 2 before 5, 3 before 7, 4 before 8; commit 10 is the last.
        for old in [extent(4, 1, 2), extent(5, 2, 3), extent(7, 3, 4), extent(8, 4, 5)] {
            history.keep(series, 50, old, &watched);
        }
        assert_eq!(history.before(series, 50, 3), Some(1));
        assert_eq!(history.before(series, 50, 6), Some(3));
        assert_eq!(history.before(series, 50, 9), None, "the chunk's own extent serves it");
        assert_eq!(history.chunks.lock()[&(series, 50)].len(), 2);
        history.prune(&[6]);
        assert_eq!(history.before(series, 50, 6), Some(3));
        history.prune(&[9]);
        assert_eq!(history.before(series, 50, 6), None);
    }
}
