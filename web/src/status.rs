//! What the pages and the API show of the rest of the server. The root provides it.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tsdb::{Labels, Metadata, Timestamp};

/// The rest of the server, as the web sees it.
pub trait Server: Send + Sync {
    /// The targets as of now.
    fn targets(&self) -> Targets;

    /// What the targets say of their metrics.
    fn target_metadata(&self) -> Vec<TargetMetadata>;

    /// The configuration in use, as YAML, without secrets.
    fn config(&self) -> String;

    /// The configuration of one scrape pool, as YAML, without secrets.
    fn pool_config(&self, pool: &str) -> Option<String>;

    /// The flags in use, without their dashes.
    fn flags(&self) -> BTreeMap<String, String>;

    /// What every page must say: what does not work now, and what the configuration asks for and this server does not do.
    fn notices(&self) -> Vec<String>;

    /// What there is to say of the clock while it is not believed or samples of the future are there.
    fn clock_notices(&self) -> Vec<String>;

    /// When the configuration was loaded, and whether the last attempt to load one succeeded.
    fn config_loaded(&self) -> (Timestamp, bool);

    /// The server's own metrics beside those of the web and the store, in the classic text format.
    fn metrics(&self, out: &mut String);

    /// Loads the configuration anew: all of it, or nothing and why.
    fn reload(&self) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>>;

    /// Begins to stop.
    fn quit(&self);
}

/// The targets of all scrape pools.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    /// Those that are scraped.
    pub active: Vec<ActiveTarget>,
    /// Those that relabeling dropped, as far as they are kept.
    pub dropped: Vec<DroppedTarget>,
    /// How many were dropped, by pool.
    pub dropped_counts: BTreeMap<String, usize>,
    /// Reasons why the targets of a pool may be out of date, for pools whose discovery fails.
    pub discovery_failures: BTreeMap<String, Vec<String>>,
}

/// How a target does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// The last scrape failed.
    Down,
    /// It has not been scraped yet.
    Unknown,
    /// The last scrape succeeded.
    Up,
}

impl Health {
    /// As the API writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Unknown => "unknown",
            Self::Up => "up",
        }
    }
}

/// A target that is scraped.
#[derive(Clone, Debug)]
pub struct ActiveTarget {
    /// Before relabeling.
    pub discovered_labels: Labels,
    /// Those that its series get.
    pub labels: Labels,
    /// The job of the configuration that it belongs to.
    pub scrape_pool: String,
    /// Where it is scraped.
    pub scrape_url: String,
    /// The same as others reach it.
    pub global_url: String,
    /// Why the last scrape failed; empty if it did not.
    pub last_error: String,
    /// When the last scrape began.
    pub last_scrape: Option<Timestamp>,
    /// How long it took.
    pub last_duration: Duration,
    /// How it does.
    pub health: Health,
    /// How often it is scraped.
    pub interval: Duration,
    /// How long a scrape may take.
    pub timeout: Duration,
    /// Samples in the last scrape.
    pub samples: usize,
    /// What else there is to say about it; empty if nothing.
    pub note: String,
}

/// A target that relabeling dropped.
#[derive(Clone, Debug)]
pub struct DroppedTarget {
    /// Before relabeling.
    pub discovered_labels: Labels,
    /// The job of the configuration that it belongs to.
    pub scrape_pool: String,
}

/// What a target says of a metric family.
#[derive(Clone, Debug)]
pub struct TargetMetadata {
    /// The target's labels.
    pub target: Labels,
    /// The family.
    pub metric: String,
    /// What it says.
    pub metadata: Metadata,
}
