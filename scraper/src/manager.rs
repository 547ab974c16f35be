//! From configuration to running pools.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Runtime;
use tsdb::Labels;

use crate::buffers::Buffers;
use crate::cache::MAX_BODY_BYTES;
use crate::clock::Clock;
use crate::discovery::Providers;
use crate::lanes::Lanes;
use crate::memory::BodiesBudget;
use crate::metadata::Descriptions;
use crate::metrics::Metrics;
use crate::options::{Discovery, HttpOptions, ScrapeConfig};
use crate::pool::Pool;
use crate::scrape_loop::Shared;
use crate::store::Store;
use crate::target::ActiveTarget;
use crate::tls;

/// Why a configuration is not put into force. Everything goes on as before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Two jobs have one name.
    #[error("found multiple scrape configs with job name {0:?}")]
    DuplicateJob(String),
    /// The certificates of a job cannot be used.
    #[error("job {job:?}: {what}")]
    Tls {
        /// The job.
        job: String,
        /// What is wrong.
        what: String,
    },
}

/// Cores per thread that scrapes. One thread manages some three million samples per second.
const CORES_PER_THREAD: usize = 4;

/// All jobs, and the threads (`scrape`) that they run on: none of the caller's.
pub struct ScrapeManager<S: Store> {
    shared: Arc<Shared<S>>,
    /// There until the manager is dropped.
    runtime: Option<Runtime>,
    pools: Mutex<Pools<S>>,
}

struct Pools<S: Store> {
    /// By job.
    current: BTreeMap<String, Arc<Pool<S>>>,
    /// Jobs that are gone, until their loops have ended.
    retired: Vec<Arc<Pool<S>>>,
}

/// What is scraped and what is not.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    /// By job, then URL.
    pub active: Vec<ActiveTarget>,
    /// Job and labels before relabeling, as many as the jobs keep.
    pub dropped: Vec<(String, Labels)>,
    /// How many each job has dropped.
    pub dropped_counts: BTreeMap<String, usize>,
    /// Reasons why the targets of a job may be out of date, for jobs whose discovery fails.
    pub discovery_failures: BTreeMap<String, Vec<String>>,
}

impl<S: Store> ScrapeManager<S> {
    /// A manager without jobs. `seed` moves all scrapes within their intervals: servers with different seeds do not
    /// scrape a target at the same moment.
    ///
    /// # Panics
    /// If the system gives no thread.
    pub fn new(store: S, clock: Clock, seed: u64) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(cores.div_ceil(CORES_PER_THREAD))
            .thread_name("scrape")
            .enable_all()
            .build()
            .expect("the system gives threads");
        let shared = Shared {
            store,
            clock,
            metrics: Arc::new(Metrics::default()),
            buffers: Buffers::default(),
            bodies: BodiesBudget::default(),
            lanes: Lanes::new(),
            descriptions: Descriptions::default(),
            providers: Providers::default(),
            seed,
            runtime: runtime.handle().clone(),
        };
        let pools = Pools { current: BTreeMap::new(), retired: Vec::new() };
        Self { shared: Arc::new(shared), runtime: Some(runtime), pools: Mutex::new(pools) }
    }

    /// Puts `configs` into force, all or none of them. What they do not change goes on undisturbed; the targets of jobs
    /// that they leave out get stale markers.
    ///
    /// # Errors
    /// If they cannot be put into force.
    pub async fn apply(&self, configs: Vec<ScrapeConfig>) -> Result<(), ApplyError> {
        let checked = self.shared.runtime.spawn(check(configs)).await.expect("a check does not panic");
        let configs = checked.inspect_err(|_| Metrics::add(&self.shared.metrics.pool_reloads_failed))?;
        // A job that has another name now takes over what discovery knew under the old one.
        let _held = self.shared.providers.hold();
        let largest = configs.iter().map(|config| config.body_size_limit).max().unwrap_or_default();
        self.shared.bodies.set_largest_limit(usize::try_from(largest).unwrap_or(usize::MAX).min(MAX_BODY_BYTES));
        let mut pools = self.lock();
        pools.retired.retain(|pool| !pool.is_finished());
        let jobs: BTreeSet<&str> = configs.iter().map(|config| config.job_name.as_str()).collect();
        let gone: Vec<String> = pools.current.keys().filter(|job| !jobs.contains(job.as_str())).cloned().collect();
        for job in gone {
            if let Some(pool) = pools.current.remove(&job) {
                pool.retire();
                pools.retired.push(pool);
            }
        }
        for config in configs {
            let metrics = &self.shared.metrics;
            let pool = match pools.current.get(&config.job_name) {
                Some(pool) => {
                    Metrics::add(&metrics.pool_reloads);
                    Arc::clone(pool)
                }
                None => {
                    Metrics::add(&metrics.pools);
                    let pool = Pool::new(Arc::clone(&self.shared), &config.job_name);
                    pools.current.insert(config.job_name.clone(), Arc::clone(&pool));
                    pool
                }
            };
            pool.configure(config);
        }
        Ok(())
    }

    /// What is scraped now, and how it does.
    #[must_use]
    pub fn targets(&self) -> Targets {
        let pools: Vec<(String, Arc<Pool<S>>)> =
            self.lock().current.iter().map(|(job, pool)| (job.clone(), Arc::clone(pool))).collect();
        let mut targets = Targets::default();
        for (job, pool) in pools {
            targets.active.extend(pool.active());
            let (dropped, count) = pool.dropped();
            targets.dropped.extend(dropped.into_iter().map(|labels| (job.clone(), labels)));
            let failures = pool.discovery_failures();
            if !failures.is_empty() {
                targets.discovery_failures.insert(job.clone(), failures);
            }
            targets.dropped_counts.insert(job, count);
        }
        targets
    }

    /// The names of all jobs, sorted.
    #[must_use]
    pub fn jobs(&self) -> Vec<String> {
        self.lock().current.keys().cloned().collect()
    }

    /// Writes what the scraper counts about itself, in the text format.
    pub fn render_metrics(&self, out: &mut String) {
        self.shared.metrics.render(out);
        crate::metrics::render_bodies(out, self.shared.bodies.in_use());
        let mut sizes: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        let active = self.targets().active;
        crate::metrics::render_over_budget(out, &active);
        for target in active {
            let (entries, bytes) = target.families.size();
            let size = sizes.entry(target.pool).or_default();
            *size = (size.0 + entries, size.1 + bytes);
        }
        crate::metrics::render_metadata_sizes(out, &sizes);
    }

    /// Stops all scraping and waits until it has stopped. No stale markers are written: whoever starts next goes on.
    pub async fn stop(&self) {
        let pools = {
            let mut pools = self.lock();
            let mut all = std::mem::take(&mut pools.retired);
            all.extend(std::mem::take(&mut pools.current).into_values());
            all
        };
        for pool in pools {
            pool.halt().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pools<S>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives `configs` back if they can be put into force.
async fn check(configs: Vec<ScrapeConfig>) -> Result<Vec<ScrapeConfig>, ApplyError> {
    let mut jobs = BTreeSet::new();
    if let Some(config) = configs.iter().find(|config| !jobs.insert(&config.job_name)) {
        return Err(ApplyError::DuplicateJob(config.job_name.clone()));
    }
    for config in &configs {
        let by_server = config.discovery.iter().filter_map(|discovery| match discovery {
            Discovery::Http(http) => Some(&http.http),
            _ => None,
        });
        for http in by_server.chain([&config.http]).filter(|http| uses_certificates(http)) {
            tls::client_config(&http.tls)
                .await
                .map_err(|what| ApplyError::Tls { job: config.job_name.clone(), what })?;
        }
    }
    Ok(configs)
}

impl<S: Store> Drop for ScrapeManager<S> {
    /// Whatever still runs ends at its next wait.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn uses_certificates(http: &HttpOptions) -> bool {
    http.tls.ca.is_some() || http.tls.client.is_some()
}
