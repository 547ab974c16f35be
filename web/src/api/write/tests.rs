use std::sync::{Arc, OnceLock};

use proptest::prelude::*;
use tsdb::{Db, DiskFs, Fs, Timestamp};

use super::*;

/// A store that all cases share: nothing is ever committed to it.
fn db() -> &'static Db {
    static DB: OnceLock<(tempfile::TempDir, Db)> = OnceLock::new();
    let (_, db) = DB.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let fs: Arc<dyn Fs> = Arc::new(DiskFs);
        let db = Db::open(&fs, dir.path(), &tsdb::Options::default(), |_, _| {}).unwrap();
        (dir, db)
    });
    db
}

/// Reads `message` as either version; gives what each brought, if it is sound.
fn read_both(message: &[u8]) -> [Option<Tally>; 2] {
    let (cache, families) = (SeriesCache::default(), Families::default());
    let now = Timestamp::from_millis(1_000_000);
    let mut sink = Sink::new(db().appender(), now);
    let one = request::read(&mut sink, &cache, message, false).ok().map(|()| sink.tally);
    let mut sink = Sink::new(db().appender(), now);
    let two = request_v2::read(&mut sink, &cache, &families, message, false).ok().map(|()| sink.tally);
    [one, two]
}

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
    let [_, two] = read_both(&request());
    let tally = two.unwrap();
    assert_eq!((tally.floats, tally.histograms, tally.exemplars, tally.skipped), (1, 1, 1, 0));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read_both(&bytes);
    }

    #[test]
    fn no_damage_panics(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut message = request();
        let at = at.index(message.len());
        if cut {
            message.truncate(at);
        } else {
            message[at] = byte;
        }
        read_both(&message);
    }
}
