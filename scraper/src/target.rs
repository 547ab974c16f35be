//! A target: what it is called, where it is, how it is doing.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tsdb::{Labels, LabelsBuilder, Timestamp};

use crate::cache::Culprit;
use crate::metadata::FamilyTable;
use crate::options::{ScrapeConfig, TargetGroup};
use crate::relabel::relabel;
use model::{format_duration, parse_duration};

const ADDRESS: &str = "__address__";
const SCHEME: &str = "__scheme__";
const METRICS_PATH: &str = "__metrics_path__";
const INTERVAL: &str = "__scrape_interval__";
const TIMEOUT: &str = "__scrape_timeout__";
const PARAM_PREFIX: &str = "__param_";
const META_PREFIX: &str = "__meta_";

/// What a target is. Two with the same labels and URL are the same target.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetSpec {
    /// What its series get: relabeled, without the labels that begin with `__`.
    pub labels: Labels,
    /// What discovery and the job said, before relabeling.
    pub discovered: Labels,
    /// Where it is scraped.
    pub url: String,
    /// From scrape to scrape.
    pub interval: Duration,
    /// Within which it must answer.
    pub timeout: Duration,
}

/// What relabeling makes of a discovered target.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Discovered {
    Active(TargetSpec),
    /// With the labels that it had before.
    Dropped(Labels),
}

/// How a target did at its last scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TargetHealth {
    /// It has not been scraped yet.
    #[default]
    Unknown,
    /// It answered well.
    Up,
    /// The scrape failed.
    Down,
}

impl TargetHealth {
    /// As the API of Prometheus names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// The last scrape of a target.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LastScrape {
    /// How it went.
    pub health: TargetHealth,
    /// Why it failed; empty if it did not.
    pub error: String,
    /// When it began; `None` if there was none.
    pub at: Option<Timestamp>,
    /// How long it took.
    pub duration: Duration,
    /// Samples in it.
    pub samples: usize,
    /// Whether it had series that found no place in the target's budget.
    pub over_budget: Option<OverBudget>,
    /// Samples of it that were refused for their time; `None` if none was.
    pub refused: Option<RefusedSamples>,
}

/// Samples of one scrape that were left out for their time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RefusedSamples {
    /// Samples older than the last one of their series.
    pub out_of_order: usize,
    /// Samples older than out-of-order ones may be.
    pub too_old: usize,
    /// Samples too old for the head, or too far in the future.
    pub out_of_bounds: usize,
    /// Samples with another value than the one that is there at their time.
    pub duplicate: usize,
}

impl fmt::Display for RefusedSamples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { out_of_order, too_old, out_of_bounds, duplicate } = *self;
        let parts = [
            (out_of_order, "out of order"),
            (too_old, "too old"),
            (out_of_bounds, "out of bounds"),
            (duplicate, "duplicates with another value"),
        ];
        f.write_str("samples of the last scrape were left out: ")?;
        for (i, (count, what)) in parts.iter().filter(|(count, _)| *count > 0).enumerate() {
            let gap = if i == 0 { "" } else { ", " };
            write!(f, "{gap}{count} {what}")?;
        }
        Ok(())
    }
}

/// A target with more series than its budget allows. Those that were known go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverBudget {
    /// Series that are allowed; 0 if it is the store that has no place.
    pub budget: usize,
    /// Series that found no place.
    pub refused: usize,
    /// What most of these have in common.
    pub culprit: Culprit,
}

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { budget, refused, culprit: Culprit { metric, label, values, example } } = self;
        match budget {
            0 => write!(f, "the limit of series in the store (--storage.max-series) is reached")?,
            budget => write!(f, "series_budget of {budget} is spent")?,
        }
        write!(f, ": {refused} new series are left out. Most are of {metric}, ")?;
        // Not all of very many are looked at.
        let more = if values < refused { " or more" } else { "" };
        write!(f, "whose label {label} has {values} values{more} among them, such as {example:?}")
    }
}

/// A target that is being scraped, shared by its loop and those who look at it.
#[derive(Debug)]
pub struct TargetState {
    last: Mutex<LastScrape>,
    /// What it says about its metric families.
    pub families: FamilyTable,
}

impl TargetState {
    pub(crate) fn new(families: FamilyTable) -> Self {
        Self { last: Mutex::default(), families }
    }

    /// How the target did.
    #[must_use]
    pub fn last(&self) -> LastScrape {
        self.lock().clone()
    }

    pub(crate) fn report(&self, last: LastScrape) {
        *self.lock() = last;
    }

    fn lock(&self) -> MutexGuard<'_, LastScrape> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A target as the web pages show it.
#[derive(Clone, Debug)]
pub struct ActiveTarget {
    /// The job.
    pub pool: String,
    /// What it is.
    pub spec: Arc<TargetSpec>,
    /// How it does.
    pub last: LastScrape,
    /// What it says about its metric families.
    pub families: FamilyTable,
}

impl TargetSpec {
    /// Where within an interval the target is scraped, in milliseconds: spread by hash, and moved by `seed`, so that two
    /// servers do not scrape it at the same moment.
    #[must_use]
    pub fn offset_ms(&self, seed: u64) -> u64 {
        let interval = (self.interval.as_millis() as u64).max(1);
        (self.hash() ^ seed) % interval
    }

    /// The same for the same labels and URL.
    pub(crate) fn hash(&self) -> u64 {
        // FNV-1a over both; the offset must not change when the program does.
        let labels = self.labels.hash().to_le_bytes();
        labels
            .iter()
            .chain(self.url.as_bytes())
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
    }
}

/// The targets of `group` under `config`.
///
/// # Errors
/// One text per target that cannot be scraped; the others are returned all the same.
pub(crate) fn targets_of(group: &TargetGroup, config: &ScrapeConfig) -> (Vec<Discovered>, Vec<String>) {
    let (mut targets, mut errors) = (Vec::new(), Vec::new());
    for (at, address) in group.targets.iter().enumerate() {
        match target(address, &group.labels, config) {
            Ok(target) => targets.push(target),
            Err(error) => errors.push(format!("instance {at} in group {}: {error}", group.source)),
        }
    }
    (targets, errors)
}

impl ScrapeConfig {
    /// Position and fault of each target of `group` that cannot be scraped under this job, in the order of the group.
    #[must_use]
    pub fn target_faults(&self, group: &TargetGroup) -> Vec<(usize, String)> {
        let targets = group.targets.iter().enumerate();
        targets.filter_map(|(at, address)| Some((at, target(address, &group.labels, self).err()?))).collect()
    }
}

fn target(address: &str, group: &BTreeMap<String, String>, config: &ScrapeConfig) -> Result<Discovered, String> {
    let mut builder = LabelsBuilder::default();
    for (name, value) in group {
        builder.set(name, value);
    }
    builder.set(ADDRESS, address);
    for (name, value) in [
        ("job", config.job_name.as_str()),
        (INTERVAL, &format_duration(config.interval)),
        (TIMEOUT, &format_duration(config.timeout)),
        (METRICS_PATH, &config.metrics_path),
        (SCHEME, &config.scheme),
    ] {
        if builder.get(name).is_none() {
            builder.set(name, value);
        }
    }
    for (name, values) in &config.params {
        if let Some(value) = values.first() {
            builder.set(&format!("{PARAM_PREFIX}{name}"), value);
        }
    }
    let discovered = builder.build();
    let Some(relabeled) = relabel(&discovered, &config.relabel, config.names) else {
        return Ok(Discovered::Dropped(discovered));
    };
    let get = |name| relabeled.get(name).unwrap_or_default();
    let address = get(ADDRESS);
    if address.is_empty() {
        return Err("no address".to_owned());
    }
    if address.contains('/') {
        return Err(format!("{address:?} is not a valid hostname"));
    }
    let time = |name, what: &str| match parse_duration(get(name)) {
        Err(error) => Err(format!("error parsing scrape {what}: {error}")),
        Ok(Duration::ZERO) => Err(format!("scrape {what} cannot be 0")),
        Ok(duration) => Ok(duration),
    };
    let (interval, timeout) = (time(INTERVAL, "interval")?, time(TIMEOUT, "timeout")?);
    if timeout > interval {
        return Err(format!(
            "scrape timeout cannot be greater than scrape interval ({:?} > {:?})",
            get(TIMEOUT),
            get(INTERVAL)
        ));
    }
    let scheme = get(SCHEME);
    if !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)) {
        return Err(format!("{scheme:?} is not a valid scheme"));
    }
    let url = url(&relabeled, &config.params);
    let mut labels = LabelsBuilder::new(&relabeled);
    labels.retain(|label| !label.name.starts_with("__"));
    if labels.get("instance").is_none() {
        labels.set("instance", address);
    }
    debug_assert!(labels.labels().iter().all(|label| !label.name.starts_with(META_PREFIX)), "they begin with __");
    Ok(Discovered::Active(TargetSpec { labels: labels.build(), discovered, url, interval, timeout }))
}

/// The URL that the labels describe. A parameter's label replaces its first value.
fn url(labels: &Labels, params: &BTreeMap<String, Vec<String>>) -> String {
    let mut params: BTreeMap<&str, Vec<&str>> =
        params.iter().map(|(name, values)| (name.as_str(), values.iter().map(String::as_str).collect())).collect();
    for (name, value) in labels {
        if let Some(name) = name.strip_prefix(PARAM_PREFIX) {
            let values = params.entry(name).or_default();
            match values.first_mut() {
                Some(first) => *first = value,
                None => values.push(value),
            }
        }
    }
    let get = |name| labels.get(name).unwrap_or_default();
    let (scheme, path) = (get(SCHEME), get(METRICS_PATH));
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut url = format!("{scheme}://");
    // As in Go, which leaves alone what may stand in a host: `@`, `?`, `#` and `%` do not change the parts of the URL.
    escape(get(ADDRESS), &mut url, |b| b"-_.~!$&'()*+,;=:[]<>\"".contains(&b));
    url.push_str(slash);
    escape(path, &mut url, |b| b"-_.~/:@!$&'()*+,;=".contains(&b));
    let mut separator = '?';
    for (name, value) in params.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value))) {
        url.push(separator);
        separator = '&';
        escape_query(name, &mut url);
        url.push('=');
        escape_query(value, &mut url);
    }
    url
}

/// Writes a part of a query: a space becomes a plus.
fn escape_query(text: &str, out: &mut String) {
    for (at, word) in text.split(' ').enumerate() {
        if at > 0 {
            out.push('+');
        }
        escape(word, out, |b| b"-_.~".contains(&b));
    }
}

/// Writes `text`, percent-encoding what is neither a letter, a digit nor `plain`.
fn escape(text: &str, out: &mut String, plain: impl Fn(u8) -> bool) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || plain(byte) {
            out.push(char::from(byte));
        } else {
            *out += &format!("%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relabel::{Action, Relabel};

    fn config() -> ScrapeConfig {
        ScrapeConfig {
            job_name: "j".to_owned(),
            params: BTreeMap::from([("module".to_owned(), vec!["a b".to_owned(), "c".to_owned()])]),
            ..ScrapeConfig::default()
        }
    }

    fn one(address: &str, labels: &[(&str, &str)], config: &ScrapeConfig) -> Result<Discovered, String> {
        target(address, &labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(), config)
    }

    fn active(address: &str, labels: &[(&str, &str)], config: &ScrapeConfig) -> TargetSpec {
        match one(address, labels, config) {
            Ok(Discovered::Active(spec)) => spec,
            other => panic!("{other:?}"),
        }
    }

    fn replace(source: &str, target: &str) -> Relabel {
        Relabel { source_labels: vec![source.to_owned()], target_label: target.to_owned(), ..Relabel::default() }
    }

    #[test]
    fn a_target_gets_job_instance_and_url() {
        let spec = active("h:1", &[("__meta_x", "y"), ("env", "p")], &config());
        assert_eq!(spec.labels.to_string(), r#"{env="p", instance="h:1", job="j"}"#);
        assert_eq!(spec.url, "http://h:1/metrics?module=a+b&module=c");
        assert_eq!(
            spec.discovered.to_string(),
            r#"{__address__="h:1", __meta_x="y", __metrics_path__="/metrics", __param_module="a b", __scheme__="http", __scrape_interval__="1m", __scrape_timeout__="10s", env="p", job="j"}"#
        );
        assert_eq!((spec.interval, spec.timeout), (Duration::from_secs(60), Duration::from_secs(10)));
    }

    #[test]
    fn labels_of_the_group_and_relabeling_steer_the_scrape() {
        let mut config = config();
        config.relabel = vec![replace("__address__", "__param_target"), replace("__param_target", "instance")];
        let labels = [("__metrics_path__", "/probe"), ("__scheme__", "https"), ("__scrape_interval__", "20s")];
        let spec = active("h", &labels, &config);
        assert_eq!(spec.url, "https://h/probe?module=a+b&module=c&target=h");
        assert_eq!(spec.interval, Duration::from_secs(20));
        assert_eq!(spec.labels.get("instance"), Some("h"));
    }

    #[test]
    fn an_address_stays_the_host_and_port_of_the_url() {
        for (address, url) in [
            ("user:pw@h:1", "http://user:pw%40h:1/metrics"),
            ("h:1?x=y", "http://h:1%3Fx=y/metrics"),
            ("h:1#f", "http://h:1%23f/metrics"),
            ("h\\x", "http://h%5Cx/metrics"),
            ("h x", "http://h%20x/metrics"),
            ("h%41", "http://h%2541/metrics"),
            ("bücher:1", "http://b%C3%BCcher:1/metrics"),
            ("[::1%lo]:9100", "http://[::1%25lo]:9100/metrics"),
        ] {
            let spec = active(address, &[], &ScrapeConfig::default());
            assert_eq!(spec.url, url);
            assert_eq!(spec.labels.get("instance"), Some(address));
        }
        let scheme = |scheme| one("h:1", &[("__scheme__", scheme)], &config());
        assert_eq!(scheme("http://evil/?"), Err("\"http://evil/?\" is not a valid scheme".to_owned()));
    }

    #[test]
    fn dropped_and_unusable_targets_say_why() {
        let mut config = config();
        for (labels, error) in [
            (("__scrape_timeout__", "2m"), "scrape timeout cannot be greater than scrape interval (\"2m\" > \"1m\")"),
            (("__scrape_interval__", "x"), "error parsing scrape interval: not a valid duration string: \"x\""),
            (("__scrape_interval__", "0s"), "scrape interval cannot be 0"),
        ] {
            assert_eq!(one("h:1", &[labels], &config), Err(error.to_owned()));
        }
        assert_eq!(one("http://h", &[], &config), Err("\"http://h\" is not a valid hostname".to_owned()));
        config.relabel =
            vec![Relabel { action: Action::Drop, regex: model::Regex::pasted("").unwrap(), ..Relabel::default() }];
        assert!(matches!(one("h:1", &[], &config), Ok(Discovered::Dropped(labels)) if labels.get("job") == Some("j")));
        config.relabel = vec![Relabel { replacement: String::new(), ..replace("nope", "__address__") }];
        let group = TargetGroup { source: "0".to_owned(), targets: vec!["h".to_owned()], ..TargetGroup::default() };
        assert_eq!(targets_of(&group, &config).1, ["instance 0 in group 0: no address"]);
    }

    #[test]
    fn offsets_spread_and_depend_on_the_seed() {
        let spec = |n: u32| active(&format!("h:{n}"), &[], &config());
        let offsets: Vec<u64> = (0..100).map(|n| spec(n).offset_ms(0)).collect();
        let early = offsets.iter().filter(|ms| **ms < 30_000).count();
        assert!((30..70).contains(&early), "{early} of 100 in the first half");
        assert_ne!(spec(1).offset_ms(7), spec(1).offset_ms(0));
        assert_eq!(spec(1).offset_ms(7), spec(1).offset_ms(7));
    }
}
