//! Reads the index of a block, mapped. Bytes: `docs/format/index.md`.

use std::fmt;
use std::ops::ControlFlow;
use std::path::PathBuf;

use super::writer::{ChunkMeta, ColumnMeta};
use crate::codec::{Decoder, Malformed};
use crate::error::Error;
use crate::fs::Fs;
use crate::pages::{Cursor, FileKind, Pages};

pub(crate) const FILE_KIND: FileKind = FileKind { magic: *b"SBix", version: 1 };

/// Series that share an entry of the table of series.
pub(crate) const GROUP_SERIES: usize = 32;
/// Values that share an entry of the table of values.
pub(crate) const VALUES_PER_BLOCK: usize = 16;

const GROUP_BYTES: u64 = 16;
const COLUMN_BYTES: u64 = 32;
const TOC_BYTES: u64 = 9 * 8;

/// The index of a block. In memory are the label names, the sets of names that series have, and a bit per page.
pub(crate) struct IndexReader {
    pages: Pages,
    pub(super) series: u32,
    groups_at: u64,
    columns_at: u64,
    columns: u32,
    /// Sorted by text.
    pub(super) names: Vec<Name>,
    /// Names that series have, ascending.
    pub(super) shapes: Vec<Box<[u32]>>,
}

/// A label name.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) text: Box<str>,
    pub(super) values: u32,
    /// Series that have it.
    pub(super) series: u32,
    postings_at: u64,
    values_at: u64,
    table_at: u64,
}

/// A series: which names it has; values and chunks are still to be taken off.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    shape: u32,
    names: &'a [u32],
    /// Where chunk offsets count from.
    base: u64,
    cursor: Cursor<'a>,
}

/// Where the series that have a value are listed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListRef {
    pub(crate) count: u32,
    place: Place,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// There is only this one.
    Single(u32),
    List {
        at: u64,
        len: u32,
        runs: bool,
    },
}

impl fmt::Debug for IndexReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IndexReader").field("path", &self.pages.path()).field("series", &self.series).finish()
    }
}

impl IndexReader {
    /// Opens the index at `path`. Cost: reads the label names, the sets of them, and a checksum per page.
    pub(crate) fn open(fs: &dyn Fs, path: PathBuf) -> Result<Self, Error> {
        let pages = Pages::open(fs, path, FILE_KIND)?;
        let toc_at = pages.len().checked_sub(TOC_BYTES).ok_or_else(|| pages.corrupt(0, "ends too early"))?;
        let mut toc = [0; 9];
        let mut cursor = Cursor::exactly(&pages, toc_at, TOC_BYTES as usize)?;
        for n in &mut toc {
            *n = cursor.take(Decoder::u64)?;
        }
        let [series, groups_at, columns_at, columns, names_at, name_count, shapes_at, shape_count, own_at] = toc;
        let groups_len = series.div_ceil(GROUP_SERIES as u64).checked_mul(GROUP_BYTES);
        let fits = own_at == toc_at
            && series <= u64::from(u32::MAX)
            && columns <= u64::from(u32::MAX)
            && groups_len.and_then(|len| groups_at.checked_add(len)) == Some(columns_at)
            && columns_at.checked_add(columns * COLUMN_BYTES) == Some(names_at)
            && names_at <= shapes_at
            && shapes_at <= toc_at;
        if !fits {
            return Err(pages.corrupt(toc_at, "table of contents does not fit the file"));
        }
        let names = read_names(&pages, names_at, shapes_at, name_count, groups_at)?;
        let shapes = read_shapes(&pages, shapes_at, toc_at, shape_count, names.len())?;
        Ok(Self { series: series as u32, groups_at, columns_at, columns: columns as u32, names, shapes, pages })
    }

    pub(crate) fn pages(&self) -> &Pages {
        &self.pages
    }

    /// How many series there are; they are numbered from 0 in the order of their labels.
    pub(crate) fn len(&self) -> u32 {
        self.series
    }

    /// The names of all labels, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &*name.text)
    }

    /// The number of a label name.
    pub(crate) fn name(&self, text: &str) -> Option<usize> {
        self.names.binary_search_by(|name| (*name.text).cmp(text)).ok()
    }

    pub(crate) fn name_count(&self) -> usize {
        self.names.len()
    }

    /// The text of a label name.
    pub(crate) fn name_text(&self, name: u32) -> &str {
        &self.names[name as usize].text
    }

    pub(crate) fn shape_count(&self) -> usize {
        self.shapes.len()
    }

    /// The numbers of the label names that a series of this shape has, ascending.
    pub(crate) fn shape(&self, shape: u32) -> &[u32] {
        &self.shapes[shape as usize]
    }

    /// The label names of the shapes that are marked, sorted.
    pub(crate) fn names_of(&self, marked: &[bool]) -> impl Iterator<Item = &str> {
        let mut found = vec![false; self.names.len()];
        for (shape, _) in self.shapes.iter().zip(marked).filter(|(_, marked)| **marked) {
            shape.iter().for_each(|&name| found[name as usize] = true);
        }
        self.names().zip(found).filter(|(_, found)| *found).map(|(name, _)| name)
    }

    /// How many columns of times there are.
    pub(crate) fn column_count(&self) -> u32 {
        self.columns
    }

    /// A column of times.
    pub(crate) fn column(&self, id: u32) -> Result<ColumnMeta, Error> {
        let at = self.columns_at + u64::from(id) * COLUMN_BYTES;
        if id >= self.columns {
            return Err(self.pages.corrupt(at, "no such column of times"));
        }
        let mut cursor = Cursor::exactly(&self.pages, at, COLUMN_BYTES as usize)?;
        cursor.take(|input| {
            Ok(ColumnMeta {
                min_ms: input.u64()? as i64,
                max_ms: input.u64()? as i64,
                count: input.u32()?,
                len: input.u32()?,
                offset: input.u64()?,
            })
        })
    }

    /// Where the entries of a group begin and end, and where their chunks begin.
    fn group(&self, group: u64) -> Result<(u64, u64, u64), Error> {
        let at = self.groups_at + group * GROUP_BYTES;
        let last = at + GROUP_BYTES == self.columns_at;
        let mut cursor = Cursor::exactly(&self.pages, at, if last { 16 } else { 32 })?;
        let (from, chunks) = cursor.take(|input| Ok((input.u64()?, input.u64()?)))?;
        // Entries lie before everything else; the last group may be followed by posting lists.
        let to = if last { self.entries_end() } else { cursor.take(Decoder::u64)? };
        if from > to || to > self.groups_at {
            return Err(self.pages.corrupt(at, "group of series out of place"));
        }
        Ok((from, to, chunks))
    }

    fn entries_end(&self) -> u64 {
        self.names.iter().map(|name| name.postings_at).min().unwrap_or(self.groups_at)
    }

    /// The entry of a series below [`len`](Self::len).
    pub(crate) fn entry(&self, id: u32) -> Result<Entry<'_>, Error> {
        let mut found = None;
        let group = id as usize / GROUP_SERIES;
        self.entries(group, id as usize % GROUP_SERIES, |entry| {
            found = Some(entry);
            ControlFlow::Break(())
        })?;
        found.ok_or_else(|| self.pages.corrupt(self.groups_at + group as u64 * GROUP_BYTES, "no such series"))
    }

    /// The entries of a group from the `skip`-th on, as long as `visit` asks for more.
    fn entries<'a>(
        &'a self,
        group: usize,
        skip: usize,
        mut visit: impl FnMut(Entry<'a>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let (from, to, base) = self.group(group as u64)?;
        let mut cursor = Cursor::exactly(&self.pages, from, (to - from) as usize)?;
        let count = GROUP_SERIES.min(self.series as usize - group * GROUP_SERIES);
        for place in 0..count {
            let len = cursor.take(|input| input.count(1))?;
            let after = {
                let mut after = cursor;
                after.take(|input| input.take(len))?;
                after
            };
            if place >= skip {
                let shape: u32 = cursor.take(Decoder::uvarint_as)?;
                let names = self.shapes.get(shape as usize).ok_or_else(|| cursor.corrupt("no such set of names"))?;
                if visit(Entry { shape, names, base, cursor }).is_break() {
                    return Ok(());
                }
            }
            cursor = after;
        }
        Ok(())
    }

    /// The entries of `ids`, which ascend, each below [`len`](Self::len).
    pub(crate) fn entries_of<'a>(
        &'a self,
        ids: &[u32],
        mut visit: impl FnMut(u32, Entry<'a>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for group in ids.chunk_by(|a, b| *a as usize / GROUP_SERIES == *b as usize / GROUP_SERIES) {
            let first = group[0] as usize % GROUP_SERIES;
            let number = group[0] as usize / GROUP_SERIES;
            let (mut wanted, mut place, mut result) = (group.iter(), first, Ok(()));
            let mut next = wanted.next();
            self.entries(number, first, |entry| {
                if let Some(&id) = next.filter(|&&id| id as usize % GROUP_SERIES == place) {
                    result = visit(id, entry);
                    next = wanted.next();
                }
                place += 1;
                if next.is_none() || result.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            result?;
            if next.is_some() {
                let at = self.groups_at + number as u64 * GROUP_BYTES;
                return Err(self.pages.corrupt(at, "fewer series than there should be"));
            }
        }
        Ok(())
    }

    /// The values of a name from the block `block` of them on: rank, text, where its series are. Sorted.
    pub(super) fn values(
        &self,
        name: usize,
        block: u32,
        mut visit: impl FnMut(u32, &str, ListRef) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let entry = &self.names[name];
        let mut text = Vec::new();
        let blocks = entry.values.div_ceil(VALUES_PER_BLOCK as u32);
        for block in block..blocks {
            let mut cursor = self.value_block(entry, block)?;
            let mut list_at = entry.postings_at.saturating_add(cursor.take(Decoder::uvarint)?);
            text.clear();
            let first = block * VALUES_PER_BLOCK as u32;
            for rank in first..entry.values.min(first + VALUES_PER_BLOCK as u32) {
                let list = self.value(&mut cursor, &mut text, &mut list_at)?;
                let text = std::str::from_utf8(&text).map_err(|_| cursor.corrupt("text is not UTF-8"))?;
                if visit(rank, text, list).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Takes a value off `cursor`.
    #[inline]
    fn value(&self, cursor: &mut Cursor<'_>, text: &mut Vec<u8>, list_at: &mut u64) -> Result<ListRef, Error> {
        let shared: usize = cursor.take(Decoder::uvarint_as)?;
        if shared > text.len() {
            return Err(cursor.corrupt("shares more than the value before has"));
        }
        text.truncate(shared);
        text.extend_from_slice(cursor.take(Decoder::bytes)?);
        if text.is_empty() {
            return Err(cursor.corrupt("empty label value"));
        }
        let count: u32 = cursor.take(Decoder::uvarint_as)?;
        let place = cursor.take(Decoder::uvarint)?;
        let place = if count == 1 {
            Place::Single(u32::try_from(place).map_err(|_| cursor.corrupt("no such series"))?)
        } else {
            let len = u32::try_from(place >> 1).map_err(|_| cursor.corrupt("list of series too long"))?;
            let at = *list_at;
            *list_at = at.saturating_add(u64::from(len));
            Place::List { at, len, runs: place & 1 != 0 }
        };
        Ok(ListRef { count, place })
    }

    fn value_block(&self, name: &Name, block: u32) -> Result<Cursor<'_>, Error> {
        let at = name.table_at + u64::from(block) * 4;
        let last = (block + 1) * VALUES_PER_BLOCK as u32 >= name.values;
        let mut cursor = Cursor::exactly(&self.pages, at, if last { 4 } else { 8 })?;
        let from = u64::from(cursor.take(Decoder::u32)?);
        let to = if last { name.table_at - name.values_at } else { u64::from(cursor.take(Decoder::u32)?) };
        if from >= to || to > name.table_at - name.values_at {
            return Err(self.pages.corrupt(at, "block of values out of place"));
        }
        Cursor::exactly(&self.pages, name.values_at + from, (to - from) as usize)
    }

    /// The last block of values whose first is not above `value`: `value` is in it or nowhere. 0 if all are above.
    pub(super) fn block_of(&self, name: usize, value: &str) -> Result<u32, Error> {
        let entry = &self.names[name];
        let (mut low, mut high) = (0, entry.values.div_ceil(VALUES_PER_BLOCK as u32));
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let mut cursor = self.value_block(entry, middle)?;
            cursor.take(Decoder::uvarint)?;
            cursor.take(Decoder::uvarint)?;
            if cursor.take(Decoder::bytes)? <= value.as_bytes() {
                low = middle;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Hands the series of a list to `visit`, ascending, each below [`len`](Self::len).
    pub(crate) fn list(&self, list: ListRef, mut visit: impl FnMut(u32)) -> Result<(), Error> {
        let (at, len, runs) = match list.place {
            Place::Single(id) if id < self.series => {
                visit(id);
                return Ok(());
            }
            Place::Single(_) => {
                return Err(self.pages.corrupt(self.groups_at, "a value names a series that is not there"));
            }
            Place::List { at, len, runs } => (at, len, runs),
        };
        let mut cursor = Cursor::exactly(&self.pages, at, len as usize)?;
        let (mut next, mut count) = (0u64, 0u64);
        let end = u64::from(self.series);
        while !cursor.input.is_empty() {
            next = next.saturating_add(cursor.take(Decoder::uvarint)?);
            let more = if runs { cursor.take(Decoder::uvarint)? } else { 0 };
            if next >= end || more >= end - next {
                return Err(cursor.corrupt("names a series that is not there"));
            }
            (next..=next + more).for_each(|id| visit(id as u32));
            next += more + 1;
            count += more + 1;
        }
        if count == u64::from(list.count) { Ok(()) } else { Err(cursor.corrupt("other number of series than said")) }
    }
}

fn read_names(pages: &Pages, at: u64, end: u64, count: u64, most: u64) -> Result<Vec<Name>, Error> {
    let mut cursor = Cursor::exactly(pages, at, (end - at) as usize)?;
    let mut names: Vec<Name> = Vec::new();
    for _ in 0..count {
        let name = cursor.take(|input| {
            let text = input.text()?;
            let (values, series) = (input.uvarint_as()?, input.uvarint_as()?);
            let postings_at = input.uvarint()?;
            let values_at = postings_at.saturating_add(input.uvarint()?);
            let table_at = values_at.saturating_add(input.uvarint()?);
            Ok(Name { text: text.into(), values, series, postings_at, values_at, table_at })
        })?;
        let table = u64::from(name.values.div_ceil(VALUES_PER_BLOCK as u32)) * 4;
        if name.table_at.saturating_add(table) > most || name.values == 0 {
            return Err(cursor.corrupt("values out of place"));
        }
        if names.last().is_some_and(|last| last.text >= name.text) {
            return Err(cursor.corrupt("label names out of order"));
        }
        names.push(name);
    }
    if cursor.input.is_empty() { Ok(names) } else { Err(cursor.corrupt("more than the label names")) }
}

fn read_shapes(pages: &Pages, at: u64, end: u64, count: u64, names: usize) -> Result<Vec<Box<[u32]>>, Error> {
    let mut cursor = Cursor::exactly(pages, at, (end - at) as usize)?;
    let mut shapes = Vec::new();
    for _ in 0..count {
        let shape: Box<[u32]> = cursor.take(|input| {
            let n = input.count(1)?;
            (0..n).map(|_| input.uvarint_as()).collect::<Result<_, Malformed>>()
        })?;
        let known = shape.last().is_none_or(|&last| (last as usize) < names);
        if !known || shape.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(cursor.corrupt("label names of series out of order"));
        }
        shapes.push(shape);
    }
    if cursor.input.is_empty() { Ok(shapes) } else { Err(cursor.corrupt("more than the sets of label names")) }
}

impl<'a> Entry<'a> {
    pub(crate) fn shape(&self) -> u32 {
        self.shape
    }

    /// Appends the rank of each label's value, in the order of the names.
    pub(crate) fn take_values(&mut self, out: &mut Vec<u32>) -> Result<(), Error> {
        self.cursor.take(|input| {
            for _ in self.names {
                out.push(input.uvarint_as()?);
            }
            Ok(())
        })
    }

    /// The rank of the value that it has for `name`.
    pub(crate) fn value(&self, name: u32) -> Result<Option<u32>, Error> {
        let Ok(place) = self.names.binary_search(&name) else { return Ok(None) };
        let mut cursor = self.cursor;
        cursor.take(|input| {
            for _ in 0..place {
                input.uvarint()?;
            }
            input.uvarint_as().map(Some)
        })
    }

    /// Skips the values.
    pub(crate) fn skip_values(&mut self) -> Result<(), Error> {
        let n = self.names.len();
        self.cursor.take(|input| (0..n).try_for_each(|_| input.uvarint().map(drop)))
    }

    /// Where the chunks begin in the chunks file, and what they are. The values have been taken.
    pub(crate) fn chunks(mut self) -> Result<Chunks<'a>, Error> {
        let base = self.base;
        let (offset, left) = self.cursor.take(|input| Ok((input.uvarint()?, input.count(2)?)))?;
        Ok(Chunks { cursor: self.cursor, left, expected: 0, offset: base.saturating_add(offset) })
    }
}

/// The chunks of a series: where each begins, and what it is. In ascending time, floats first.
#[derive(Debug)]
pub(crate) struct Chunks<'a> {
    cursor: Cursor<'a>,
    left: usize,
    expected: i64,
    offset: u64,
}

impl Iterator for Chunks<'_> {
    type Item = Result<(u64, ChunkMeta), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let expected = self.expected;
        let meta = self.cursor.take(|input| {
            let column = expected.wrapping_add(input.varint()?);
            let column = u32::try_from(column).map_err(|_| input.malformed("no such column of times"))?;
            Ok(ChunkMeta { column, len: input.uvarint_as()? })
        });
        Some(meta.map(|meta| {
            self.expected = i64::from(meta.column) + 1;
            let offset = self.offset;
            self.offset = offset.saturating_add(u64::from(meta.len));
            (offset, meta)
        }))
    }
}
