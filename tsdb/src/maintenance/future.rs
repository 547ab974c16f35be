//! What maintenance does about samples of the future, and about a clock that may be ahead.

use std::sync::atomic::Ordering;

use super::{Held, Maintenance, Waiting};
use crate::block::BlockRange;
use crate::blocks::Blocks;
use crate::compact::{self, BASE_WIDTH_MS, Present, Retention};
use crate::error::Error;

/// Samples less far ahead of the wall clock are left where they are: time catches up with them before a block is cut.
const REWIND_MS: i64 = 3_600_000;

impl Maintenance {
    /// If the head, which ends at `newest_ms`, has samples far ahead of the wall clock, moves them aside, and lets it begin
    /// before blocks of the future. Answers whether it did.
    pub(super) fn rewind_if_ahead(&self, waiting: &mut Waiting, newest_ms: i64) -> Result<bool, Error> {
        let Some(clock) = self.head.clock() else { return Ok(false) };
        let wall_ms = clock.wall.millis();
        let bound_ms = wall_ms.saturating_add(REWIND_MS);
        let flushed_until_ms = self.blocks().flushed_until_ms;
        let was_ahead = std::mem::replace(&mut waiting.ahead, newest_ms > bound_ms);
        let lowered = (flushed_until_ms > bound_ms)
            .then(|| BlockRange::aligned(wall_ms.saturating_sub(self.kept_ms()), BASE_WIDTH_MS).start_ms);
        let due = newest_ms > bound_ms && (!was_ahead || waiting.passes.is_multiple_of(super::PASSES_PER_LOOK));
        if !due && lowered.is_none() {
            return Ok(false);
        }
        if let Some(until_ms) = lowered {
            // Readers look into the head first: what both hold is read once.
            self.change(&[], Vec::new(), |state| state.flushed_until_ms = until_ms)?;
            // It would take what comes from now on for what the blocks hold.
            waiting.truncation = None;
        }
        let moved = self.head.rewind(bound_ms, lowered)?;
        if moved == 0 && lowered.is_none() {
            return Ok(false);
        }
        // Replaying the log would put all of it where it was.
        self.checkpoint()?;
        Ok(true)
    }

    /// What blocks are measured by: the newest sample, unless that lies in the future or the clock is not believed.
    pub(super) fn present(&self) -> Present {
        let newest_ms = self.head.span().end.millis();
        match self.head.clock() {
            Some(clock) => Present { now_ms: newest_ms.min(clock.retention.millis()), latest_ms: clock.latest_ms() },
            None => Present { now_ms: newest_ms, latest_ms: i64::MAX },
        }
    }

    /// Drops what retention does not keep, and counts what it would not keep if the wall clock were believed. Answers whether
    /// any block went.
    pub(super) fn drop_expired(&self, blocks: &Blocks, retention: Retention) -> Result<bool, Error> {
        let metas = || blocks.list().iter().map(|block| block.meta());
        let samples_of = |gone: &[_]| {
            let gone = metas().filter(|meta| gone.contains(&meta.ulid));
            gone.map(|meta| meta.stats.num_samples).sum::<u64>()
        };
        let present = self.present();
        let expired = compact::expired(metas(), present, self.head.disk_bytes(), retention);
        let by_wall = match self.head.clock() {
            Some(clock) if clock.retention < clock.wall => {
                let by_age = Retention { max_bytes: None, ..retention };
                let mut by_wall =
                    compact::expired(metas(), Present { now_ms: clock.wall.millis(), ..present }, 0, by_age);
                by_wall.retain(|id| !expired.contains(id));
                by_wall
            }
            _ => Vec::new(),
        };
        *self.counters.held.lock() = Held { blocks: by_wall.len() as u64, samples: samples_of(&by_wall) };
        if expired.is_empty() {
            return Ok(false);
        }
        let samples = samples_of(&expired);
        self.replace(&expired, Vec::new())?;
        self.counters.dropped.fetch_add(expired.len() as u64, Ordering::Relaxed);
        self.counters.dropped_samples.fetch_add(samples, Ordering::Relaxed);
        Ok(true)
    }
}
