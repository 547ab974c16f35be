//! Running discovery of one section, shared by all jobs that have an equal one.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::metrics::Metrics;
use crate::options::{Discovery, TargetGroup};

/// Groups that a provider knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) groups: Vec<TargetGroup>,
    /// Reason why the groups may be out of date; `None` after a refresh that succeeded.
    pub(crate) failure: Option<String>,
}

/// A section of the configuration and the task that asks for its targets. Dropping it ends the task.
#[derive(Debug)]
pub(crate) struct Provider {
    discovery: Discovery,
    finding: watch::Receiver<Arc<Finding>>,
    task: JoinHandle<()>,
}

impl Provider {
    fn start(runtime: &Handle, metrics: &Arc<Metrics>, discovery: &Discovery) -> Self {
        let (sender, finding) = watch::channel(Arc::default());
        let reporter = Reporter { sender, metrics: Arc::clone(metrics) };
        let task = runtime.spawn(super::run(discovery.clone(), Arc::clone(metrics), reporter));
        Self { discovery: discovery.clone(), finding, task }
    }

    pub(crate) fn discovery(&self) -> &Discovery {
        &self.discovery
    }

    /// Newest groups of the provider.
    pub(crate) fn finding(&self) -> Arc<Finding> {
        Arc::clone(&self.finding.borrow())
    }

    /// A receiver that wakes on each change from now on.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<Finding>> {
        let mut finding = self.finding.clone();
        finding.mark_unchanged();
        finding
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// End of a provider that its task holds.
pub(super) struct Reporter {
    sender: watch::Sender<Arc<Finding>>,
    metrics: Arc<Metrics>,
}

impl Reporter {
    /// Replaces all groups. `failure` says what part of them is of an earlier refresh, and why.
    pub(super) fn found(&self, groups: Vec<TargetGroup>, failure: Option<String>) {
        Metrics::add(&self.metrics.discovery_updates);
        self.replace(Finding { groups, failure });
    }

    /// Keeps the groups of before and says why there are no newer ones.
    pub(super) fn failed(&self, why: String) {
        let groups = self.sender.borrow().groups.clone();
        self.replace(Finding { groups, failure: Some(why) });
    }

    /// Wakes subscribers only when something has changed.
    fn replace(&self, next: Finding) {
        self.sender.send_if_modified(|finding| {
            let changed = **finding != next;
            if changed {
                *finding = Arc::new(next);
            }
            changed
        });
    }
}

/// All providers that run, each for as long as a job holds it.
#[derive(Debug, Default)]
pub(crate) struct Providers(Mutex<Vec<Weak<Provider>>>);

impl Providers {
    /// The provider of `discovery`: the one that runs, or a new one.
    ///
    /// Cost: O(number of providers).
    pub(crate) fn get(&self, runtime: &Handle, metrics: &Arc<Metrics>, discovery: &Discovery) -> Arc<Provider> {
        let mut providers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        providers.retain(|provider| provider.strong_count() > 0);
        let running = providers.iter().filter_map(Weak::upgrade).find(|provider| provider.discovery == *discovery);
        running.unwrap_or_else(|| {
            let provider = Arc::new(Provider::start(runtime, metrics, discovery));
            providers.push(Arc::downgrade(&provider));
            provider
        })
    }

    /// Holds all running providers, so that jobs can change hands without an end of discovery.
    pub(crate) fn hold(&self) -> Vec<Arc<Provider>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect()
    }
}
