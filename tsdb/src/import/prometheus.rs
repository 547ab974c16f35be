//! A data directory of Prometheus, read as it is; the server that wrote it does not run.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Importer;
use super::block::PrometheusBlock;
use super::wal::{self, Record};
use crate::error::Error;
use crate::fs::{AtPath, Fs};
use crate::labels::Labels;

/// A data directory of Prometheus: its blocks, its log, and the log of its late samples.
#[derive(Debug)]
pub struct PrometheusDir {
    fs: Arc<dyn Fs>,
    blocks: Vec<PathBuf>,
    segments: Vec<PathBuf>,
    late_segments: Vec<PathBuf>,
}

/// Series of the log by the number they have there.
type Series = HashMap<u64, Labels>;
/// Deleted spans by that number.
type Deleted = HashMap<u64, Vec<(i64, i64)>>;

impl PrometheusDir {
    /// Looks what is in `dir`.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn open(fs: &Arc<dyn Fs>, dir: &Path) -> Result<Self, Error> {
        let names = fs.list(dir).at(dir)?;
        let blocks = names.iter().filter(|name| name.parse::<crate::block::BlockId>().is_ok());
        Ok(Self {
            fs: fs.clone(),
            blocks: blocks.map(|name| dir.join(name)).collect(),
            segments: wal::segments(&**fs, &dir.join("wal"))?,
            late_segments: wal::segments(&**fs, &dir.join("wbl"))?,
        })
    }

    /// Whether there is nothing that Prometheus would have written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.segments.is_empty()
    }

    /// Hands all samples, and the exemplars of the log, to `importer`; a block becomes a block of the same span.
    /// `progress` gets the bytes read and the bytes there are. What is damaged is passed over and told of in what the importer gives.
    ///
    /// # Errors
    /// If the disk refuses what is written.
    pub fn import(&self, importer: &mut Importer, mut progress: impl FnMut(u64, u64)) -> Result<(), Error> {
        let mut opened = Vec::new();
        for dir in &self.blocks {
            match PrometheusBlock::open(&*self.fs, dir) {
                Ok(block) => opened.push(block),
                Err(e) => importer.imported.faults.push(e),
            }
        }
        let size = |path: &PathBuf| self.fs.open_read(path).and_then(|file| file.size()).unwrap_or(0);
        let logs = self.segments.iter().chain(&self.late_segments).map(size).sum::<u64>();
        let total = opened.iter().map(PrometheusBlock::size_bytes).sum::<u64>() + logs;
        let mut done = 0;
        for block in &opened {
            self.import_block(block, importer, |read| progress(done + read, total))?;
            done += block.size_bytes();
            progress(done, total);
        }
        // What is in blocks has been taken from the log, though not always cut off it. Blocks of out-of-order samples say
        // nothing of those that came in order.
        let in_order = opened.iter().filter(|block| !block.is_out_of_order);
        let flushed = in_order.map(|block| block.range.end_ms).max().unwrap_or(i64::MIN);
        let mut deleted = Deleted::new();
        for path in &self.segments {
            // Damage is told of below.
            let _ = wal::read(&*self.fs, path, |record| {
                if let Record::Deleted(series, from, to) = record {
                    deleted.entry(series).or_default().push((from, to));
                }
                Ok(())
            });
        }
        let mut series = Series::new();
        let late = self.late_segments.iter().map(|path| (path, i64::MIN));
        for (path, since) in self.segments.iter().map(|path| (path, flushed)).chain(late) {
            self.import_segment(path, since, &deleted, &mut series, importer)?;
            done += size(path);
            progress(done, total);
        }
        Ok(())
    }

    fn import_block(
        &self,
        block: &PrometheusBlock,
        importer: &mut Importer,
        mut progress: impl FnMut(u64),
    ) -> Result<(), Error> {
        let mut writer = importer.begin(block.range)?;
        let (mut refused, mut count) = (None, 0u64);
        let read = block.read(|labels, columns, read| {
            count += 1;
            if count.is_multiple_of(1024) {
                progress(read);
            }
            writer.add(labels, columns).map_err(|e| {
                let source = Error::Memory { what: "an import that was stopped" };
                refused = Some(e);
                source
            })
        });
        if let Some(e) = refused {
            return Err(e);
        }
        if let Err(e) = read.and_then(|()| block.whole()) {
            importer.imported.faults.push(e);
        }
        importer.imported.blocks.extend(writer.finish()?);
        Ok(())
    }

    fn import_segment(
        &self,
        path: &Path,
        since: i64,
        deleted: &Deleted,
        series: &mut Series,
        importer: &mut Importer,
    ) -> Result<(), Error> {
        let gone = |number: &u64, ms: i64| {
            deleted.get(number).is_some_and(|spans| spans.iter().any(|&(from, to)| from <= ms && ms <= to))
        };
        let mut refused = None;
        let read = wal::read(&*self.fs, path, |record| {
            let taken = match record {
                Record::Series(number, labels) => {
                    series.insert(number, labels);
                    Ok(())
                }
                Record::Float(number, ms, value) if ms >= since && !gone(&number, ms) => match series.get(&number) {
                    Some(labels) => importer.float(labels, crate::Timestamp::from_millis(ms), value, None),
                    None => Ok(()),
                },
                Record::Histogram(number, sample)
                    if sample.timestamp.millis() >= since && !gone(&number, sample.timestamp.millis()) =>
                {
                    match series.get(&number) {
                        Some(labels) => importer.histogram(labels, sample),
                        None => Ok(()),
                    }
                }
                // No block of Prometheus has any, so the age does not tell whether it has been taken.
                Record::Exemplar(number, exemplar) if !gone(&number, exemplar.timestamp.millis()) => {
                    match series.get(&number) {
                        Some(labels) => importer.exemplar(labels, exemplar),
                        None => Ok(()),
                    }
                }
                _ => Ok(()),
            };
            taken.map_err(|e| {
                refused = Some(e);
                Error::Memory { what: "an import that was stopped" }
            })
        });
        match (refused, read) {
            (Some(e), _) => Err(e),
            (None, Err(e)) => {
                importer.imported.faults.push(e);
                Ok(())
            }
            (None, Ok(())) => Ok(()),
        }
    }
}
