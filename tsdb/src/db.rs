//! A store in a directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::error::Error;
use crate::fs::{AtPath, Fs};
use crate::head::{Appender, Cardinality, Head, HeadQuerier, HeadStats, Recovery, SharedColumn};
use crate::metadata::Metadata;
use crate::querier::{Querier, Queryable};
use crate::sample::Timestamp;
use crate::wal::SyncPolicy;

/// How a store works. The defaults suit a server that shares its machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Shards of the head; 0 for one per core. May differ at every start.
    pub shards: usize,
    /// When the log is made to survive a power cut.
    pub sync: SyncPolicy,
    /// Bytes of a log segment; reserved when it is begun.
    pub wal_segment_bytes: u64,
    /// Series that the head may hold; 0 for no limit.
    pub max_series: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            shards: 0,
            sync: SyncPolicy::Interval(Duration::from_secs(1)),
            wal_segment_bytes: 32 << 20,
            max_series: 0,
        }
    }
}

/// The lock file of a data directory.
const LOCK_FILE: &str = "lock";

/// A store in a directory, which it holds locked. Dropping it stops its threads; [`close`](Self::close) also says
/// whether all went well.
#[derive(Debug)]
pub struct Db {
    head: Arc<Head>,
    dir: PathBuf,
    recovery: Recovery,
    sync: Option<SyncThread>,
    /// Given back last.
    _lock: Lock,
}

struct Lock(#[expect(dead_code, reason = "held, not read")] Box<dyn Send + Sync>);

impl std::fmt::Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lock")
    }
}

impl Db {
    /// Opens the store in `dir`, which is made if need be, and recovers what its log holds. `progress` gets the bytes
    /// replayed and the bytes there are, now and then.
    ///
    /// # Errors
    /// If the directory cannot be used, is in use, or was written by a version that this one does not know. A damaged
    /// log is no error: what can be is recovered, the rest is told of in [`recovery`](Self::recovery).
    pub fn open(
        fs: &Arc<dyn Fs>,
        dir: &Path,
        options: &Options,
        progress: impl FnMut(u64, u64),
    ) -> Result<Self, Error> {
        fs.create_dir_all(dir).at(dir)?;
        let lock_path = dir.join(LOCK_FILE);
        let lock = fs.lock(&lock_path).at(&lock_path)?.ok_or_else(|| Error::Locked { path: dir.to_owned() })?;
        let (head, recovery) = Head::recover(fs, dir, options, progress)?;
        let head = Arc::new(head);
        let sync = match options.sync {
            SyncPolicy::Interval(every) => Some(SyncThread::start(head.clone(), every)),
            SyncPolicy::EveryCommit | SyncPolicy::Never => None,
        };
        Ok(Self { head, dir: dir.to_owned(), recovery, sync, _lock: Lock(lock) })
    }

    /// What was found when the store was opened.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Series in the head.
    #[must_use]
    pub fn series_count(&self) -> u64 {
        self.head.series_count()
    }

    /// Where the store is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Begins a write of samples that each have a time.
    #[must_use]
    pub fn appender(&self) -> Appender<'_> {
        self.head.appender(None)
    }

    /// Begins a write of the samples of one scrape, at `at`, of the target that `column` belongs to.
    #[must_use]
    pub fn scrape_appender<'a>(&'a self, column: &'a SharedColumn, at: Timestamp) -> Appender<'a> {
        self.head.appender(Some((column, at)))
    }

    /// A column of times for one target.
    #[must_use]
    pub fn column(&self) -> SharedColumn {
        self.head.column()
    }

    /// What is known about the metric families, by name.
    #[must_use]
    pub fn metadata(&self) -> BTreeMap<String, Metadata> {
        self.head.metadata()
    }

    /// What the head holds, in numbers.
    #[must_use]
    pub fn head_stats(&self) -> HeadStats {
        self.head.stats()
    }

    /// What takes the most room, at most `limit` entries per list.
    #[must_use]
    pub fn cardinality(&self, limit: usize) -> Cardinality {
        self.head.cardinality(limit)
    }

    /// Makes all that has been committed survive a power cut.
    ///
    /// # Errors
    /// If the disk refuses; nothing can be committed from then on.
    pub fn sync(&self) -> Result<(), Error> {
        self.head.sync()
    }

    /// Syncs the log and gives the directory free.
    ///
    /// # Errors
    /// If the log cannot be synced.
    pub fn close(mut self) -> Result<(), Error> {
        if let Some(sync) = &mut self.sync {
            sync.stop();
        }
        self.head.close()
    }
}

impl Queryable for Db {
    fn querier(&self) -> Result<Arc<dyn Querier>, Error> {
        Ok(Arc::new(HeadQuerier::new(self.head.clone())))
    }
}

/// Syncs the log every so often, until it is stopped or dropped.
#[derive(Debug)]
struct SyncThread {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl SyncThread {
    fn start(head: Arc<Head>, every: Duration) -> Self {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let signal = stop.clone();
        let thread = std::thread::Builder::new()
            .name("tsdb-wal-sync".into())
            .spawn(move || {
                let (stopped, wake) = &*signal;
                let mut stopped = stopped.lock();
                while !*stopped {
                    wake.wait_for(&mut stopped, every);
                    // A failure is kept by the head and told to the next commit.
                    parking_lot::MutexGuard::unlocked(&mut stopped, || drop(head.sync()));
                }
            })
            .expect("a thread can be started while the server starts");
        Self { stop, thread: Some(thread) }
    }

    fn stop(&mut self) {
        let (stopped, wake) = &*self.stop;
        *stopped.lock() = true;
        wake.notify_all();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    }
}

impl Drop for SyncThread {
    fn drop(&mut self) {
        self.stop();
    }
}
