//! `silverback tsdb analyze`

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::io::Write;

use tsdb::{METRIC_NAME, Queryable, ReadOnlyDb, SeriesSet, Timestamp};

use crate::cli::Failure;
use crate::cli::args::Analyze;
use crate::cli::source::{open, readable, readable_bytes, table};

/// Shows what takes the most room.
pub(crate) fn run(analyze: &Analyze) -> Result<u8, Failure> {
    let db = open(&analyze.dir, true)?;
    let set = db.querier()?.select(&analyze.part.matchers.0, analyze.part.range())?;
    let mut out = String::new();
    let _ = writeln!(out, "{} series\n", set.len());
    let counts = Counts::of(&*set);
    let metrics = counts.pairs.get(METRIC_NAME).into_iter().flatten().map(|(name, &series)| (name.clone(), series));
    lists(&mut out, ["METRIC", "SERIES"], metrics, analyze.limit);
    let values = counts.pairs.iter().map(|(name, values)| (name.clone(), values.len() as u64));
    lists(&mut out, ["LABEL", "VALUES"], values, analyze.limit);
    let pairs = counts.pairs.iter().filter(|(name, _)| *name != METRIC_NAME);
    let pairs = pairs.flat_map(|(name, values)| values.iter().map(move |(value, &n)| (format!("{name}={value}"), n)));
    lists(&mut out, ["LABEL PAIR", "SERIES"], pairs, analyze.limit);
    blocks(&mut out, &db, analyze)?;
    std::io::stdout().lock().write_all(out.as_bytes())?;
    Ok(u8::from(!db.recovery().damage.is_empty()))
}

/// Series by label name and value.
struct Counts {
    pairs: HashMap<String, HashMap<String, u64>>,
}

impl Counts {
    fn of(set: &dyn SeriesSet) -> Self {
        let mut pairs: HashMap<String, HashMap<String, u64>> = HashMap::new();
        for index in 0..set.len() {
            for (name, value) in (0..).map_while(|n| set.pair(index, n)) {
                // Looked up before it is made: most are there.
                let values = match pairs.get_mut(name) {
                    Some(values) => values,
                    None => pairs.entry(name.to_owned()).or_default(),
                };
                match values.get_mut(value) {
                    Some(count) => *count += 1,
                    None => drop(values.insert(value.to_owned(), 1)),
                }
            }
        }
        Self { pairs }
    }
}

/// Appends the `limit` largest, the largest first.
fn lists(out: &mut String, heads: [&str; 2], entries: impl Iterator<Item = (String, u64)>, limit: usize) {
    let mut entries: Vec<_> = entries.collect();
    entries.sort_unstable_by(|a, b| (Reverse(a.1), &a.0).cmp(&(Reverse(b.1), &b.0)));
    let mut lines = vec![vec![heads[1].to_owned(), heads[0].to_owned()]];
    lines.extend(entries.into_iter().take(limit).map(|(name, count)| vec![count.to_string(), name]));
    let _ = writeln!(out, "{}", table(&lines));
}

/// Appends what each block costs and how its series differ from those of the block before.
fn blocks(out: &mut String, db: &ReadOnlyDb, analyze: &Analyze) -> Result<(), Failure> {
    let range = analyze.part.range();
    let heads = ["BLOCK", "FROM", "SERIES", "NEW", "GONE", "SAMPLES", "SIZE", "BYTES PER SAMPLE"];
    let mut lines = vec![heads.map(str::to_owned).to_vec()];
    let mut before: Option<HashSet<u64>> = None;
    for block in db.blocks().into_iter().filter(|block| block.range.touches(range)) {
        let Some(set) = db.block_series(block.ulid, &analyze.part.matchers.0)? else { continue };
        let series: HashSet<u64> = (0..set.len()).map(|index| set.labels(index).hash()).collect();
        let (new, gone) = match &before {
            Some(before) => {
                (series.difference(before).count().to_string(), before.difference(&series).count().to_string())
            }
            None => ("-".into(), "-".into()),
        };
        lines.push(vec![
            block.ulid.to_string(),
            readable(Timestamp::from_millis(block.range.start_ms)),
            series.len().to_string(),
            new,
            gone,
            block.stats.num_samples.to_string(),
            readable_bytes(block.stats.bytes),
            format!("{:.3}", block.stats.bytes as f64 / block.stats.num_samples.max(1) as f64),
        ]);
        before = Some(series);
    }
    if lines.len() > 1 {
        out.push_str(&table(&lines));
    }
    Ok(())
}
