//! Writes the index of a block. Bytes: `docs/format/index.md`.

use hashbrown::{HashMap, HashTable};
use rustc_hash::FxBuildHasher;
use xxhash_rust::xxh3::xxh3_64;

use super::reader::{GROUP_SERIES, VALUES_PER_BLOCK};
use crate::codec::{Decoder, Encoder};
use crate::error::Error;
use crate::labels::Labels;
use crate::pages::PageWriter;

/// A chunk of a series: which column of times it is on, and its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkMeta {
    pub(crate) column: u32,
    pub(crate) len: u32,
}

/// Times that chunks share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ColumnMeta {
    /// The first and the last of them.
    pub(crate) min_ms: i64,
    pub(crate) max_ms: i64,
    pub(crate) count: u32,
    /// Bytes at `offset` in the chunks file; 0 if the times are evenly spaced and not stored.
    pub(crate) len: u32,
    pub(crate) offset: u64,
}

/// Collects the index of a block. Memory: about 25 bytes per series and 4 per label of it, and each value's text once.
#[derive(Debug, Default)]
pub(crate) struct IndexWriter {
    names: HashMap<String, u32, FxBuildHasher>,
    values: Vec<Dictionary>,
    shapes: HashMap<Vec<u32>, u32, FxBuildHasher>,
    /// Series as they came: shape, a value id per label, chunks.
    records: Vec<u8>,
    count: u32,
    last: Option<Labels>,
    shape: Vec<u32>,
}

/// The values of one label name, each once, numbered as they came.
#[derive(Debug, Default)]
struct Dictionary {
    text: String,
    ends: Vec<u64>,
    table: HashTable<u32>,
}

impl Dictionary {
    fn text_of<'a>(text: &'a str, ends: &[u64], id: u32) -> &'a str {
        let id = id as usize;
        let from = if id == 0 { 0 } else { ends[id - 1] as usize };
        &text[from..ends[id] as usize]
    }

    fn intern(&mut self, value: &str) -> u32 {
        let Self { text, ends, table } = self;
        let hash = xxh3_64(value.as_bytes());
        if let Some(&id) = table.find(hash, |&id| Self::text_of(text, ends, id) == value) {
            return id;
        }
        let id = ends.len() as u32;
        text.push_str(value);
        ends.push(text.len() as u64);
        table.insert_unique(hash, id, |&id| xxh3_64(Self::text_of(text, ends, id).as_bytes()));
        id
    }

    /// The ids in the order of their texts.
    fn sorted(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = (0..self.ends.len() as u32).collect();
        let text = |id| Self::text_of(&self.text, &self.ends, id);
        ids.sort_unstable_by(|&a, &b| text(a).cmp(text(b)));
        ids
    }
}

/// The place of each element of `order` in it.
fn ranks(order: &[u32]) -> Vec<u32> {
    let mut ranks = vec![0; order.len()];
    order.iter().zip(0..).for_each(|(&id, rank)| ranks[id as usize] = rank);
    ranks
}

impl IndexWriter {
    /// Adds a series whose chunks lie one after the other from `offset` on. Series come in the order of their labels, and
    /// so do their chunks in the file.
    pub(crate) fn add(&mut self, labels: &Labels, offset: u64, chunks: &[ChunkMeta]) -> Result<(), Error> {
        if self.last.as_ref().is_some_and(|last| last >= labels) {
            return Err(Error::Memory { what: "series of a block that are not in the order of their labels" });
        }
        if self.count == u32::MAX {
            return Err(Error::Memory { what: "more than 2^32 series for a block" });
        }
        let Self { names, values, shapes, records, shape, .. } = self;
        shape.clear();
        for (name, _) in labels {
            let next = names.len() as u32;
            let id = *names.entry_ref(name).or_insert(next);
            if id == next {
                values.push(Dictionary::default());
            }
            shape.push(id);
        }
        let next = shapes.len() as u32;
        records.put_uvarint(u64::from(*shapes.entry_ref(shape.as_slice()).or_insert(next)));
        for (&name, (_, value)) in shape.iter().zip(labels) {
            records.put_uvarint(u64::from(values[name as usize].intern(value)));
        }
        records.put_uvarint(offset);
        put_chunks(chunks, records);
        self.count += 1;
        self.last = Some(labels.clone());
        Ok(())
    }

    /// Writes all to `out` and finishes it. Gives the size of the file.
    pub(crate) fn finish(self, mut out: PageWriter, columns: &[ColumnMeta]) -> Result<u64, Error> {
        let names = sorted_names(&self.names);
        let name_ranks = ranks(&names.iter().map(|&(_, id)| id).collect::<Vec<_>>());
        let mut shapes: Vec<&[u32]> = vec![&[]; self.shapes.len()];
        self.shapes.iter().for_each(|(shape, &id)| shapes[id as usize] = shape);
        let orders: Vec<Vec<u32>> = self.values.iter().map(Dictionary::sorted).collect();

        let groups = self.put_series(&shapes, &orders, &mut out)?;
        let mut name_entries = Vec::new();
        for &(name, id) in &names {
            let order = &orders[id as usize];
            let postings = self.postings(id, order, &shapes);
            let entry = put_values(&self.values[id as usize], order, &postings, &mut out)?;
            name_entries.push((name, order.len(), postings.series.len(), entry));
        }
        let groups_at = out.len();
        for (entries, chunks) in groups {
            out.body().put_u64(entries);
            out.body().put_u64(chunks);
            out.flush()?;
        }
        let columns_at = out.len();
        for column in columns {
            put_column(column, out.body());
            out.flush()?;
        }
        let names_at = out.len();
        for (name, values, series, entry) in name_entries {
            let body = out.body();
            body.put_bytes(name.as_bytes());
            body.put_uvarint(values as u64);
            body.put_uvarint(series as u64);
            body.put_uvarint(entry.postings_at);
            body.put_uvarint(entry.values_at - entry.postings_at);
            body.put_uvarint(entry.table_at - entry.values_at);
        }
        let shapes_at = out.len();
        for shape in &shapes {
            let body = out.body();
            body.put_uvarint(shape.len() as u64);
            shape.iter().for_each(|&id| body.put_uvarint(u64::from(name_ranks[id as usize])));
            out.flush()?;
        }
        let toc_at = out.len();
        let toc = [
            u64::from(self.count),
            groups_at,
            columns_at,
            columns.len() as u64,
            names_at,
            names.len() as u64,
            shapes_at,
            shapes.len() as u64,
            toc_at,
        ];
        toc.iter().for_each(|&n| out.body().put_u64(n));
        out.finish()
    }

    /// Writes the series' entries; gives for each group where it begins, here and in the chunks file.
    fn put_series(
        &self,
        shapes: &[&[u32]],
        orders: &[Vec<u32>],
        out: &mut PageWriter,
    ) -> Result<Vec<(u64, u64)>, Error> {
        let value_ranks: Vec<Vec<u32>> = orders.iter().map(|order| ranks(order)).collect();
        let mut groups = Vec::with_capacity(self.count as usize / GROUP_SERIES + 1);
        let (mut entry, mut base) = (Vec::new(), 0);
        let mut records = Records::new(self);
        for id in 0..self.count as usize {
            let record = records.next(shapes);
            if id % GROUP_SERIES == 0 {
                base = record.offset;
                groups.push((out.len(), base));
                out.flush()?;
            }
            entry.clear();
            entry.put_uvarint(u64::from(record.shape));
            for (&name, &value) in shapes[record.shape as usize].iter().zip(&records.values) {
                entry.put_uvarint(u64::from(value_ranks[name as usize][value as usize]));
            }
            entry.put_uvarint(record.offset - base);
            entry.extend_from_slice(record.chunks);
            out.body().put_bytes(&entry);
        }
        Ok(groups)
    }

    /// The series that have the label `name`, by the rank of their value.
    fn postings(&self, name: u32, order: &[u32], shapes: &[&[u32]]) -> ByValue {
        let value_ranks = ranks(order);
        let places: Vec<Option<usize>> =
            shapes.iter().map(|shape| shape.iter().position(|&other| other == name)).collect();
        let mut found: Vec<(u32, u32)> = Vec::new();
        let mut ends = vec![0u32; order.len()];
        let mut records = Records::new(self);
        for id in 0..self.count {
            let shape = records.next(shapes).shape;
            if let Some(place) = places[shape as usize] {
                let rank = value_ranks[records.values[place] as usize];
                ends[rank as usize] += 1;
                found.push((id, rank));
            }
        }
        let mut sum = 0;
        for end in &mut ends {
            sum += std::mem::replace(end, sum);
        }
        // Now each is where the value's list begins; filling it moves it to where the list ends.
        let mut series = vec![0; found.len()];
        for (id, rank) in found {
            let at = &mut ends[rank as usize];
            series[*at as usize] = id;
            *at += 1;
        }
        ByValue { series, ends }
    }
}

fn sorted_names(names: &HashMap<String, u32, FxBuildHasher>) -> Vec<(&str, u32)> {
    let mut names: Vec<(&str, u32)> = names.iter().map(|(name, &id)| (name.as_str(), id)).collect();
    names.sort_unstable();
    names
}

/// Lists of series, one after the other, and where each ends.
struct ByValue {
    series: Vec<u32>,
    ends: Vec<u32>,
}

impl ByValue {
    fn list(&self, rank: usize) -> &[u32] {
        let from = if rank == 0 { 0 } else { self.ends[rank - 1] };
        &self.series[from as usize..self.ends[rank] as usize]
    }
}

/// Walks the records of a writer.
struct Records<'a> {
    input: Decoder<'a>,
    values: Vec<u32>,
}

struct Record<'a> {
    shape: u32,
    offset: u64,
    chunks: &'a [u8],
}

impl<'a> Records<'a> {
    fn new(writer: &'a IndexWriter) -> Self {
        Self { input: Decoder::new(&writer.records), values: Vec::new() }
    }

    fn next(&mut self, shapes: &[&[u32]]) -> Record<'a> {
        const OWN: &str = "the writer reads what it wrote";
        let input = &mut self.input;
        let shape = input.uvarint_as().expect(OWN);
        self.values.clear();
        for _ in 0..shapes[shape as usize].len() {
            self.values.push(input.uvarint_as().expect(OWN));
        }
        let offset = input.uvarint().expect(OWN);
        let before = *input;
        let n = input.uvarint().expect(OWN);
        for _ in 0..2 * n {
            input.uvarint().expect(OWN);
        }
        Record { shape, offset, chunks: before.until(input) }
    }
}

/// Writes how many chunks there are, then each: the column's number less the one expected, and the length.
fn put_chunks(chunks: &[ChunkMeta], out: &mut Vec<u8>) {
    out.put_uvarint(chunks.len() as u64);
    let mut expected = 0;
    for chunk in chunks {
        out.put_varint(i64::from(chunk.column) - expected);
        out.put_uvarint(u64::from(chunk.len));
        expected = i64::from(chunk.column) + 1;
    }
}

fn put_column(column: &ColumnMeta, out: &mut Vec<u8>) {
    out.put_u64(column.min_ms as u64);
    out.put_u64(column.max_ms as u64);
    out.put_u32(column.count);
    out.put_u32(column.len);
    out.put_u64(column.offset);
}

/// Where the parts of a label name begin; the table reaches to where the next name's begin.
struct NameEntry {
    postings_at: u64,
    values_at: u64,
    table_at: u64,
}

/// Writes the posting lists of one label name, its values, and the table of their blocks.
fn put_values(
    values: &Dictionary,
    order: &[u32],
    postings: &ByValue,
    out: &mut PageWriter,
) -> Result<NameEntry, Error> {
    let postings_at = out.len();
    let mut lists = Vec::with_capacity(order.len());
    let mut list = Vec::new();
    for rank in 0..order.len() {
        let series = postings.list(rank);
        if series.len() > 1 {
            list.clear();
            let runs = put_postings(series, &mut list);
            out.body().extend_from_slice(&list);
            out.flush()?;
            lists.push((list.len() as u64) << 1 | u64::from(runs));
        } else {
            lists.push(0);
        }
    }
    let values_at = out.len();
    let mut table = Vec::with_capacity(order.len() / VALUES_PER_BLOCK + 1);
    let (mut before, mut list_at) = ("", 0u64);
    for (rank, &id) in order.iter().enumerate() {
        let text = Dictionary::text_of(&values.text, &values.ends, id);
        let body_len = out.len() - values_at;
        let body = out.body();
        if rank % VALUES_PER_BLOCK == 0 {
            table.push(body_len);
            before = "";
            body.put_uvarint(list_at);
        }
        let shared = before.bytes().zip(text.bytes()).take_while(|(a, b)| a == b).count();
        body.put_uvarint(shared as u64);
        body.put_bytes(&text.as_bytes()[shared..]);
        let series = postings.list(rank);
        body.put_uvarint(series.len() as u64);
        match *series {
            [id] => body.put_uvarint(u64::from(id)),
            _ => body.put_uvarint(lists[rank]),
        }
        list_at += lists[rank] >> 1;
        before = text;
        out.flush()?;
    }
    let table_at = out.len();
    for at in table {
        let at = u32::try_from(at).map_err(|_| Error::TooLarge { bytes: at as usize, limit: u32::MAX as usize })?;
        out.body().put_u32(at);
        out.flush()?;
    }
    Ok(NameEntry { postings_at, values_at, table_at })
}

/// Writes a list as runs (gap, length less one) or as gaps, whichever is shorter; whether as runs.
fn put_postings(series: &[u32], out: &mut Vec<u8>) -> bool {
    let mut next = 0;
    for &id in series {
        out.put_uvarint(u64::from(id - next));
        next = id.saturating_add(1);
    }
    let gaps = out.len();
    let mut next = 0;
    for run in series.chunk_by(|a, b| *b - *a == 1) {
        out.put_uvarint(u64::from(run[0] - next));
        out.put_uvarint(run.len() as u64 - 1);
        next = run[run.len() - 1].saturating_add(1);
        if out.len() >= 2 * gaps {
            break;
        }
    }
    let runs = out.len() - gaps < gaps;
    if runs {
        out.drain(..gaps);
    } else {
        out.truncate(gaps);
    }
    runs
}
