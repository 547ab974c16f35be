//! The targets of one job, and their loops.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tsdb::Labels;

use crate::discovery::{self, Finding, Provider};
use crate::fetch::scrape_headers;
use crate::metadata::FamilyTable;
use crate::metrics::Metrics;
use crate::options::{Discovery, Protocol, ScrapeConfig};
use crate::relabel::Relabel;
use crate::sample_rules::SampleRules;
use crate::scrape_loop::{Command, LoopOptions, ScrapeLoop, Shared};
use crate::store::Store;
use crate::target::{ActiveTarget, Discovered, TargetSpec, TargetState, targets_of};

/// Keeps one loop per target, in step with discovery and configuration.
pub(crate) struct Pool<S: Store> {
    shared: Arc<Shared<S>>,
    /// Taken alone, never together with another lock.
    state: Mutex<State>,
}

struct State {
    config: Arc<ScrapeConfig>,
    /// The rules of `config`, in a form to share.
    metric_relabel: Arc<[Relabel]>,
    sources: Vec<Source>,
    loops: HashMap<Key, Loop>,
    /// Labels before relabeling, as many as are to be kept.
    dropped: Vec<Labels>,
    dropped_count: usize,
}

/// What makes two targets the same: labels and URL.
type Key = (Labels, String);

/// Groups of targets that a job asks for.
enum Source {
    /// Known from the configuration.
    Fixed(Arc<Finding>),
    /// Asked for by a provider, whose changes `listener` brings to the pool.
    Running { provider: Arc<Provider>, listener: JoinHandle<()> },
}

impl Source {
    /// Newest groups, and why they may be out of date.
    fn finding(&self) -> Arc<Finding> {
        match self {
            Self::Fixed(finding) => Arc::clone(finding),
            Self::Running { provider, .. } => provider.finding(),
        }
    }

    fn runs(&self, discovery: &Discovery) -> bool {
        matches!(self, Self::Running { provider, .. } if provider.discovery() == discovery)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Self::Running { listener, .. } = self {
            listener.abort();
        }
    }
}

struct Loop {
    options: Arc<LoopOptions>,
    state: Arc<TargetState>,
    commands: watch::Sender<Command>,
    task: JoinHandle<()>,
    /// Its target is gone; the loop waits to write stale markers.
    ending: bool,
}

impl<S: Store> Pool<S> {
    pub(crate) fn new(shared: Arc<Shared<S>>, job: &str) -> Arc<Self> {
        let config = Arc::new(ScrapeConfig { job_name: job.to_owned(), ..ScrapeConfig::default() });
        let state = State {
            config,
            metric_relabel: Arc::default(),
            sources: Vec::new(),
            loops: HashMap::new(),
            dropped: Vec::new(),
            dropped_count: 0,
        };
        Arc::new(Self { shared, state: Mutex::new(state) })
    }

    /// Puts `config` into force. Providers and loops that it does not change go on undisturbed.
    pub(crate) fn configure(self: &Arc<Self>, config: ScrapeConfig) {
        let mut state = self.lock();
        let mut old = std::mem::take(&mut state.sources);
        for discovery in &config.discovery {
            let source = match old.iter().position(|source| source.runs(discovery)) {
                Some(at) => old.swap_remove(at),
                None => self.source(discovery),
            };
            state.sources.push(source);
        }
        if *state.metric_relabel != *config.metric_relabel {
            state.metric_relabel = config.metric_relabel.as_slice().into();
        }
        state.config = Arc::new(config);
        self.sync(&mut state);
    }

    /// Ends all loops, as if all targets were gone.
    pub(crate) fn retire(&self) {
        let mut state = self.lock();
        state.sources.clear();
        self.sync(&mut state);
        self.shared.metrics.forget_job(&state.config.job_name);
    }

    /// Whether all loops of a retired pool have ended.
    pub(crate) fn is_finished(&self) -> bool {
        self.lock().loops.values().all(|l| l.task.is_finished())
    }

    /// Ends all loops at once. Nothing more is written.
    pub(crate) async fn halt(&self) {
        let (sources, loops) = {
            let mut state = self.lock();
            (std::mem::take(&mut state.sources), std::mem::take(&mut state.loops))
        };
        drop(sources);
        for l in loops.values() {
            l.commands.send_replace(Command::Halt);
        }
        for l in loops.into_values() {
            // A loop that has panicked has ended, too.
            let _ = l.task.await;
        }
    }

    /// What is being scraped, sorted by URL and labels.
    pub(crate) fn active(&self) -> Vec<ActiveTarget> {
        let state = self.lock();
        let running = state.loops.values().filter(|l| !l.ending);
        let mut targets: Vec<ActiveTarget> = running
            .map(|l| ActiveTarget {
                pool: state.config.job_name.clone(),
                spec: Arc::clone(&l.options.spec),
                last: l.state.last(),
                families: l.state.families.clone(),
            })
            .collect();
        drop(state);
        targets.sort_by(|a, b| (&a.spec.url, &a.spec.labels).cmp(&(&b.spec.url, &b.spec.labels)));
        targets
    }

    /// Labels of dropped targets, as many as are kept, and how many there are.
    pub(crate) fn dropped(&self) -> (Vec<Labels>, usize) {
        let state = self.lock();
        (state.dropped.clone(), state.dropped_count)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A source of `discovery`, which shares the provider of other jobs with an equal section.
    fn source(self: &Arc<Self>, discovery: &Discovery) -> Source {
        if let Some(groups) = discovery::fixed_groups(discovery) {
            return Source::Fixed(Arc::new(Finding { groups, failure: None }));
        }
        let shared = &self.shared;
        let provider = shared.providers.get(&shared.runtime, &shared.metrics, discovery);
        let (pool, mut changes) = (Arc::downgrade(self), provider.subscribe());
        let listener = shared.runtime.spawn(async move {
            while changes.changed().await.is_ok() {
                let Some(pool) = pool.upgrade() else { return };
                pool.sync(&mut pool.lock());
            }
        });
        Source::Running { provider, listener }
    }

    /// Reasons why targets may be out of date, a failing section each.
    pub(crate) fn discovery_failures(&self) -> Vec<String> {
        self.lock().sources.iter().filter_map(|source| source.finding().failure.clone()).collect()
    }

    /// Brings the loops in step with what the providers have found.
    fn sync(&self, state: &mut State) {
        let started = Instant::now();
        let config = Arc::clone(&state.config);
        let (mut specs, mut failed): (Vec<TargetSpec>, usize) = (Vec::new(), 0);
        state.dropped.clear();
        state.dropped_count = 0;
        let mut discovered_count = 0;
        let findings: Vec<Arc<Finding>> = state.sources.iter().map(Source::finding).collect();
        for group in findings.iter().flat_map(|finding| &finding.groups) {
            let (targets, errors) = targets_of(group, &config);
            discovered_count += group.targets.len();
            failed += errors.len();
            for error in errors {
                tracing::error!(job = config.job_name, %error, "target not made");
            }
            for target in targets {
                match target {
                    Discovered::Active(spec) => specs.push(spec),
                    Discovered::Dropped(labels) => {
                        state.dropped_count += 1;
                        if config.keep_dropped_targets == 0 || state.dropped.len() < config.keep_dropped_targets {
                            state.dropped.push(labels);
                        }
                    }
                }
            }
        }
        let mut wanted: HashSet<Key> = HashSet::new();
        specs.retain(|spec| wanted.insert((spec.labels.clone(), spec.url.clone())));
        let limit = config.target_limit;
        let forced_error = (limit > 0 && specs.len() > limit).then(|| {
            Metrics::add(&self.shared.metrics.exceeded_target_limit);
            format!("target_limit exceeded (number of targets: {}, limit: {limit})", specs.len())
        });
        let targets = specs.len();
        for spec in specs {
            self.keep_running(state, spec, forced_error.clone());
        }
        state.loops.retain(|key, l| {
            if !l.ending && !wanted.contains(key) {
                l.ending = true;
                l.commands.send_replace(Command::End);
            }
            !(l.ending && l.task.is_finished())
        });
        let metrics = &self.shared.metrics;
        metrics.observe_sync(&config.job_name, started.elapsed(), failed, targets, limit);
        metrics.set_discovered(&config.job_name, discovered_count);
    }

    /// Starts a loop for the target, or tells the one that it has what has changed.
    fn keep_running(&self, state: &mut State, spec: TargetSpec, forced_error: Option<String>) {
        let options = loop_options(&state.config, &state.metric_relabel, spec, forced_error);
        let key = (options.spec.labels.clone(), options.spec.url.clone());
        match state.loops.entry(key) {
            Entry::Occupied(mut entry) if !entry.get().task.is_finished() => {
                let l = entry.get_mut();
                if l.ending || *l.options != options {
                    l.options = Arc::new(options);
                    l.ending = false;
                    l.commands.send_replace(Command::Run(Arc::clone(&l.options)));
                }
            }
            entry => {
                let options = Arc::new(options);
                let target = Arc::new(TargetState::new(FamilyTable::new(self.shared.descriptions.clone())));
                let (commands, receiver) = watch::channel(Command::Run(Arc::clone(&options)));
                let scrape_loop =
                    ScrapeLoop::new(Arc::clone(&self.shared), Arc::clone(&options), Arc::clone(&target), receiver);
                let task = self.shared.runtime.spawn(scrape_loop.run());
                entry.insert_entry(Loop { options, state: target, commands, task, ending: false });
            }
        }
    }
}

fn loop_options(
    config: &ScrapeConfig,
    metric_relabel: &Arc<[Relabel]>,
    spec: TargetSpec,
    forced_error: Option<String>,
) -> LoopOptions {
    LoopOptions {
        rules: SampleRules {
            target: spec.labels.clone(),
            honor_labels: config.honor_labels,
            honor_timestamps: config.honor_timestamps,
            track_timestamps_staleness: config.track_timestamps_staleness,
            relabel: Arc::clone(metric_relabel),
            names: config.names,
            limits: config.limits,
            histograms: config.histograms,
            finest_schema: config.finest_schema,
            start_timestamps: config.start_timestamps,
        },
        headers: scrape_headers(&config.protocols, config.escaping, config.compression, spec.timeout),
        http: config.http.clone(),
        fallback: config.fallback_protocol.map(Protocol::exposition),
        body_size_limit: config.body_size_limit,
        extra_metrics: config.extra_scrape_metrics,
        spec: Arc::new(spec),
        forced_error,
    }
}
