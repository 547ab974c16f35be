use std::sync::Arc;

use proptest::prelude::*;
use tsdb::{Db, DiskFs, Fs, Timestamp};

use super::*;

fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.extend([number << 3 | 2, u8::try_from(bytes.len()).unwrap()]);
    out.extend_from_slice(bytes);
}

/// A sound request of version 2.0 with all there is: two series, a float, a histogram, an exemplar, metadata.
fn request() -> Vec<u8> {
    let mut message = Vec::new();
    for symbol in ["", "__name__", "m", "job", "j", "help"] {
        field(&mut message, 4, symbol.as_bytes());
    }
    let mut float = vec![9];
    float.extend(1.5f64.to_le_bytes());
    float.extend([0x10, 100, 0x18, 50]);
    let mut histogram = vec![0x08, 3, 0x19];
    histogram.extend(4.5f64.to_le_bytes());
    histogram.extend([0x20, 0]);
    field(&mut histogram, 11, &[0x08, 0, 0x10, 2]);
    field(&mut histogram, 12, &[2, 2]);
    histogram.extend([0x78, 100]);
    let mut exemplar = Vec::new();
    field(&mut exemplar, 1, &[3, 4]);
    let mut series = Vec::new();
    field(&mut series, 1, &[1, 2, 3, 4]);
    field(&mut series, 2, &float);
    field(&mut series, 4, &exemplar);
    field(&mut series, 5, &[0x08, 1, 0x18, 5]);
    field(&mut message, 5, &series);
    let mut series = Vec::new();
    field(&mut series, 1, &[1, 2]);
    field(&mut series, 3, &histogram);
    field(&mut message, 5, &series);
    message
}

#[test]
fn a_sound_request_is_read_whole() {
    let dir = tempfile::tempdir().unwrap();
    let fs: Arc<dyn Fs> = Arc::new(DiskFs);
    let db = Db::open(&fs, dir.path(), &tsdb::Options::default(), |_, _| {}).unwrap();
    let mut push = Admission::new(1, usize::MAX).admit().unwrap();
    let mut sink = Sink::new(db.appender(), Timestamp::from_millis(1_000_000), &mut push);
    request_v2::read(&mut sink, &SeriesCache::default(), &Families::default(), &request(), false).unwrap();
    let tally = sink.tally;
    assert_eq!((tally.floats, tally.histograms, tally.exemplars, tally.skipped), (1, 1, 1, 0));
}

#[test]
fn a_sound_request_is_stored_once() {
    check_write(&request());
}

/// A key of field 1 that takes two bytes where one would do, before a label and before a sample.
#[test]
fn labels_are_found_however_they_are_written() {
    let mut label = Vec::new();
    field(&mut label, 1, b"__name__");
    field(&mut label, 2, b"m");
    let sample = [0x12, 11, 9, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f, 0x10, 100];
    let mut odd = vec![0x8a, 0x00, u8::try_from(label.len()).unwrap()];
    odd.extend_from_slice(&label);
    for series in [[&odd[..], &sample].concat(), [&sample[..], &odd].concat()] {
        let mut message = Vec::new();
        field(&mut message, 1, &series);
        check_write(&message);
        let dir = tempfile::tempdir().unwrap();
        let fs: Arc<dyn Fs> = Arc::new(DiskFs);
        let db = Db::open(&fs, dir.path(), &tsdb::Options::default(), |_, _| {}).unwrap();
        let mut push = Admission::new(1, usize::MAX).admit().unwrap();
        let mut sink = Sink::new(db.appender(), Timestamp::from_millis(1_000_000), &mut push);
        request::read(&mut sink, &SeriesCache::default(), &message, false).unwrap();
        assert_eq!((sink.tally.floats, sink.tally.skipped), (1, 0));
    }
}

proptest! {
    #[test]
    fn any_bytes_hold(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check_write(&bytes);
    }

    #[test]
    fn any_damage_holds(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut message = request();
        let at = at.index(message.len());
        if cut {
            message.truncate(at);
        } else {
            message[at] = byte;
        }
        check_write(&message);
    }
}
