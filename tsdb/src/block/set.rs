//! Selected series of a block.

use std::sync::Arc;

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use super::reader::Block;
use super::tombstones::Tombstones;
use crate::error::Error;
use crate::labels::{Labels, push_text};
use crate::matcher::Matcher;
use crate::querier::{Columns, SeriesSet};
use crate::sample::{TimeRange, Timestamp};

/// Selected series of a block. Memory: 16 bytes per series and 4 per label of it, and the texts of its values each once.
pub(crate) struct BlockSeriesSet {
    block: Arc<Block>,
    tombstones: Arc<Tombstones>,
    series: Vec<Series>,
    /// The text of each label's value, series by series.
    values: Vec<u32>,
    /// The names of each shape as one text: shapes of other blocks with these names have the same.
    shapes: Vec<u32>,
    /// Shared by the sets that were selected together.
    texts: Arc<Texts>,
}

struct Series {
    id: u32,
    shape: u32,
    /// Where its labels begin in `values`.
    values_at: u64,
}

/// Texts, each once.
#[derive(Default)]
struct Texts {
    text: String,
    ends: Vec<u64>,
    numbers: HashTable<u32>,
}

impl Texts {
    /// The number of a text; equal texts have equal ones.
    fn number(&mut self, text: &str) -> u32 {
        let hash = xxh3_64(text.as_bytes());
        if let Some(&number) = self.numbers.find(hash, |&number| self.get(number) == text) {
            return number;
        }
        let number = self.ends.len() as u32;
        self.text.push_str(text);
        self.ends.push(self.text.len() as u64);
        let Self { text, ends, numbers } = self;
        numbers.insert_unique(hash, number, |&number| xxh3_64(text_at(text, ends, number).as_bytes()));
        number
    }

    fn get(&self, number: u32) -> &str {
        text_at(&self.text, &self.ends, number)
    }
}

fn text_at<'t>(text: &'t str, ends: &[u64], number: u32) -> &'t str {
    let at = number as usize;
    let from = if at == 0 { 0 } else { ends[at - 1] as usize };
    &text[from..ends[at] as usize]
}

/// The first `limit` series of each block that pass all `matchers` and have chunks in `range`; blocks with none are left
/// out.
///
/// # Errors
/// If what is read of an index is damaged.
pub(crate) fn select_in<'b>(
    blocks: impl Iterator<Item = &'b Arc<Block>>,
    matchers: &[Matcher],
    range: TimeRange,
    limit: usize,
) -> Result<Vec<Arc<BlockSeriesSet>>, Error> {
    let (mut texts, mut sets) = (Texts::default(), Vec::new());
    for block in blocks {
        let ids = block.selected(matchers, range, limit)?;
        if !ids.is_empty() {
            sets.push(BlockSeriesSet::new(block.clone(), &ids, &mut texts)?);
        }
        block.index.pages().whole()?;
    }
    // They are looked up no more.
    texts.numbers = HashTable::new();
    let texts = Arc::new(texts);
    Ok(sets.into_iter().map(|set| Arc::new(BlockSeriesSet { texts: texts.clone(), ..set })).collect())
}

impl BlockSeriesSet {
    /// The series `ids` of `block`, which ascend. Reads their labels; the texts go to `texts`.
    fn new(block: Arc<Block>, ids: &[u32], texts: &mut Texts) -> Result<Self, Error> {
        let index = &block.index;
        let (mut series, mut values) = (Vec::with_capacity(ids.len()), Vec::new());
        index.entries_of(ids, |id, mut entry| {
            series.push(Series { id, shape: entry.shape(), values_at: values.len() as u64 });
            entry.take_values(&mut values)
        })?;
        // Per name: which ranks there are, then their texts, read in order.
        let mut ranks: Vec<Vec<u32>> = vec![Vec::new(); index.name_count()];
        let each = |series: &[Series], visit: &mut dyn FnMut(u32, usize)| {
            for s in series {
                let names = index.shape(s.shape);
                names.iter().zip(s.values_at as usize..).for_each(|(&name, at)| visit(name, at));
            }
        };
        each(&series, &mut |name, at| {
            let ranks = &mut ranks[name as usize];
            if ranks.last() != Some(&values[at]) {
                ranks.push(values[at]);
            }
        });
        let mut numbers: Vec<(u32, Vec<u32>)> = Vec::with_capacity(ranks.len());
        for (name, ranks) in ranks.iter_mut().enumerate() {
            ranks.sort_unstable();
            ranks.dedup();
            let first = ranks.first().copied().unwrap_or(0);
            let mut by_rank = vec![0; ranks.last().map_or(0, |last| (last - first) as usize + 1)];
            let mut next = ranks.iter();
            index.texts(name, ranks, |text| {
                let rank = next.next().expect("a text per rank");
                by_rank[(rank - first) as usize] = texts.number(text);
            })?;
            numbers.push((first, by_rank));
        }
        each(&series, &mut |name, at| {
            let (first, by_rank) = &numbers[name as usize];
            values[at] = by_rank[(values[at] - first) as usize];
        });
        let mut names = String::new();
        let shapes = (0..index.shape_count() as u32).map(|shape| {
            names.clear();
            index.shape(shape).iter().for_each(|&name| push_text(&mut names, index.name_text(name)));
            texts.number(&names)
        });
        let shapes = shapes.collect();
        let tombstones = block.tombstones();
        Ok(Self { tombstones, series, values, shapes, texts: Arc::default(), block })
    }

    /// Whether a series has the labels of one in `other`, a set that was selected together with this one.
    pub(crate) fn is_same(&self, index: usize, other: &Self, other_index: usize) -> bool {
        let values = |set: &'_ Self, series: &Series| {
            let from = series.values_at as usize;
            from..from + set.block.index.shape(series.shape).len()
        };
        let (series, its) = (&self.series[index], &other.series[other_index]);
        self.shapes[series.shape as usize] == other.shapes[its.shape as usize]
            && self.values[values(self, series)] == other.values[values(other, its)]
    }

    fn value(&self, series: &Series, n: usize) -> &str {
        self.texts.get(self.values[series.values_at as usize + n])
    }

    fn names(&self, series: &Series) -> impl ExactSizeIterator<Item = &str> + Clone {
        self.block.index.shape(series.shape).iter().map(|&name| self.block.index.name_text(name))
    }
}

impl SeriesSet for BlockSeriesSet {
    fn len(&self) -> usize {
        self.series.len()
    }

    fn labels(&self, index: usize) -> Labels {
        let series = &self.series[index];
        Labels::from_sorted(self.names(series).enumerate().map(|(n, name)| (name, self.value(series, n))))
    }

    fn label(&self, index: usize, name: &str) -> Option<&str> {
        let series = &self.series[index];
        let n = self.names(series).position(|other| other == name)?;
        Some(self.value(series, n))
    }

    fn pair(&self, index: usize, n: usize) -> Option<(&str, &str)> {
        let series = &self.series[index];
        let &name = self.block.index.shape(series.shape).get(n)?;
        Some((self.block.index.name_text(name), self.value(series, n)))
    }

    fn read(&self, index: usize, range: TimeRange, columns: &mut Columns) -> Result<(), Error> {
        self.block.read(self.series[index].id, range, &self.tombstones, columns)
    }

    fn read_newest(&self, index: usize, range: TimeRange, columns: &mut Columns) -> Result<(), Error> {
        self.block.read_newest(self.series[index].id, range, &self.tombstones, columns)
    }

    fn latest(&self) -> Timestamp {
        self.block.meta().range.closed().end
    }
}
