//! `silverback tsdb import`

use std::path::Path;
use std::time::Duration;

use tsdb::{Db, Imported, Importer, Omission, Options, PrometheusDir, Timestamp};

use crate::cli::Failure;
use crate::cli::args::Import;
use crate::cli::openmetrics::{self, Read};
use crate::cli::progress::Progress;
use crate::cli::source::{disk, readable};
use crate::flags::DEFAULT_RETENTION;

/// Time that a block holds of what comes from a text.
const BLOCK_WIDTH: Duration = Duration::from_secs(86_400);

/// Brings samples in; 1 if part of the source was left out, unless that is allowed.
pub(crate) fn run(import: &Import) -> Result<u8, Failure> {
    let source = Source::open(&import.source)?;
    // Nothing is to be compacted or dropped: a server with its own settings will do that.
    let options = Options { maintain_every: Duration::ZERO, ..Options::default() };
    let db = Db::open(&disk(), &import.dir, &options, |_, _| {}).map_err(|error| match error {
        tsdb::Error::Locked { path } => {
            Failure::Told(format!("{}: in use: stop the server that has it open, or choose another", path.display()))
        }
        other => other.into(),
    })?;
    let imported = db.import(BLOCK_WIDTH, |importer| source.read(importer))?;
    db.close()?;
    imported.faults.iter().for_each(|fault| eprintln!("left out: {fault}"));
    for (omission, count, first) in imported.left_out.iter() {
        eprintln!("left out: {count} {omission}; the first: {first}");
    }
    if imported.metadata_records > 0 {
        let records = imported.metadata_records;
        eprintln!("note: {records} records of metadata are not imported; targets and senders tell them again");
    }
    println!("{}", told(&imported));
    let kept_from = crate::wire::now().millis() - DEFAULT_RETENTION.as_millis() as i64;
    if let Some(warning) = too_old(&imported, kept_from) {
        eprintln!("{warning}");
    }
    Ok(u8::from(!imported.is_complete() && !import.allow_partial))
}

fn told(imported: &Imported) -> String {
    let blocks = &imported.blocks;
    let samples: u64 = blocks.iter().map(|block| block.stats.num_samples).sum();
    let exemplars = match blocks.iter().map(|block| block.stats.num_exemplars).sum::<u64>() {
        0 => String::new(),
        count => format!(" and {count} exemplars"),
    };
    let start = blocks.iter().map(|block| block.range.start_ms).min();
    let end = blocks.iter().map(|block| block.range.end_ms).max();
    match start.zip(end) {
        None => "there were no samples".into(),
        Some((start, end)) => {
            let twice = match imported.duplicates {
                0 => String::new(),
                count => format!("; {count} were there already"),
            };
            let (start, end) = (readable(Timestamp::from_millis(start)), readable(Timestamp::from_millis(end)));
            format!("{samples} samples{exemplars} in {} blocks, from {start} to {end}{twice}", blocks.len())
        }
    }
}

/// What a server that keeps only what is newer than `kept_from_ms` would drop.
fn too_old(imported: &Imported, kept_from_ms: i64) -> Option<String> {
    let (gone, samples) = imported
        .blocks
        .iter()
        .filter(|block| block.range.end_ms <= kept_from_ms)
        .fold((0, 0), |(gone, samples), block| (gone + 1, samples + block.stats.num_samples));
    let days = DEFAULT_RETENTION.as_secs() / 86_400;
    (gone > 0).then(|| {
        format!(
            "warning: {samples} of the samples, in {gone} blocks, are older than the {days} days that a server keeps if it is not \
             told otherwise: start it with a longer --storage.tsdb.retention.time, or it drops them",
        )
    })
}

/// Where samples come from.
enum Source<'a> {
    Text { path: &'a Path, body: tsdb::Map },
    Prometheus(PrometheusDir),
}

impl<'a> Source<'a> {
    fn open(path: &'a Path) -> Result<Self, Failure> {
        if !path.is_dir() {
            return Ok(Self::Text { path, body: openmetrics::load(path)? });
        }
        let dir = PrometheusDir::open(&disk(), path)?;
        if dir.is_empty() {
            return Err(Failure::Told(format!("{}: neither blocks nor a log of Prometheus", path.display())));
        }
        Ok(Self::Prometheus(dir))
    }

    fn read(&self, importer: &mut Importer) -> Result<(), Failure> {
        let mut progress = Progress::new("importing");
        match self {
            Self::Prometheus(dir) => Ok(dir.import(importer, |done, all| progress.show(done, all))?),
            Self::Text { path, body } => {
                let take = |read: Read| take(importer, path, body, read);
                openmetrics::read(path, body, take, |done| progress.show(done, body.len() as u64))
            }
        }
    }
}

/// Hands a sample of a text to the importer, or counts it as left out.
fn take(importer: &mut Importer, path: &Path, body: &[u8], read: Read) -> Result<(), Failure> {
    let Read { labels, offset, at, value, start, exemplar } = read;
    let place = || format!("{}: line {}", path.display(), openmetrics::line(body, offset));
    let Some(at) = at else {
        return Err(Failure::Told(format!("{}: {labels} has a sample without a time", place())));
    };
    // What does not fit comes as an end of time.
    if at == Timestamp::MAX || at == Timestamp::MIN {
        importer.leave_out(Omission::TimeOutOfRange, || format!("{}: {labels} {value}", place()));
        return Ok(());
    }
    importer.float(&labels, at, value, start)?;
    Ok(exemplar.map_or(Ok(()), |exemplar| importer.exemplar(&labels, exemplar))?)
}
