//! Targets listed in files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use notify::event::{AccessKind, EventKind, MetadataKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use super::provider::Reporter;
use super::{matching_files, written};
use crate::metrics::Metrics;
use crate::options::{FileDiscovery, TargetGroup};

/// How long a change is left to settle before the files are read: an editor writes in several steps.
const SETTLE: Duration = Duration::from_millis(50);

/// Larger files are refused.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// Reads the files now, when they change, and at each refresh interval.
pub(super) async fn run(options: FileDiscovery, metrics: Arc<Metrics>, reporter: Reporter) {
    let (changed, mut changes) = mpsc::channel(1);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| matters(event.kind)) {
            // Full means that somebody is about to look anyway.
            let _ = changed.try_send(());
        }
    })
    .inspect_err(|error| tracing::warn!(%error, "files are not watched, only read at intervals"))
    .ok();
    let period = options.refresh_interval.max(Duration::from_millis(1));
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known = Known::default();
    loop {
        watch(&options.files, watcher.as_mut());
        let (files, counts) = (options.files.clone(), Arc::clone(&metrics));
        let Ok(read) = tokio::task::spawn_blocking(move || known.read(&files, &counts)).await else { return };
        known = read;
        reporter.found(known.groups(), known.failure.clone());
        tokio::select! {
            _ = ticks.tick() => {}
            Some(()) = changes.recv() => {
                sleep(SETTLE).await;
                // What came meanwhile is about to be seen.
                while changes.try_recv().is_ok() {}
            }
        }
    }
}

/// Whether an event may mean that a file says something else. Reading one is an event, too.
fn matters(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(notify::event::AccessMode::Write)) => true,
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(MetadataKind::AccessTime)) => false,
        _ => true,
    }
}

/// Watches the folders of all patterns. A folder that is not there yet is tried again at the next refresh.
fn watch(patterns: &[PathBuf], watcher: Option<&mut RecommendedWatcher>) {
    let Some(watcher) = watcher else { return };
    let folders: BTreeSet<&Path> = patterns
        .iter()
        .map(|pattern| match pattern.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        })
        .collect();
    for folder in folders {
        if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
            tracing::debug!(path = %folder.display(), %error, "folder not watched");
        }
    }
}

/// What was read last.
#[derive(Debug, Default)]
struct Known {
    files: BTreeMap<PathBuf, Vec<TargetGroup>>,
    /// First failure of the last reading.
    failure: Option<String>,
}

impl Known {
    fn groups(&self) -> Vec<TargetGroup> {
        self.files.values().flatten().cloned().collect()
    }

    /// Reads all files that match. One that cannot be read keeps what it said before, as long as it exists.
    fn read(mut self, patterns: &[PathBuf], metrics: &Metrics) -> Self {
        let started = Instant::now();
        let mut files = BTreeMap::new();
        let mut mtimes = Vec::new();
        let mut failure = None;
        for path in patterns.iter().flat_map(|pattern| matching(pattern)) {
            match read_file(&path) {
                Ok((groups, mtime)) => {
                    mtimes.push((path.display().to_string(), mtime));
                    files.insert(path, groups);
                }
                Err(error) => {
                    Metrics::add(&metrics.file_read_errors);
                    tracing::error!(path = %path.display(), %error, "discovery file not read");
                    failure.get_or_insert_with(|| format!("{}: {error}", path.display()));
                    let before = self.files.remove(&path).unwrap_or_default();
                    files.insert(path, before);
                }
            }
        }
        for gone in self.files.keys().filter(|path| !files.contains_key(*path)) {
            metrics.forget_file(&gone.display().to_string());
        }
        metrics.observe_file_scan(started.elapsed(), mtimes);
        Self { files, failure }
    }
}

/// Files that match `pattern`, sorted. A malformed pattern matches none.
fn matching(pattern: &Path) -> Vec<PathBuf> {
    matching_files(pattern).unwrap_or_else(|error| {
        tracing::error!(%error, "no discovery file is read");
        Vec::new()
    })
}

/// Reads the groups of the discovery file at `path`.
///
/// # Errors
/// If the file cannot be read or holds no list of groups.
pub fn read_target_file(path: &Path) -> Result<Vec<TargetGroup>, String> {
    read_file(path).map(|(groups, _)| groups)
}

/// Groups of a file, and the time of its last change in seconds since the Unix epoch.
fn read_file(path: &Path) -> Result<(Vec<TargetGroup>, f64), String> {
    let metadata = std::fs::metadata(path).map_err(|e| e.to_string())?;
    if metadata.len() > MAX_FILE_BYTES {
        return Err(format!("larger than {MAX_FILE_BYTES} bytes"));
    }
    let text = std::fs::read(path).map_err(|e| e.to_string())?;
    let source = path.display().to_string();
    let json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let groups = if json {
        written::from_json(&text, &source, "__meta_filepath")?
    } else {
        let text = std::str::from_utf8(&text).map_err(|e| format!("yaml: {e}"))?;
        written::from_yaml(text, &source, "__meta_filepath")?
    };
    let mtime = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    Ok((groups, mtime.map_or(0.0, |since| since.as_secs_f64())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Vec<TargetGroup>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        read_file(&path).map(|(groups, _)| groups)
    }

    #[test]
    fn json_and_yaml_say_the_same() {
        let json =
            read("t.json", r#"[{"targets": ["a:1", "b:2"], "labels": {"env": "x", "n": "1.10"}}, {"targets": []}]"#);
        let yaml = read("t.yml", "- targets: [ 'a:1', b:2 ]\n  labels:\n    env: x\n    n: 1.10\n- targets: []\n");
        let (json, yaml) = (json.unwrap(), yaml.unwrap());
        assert_eq!(json[0].targets, ["a:1", "b:2"]);
        for groups in [&json, &yaml] {
            assert_eq!(groups.len(), 2);
            assert_eq!((groups[0].labels["env"].as_str(), groups[0].labels["n"].as_str()), ("x", "1.10"));
            assert!(groups[0].labels["__meta_filepath"].contains("/t."));
            assert!(groups[1].source.ends_with(":1"));
        }
        assert_eq!(json[0].targets, yaml[0].targets);
    }

    #[test]
    fn what_is_not_a_list_of_groups_is_an_error() {
        for (name, text) in [
            ("t.json", r#"[{"targets": ["a"], "label": {}}]"#),
            ("t.json", r#"[null]"#),
            ("t.json", r#"[{"targets": ["a"], "labels": {"x": 1}}]"#),
            ("t.json", "["),
            ("t.yaml", "- targets: a\n"),
            ("t.yaml", "- target: [a]\n"),
        ] {
            assert!(read(name, text).is_err(), "{text}");
        }
        assert_eq!(read("t.yaml", ""), Ok(Vec::new()));
    }

    #[test]
    fn an_unreadable_file_keeps_its_targets_and_a_deleted_one_loses_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("a.json"), r#"[{"targets": ["a"]}]"#).unwrap();
        std::fs::write(path("b.json"), r#"[{"targets": ["b"]}]"#).unwrap();
        let (metrics, patterns) = (Metrics::default(), [path("*.json")]);
        let targets = |known: &Known| known.groups().iter().flat_map(|g| g.targets.clone()).collect::<Vec<_>>();
        let known = Known::default().read(&patterns, &metrics);
        assert_eq!(targets(&known), ["a", "b"]);
        std::fs::write(path("a.json"), "[").unwrap();
        std::fs::remove_file(path("b.json")).unwrap();
        let known = known.read(&patterns, &metrics);
        assert_eq!(targets(&known), ["a"]);
        assert_eq!(metrics.file_read_errors.load(std::sync::atomic::Ordering::Relaxed), 1);
    }
}
