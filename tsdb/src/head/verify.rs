//! Proves that a checkpoint and the chunk files it names are whole.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;

use super::checkpoint::checkpoint_path;
use super::files::{CHUNKS_DIR, COLUMN, ChunkFile, ChunkFiles, HEADER_BYTES, Place, RECORD_HEADER_BYTES, Stored};
use crate::chunk::decode_column;
use crate::codec::Decoder;
use crate::error::Error;
use crate::fs::Fs;
use crate::querier::Columns;
use crate::sample::TimeRange;
use crate::wal::{LoggedState, Record, Records, SeriesId, walk_frames};

/// What was looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HeadFound {
    pub(crate) files: usize,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

/// Checks every frame and record of checkpoint `number` of the store in `dir`, every record of the chunk files that it
/// names, and that the chunks of each series lead from one to the next, back to `flushed_until_ms`. Each fault goes to
/// `each`. Cost: reads the checkpoint twice, and each chunk twice.
pub(crate) fn verify_checkpoint(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    number: u64,
    flushed_until_ms: i64,
    each: &mut dyn FnMut(Error),
) -> Result<HeadFound, Error> {
    let path = checkpoint_path(dir, number);
    let files = ChunkFiles::open(fs, dir.join(CHUNKS_DIR))?;
    let mut found = HeadFound::default();
    let mut named = None;
    let walked = walk_frames(
        &**fs,
        &path,
        number,
        |frame| {
            for record in Records::new(frame.payload) {
                found.records += 1;
                match record {
                    Ok(Record::Head(head)) => named = Some(head.files),
                    Ok(_) => {}
                    Err(malformed) => each(frame.corrupt(malformed)),
                }
            }
        },
        |_| (),
    )?;
    let corrupt = |offset, what| Error::Corrupt { path: path.clone(), offset, what };
    walked.damage.iter().for_each(|damage| each(corrupt(damage.offset, "damaged frame")));
    if walked.damage.is_empty() && walked.good_until != walked.size {
        each(corrupt(walked.good_until, "more than frames"));
    }
    match named {
        Some(named) => {
            for (number, max_ms) in named {
                let loaded = NonZeroU32::new(number).map_or(Ok(()), |number| files.load(number, max_ms));
                loaded.unwrap_or_else(&mut *each);
            }
        }
        None => {
            each(corrupt(walked.good_until, "does not say which chunk files it needs"));
            files.load_all().into_iter().for_each(&mut *each);
        }
    }
    found.bytes = walked.size + files.size_bytes();
    for (number, _) in files.list() {
        found.files += 1;
        found.records += verify_file(&*files.get(number)?, number, each);
    }
    let visit = |frame: crate::wal::Frame<'_>| {
        for record in Records::new(frame.payload) {
            if let Ok(Record::State(LoggedState { series, stored, .. })) = record
                && let Err(e) = verify_chain(&files, series, Stored::from_log(stored), flushed_until_ms)
            {
                each(e);
            }
        }
    };
    walk_frames(&**fs, &path, number, visit, |_| ())?;
    Ok(found)
}

/// Follows the chunks of a series from the newest on.
fn verify_chain(
    files: &ChunkFiles,
    series: SeriesId,
    mut next: Option<Stored>,
    flushed_until_ms: i64,
) -> Result<(), Error> {
    while let Some(Stored { place, max_ms }) = next.filter(|stored| stored.max_ms >= flushed_until_ms) {
        let file = files.get(place.file)?;
        let chunk = file.chunk(place.offset, series)?;
        if chunk.range.end.millis() != max_ms {
            return Err(file.corrupt(place.offset, "chunk does not end when it should"));
        }
        if chunk.before.is_some_and(|before| before.max_ms > max_ms) {
            return Err(file.corrupt(place.offset, "chunks of a series out of order"));
        }
        next = chunk.before;
    }
    Ok(())
}

/// Reads every record of a file. Answers how many there are.
fn verify_file(file: &ChunkFile, number: NonZeroU32, each: &mut dyn FnMut(Error)) -> u64 {
    let (mut at, mut records) = (HEADER_BYTES, 0);
    let mut columns = Columns::default();
    while at < file.map.len() {
        let Ok(offset) = u32::try_from(at) else { break };
        records += 1;
        if let Err(e) = verify_record(file, Place { file: number, offset }, &mut columns) {
            each(e);
        }
        // The length is what its checksum covers; where it does not hold, this is a guess that the next records prove.
        match Decoder::new(&file.map[(at + 4).min(file.map.len())..]).u32() {
            Ok(len) => at = at.saturating_add(RECORD_HEADER_BYTES + len as usize),
            Err(_) => break,
        }
    }
    records
}

fn verify_record(file: &ChunkFile, place: Place, columns: &mut Columns) -> Result<(), Error> {
    if let Some((&COLUMN, bytes)) = file.record(place.offset)?.split_first() {
        let mut times = Vec::new();
        return decode_column(bytes, &mut times).map_err(|e| file.corrupt(place.offset, e.what));
    }
    let (_, chunk) = file.any_chunk(place.offset)?;
    columns.clear();
    file.read(place, &chunk, TimeRange::ALL, columns)?;
    let mut times =
        columns.timestamps_ms.iter().copied().chain(columns.histograms.iter().map(|h| h.timestamp.millis()));
    let (first, last) = (times.next(), times.last());
    let range = (chunk.range.start.millis(), chunk.range.end.millis());
    if first.map(|first| (first, last.unwrap_or(first))) == Some(range) {
        Ok(())
    } else {
        Err(file.corrupt(place.offset, "samples are not of the time that the record says"))
    }
}
