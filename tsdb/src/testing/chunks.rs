//! Chunks from outside, for benches: open, seal and read one.

use crate::chunk::{ChunkWriter, Column, OpenChunk, SealedChunk, Sealer, Starts, Times};
use crate::querier::Columns;
use crate::sample::{TimeRange, Timestamp};

/// An open chunk of one series on a shared column, as a scrape fills it.
#[derive(Debug)]
pub struct OpenedChunk(OpenChunk);

/// The same chunk, sealed.
#[derive(Debug)]
pub struct SealedCopy(SealedChunk);

/// Working memory of [`OpenedChunk::seal`].
#[derive(Debug, Default)]
pub struct SealerMemory(Sealer);

/// A column of `n` times, 15 s apart.
#[must_use]
pub fn column(n: usize) -> TestColumn {
    let column = Column::new(n);
    for i in 0..n {
        column.push(Timestamp::from_millis(1_790_000_000_000 + i as i64 * 15_000), 1);
    }
    TestColumn(column)
}

/// A column of times that chunks share.
#[derive(Clone, Debug)]
pub struct TestColumn(std::sync::Arc<Column>);

impl OpenedChunk {
    /// Fills a chunk with `values`, at most 120, one at each time of `column`.
    #[must_use]
    pub fn fill(column: &TestColumn, values: &[f64]) -> Self {
        let times = Times::Shared(column.0.clone());
        let mut writer = ChunkWriter::floats(&times);
        for (&value, ordinal) in values.iter().zip(0..) {
            writer.push(ordinal, value);
        }
        Self(writer.chunk(times, Starts::new()).expect("a chunk for floats has words"))
    }

    /// Reads all samples.
    pub fn read(&self, columns: &mut Columns) {
        self.0.read(usize::MAX, TimeRange::ALL, columns);
    }

    /// Bytes that the samples take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.heap_bytes()
    }

    /// Seals a copy.
    ///
    /// # Panics
    /// If the chunk is empty.
    #[must_use]
    pub fn seal(&self, memory: &mut SealerMemory) -> SealedCopy {
        SealedCopy(SealedChunk::new(&self.0, &mut memory.0).expect("the chunk holds samples"))
    }
}

impl SealedCopy {
    /// Reads all samples.
    ///
    /// # Panics
    /// If the chunk is damaged.
    pub fn read(&self, columns: &mut Columns) {
        self.0.read(usize::MAX, TimeRange::ALL, columns).expect("a chunk just sealed can be read");
    }

    /// Bytes that the samples take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.bytes().len()
    }
}
