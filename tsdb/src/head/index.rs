//! Which series the head has, over all shards.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{RwLock, RwLockReadGuard};

use super::appender::AppendError;
use super::series::MemSeries;
use super::shard::ShardIndex;
use crate::index::{Symbol, Symbols, SymbolsView};
use crate::labels::Labels;
use crate::sample::SeriesRef;

/// The shards' indexes and the texts that they share. Lock order: shards in their order, then the symbols. No file is touched while
/// either is held.
#[derive(Debug)]
pub(crate) struct SeriesIndex {
    shards: Box<[RwLock<ShardIndex>]>,
    symbols: RwLock<Symbols>,
    len: AtomicU64,
    /// 0 for no limit.
    max_series: u64,
}

/// Bits of a [`SeriesRef`] that number the slot; those above number the shard.
const SLOT_BITS: u32 = 32;
const _: () = assert!((super::MAX_SHARDS as u64) << SLOT_BITS <= 1 << SeriesRef::BITS);

/// The shard and slot that a reference names. Any number will do: what it names may not be there.
#[inline]
pub(crate) fn place(series: SeriesRef) -> (usize, u32) {
    ((series.0 >> SLOT_BITS) as usize, series.0 as u32)
}

/// What names the series in a slot of a shard.
#[inline]
pub(crate) fn reference(shard: usize, slot: u32) -> SeriesRef {
    SeriesRef((shard as u64) << SLOT_BITS | u64::from(slot))
}

/// Gives a series that is not there yet the next slot.
fn insert(index: &mut ShardIndex, shard: usize, pairs: Box<[(Symbol, Symbol)]>, hash: u64) -> Arc<MemSeries> {
    let series_ref = reference(shard, index.slots() as u32);
    let series = Arc::new(MemSeries::new(series_ref, pairs));
    index.insert(series.clone(), hash);
    series
}

impl SeriesIndex {
    pub(crate) fn new(shards: usize, max_series: u64) -> Self {
        let shards = (0..shards).map(|_| RwLock::default()).collect();
        Self { shards, symbols: RwLock::default(), len: AtomicU64::new(0), max_series }
    }

    pub(crate) fn shards(&self) -> &[RwLock<ShardIndex>] {
        &self.shards
    }

    /// How many series there are.
    pub(crate) fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }

    /// The shard of the series whose labels have this hash.
    pub(crate) fn shard_of(&self, hash: u64) -> usize {
        hash as usize % self.shards.len()
    }

    /// The series with these labels; made if it is not there yet.
    pub(crate) fn series(&self, labels: &Labels) -> Result<SeriesRef, AppendError> {
        let hash = labels.hash();
        if let Some(series) = self.find(labels, hash) {
            return Ok(series.series_ref);
        }
        if self.max_series > 0 && self.len() >= self.max_series {
            return Err(AppendError::TooManySeries);
        }
        Ok(self.make_series(labels, hash).series_ref)
    }

    /// The series that a reference names, if it is there.
    pub(crate) fn by_ref(&self, series: SeriesRef) -> Option<Arc<MemSeries>> {
        let (shard, slot) = place(series);
        self.shards.get(shard)?.read().series(slot).cloned()
    }

    fn find(&self, labels: &Labels, hash: u64) -> Option<Arc<MemSeries>> {
        let index = self.shards[self.shard_of(hash)].read();
        let symbols = self.symbols.read();
        index.find(labels, hash, |symbol| symbols.text(symbol)).cloned()
    }

    /// Makes a series, unless it is there already. Knows no limit.
    #[cold]
    pub(crate) fn make_series(&self, labels: &Labels, hash: u64) -> Arc<MemSeries> {
        let shard = self.shard_of(hash);
        let mut index = self.shards[shard].write();
        let pairs: Box<[_]> = {
            let mut symbols = self.symbols.write();
            if let Some(series) = index.find(labels, hash, |symbol| symbols.text(symbol)) {
                return series.clone();
            }
            labels.iter().map(|(name, value)| (symbols.intern(name), symbols.intern(value))).collect()
        };
        let series = insert(&mut index, shard, pairs, hash);
        self.len.fetch_add(1, Ordering::Relaxed);
        series
    }

    /// Makes series of one shard, unless they are there already, of their labels' symbols and hash. Hands each to `made`,
    /// while nobody else can use the shard. Knows no limit.
    pub(crate) fn make_many<'p>(
        &self,
        shard: usize,
        sets: impl Iterator<Item = (&'p [(Symbol, Symbol)], u64)>,
        mut made: impl FnMut(&Arc<MemSeries>),
    ) {
        let mut index = self.shards[shard].write();
        let before = index.live();
        for (pairs, hash) in sets {
            match index.find_pairs(pairs, hash) {
                Some(series) => made(series),
                None => made(&insert(&mut index, shard, pairs.into(), hash)),
            }
        }
        self.len.fetch_add((index.live() - before) as u64, Ordering::Relaxed);
    }

    /// The symbol of a text; gives it one if need be. A series that has it must follow.
    pub(crate) fn intern(&self, text: &str) -> Symbol {
        self.symbols.write().intern(text)
    }

    /// Takes series out of one shard, by their slots, ascending. Their references name nothing from then on.
    pub(crate) fn remove(&self, shard: usize, slots: &[u32]) {
        let mut index = self.shards[shard].write();
        let before = index.live();
        index.remove(slots);
        self.len.fetch_sub((before - index.live()) as u64, Ordering::Relaxed);
    }

    /// Lets go of the texts that no series has. The caller has seen to it that nobody still reads series that are gone. Cost:
    /// a walk over the label pairs, during which no series can be made.
    pub(crate) fn sweep_symbols(&self) {
        // Whoever else waits for a shard holds no other, and none waits for one while it holds the symbols.
        let shards: Vec<_> = self.shards.iter().map(RwLock::read).collect();
        let mut symbols = self.symbols.write();
        let mut live = symbols.no_symbols();
        shards.iter().flat_map(|shard| shard.symbols()).for_each(|symbol| live.insert(symbol));
        symbols.retain(&live);
    }

    /// The labels of the series in a slot of a shard.
    pub(crate) fn labels(&self, shard: usize, slot: u32) -> Option<Labels> {
        // The shard stays locked: a series that is in it keeps its texts.
        let shard = self.shards.get(shard)?.read();
        let series = shard.series(slot)?;
        let symbols = self.symbols();
        Some(Labels::from_sorted(series.labels.iter().map(|&(n, v)| (symbols.text(n), symbols.text(v)))))
    }

    /// The texts as they stand, locked against additions.
    pub(crate) fn symbols(&self) -> RwLockReadGuard<'_, Symbols> {
        self.symbols.read()
    }

    /// All texts as of now, to be read without a lock. A view taken while a shard is locked has the texts of every
    /// series in it.
    pub(crate) fn symbols_view(&self) -> Arc<SymbolsView> {
        if let Some(view) = self.symbols.read().last_view() {
            return view;
        }
        self.symbols.write().view()
    }
}
