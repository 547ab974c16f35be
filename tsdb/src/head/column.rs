//! The scrape times of one target, as a run of columns.

use std::sync::Arc;

use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

use crate::chunk::{Column, MAX_SAMPLES};
use crate::sample::Timestamp;
use crate::wal::ColumnId;

/// The column of times that the series of one target share. Made by [`Db::column`](crate::Db::column), held by what
/// scrapes the target, handed to each [`Appender`](crate::Appender) of it.
#[derive(Debug)]
pub struct SharedColumn {
    pub(crate) id: ColumnId,
    current: Mutex<Option<Arc<Column>>>,
}

impl SharedColumn {
    pub(crate) fn new(id: ColumnId) -> Self {
        Self { id, current: Mutex::new(None) }
    }

    /// Adds a scrape: the column it is in, and its ordinal there. Begins a new column when the last one is full, and when the
    /// clock has been set back: the times of a column ascend.
    pub(crate) fn push(&self, at: Timestamp, commit: u64) -> (Arc<Column>, usize) {
        let mut current = self.current.lock();
        let column = match &*current {
            Some(column) if !column.is_full() && !column.ends_after(at) => column.clone(),
            Some(_) => Column::new(MAX_SAMPLES),
            // Targets that are first scraped together shall not all have their chunks sealed together.
            None => Column::new(MAX_SAMPLES / 2 + xxh3_64(&self.id.0.to_le_bytes()) as usize % (MAX_SAMPLES / 2) + 1),
        };
        let ordinal = column.push(at, commit);
        *current = Some(column.clone());
        (column, ordinal)
    }
}
