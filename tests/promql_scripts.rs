//! PromQL scripts against the real store: our own, and those of the folder that `SILVERBACK_SCRIPTS` names. The engine
//! and its store together must pass as many evaluations as the engine does over the model (`docs/conformance.md`).

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use query::Engine;
use query::testing::{LoadedSample, LoadedValue, ScriptStore, engine_options, play};
use tsdb::testing::FaultFs;
use tsdb::{Db, Fs, HistogramValue, Labels, Options, Queryable, SyncPolicy};

/// A store that is opened anew, in a file system in memory, whenever a script clears it.
struct RealStore(Db);

impl RealStore {
    fn open() -> Self {
        let fs: Arc<dyn Fs> = Arc::new(FaultFs::default());
        let options = Options { shards: 3, sync: SyncPolicy::Never, wal_segment_bytes: 1 << 20, ..Options::default() };
        Self(Db::open(&fs, Path::new("/data"), &options, |_, _| {}).unwrap())
    }
}

impl ScriptStore for RealStore {
    fn clear(&mut self) {
        *self = Self::open();
    }

    fn append(&mut self, block: &[(Labels, Vec<LoadedSample>)]) {
        let mut appender = self.0.appender();
        for (labels, samples) in block {
            let series = appender.series(labels).unwrap();
            for LoadedSample { timestamp, value, start_ms } in samples {
                let start = (*start_ms != 0).then(|| tsdb::Timestamp::from_millis(*start_ms));
                match value {
                    LoadedValue::Float(value) => appender.append_at(series, *timestamp, start, *value),
                    LoadedValue::Histogram(histogram) => {
                        let value = HistogramValue::Float((**histogram).clone());
                        appender.append_histogram(series, Some(*timestamp), start, value).unwrap();
                    }
                }
            }
        }
        let committed = appender.commit().unwrap();
        assert_eq!(committed.refused(), 0, "{committed:?}");
    }

    fn queryable(&self) -> &dyn Queryable {
        &self.0
    }
}

/// The scripts of a folder, sorted.
fn scripts(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "test"));
    paths.sort();
    assert!(!paths.is_empty(), "no scripts in {}", folder.display());
    paths
}

/// Plays all scripts of a folder; what failed.
fn failures(folder: &Path) -> String {
    let mut report = String::new();
    for path in scripts(folder) {
        let text = std::fs::read_to_string(&path).unwrap();
        let engine = Engine::new(engine_options(2), || Duration::ZERO);
        let outcome =
            play(&engine, &mut RealStore::open(), &text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let name = path.file_name().unwrap().to_string_lossy();
        println!("{name}: {}/{}", outcome.total - outcome.failures.len(), outcome.total);
        for failure in outcome.failures {
            report.push_str(&format!("{name}:{}: {}\n    {}\n", failure.line, failure.query, failure.reason));
        }
    }
    report
}

#[test]
fn our_own_scripts_pass_on_the_real_store() {
    let report = failures(&Path::new(env!("CARGO_MANIFEST_DIR")).join("query/tests/promql"));
    assert!(report.is_empty(), "\n{report}");
}

#[test]
fn the_scripts_of_a_folder_pass_on_the_real_store() {
    let Some(folder) = std::env::var_os("SILVERBACK_SCRIPTS") else {
        return common::skip("SILVERBACK_SCRIPTS is not set");
    };
    let report = failures(Path::new(&folder));
    assert!(report.is_empty(), "\n{report}");
}
