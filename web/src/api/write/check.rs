//! The body of a fuzz target: any bytes, pushed.

use std::path::Path;
use std::sync::Arc;

use tsdb::testing::FaultFs;
use tsdb::{Columns, Committed, Db, Fs, Queryable, SyncPolicy, TimeRange, Timestamp};

use super::sink::Sink;
use super::{Admission, Families, Malformed, SeriesCache, Version, request, request_v2};

/// See [`crate::testing::check_write`].
pub(crate) fn check_write(bytes: &[u8]) {
    for version in [Version::V1, Version::V2] {
        let store = Store::new();
        let Ok(first) = store.push(version, bytes) else {
            assert_eq!(store.samples(), 0, "a request that is refused leaves samples");
            continue;
        };
        assert_eq!(store.samples(), first.appended, "what is acknowledged is there, and nothing else");
        let again = store.push(version, bytes).expect("what could be read once can be read again");
        assert_eq!((again.appended, store.samples()), (0, first.appended), "a sample is stored twice");
    }
}

/// A store in memory and what belongs to it.
struct Store {
    db: Db,
    series: SeriesCache,
    families: Families,
}

impl Store {
    fn new() -> Self {
        let fs: Arc<dyn Fs> = Arc::new(FaultFs::default());
        let options = tsdb::Options {
            shards: 2,
            sync: SyncPolicy::Never,
            wal_segment_bytes: 1 << 16,
            maintain_every: std::time::Duration::ZERO,
            ..tsdb::Options::default()
        };
        let db = Db::open(&fs, Path::new("/data"), &options, |_, _| {}).expect("memory does not refuse");
        Self { db, series: SeriesCache::default(), families: Families::default() }
    }

    /// Takes the message in as the handler does.
    fn push(&self, version: Version, message: &[u8]) -> Result<Committed, Malformed> {
        let mut push = Admission::new(1, usize::MAX).admit().expect("it is the only one");
        let mut sink = Sink::new(self.db.appender(), Timestamp::from_millis(1_000_000), &mut push);
        match version {
            Version::V1 => request::read(&mut sink, &self.series, message, false)?,
            Version::V2 => request_v2::read(&mut sink, &self.series, &self.families, message, false)?,
        }
        Ok(sink.appender.commit().expect("memory does not refuse"))
    }

    /// How many samples can be read.
    fn samples(&self) -> usize {
        let set = self.db.querier().and_then(|querier| querier.select(&[], TimeRange::ALL));
        let set = set.expect("what was written can be read");
        let mut columns = Columns::default();
        for index in 0..set.len() {
            set.read(index, TimeRange::ALL, &mut columns).expect("what was written can be read");
        }
        columns.timestamps_ms.len() + columns.histograms.len()
    }
}
