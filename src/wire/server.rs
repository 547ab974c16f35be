//! What the web shows of the rest of the server.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use scraper::{LastScrape, ScrapeManager, TargetHealth};
use tokio::sync::watch;
use tsdb::{Db, Timestamp};
use web::{ActiveTarget, Connections, DroppedTarget, Health, Server, TargetMetadata, Targets};

use super::watcher::Paused;
use super::{now, sources};
use crate::config::Config;
use crate::flags::Flags;
use crate::process;

/// The configuration in force and what it runs.
pub(super) struct ServerInfo {
    db: Arc<Db>,
    manager: Arc<ScrapeManager<Arc<Db>>>,
    connections: Arc<Connections>,
    /// The command line, for what a configuration leaves to it.
    given: Flags,
    config_file: Option<PathBuf>,
    flags: BTreeMap<String, String>,
    /// The host under which others reach this machine.
    external_host: String,
    own: Option<SocketAddr>,
    metrics_path: String,
    start_timestamps: bool,
    quit: watch::Sender<bool>,
    loaded: Mutex<Loaded>,
    paused: Arc<Paused>,
    /// One at a time puts a configuration into force.
    applying: tokio::sync::Mutex<()>,
}

struct Loaded {
    yaml: String,
    /// By job.
    job_yaml: BTreeMap<String, String>,
    notices: Vec<String>,
    at: Timestamp,
    /// Reason why the newest configuration is not in force, if a reload has failed since.
    failure: Option<String>,
    /// Outcome of the newest attempt to load a configuration.
    succeeded: bool,
}

/// Jobs that differ between two configurations.
#[derive(Debug, Default, PartialEq, Eq)]
struct JobChanges {
    added: Vec<String>,
    removed: Vec<String>,
    changed: Vec<String>,
}

impl JobChanges {
    /// Compares jobs by their YAML.
    fn between(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Self {
        let names = |jobs: &BTreeMap<String, String>, wanted: &dyn Fn(&str, &str) -> bool| {
            jobs.iter().filter(|(name, yaml)| wanted(name, yaml)).map(|(name, _)| name.clone()).collect()
        };
        Self {
            added: names(new, &|name, _| !old.contains_key(name)),
            removed: names(old, &|name, _| !new.contains_key(name)),
            changed: names(new, &|name, yaml| old.get(name).is_some_and(|before| before != yaml)),
        }
    }

    /// Logs the names of the jobs that a reload has changed.
    fn log(&self) {
        let (added, removed, changed) = (self.added.join(", "), self.removed.join(", "), self.changed.join(", "));
        tracing::info!(added, removed, changed, "configuration reloaded");
    }
}

impl ServerInfo {
    pub(super) fn new(
        db: Arc<Db>,
        manager: Arc<ScrapeManager<Arc<Db>>>,
        connections: Arc<Connections>,
        flags: &Flags,
        external_url: Option<&str>,
        quit: watch::Sender<bool>,
        own: Option<SocketAddr>,
    ) -> Self {
        let mut in_use = flags.in_use();
        in_use.insert("web.listen-address".into(), super::listen_addresses(flags).join(","));
        let prefix = super::addresses(flags).map(|(prefix, _)| prefix).unwrap_or_default();
        Self {
            db,
            manager,
            connections,
            given: flags.clone(),
            config_file: flags.config.clone(),
            flags: in_use,
            external_host: external_url.and_then(host_of).unwrap_or_else(process::hostname),
            own,
            metrics_path: format!("{prefix}/metrics"),
            start_timestamps: flags.features.iter().any(|name| super::START_TIMESTAMPS.contains(&name.as_str())),
            quit,
            loaded: Mutex::new(Loaded {
                yaml: String::new(),
                job_yaml: BTreeMap::new(),
                notices: Vec::new(),
                at: now(),
                failure: None,
                succeeded: false,
            }),
            paused: Arc::default(),
            applying: tokio::sync::Mutex::new(()),
        }
    }

    /// Whether ingestion is paused, for who watches the store.
    pub(super) fn paused(&self) -> Arc<Paused> {
        Arc::clone(&self.paused)
    }

    fn loaded(&self) -> MutexGuard<'_, Loaded> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the configuration of the start into force, or, without one, what is built in.
    pub(super) async fn apply(&self, config: Option<Config>) -> Result<(), String> {
        self.replace(config).await.map(drop)
    }

    /// Puts a configuration into force in place of the one before; returns the jobs that differ.
    async fn replace(&self, config: Option<Config>) -> Result<JobChanges, String> {
        let _one = self.applying.lock().await;
        let (mut jobs, yaml, notices) = match &config {
            Some(config) => {
                if !config.ignored().is_empty() {
                    tracing::warn!(
                        keys = config.ignored().join(", "),
                        "configuration keys without effect in this version"
                    );
                }
                for finding in config.warnings().iter().chain(config.doubts()) {
                    tracing::warn!("{finding}");
                }
                let notices: Vec<String> = config.notices().iter().map(|&notice| notice.to_owned()).collect();
                (config.scrape.clone(), config.yaml().to_owned(), notices)
            }
            None => (sources::built_in(self.own, &self.metrics_path), sources::YAML.to_owned(), Vec::new()),
        };
        for notice in &notices {
            tracing::warn!("{notice}");
        }
        jobs.iter_mut().for_each(|job| job.start_timestamps = self.start_timestamps);
        self.manager.apply(jobs).await.map_err(|e| e.to_string())?;
        let storage = config.as_ref().map(|config| config.storage).unwrap_or_default();
        let (retention, late_window) = super::kept(&self.given, storage);
        self.db.configure(retention, late_window);
        let jobs = config.iter().flat_map(|config| {
            config
                .scrape
                .iter()
                .filter_map(|job| Some((job.job_name.clone(), config.job_yaml(&job.job_name)?.to_owned())))
        });
        let job_yaml = jobs.collect();
        let mut loaded = self.loaded();
        let changes = JobChanges::between(&loaded.job_yaml, &job_yaml);
        *loaded = Loaded { yaml, job_yaml, notices, at: now(), failure: None, succeeded: true };
        Ok(changes)
    }

    /// Loads the configuration file again: all of it, or nothing.
    pub(super) async fn load_again(&self) -> Result<(), String> {
        let loaded = match self.config_file.clone() {
            None => Ok(None),
            Some(path) => match tokio::task::spawn_blocking(move || Config::load(&path)).await {
                Ok(loaded) => loaded.map(Some).map_err(|e| e.to_string()),
                Err(panic) => Err(panic.to_string()),
            },
        };
        let outcome = match loaded {
            Ok(config) => self.replace(config).await,
            Err(why) => Err(why),
        };
        match &outcome {
            Ok(changes) => changes.log(),
            Err(why) => {
                let mut loaded = self.loaded();
                loaded.succeeded = false;
                loaded.failure = Some(why.clone());
                tracing::error!("the configuration stays as it was: {why}");
            }
        }
        outcome.map(drop)
    }

    /// `url` as others reach it.
    fn global_url(&self, url: &str) -> String {
        let local = host_of(url).filter(|host| ["localhost", "127.0.0.1", "[::1]"].contains(&host.as_str()));
        match local {
            Some(host) if url.starts_with("http") => {
                url.replacen(&format!("://{host}"), &format!("://{}", self.external_host), 1)
            }
            _ => url.to_owned(),
        }
    }
}

/// What else there is to say of a scrape.
fn note(last: &LastScrape) -> String {
    let over = last.over_budget.as_ref().map(ToString::to_string);
    let refused = last.refused.map(|refused| refused.to_string());
    over.into_iter().chain(refused).collect::<Vec<_>>().join("; ")
}

/// The host of an address, without its port.
fn host_of(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let port_at = authority.rfind(':').filter(|&at| authority[at..].find(']').is_none());
    Some(authority[..port_at.unwrap_or(authority.len())].to_owned())
}

impl Server for ServerInfo {
    fn targets(&self) -> Targets {
        let targets = self.manager.targets();
        let active = targets.active.into_iter().map(|target| ActiveTarget {
            discovered_labels: target.spec.discovered.clone(),
            labels: target.spec.labels.clone(),
            note: note(&target.last),
            scrape_pool: target.pool,
            global_url: self.global_url(&target.spec.url),
            scrape_url: target.spec.url.clone(),
            last_error: target.last.error,
            last_scrape: target.last.at,
            last_duration: target.last.duration,
            health: match target.last.health {
                TargetHealth::Unknown => Health::Unknown,
                TargetHealth::Up => Health::Up,
                TargetHealth::Down => Health::Down,
            },
            interval: target.spec.interval,
            timeout: target.spec.timeout,
            samples: target.last.samples,
        });
        Targets {
            active: active.collect(),
            dropped: targets
                .dropped
                .into_iter()
                .map(|(scrape_pool, discovered_labels)| DroppedTarget { discovered_labels, scrape_pool })
                .collect(),
            dropped_counts: targets.dropped_counts,
            discovery_failures: targets.discovery_failures,
        }
    }

    fn target_metadata(&self) -> Vec<TargetMetadata> {
        let mut all = Vec::new();
        for target in self.manager.targets().active {
            for described in target.families.snapshot() {
                let (metric, metadata) = (described.family.clone(), described.metadata.clone());
                all.push(TargetMetadata { target: target.spec.labels.clone(), metric, metadata });
            }
        }
        all
    }

    fn config(&self) -> String {
        self.loaded().yaml.clone()
    }

    fn pool_config(&self, pool: &str) -> Option<String> {
        self.loaded().job_yaml.get(pool).cloned()
    }

    fn flags(&self) -> BTreeMap<String, String> {
        self.flags.clone()
    }

    fn notices(&self) -> Vec<String> {
        let paused = self.paused.reason().map(|why| format!("Ingestion is paused, queries go on: {why}"));
        let loaded = self.loaded();
        let failure = loaded
            .failure
            .as_ref()
            .map(|why| format!("The configuration could not be reloaded, the one loaded before stays in force: {why}"));
        let clock = self.paused.clock().notices;
        paused.into_iter().chain(clock).chain(failure).chain(loaded.notices.iter().cloned()).collect()
    }

    fn clock_notices(&self) -> Vec<String> {
        self.paused.clock().notices
    }

    fn config_loaded(&self) -> (Timestamp, bool) {
        let loaded = self.loaded();
        (loaded.at, loaded.succeeded)
    }

    fn metrics(&self, out: &mut String) {
        process::metrics(out);
        self.connections.metrics(out);
        self.manager.render_metrics(out);
        self.paused.clock().metrics(out);
    }

    fn reload(&self) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        Box::pin(self.load_again())
    }

    fn quit(&self) {
        self.quit.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{JobChanges, host_of};

    #[test]
    fn a_reload_names_the_jobs_that_differ() {
        let jobs = |all: &[(&str, &str)]| -> BTreeMap<String, String> {
            all.iter().map(|&(name, yaml)| (name.to_owned(), yaml.to_owned())).collect()
        };
        let (old, new) = (jobs(&[("a", "1"), ("b", "1"), ("c", "1")]), jobs(&[("b", "1"), ("c", "2"), ("d", "1")]));
        let expected = JobChanges { added: vec!["d".into()], removed: vec!["a".into()], changed: vec!["c".into()] };
        assert_eq!(JobChanges::between(&old, &new), expected);
        assert_eq!(JobChanges::between(&new, &new), JobChanges::default());
    }

    #[test]
    fn hosts_stand_without_their_ports() {
        for (url, host) in [
            ("http://localhost:9090/metrics", "localhost"),
            ("https://a.example/x:1", "a.example"),
            ("http://[::1]:9090/", "[::1]"),
            ("http://[::1]", "[::1]"),
            ("http://h?x=y:1", "h"),
        ] {
            assert_eq!(host_of(url).as_deref(), Some(host));
        }
        assert_eq!(host_of("nothing"), None);
    }
}
