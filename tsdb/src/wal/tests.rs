#![cfg(feature = "testing")]

use super::*;
use crate::manifest::{Manifest, State};
use crate::sample::Timestamp;
use crate::testing::FaultFs;

/// The bytes of the last block of a format document: hexadecimal digits, a bar, and words.
pub(crate) fn worked_example(document: &str) -> Vec<u8> {
    let block = document.rsplit("```text\n").next().unwrap().split("```").next().unwrap();
    let digits = block.lines().flat_map(|line| line.split('|').next().unwrap().split_whitespace());
    digits.map(|digits| u8::from_str_radix(digits, 16).unwrap()).collect()
}

#[test]
fn the_worked_example_of_the_format_document() {
    let fs = FaultFs::default();
    let dir = Path::new("/data/wal");
    let shared: Arc<dyn Fs> = Arc::new(fs.clone());
    fs.create_dir_all(dir).unwrap();
    let manifest = Manifest::begin(&shared, Path::new("/data"), State::default()).shared();
    let options = WalOptions { next_segment: 1, segment_bytes: 0, older_bytes: 0, sync: SyncPolicy::Never };
    let mut wal = Wal::new(shared, dir.to_owned(), options, manifest);
    let mut frame = Vec::new();
    begin_frame(&mut frame);
    for (id, name) in [(1, "a"), (2, "b")] {
        put_series(&mut frame, SeriesId(id), [("__name__", name)].into_iter());
    }
    let mut record = SamplesWriter::begin(&mut frame, Some(ColumnId(1)), 1000, false, false);
    for (id, value) in [(1, 1.0), (2, 2.5)] {
        let sample = LoggedSample { series: SeriesId(id), timestamp_ms: 1000, start_ms: 0, value };
        record.put(&mut frame, sample);
    }
    record.finish(&mut frame);
    finish_frame(&mut frame);
    wal.append(&frame).unwrap();
    wal.close().unwrap();
    let written = fs.bytes(&segment_path(dir, 1)).unwrap();
    let documented = worked_example(include_str!("../../docs/format/wal.md"));
    assert_eq!(documented, written, "the document shows other bytes; these are written: {written:02x?}");
    let mut seen = Vec::new();
    let visit = |frame: Frame<'_>| {
        for record in Records::new(frame.payload) {
            match record.unwrap() {
                Record::Series { id, labels } => seen.push(format!("{} {:?}", id.0, labels.collect::<Vec<_>>())),
                Record::Samples { column, timestamp_ms, samples } => {
                    let values: Vec<_> = samples.map(|s| s.unwrap()).map(|s| (s.series.0, s.value)).collect();
                    seen.push(format!("{:?} {} {values:?}", column, Timestamp::from_millis(timestamp_ms)));
                }
                other => panic!("{other:?}"),
            }
        }
        Ok(())
    };
    replay(&fs, dir, 0, visit, |_, _| {}).unwrap();
    let expected =
        ["1 [(\"__name__\", \"a\")]", "2 [(\"__name__\", \"b\")]", "Some(ColumnId(1)) 1.000 [(1, 1.0), (2, 2.5)]"];
    assert_eq!(seen, expected);
}
