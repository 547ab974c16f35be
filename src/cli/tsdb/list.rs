//! `silverback tsdb list`

use std::io::Write;
use std::path::Path;

use serde_json::json;
use tsdb::{BlockMeta, Timestamp};

use crate::cli::Failure;
use crate::cli::source::{open, readable, readable_bytes, table};

/// Shows the blocks of a data directory, and what is not in blocks yet.
pub(crate) fn run(dir: &Path, as_json: bool) -> Result<u8, Failure> {
    let db = open(dir, true)?;
    let blocks = db.blocks();
    let (head, recovery) = (db.head_span(), db.recovery());
    let span = (head.start <= head.end).then_some(head);
    let mut out = std::io::stdout().lock();
    if as_json {
        let head = json!({
            "minTime": span.map(|span| span.start.millis()),
            "maxTime": span.map(|span| span.end.millis()),
            "numSeries": db.head_series(),
            "walSegments": recovery.segments,
            "walBytes": recovery.wal_bytes,
        });
        let all = json!({ "blocks": blocks, "head": head, "damage": recovery.damage });
        writeln!(out, "{all:#}")?;
    } else {
        if !blocks.is_empty() {
            let heads = ["BLOCK", "FROM", "TO", "DURATION", "SAMPLES", "SERIES", "CHUNKS", "SIZE", "LEVEL"];
            let mut lines = vec![heads.map(str::to_owned).to_vec()];
            lines.extend(blocks.iter().map(line));
            writeln!(out, "{}", table(&lines))?;
        }
        let total: u64 = blocks.iter().map(|block| block.stats.bytes).sum();
        writeln!(out, "{} blocks, {}", blocks.len(), readable_bytes(total))?;
        let head = match span {
            Some(span) => {
                format!("{} to {}, {} series", readable(span.start), readable(span.end), db.head_series())
            }
            None => "empty".into(),
        };
        writeln!(out, "head: {head}")?;
        writeln!(out, "log: {} in {} segments", readable_bytes(recovery.wal_bytes), recovery.segments)?;
    }
    Ok(u8::from(!recovery.damage.is_empty()))
}

fn line(block: &BlockMeta) -> Vec<String> {
    let width = std::time::Duration::from_millis(block.range.width_ms().unsigned_abs());
    vec![
        block.ulid.to_string(),
        readable(Timestamp::from_millis(block.range.start_ms)),
        readable(Timestamp::from_millis(block.range.end_ms)),
        model::format_duration(width),
        block.stats.num_samples.to_string(),
        block.stats.num_series.to_string(),
        block.stats.num_chunks.to_string(),
        readable_bytes(block.stats.bytes),
        block.compaction.level.to_string(),
    ]
}
