//! A block of Prometheus: index version 2, chunks, tombstones. Source: its `tsdb/docs/format`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::chunks;
use super::left_out::Omission;
use super::order::Account;
use crate::block::BlockRange;
use crate::codec::{Decoder, Malformed, crc32c};
use crate::error::Error;
use crate::fs::{AtPath, Fs, Map};
use crate::labels::Labels;
use crate::pages::CUT;
use crate::querier::Columns;

const INDEX_MAGIC: u32 = 0xBAAA_D700;
const CHUNKS_MAGIC: u32 = 0x85BD_40DD;
const TOMBSTONES_MAGIC: u32 = 0x0130_BA30;

/// Where the parts of an index begin: six offsets and a checksum.
const TOC_BYTES: usize = 6 * 8 + 4;

/// Series begin at multiples of this, and are named by the multiple.
const SERIES_ALIGN: usize = 16;

/// A block of Prometheus, mapped.
#[derive(Debug)]
pub(super) struct PrometheusBlock {
    pub(super) range: BlockRange,
    /// Whether it was cut from out-of-order samples: then the log may hold others of its time.
    pub(super) is_out_of_order: bool,
    index: Mapped,
    chunks: Vec<Mapped>,
    /// Deleted spans by series, both ends in them.
    tombstones: BTreeMap<u64, Vec<(i64, i64)>>,
    /// Where each symbol's text begins and ends in the index.
    symbols: Vec<(usize, usize)>,
    /// Where the series begin and end.
    series: (usize, usize),
}

/// A file that is mapped.
#[derive(Debug)]
struct Mapped {
    path: PathBuf,
    map: Map,
}

/// What is read of a block's `meta.json`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    min_time: i64,
    max_time: i64,
    #[serde(default)]
    compaction: MetaCompaction,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MetaCompaction {
    hints: Option<Vec<String>>,
}

/// Hint of a block that was cut from out-of-order samples.
const OUT_OF_ORDER: &str = "from-out-of-order";

impl Mapped {
    fn open(fs: &dyn Fs, path: PathBuf) -> Result<Self, Error> {
        let size = fs.open_read(&path).and_then(|file| file.size()).at(&path)?;
        Ok(Self { map: fs.map(&path, size).at(&path)?, path })
    }

    fn corrupt(&self, offset: usize, what: &'static str) -> Error {
        Error::Corrupt { path: self.path.clone(), offset: offset as u64, what }
    }

    /// Reads from `from` on.
    fn read<T>(&self, from: usize, read: impl FnOnce(&mut Decoder<'_>) -> Result<T, Malformed>) -> Result<T, Error> {
        let bytes = self.map.get(from..).ok_or_else(|| self.corrupt(from, "points beyond the end"))?;
        read(&mut Decoder::new(bytes)).map_err(|e| e.at(&self.path, from as u64))
    }
}

/// A number whose highest byte comes first.
pub(super) fn be32(input: &mut Decoder<'_>) -> Result<u32, Malformed> {
    input.u32().map(u32::swap_bytes)
}

/// A number whose highest byte comes first.
pub(super) fn be64(input: &mut Decoder<'_>) -> Result<u64, Malformed> {
    input.u64().map(u64::swap_bytes)
}

/// `len` bytes with their checksum behind them.
fn checked<'a>(input: &mut Decoder<'a>, len: usize) -> Result<&'a [u8], Malformed> {
    let at = *input;
    let bytes = input.take(len)?;
    if be32(input)? == crc32c(bytes) { Ok(bytes) } else { Err(at.malformed("checksum does not match")) }
}

impl PrometheusBlock {
    /// Opens the block in `dir` and reads its symbols and tombstones.
    pub(super) fn open(fs: &dyn Fs, dir: &Path) -> Result<Self, Error> {
        let meta = Mapped::open(fs, dir.join("meta.json"))?;
        let described: Meta =
            serde_json::from_slice(&meta.map).map_err(|_| meta.corrupt(0, "not the description of a block"))?;
        let range = BlockRange { start_ms: described.min_time, end_ms: described.max_time };
        let is_out_of_order = described.compaction.hints.iter().flatten().any(|hint| hint == OUT_OF_ORDER);
        let chunks_dir = dir.join("chunks");
        let names = fs.list(&chunks_dir).at(&chunks_dir)?;
        let files = names.iter().filter(|name| name.bytes().all(|b| b.is_ascii_digit()));
        let chunks = files.map(|name| Mapped::open(fs, chunks_dir.join(name))).collect::<Result<Vec<_>, _>>()?;
        for file in &chunks {
            if file.read(0, be32)? != CHUNKS_MAGIC || file.map.get(4) != Some(&1) {
                return Err(file.corrupt(0, "not chunks of a known version"));
            }
        }
        let index = Mapped::open(fs, dir.join("index"))?;
        if index.read(0, be32)? != INDEX_MAGIC || index.map.get(4) != Some(&2) {
            return Err(index.corrupt(0, "not an index of version 2"));
        }
        let toc_at = index.map.len().checked_sub(TOC_BYTES).ok_or_else(|| index.corrupt(0, "ends too early"))?;
        let mut toc = [0usize; 6];
        index.read(toc_at, |input| {
            let mut offsets = Decoder::new(checked(input, TOC_BYTES - 4)?);
            for offset in &mut toc {
                *offset = be64(&mut offsets)? as usize;
            }
            Ok(())
        })?;
        let end = toc[2..].iter().copied().filter(|&at| at >= toc[1] && at > 0).min().unwrap_or(toc_at).min(toc_at);
        let symbols = read_symbols(&index, toc[0])?;
        let tombstones = read_tombstones(fs, &dir.join("tombstones"))?;
        Ok(Self { range, is_out_of_order, index, chunks, tombstones, symbols, series: (toc[1], end) })
    }

    /// What has been read so far is what its files held when the block was opened.
    pub(super) fn whole(&self) -> Result<(), Error> {
        let cut = self.chunks.iter().chain([&self.index]).find(|file| !file.map.is_whole());
        cut.map_or(Ok(()), |file| Err(file.corrupt(file.map.len(), CUT)))
    }

    /// Bytes of its files.
    pub(super) fn size_bytes(&self) -> u64 {
        self.chunks.iter().chain([&self.index]).map(|file| file.map.len() as u64).sum()
    }

    /// Hands each series with its samples, in order, to `visit`, in the order of labels, and the bytes of chunks read so
    /// far. Chunks and labels that cannot be read are left out.
    pub(super) fn read(
        &self,
        account: &mut Account,
        mut visit: impl FnMut(&Labels, &Columns, u64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (mut at, end) = self.series;
        let (mut columns, mut read, mut entry) = (Columns::default(), 0u64, SeriesEntry::default());
        loop {
            at = at.next_multiple_of(SERIES_ALIGN);
            // Between the last series and the next section there may be zeros.
            if at >= end || self.index.map[at] == 0 {
                return Ok(());
            }
            let name = (at / SERIES_ALIGN) as u64;
            at = self.index.read(at, |input| {
                let before = input.remaining();
                let len: usize = input.uvarint_as()?;
                let bytes = checked(input, len)?;
                entry.decode(bytes)?;
                Ok(at + before - input.remaining())
            })?;
            let pairs = entry.pairs.iter().map(|&(n, v)| Ok((self.symbol(n)?, self.symbol(v)?)));
            let labels = match pairs.collect::<Result<Vec<_>, Error>>() {
                Ok(pairs) => Labels::from_pairs(pairs),
                Err(e) => {
                    account.left_out.add(Omission::UnreadableLabels, || e.to_string());
                    continue;
                }
            };
            columns.clear();
            for &reference in &entry.chunks {
                read += self.read_chunk(reference, &labels, &mut columns, account);
            }
            account.put_in_order(&labels, &mut columns);
            if let Some(deleted) = self.tombstones.get(&name) {
                drop_deleted(deleted, &mut columns);
            }
            visit(&labels, &columns, read)?;
        }
    }

    fn symbol(&self, number: u32) -> Result<&str, Error> {
        let &(from, to) = self.symbols.get(number as usize).ok_or_else(|| self.index.corrupt(0, "no such symbol"))?;
        let bytes = &self.index.map[from..to];
        std::str::from_utf8(bytes).map_err(|_| self.index.corrupt(from, "text is not UTF-8"))
    }

    /// Appends a chunk's samples, or leaves them out; gives its bytes.
    fn read_chunk(&self, reference: u64, labels: &Labels, columns: &mut Columns, account: &mut Account) -> u64 {
        let (floats, histograms) = (columns.timestamps_ms.len(), columns.histograms.len());
        let (encoding, data, file, at) = match self.chunk(reference) {
            Ok(chunk) => chunk,
            Err(e) => {
                account.left_out.add(Omission::DamagedChunk, || format!("{labels}: {e}"));
                return 0;
            }
        };
        if !chunks::is_known(encoding) {
            let example = || format!("{labels}: encoding {encoding} in {} at byte {at}", file.path.display());
            account.left_out.add(Omission::UnknownEncoding, example);
            return data.len() as u64;
        }
        let decoded = chunks::decode(encoding, data, columns, &mut |at, why| {
            account.left_out.add(Omission::InvalidHistogram, || format!("{labels} at {at}: {why}"));
        });
        if let Err(e) = decoded {
            columns.timestamps_ms.truncate(floats);
            columns.values.truncate(floats);
            columns.starts_ms.truncate(floats);
            columns.histograms.truncate(histograms);
            account.left_out.add(Omission::DamagedChunk, || format!("{labels}: {}", e.at(&file.path, at as u64)));
        }
        data.len() as u64
    }

    /// Encoding and bytes of a chunk, its file and place there.
    fn chunk(&self, reference: u64) -> Result<(u8, &[u8], &Mapped, usize), Error> {
        let (file, at) = ((reference >> 32) as usize, (reference & 0xffff_ffff) as usize);
        let file = self.chunks.get(file).ok_or_else(|| self.index.corrupt(0, "no such file of chunks"))?;
        let bytes = file.map.get(at..).ok_or_else(|| file.corrupt(at, "points beyond the end"))?;
        let mut input = Decoder::new(bytes);
        let read = |input: &mut Decoder<'_>| input.uvarint_as::<usize>();
        let len = read(&mut input).map_err(|e| e.at(&file.path, at as u64))?;
        let bytes = checked(&mut input, len.saturating_add(1)).map_err(|e| e.at(&file.path, at as u64))?;
        match bytes.split_first() {
            Some((encoding, data)) => Ok((*encoding, data, file, at)),
            None => Err(file.corrupt(at, "ends too early")),
        }
    }
}

fn read_symbols(index: &Mapped, at: usize) -> Result<Vec<(usize, usize)>, Error> {
    index.read(at, |input| {
        let len = be32(input)? as usize;
        let bytes = checked(input, len)?;
        let mut input = Decoder::new(bytes);
        let count = be32(&mut input)? as usize;
        let mut symbols = Vec::new();
        for _ in 0..count {
            let text = input.bytes()?;
            // What has been taken is before what remains.
            let to = at + 4 + bytes.len() - input.remaining();
            symbols.push((to - text.len(), to));
        }
        Ok(symbols)
    })
}

fn read_tombstones(fs: &dyn Fs, path: &Path) -> Result<BTreeMap<u64, Vec<(i64, i64)>>, Error> {
    let file = match Mapped::open(fs, path.to_owned()) {
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        other => other?,
    };
    file.read(0, |input| {
        if be32(input)? != TOMBSTONES_MAGIC || input.u8()? != 1 {
            return Err(input.malformed("not tombstones of a known version"));
        }
        let len = input.remaining().checked_sub(4).ok_or(input.malformed("ends too early"))?;
        let mut input = Decoder::new(checked(input, len)?);
        let mut all: BTreeMap<u64, Vec<(i64, i64)>> = BTreeMap::new();
        while !input.is_empty() {
            let series = input.uvarint()?;
            all.entry(series).or_default().push((input.varint()?, input.varint()?));
        }
        Ok(all)
    })
}

/// The parts of a series' entry that are used.
#[derive(Default)]
struct SeriesEntry {
    pairs: Vec<(u32, u32)>,
    chunks: Vec<u64>,
}

impl SeriesEntry {
    fn decode(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let mut input = Decoder::new(bytes);
        self.pairs.clear();
        self.chunks.clear();
        for _ in 0..input.count(2)? {
            self.pairs.push((input.uvarint_as()?, input.uvarint_as()?));
        }
        let mut reference = 0u64;
        for n in 0..input.count(3)? {
            if n == 0 {
                input.varint()?;
            } else {
                input.uvarint()?;
            }
            input.uvarint()?;
            reference = match n {
                0 => input.uvarint()?,
                _ => reference.wrapping_add(input.varint()? as u64),
            };
            self.chunks.push(reference);
        }
        Ok(())
    }
}

/// Removes the samples in `deleted`.
pub(super) fn drop_deleted(deleted: &[(i64, i64)], columns: &mut Columns) {
    let kept = |ms: i64| !deleted.iter().any(|&(from, to)| from <= ms && ms <= to);
    let keep: Vec<bool> = columns.timestamps_ms.iter().map(|&ms| kept(ms)).collect();
    let mut flags = keep.iter();
    columns.values.retain(|_| *flags.next().expect("a time per value"));
    columns.timestamps_ms.retain(|&ms| kept(ms));
    columns.histograms.retain(|h| kept(h.timestamp.millis()));
}
