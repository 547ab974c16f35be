//! Where subcommands read from.

use std::path::Path;
use std::sync::Arc;

use tsdb::{Columns, DiskFs, Fs, Queryable, ReadOnlyDb, TimeRange, Timestamp};

use super::Failure;
use super::progress::Progress;

/// The disk.
pub(crate) fn disk() -> Arc<dyn Fs> {
    Arc::new(DiskFs)
}

/// Opens a data directory to be read. Damage goes to standard error and is refused, unless it is allowed.
pub(crate) fn open(dir: &Path, allow_damage: bool) -> Result<ReadOnlyDb, Failure> {
    let mut progress = Progress::new("reading the log");
    let db = ReadOnlyDb::open(&disk(), dir, |done, all| progress.show(done, all))?;
    progress.clear();
    let damage = &db.recovery().damage;
    damage.iter().for_each(|damage| eprintln!("damaged: {damage}"));
    if let Some(unfinished) = db.unfinished() {
        eprintln!("note: {unfinished}");
    }
    if damage.is_empty() || allow_damage {
        Ok(db)
    } else {
        let dir = dir.display();
        Err(Failure::Told(format!("{dir}: damaged, see above; --allow-damage answers with what is left")))
    }
}

/// The time of the newest sample.
pub(crate) fn newest(db: &ReadOnlyDb) -> Result<Option<Timestamp>, Failure> {
    let head = db.head_span();
    let mut newest = (head.start <= head.end).then_some(head.end);
    let querier = db.querier()?;
    let mut blocks = db.blocks();
    blocks.sort_by_key(|block| block.range.end_ms);
    let mut columns = Columns::default();
    while let Some(block) = blocks.pop() {
        if newest.is_some_and(|newest| newest.millis() >= block.range.end_ms - 1) {
            break;
        }
        let within = block.range.closed();
        let set = querier.select(&[], within)?;
        for index in 0..set.len() {
            columns.clear();
            let start = newest.unwrap_or(within.start).max(within.start);
            set.read(index, TimeRange { start, end: within.end }, &mut columns)?;
            let floats = columns.timestamps_ms.last().map(|&ms| Timestamp::from_millis(ms));
            newest = newest.max(floats).max(columns.histograms.last().map(|sample| sample.timestamp));
        }
    }
    Ok(newest)
}

/// A time for people: RFC 3339, to the second or, if need be, to the millisecond.
pub(crate) fn readable(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.millis()).map_or_else(|_| at.to_string(), |at| at.to_string())
}

/// Bytes for people.
pub(crate) fn readable_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A float as exposition formats have it.
pub(crate) fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".into()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".into() } else { "-Inf".into() }
    } else if value != 0.0 && !(1e-4..1e21).contains(&value.abs()) {
        format!("{value:e}")
    } else {
        value.to_string()
    }
}

/// Lines of columns, the first the heads; numbers to the right.
pub(crate) fn table(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |line: &[String], column: usize| line.get(column).map_or(0, |cell| cell.chars().count());
    let widths: Vec<usize> =
        (0..columns).map(|column| lines.iter().map(|line| cell(line, column)).max().unwrap_or(0)).collect();
    let is_number = |text: &str| text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+'));
    let right: Vec<bool> = (0..columns)
        .map(|column| lines.iter().skip(1).filter_map(|line| line.get(column)).all(|cell| is_number(cell)))
        .collect();
    let mut out = String::new();
    for line in lines {
        let mut text = String::new();
        for (column, cell) in line.iter().enumerate() {
            let width = widths[column];
            let padded = if right[column] { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
            text.push_str(&padded);
            text.push_str("  ");
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out
}
