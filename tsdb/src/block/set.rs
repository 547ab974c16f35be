//! Selected series of a block.

use std::sync::Arc;

use super::reader::Block;
use super::tombstones::Tombstones;
use crate::error::Error;
use crate::labels::Labels;
use crate::querier::{Columns, SeriesSet};
use crate::sample::TimeRange;

/// Selected series of a block. Memory: 8 bytes per series and 4 per label of it, and the texts of its values each once.
pub(super) struct BlockSeriesSet {
    block: Arc<Block>,
    tombstones: Arc<Tombstones>,
    series: Vec<Series>,
    /// The text of each label's value, series by series.
    values: Vec<u32>,
    texts: Texts,
}

struct Series {
    id: u32,
    shape: u32,
    /// Where its labels begin in `values`.
    values_at: u64,
}

#[derive(Default)]
struct Texts {
    text: String,
    ends: Vec<u64>,
}

impl Texts {
    fn push(&mut self, text: &str) -> u32 {
        self.text.push_str(text);
        self.ends.push(self.text.len() as u64);
        self.ends.len() as u32 - 1
    }

    fn get(&self, number: u32) -> &str {
        let at = number as usize;
        let from = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        &self.text[from..self.ends[at] as usize]
    }
}

impl BlockSeriesSet {
    /// The series `ids` of `block`, which ascend. Reads their labels.
    pub(super) fn new(block: Arc<Block>, ids: &[u32]) -> Result<Self, Error> {
        let index = &block.index;
        let (mut series, mut values) = (Vec::with_capacity(ids.len()), Vec::new());
        index.entries_of(ids, |id, mut entry| {
            series.push(Series { id, shape: entry.shape(), values_at: values.len() as u64 });
            entry.take_values(&mut values)
        })?;
        let mut texts = Texts::default();
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
                by_rank[(rank - first) as usize] = texts.push(text);
            })?;
            numbers.push((first, by_rank));
        }
        each(&series, &mut |name, at| {
            let (first, by_rank) = &numbers[name as usize];
            values[at] = by_rank[(values[at] - first) as usize];
        });
        let tombstones = block.tombstones();
        Ok(Self { tombstones, series, values, texts, block })
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
}
