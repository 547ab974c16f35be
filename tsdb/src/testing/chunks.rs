//! Chunks from outside, for benches: open, seal and read one.

use crate::chunk::{ChunkWriter, Column, SealedChunk, Sealer, Times};
use crate::querier::Columns;
use crate::sample::{TimeRange, Timestamp};

/// An open chunk of one series on a shared column, as a scrape fills it.
#[derive(Debug)]
pub struct OpenedChunk(ChunkWriter);

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
        let mut writer = ChunkWriter::floats(Times::Shared(column.0.clone()));
        values.iter().zip(0..).for_each(|(&value, ordinal)| writer.push(ordinal, value, 0));
        writer.publish(1, |_| ());
        Self(writer)
    }

    /// Reads all samples.
    pub fn read(&self, columns: &mut Columns) {
        self.0.chunk().read(self.0.chunk().extent(), usize::MAX, TimeRange::ALL, columns);
    }

    /// Bytes that the samples take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        48 + self.0.chunk().heap_bytes()
    }

    /// Seals a copy.
    ///
    /// # Panics
    /// If the chunk is empty.
    #[must_use]
    pub fn seal(&self, memory: &mut SealerMemory) -> SealedCopy {
        SealedCopy(SealedChunk::new(self.0.chunk(), &mut memory.0).expect("the chunk holds samples"))
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
        self.0.heap_bytes()
    }
}
