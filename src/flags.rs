//! The command line: flags spelled as Prometheus spells them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, ValueEnum};
use model::{format_duration, format_size, parse_duration, parse_size};

use crate::cli::Command;
use crate::process;

/// How long samples are kept where nothing says otherwise.
pub(crate) const DEFAULT_RETENTION: Duration = Duration::from_secs(15 * 86_400);

/// A Prometheus-compatible metrics server: scrapes targets, keeps their samples, answers PromQL, draws the answers.
///
/// Without flags it listens on 127.0.0.1:9090, stores in ./data and scrapes itself and this machine every 5 s.
#[derive(Clone, Debug, Parser)]
#[command(name = "silverback", version, max_term_width = 110)]
pub(crate) struct Flags {
    /// Prometheus configuration file. Without it this server and this machine are scraped.
    #[arg(long = "config.file", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Address to listen on; may be given more than once. [default: 127.0.0.1:9090, with --config.file 0.0.0.0:9090]
    #[arg(long = "web.listen-address", value_name = "ADDRESS")]
    pub(crate) listen: Vec<String>,

    /// Directory of the data.
    #[arg(long = "storage.tsdb.path", value_name = "DIR", default_value = "data")]
    pub(crate) data: PathBuf,

    /// When logged samples are made to survive a power cut: `commit` (before a scrape or a pushed request is
    /// acknowledged), a duration (in the background), or `never` (when the system sees fit). Samples survive the end of
    /// the process in any case.
    #[arg(long = "storage.wal-sync", value_name = "WHEN", default_value = "1s")]
    pub(crate) wal_sync: WalSync,

    /// Series that may be in memory; 0 for no limit. When they are reached, known series go on and new ones are refused.
    /// [default: one for each KiB of half of the memory that this process may use]
    #[arg(long = "storage.max-series", value_name = "N")]
    pub(crate) max_series: Option<u64>,

    /// Bytes that full chunks may take in memory; beyond, they move to files below the data directory, which are mapped.
    #[arg(long = "storage.chunk-memory", value_name = "BYTES", default_value = "4MB", value_parser = bytes)]
    pub(crate) chunk_memory: u64,

    /// Samples of the log that a start may have to replay; a checkpoint is written beyond, and beyond 40 for each series.
    #[arg(long = "storage.replay-samples", value_name = "N", default_value_t = 8 << 20)]
    pub(crate) replay_samples: u64,

    /// Bytes of a segment of the write-ahead log, reserved when it is begun.
    #[arg(long = "storage.tsdb.wal-segment-size", value_name = "BYTES", default_value = "32MB", value_parser = segment_bytes)]
    pub(crate) wal_segment_bytes: u64,

    /// How long samples are kept; 0 for ever. Where neither this nor the size is said here or in the configuration: 15d.
    #[arg(long = "storage.tsdb.retention.time", visible_alias = "storage.tsdb.retention", value_name = "DURATION", value_parser = duration)]
    pub(crate) retention_time: Option<Duration>,

    /// Bytes that the data may take, the write-ahead log included; beyond, the oldest blocks go. 0 for no limit.
    #[arg(long = "storage.tsdb.retention.size", value_name = "BYTES", value_parser = bytes)]
    pub(crate) retention_bytes: Option<u64>,

    /// Allow deleting series and making snapshots over HTTP: /api/v1/admin/tsdb.
    #[arg(long = "web.enable-admin-api", num_args = 0..=1, default_missing_value = "true", require_equals = true, default_value = "false", value_parser = BoolishValueParser::new(), hide_default_value = true, hide_possible_values = true)]
    pub(crate) enable_admin_api: bool,

    /// Accept remote write requests on /api/v1/write.
    #[arg(long = "web.enable-remote-write-receiver", num_args = 0..=1, default_missing_value = "true", require_equals = true, default_value = "false", value_parser = BoolishValueParser::new(), hide_default_value = true, hide_possible_values = true)]
    pub(crate) enable_remote_write: bool,

    /// Pushed requests that may be under way at once; more are answered with 503 and Retry-After.
    #[arg(long = "web.max-concurrent-pushes", value_name = "N", default_value_t = 256)]
    pub(crate) max_pushes: usize,

    /// Bytes that the pushed requests under way may hold together; more are answered with 503 and Retry-After.
    /// [default: 256MB, or an eighth of the memory that this process may use if that is less, but at least 64MB]
    #[arg(long = "web.max-push-memory", value_name = "BYTES", value_parser = bytes)]
    push_memory: Option<u64>,

    /// How long the body of a pushed request may take to come; it is answered with 408 after that, and after 10s without a byte.
    #[arg(long = "web.push-timeout", value_name = "DURATION", default_value = "1m", value_parser = duration)]
    pub(crate) push_timeout: Duration,

    /// Allow /-/reload and /-/quit.
    #[arg(long = "web.enable-lifecycle", num_args = 0..=1, default_missing_value = "true", require_equals = true, default_value = "false", value_parser = BoolishValueParser::new(), hide_default_value = true, hide_possible_values = true)]
    pub(crate) enable_lifecycle: bool,

    /// Folder of further dashboards, YAML files.
    #[arg(long = "web.dashboards", value_name = "DIR")]
    pub(crate) dashboards: Option<PathBuf>,

    /// Address under which others reach this server, for links to it. Its path is the default of --web.route-prefix.
    #[arg(long = "web.external-url", value_name = "URL", default_value = "", hide_default_value = true)]
    pub(crate) external_url: String,

    /// What comes before the path of every address.
    #[arg(long = "web.route-prefix", value_name = "PATH", default_value = "", hide_default_value = true)]
    pub(crate) route_prefix: String,

    /// Prometheus' file for TLS and passwords, neither of which this version has: a file that asks for them ends the start.
    #[arg(long = "web.config.file", value_name = "FILE", default_value = "", hide_default_value = true)]
    pub(crate) web_config: String,

    /// Origins that browsers may call the API from: a regular expression for all of the origin.
    #[arg(long = "web.cors.origin", value_name = "REGEX", default_value = ".*")]
    pub(crate) cors_origin: String,

    /// How long a request may take to come, a connection may be idle, and a client may take nothing of an answer; 0 for no
    /// limit.
    #[arg(long = "web.read-timeout", value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub(crate) read_timeout: Duration,

    /// Connections that may be open at once; idle ones are closed for new ones beyond. Lowered where the limit of open files
    /// is too low for them.
    #[arg(long = "web.max-connections", value_name = "N", default_value = "512", value_parser = at_least_one)]
    pub(crate) max_connections: usize,

    /// What stands in the title of every page.
    #[arg(long = "web.page-title", value_name = "TEXT", default_value = "Silverback")]
    pub(crate) page_title: String,

    /// Queries that one chart may have.
    #[arg(long = "web.max-chart-queries", value_name = "N", default_value_t = 50)]
    pub(crate) chart_queries: usize,

    /// Points that one chart may have, of all the series that it draws.
    #[arg(long = "web.max-chart-points", value_name = "N", default_value_t = 1_000_000)]
    pub(crate) chart_points: usize,

    /// How long a query may take.
    #[arg(long = "query.timeout", value_name = "DURATION", default_value = "2m", value_parser = duration)]
    pub(crate) query_timeout: Duration,

    /// Queries that run at once; more wait for a place.
    #[arg(long = "query.max-concurrency", value_name = "N", default_value_t = 20)]
    pub(crate) query_concurrency: usize,

    /// Samples that a query may hold in memory at once.
    #[arg(long = "query.max-samples", value_name = "N", default_value_t = 50_000_000)]
    pub(crate) query_samples: u64,

    /// Bytes that a query may hold in memory at once; takes the units KB, MB, GB. [default: 1GB, or half of
    /// --query.max-memory-total if that is less]
    #[arg(long = "query.max-memory", value_name = "BYTES", value_parser = bytes)]
    pub(crate) query_memory: Option<u64>,

    /// Bytes that all queries together may hold, results on their way included. [default: a quarter of the memory that
    /// this process may use]
    #[arg(long = "query.max-memory-total", value_name = "BYTES", value_parser = bytes)]
    pub(crate) query_memory_total: Option<u64>,

    /// Series that the selectors of a query may find; 0 for no limit.
    #[arg(long = "query.max-series", value_name = "N", default_value_t = 0)]
    pub(crate) query_series: u64,

    /// Steps that a query or a subquery may have.
    #[arg(long = "query.max-steps", value_name = "N", default_value_t = 5_000_000)]
    pub(crate) query_steps: usize,

    /// How long a query may wait for a place, within --query.timeout.
    #[arg(long = "query.max-wait", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(crate) query_wait: Duration,

    /// How long a sample counts as current.
    #[arg(long = "query.lookback-delta", value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub(crate) lookback: Duration,

    /// Behaviour that is off by default: promql-delayed-name-removal, type-and-unit-labels, use-start-timestamps,
    /// promql-per-step-stats, created-timestamp-zero-ingestion. What is listed as a feature in Prometheus and is no longer behind a switch is accepted.
    #[arg(long = "enable-feature", value_name = "NAMES", value_delimiter = ',')]
    pub(crate) features: Vec<String>,

    /// Only messages of this level and above.
    #[arg(long = "log.level", value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: LogLevel,

    /// How messages are written: for people, as key=value pairs, or as JSON.
    #[arg(long = "log.format", value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// `--storage.wal-sync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WalSync {
    Commit,
    Every(Duration),
    Never,
}

impl std::str::FromStr for WalSync {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "commit" => Ok(Self::Commit),
            "never" => Ok(Self::Never),
            text => match duration(text) {
                Ok(every) if !every.is_zero() => Ok(Self::Every(every)),
                _ => Err("must be commit, never or a duration like 1s".into()),
            },
        }
    }
}

/// `--log.level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

/// `--log.format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Logfmt,
    Json,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|_| "must be a duration like 30s, 5m or 1h30m".into())
}

fn bytes(text: &str) -> Result<u64, String> {
    parse_size(text).map_err(|why| why.to_string())
}

fn segment_bytes(text: &str) -> Result<u64, String> {
    bytes(text).and_then(|size| match size {
        0x1_0000..=0x1000_0000 => Ok(size),
        _ => Err("must be from 64KB to 256MB".into()),
    })
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| "must be a number, at least 1".into())
}

/// Bytes from which on a name is long: no two flags of Prometheus that are have only two edits between them.
const LONG_NAME: usize = 14;

/// Flags of Prometheus that have no effect here, and whether a value follows.
const WITHOUT_EFFECT: &[(&str, bool)] = &[
    ("alertmanager.notification-batch-size", true),
    ("alertmanager.notification-queue-capacity", true),
    ("alertmanager.drain-notification-queue-on-shutdown", false),
    ("agent", false),
    ("auto-gomaxprocs", false),
    ("auto-gomemlimit", false),
    ("auto-gomemlimit.ratio", true),
    ("config.auto-reload-interval", true),
    ("rules.alert.for-grace-period", true),
    ("rules.alert.for-outage-tolerance", true),
    ("rules.alert.resend-delay", true),
    ("rules.max-concurrent-evals", true),
    ("scrape.adjust-timestamps", false),
    ("scrape.discovery-reload-interval", true),
    ("scrape.name-escaping-scheme", true),
    ("scrape.timestamp-tolerance", true),
    ("storage.agent.no-lockfile", false),
    ("storage.agent.path", true),
    ("storage.agent.retention.max-time", true),
    ("storage.agent.retention.min-time", true),
    ("storage.agent.wal-compression", false),
    ("storage.agent.wal-compression-type", true),
    ("storage.agent.wal-segment-size", true),
    ("storage.agent.wal-truncate-frequency", true),
    ("storage.remote.flush-deadline", true),
    ("storage.remote.read-concurrent-limit", true),
    ("storage.remote.read-max-bytes-in-frame", true),
    ("storage.remote.read-sample-limit", true),
    ("storage.tsdb.allow-overlapping-blocks", false),
    ("storage.tsdb.allow-overlapping-compaction", false),
    ("storage.tsdb.head-chunks-write-queue-size", true),
    ("storage.tsdb.max-block-chunk-segment-size", true),
    ("storage.tsdb.max-block-duration", true),
    ("storage.tsdb.min-block-duration", true),
    ("storage.tsdb.no-lockfile", false),
    ("storage.tsdb.samples-per-chunk", true),
    ("storage.tsdb.wal-compression", false),
    ("storage.tsdb.wal-compression-type", true),
    ("web.console.libraries", true),
    ("web.console.templates", true),
    ("web.local-assets", true),
    ("web.max-notifications-subscribers", true),
    ("web.remote-write-receiver.accepted-protobuf-messages", true),
    ("web.user-assets", true),
];

/// Flags of Prometheus with values that we take but that do nothing, and flags that nobody knows: what was left out of
/// the command line, for a warning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LeftOut {
    /// Known to Prometheus.
    pub(crate) without_effect: Vec<String>,
    /// Known to nobody.
    pub(crate) unknown: Vec<String>,
}

impl Flags {
    /// Reads a command line. Flags without effect and unknown ones are left out and told of: someone who swaps the
    /// binary keeps the command.
    ///
    /// # Errors
    /// If a value cannot be used, a flag is misspelled, or help was asked for.
    pub(crate) fn parse_from(line: impl IntoIterator<Item = String>) -> Result<(Self, LeftOut), clap::Error> {
        let command = Self::command();
        let mut left_out = LeftOut::default();
        let mut kept = Vec::new();
        let mut line = line.into_iter().peekable();
        kept.extend(line.next());
        let mut flags_end = false;
        while let Some(word) = line.next() {
            flags_end |= word == "--" || command.find_subcommand(&word).is_some();
            let name = word.strip_prefix("--").filter(|name| !flags_end && !name.is_empty());
            let Some(flag) = name else {
                kept.push(word);
                continue;
            };
            let (name, has_value) = flag.split_once('=').map_or((flag, false), |(name, _)| (name, true));
            if let Some(off) = name.strip_prefix("no-").filter(|off| is_switch(&command, off)) {
                kept.push(format!("--{off}=false"));
                continue;
            }
            if known(&command, name) {
                kept.push(word);
                continue;
            }
            let bare = name.strip_prefix("no-").unwrap_or(name);
            let takes_value = match WITHOUT_EFFECT.iter().find(|(known, _)| *known == name || *known == bare) {
                Some((_, takes_value)) => {
                    left_out.without_effect.push(format!("--{name}"));
                    *takes_value
                }
                None => {
                    if let Some(meant) = misspelled(&command, name) {
                        let what = format!("unknown flag --{name}, did you mean --{meant}?");
                        return Err(command.clone().error(ErrorKind::UnknownArgument, what));
                    }
                    left_out.unknown.push(format!("--{name}"));
                    line.peek().is_some_and(|next| command.find_subcommand(next).is_none())
                }
            };
            if takes_value && !has_value {
                line.next_if(|next| !next.starts_with('-'));
            }
        }
        let matches = command.try_get_matches_from(kept)?;
        Ok((Self::from_arg_matches(&matches)?, left_out))
    }

    /// Bytes that all queries together may hold.
    pub(crate) fn query_memory_total(&self) -> u64 {
        self.query_memory_total.unwrap_or_else(|| process::usable_memory() / 4)
    }

    /// Bytes that a query may hold.
    pub(crate) fn query_memory(&self) -> u64 {
        self.query_memory.unwrap_or_else(|| (self.query_memory_total() / 2).min(1 << 30))
    }

    /// Bytes that the pushed requests under way may hold together.
    pub(crate) fn push_memory(&self) -> u64 {
        self.push_memory.unwrap_or_else(|| (process::usable_memory() / 8).clamp(64 << 20, 256 << 20))
    }

    /// How long samples are kept, as far as the command line goes; zero for ever.
    fn retention_time(&self) -> Duration {
        let by_size = self.retention_bytes.is_some_and(|bytes| bytes > 0);
        self.retention_time.unwrap_or(if by_size { Duration::ZERO } else { DEFAULT_RETENTION })
    }

    /// The flags in use with their values, for `/api/v1/status/flags`.
    pub(crate) fn in_use(&self) -> BTreeMap<String, String> {
        let duration = format_duration;
        let text = |path: &Option<PathBuf>| path.as_ref().map_or_else(String::new, |path| path.display().to_string());
        let sync = match self.wal_sync {
            WalSync::Commit => "commit".to_owned(),
            WalSync::Every(every) => duration(every),
            WalSync::Never => "never".to_owned(),
        };
        [
            ("config.file", text(&self.config)),
            ("enable-feature", self.features.join(",")),
            ("log.format", format!("{:?}", self.log_format).to_lowercase()),
            ("log.level", format!("{:?}", self.log_level).to_lowercase()),
            ("query.lookback-delta", duration(self.lookback)),
            ("query.max-concurrency", self.query_concurrency.to_string()),
            ("query.max-memory", format_size(self.query_memory())),
            ("query.max-memory-total", format_size(self.query_memory_total())),
            ("query.max-samples", self.query_samples.to_string()),
            ("query.max-series", self.query_series.to_string()),
            ("query.max-steps", self.query_steps.to_string()),
            ("query.max-wait", duration(self.query_wait)),
            ("query.timeout", duration(self.query_timeout)),
            ("storage.chunk-memory", format_size(self.chunk_memory)),
            ("storage.max-series", self.max_series.unwrap_or_else(process::default_max_series).to_string()),
            ("storage.replay-samples", self.replay_samples.to_string()),
            ("storage.tsdb.path", self.data.display().to_string()),
            ("storage.tsdb.retention.size", format_size(self.retention_bytes.unwrap_or(0))),
            ("storage.tsdb.retention.time", duration(self.retention_time())),
            ("storage.tsdb.wal-segment-size", format_size(self.wal_segment_bytes)),
            // What Thanos asks for.
            ("storage.tsdb.max-block-duration", "2h".into()),
            ("storage.tsdb.min-block-duration", "2h".into()),
            ("storage.wal-sync", sync),
            ("web.config.file", self.web_config.clone()),
            ("web.cors.origin", self.cors_origin.clone()),
            ("web.dashboards", text(&self.dashboards)),
            ("web.enable-admin-api", self.enable_admin_api.to_string()),
            ("web.enable-lifecycle", self.enable_lifecycle.to_string()),
            ("web.enable-remote-write-receiver", self.enable_remote_write.to_string()),
            ("web.external-url", self.external_url.clone()),
            ("web.listen-address", self.listen.join(",")),
            ("web.max-chart-points", self.chart_points.to_string()),
            ("web.max-chart-queries", self.chart_queries.to_string()),
            ("web.max-concurrent-pushes", self.max_pushes.to_string()),
            ("web.max-connections", self.max_connections.to_string()),
            ("web.max-push-memory", self.push_memory().to_string()),
            ("web.page-title", self.page_title.clone()),
            ("web.push-timeout", duration(self.push_timeout)),
            ("web.read-timeout", duration(self.read_timeout)),
            ("web.route-prefix", self.route_prefix.clone()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

fn known(command: &clap::Command, name: &str) -> bool {
    matches!(name, "help" | "version")
        || command.get_arguments().any(|arg| arg.get_long_and_visible_aliases().is_some_and(|all| all.contains(&name)))
}

fn is_switch(command: &clap::Command, name: &str) -> bool {
    command
        .get_arguments()
        .any(|arg| arg.get_long() == Some(name) && arg.get_num_args().is_some_and(|values| values.min_values() == 0))
}

/// The flag that `name` stands for with a slip of the keyboard in it: one edit, or two in a long name.
///
/// Flags without effect count: Prometheus would refuse their misspelling too.
fn misspelled(command: &clap::Command, name: &str) -> Option<String> {
    let bare = name.strip_prefix("no-").unwrap_or(name);
    let edits = if bare.len() >= LONG_NAME { 2 } else { 1 };
    let flags = command.get_arguments().filter_map(clap::Arg::get_long);
    let known = flags.chain(WITHOUT_EFFECT.iter().map(|(flag, _)| *flag));
    let near = known.map(|flag| (strsim::damerau_levenshtein(flag, bare), flag));
    let (distance, flag) = near.min()?;
    (distance <= edits).then(|| format!("{}{flag}", &name[..name.len() - bare.len()]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Check;

    fn parse(line: &str) -> Result<(Flags, LeftOut), clap::Error> {
        Flags::parse_from(std::iter::once("silverback").chain(line.split_whitespace()).map(str::to_owned))
    }

    #[test]
    fn the_command_is_sound() {
        Flags::command().debug_assert();
    }

    #[test]
    fn a_command_line_of_prometheus_is_taken_as_it_is() {
        let line = "--config.file=/etc/prometheus.yml --storage.tsdb.path /data --storage.tsdb.retention.time 15d \
                    --web.console.libraries=x --web.enable-lifecycle --no-web.enable-remote-write-receiver \
                    --web.listen-address=:9090 --query.timeout=1m30s";
        let (flags, left_out) = parse(line).unwrap();
        assert_eq!(flags.data, PathBuf::from("/data"));
        assert_eq!((flags.enable_lifecycle, flags.enable_remote_write), (true, false));
        assert_eq!(flags.query_timeout, Duration::from_secs(90));
        assert_eq!(flags.retention_time, Some(Duration::from_secs(15 * 86_400)));
        assert_eq!(left_out.without_effect, ["--web.console.libraries"]);
        assert!(left_out.unknown.is_empty());
    }

    #[test]
    fn the_retention_shown_is_the_one_in_force() {
        for (line, shown) in [
            ("", "15d"),
            ("--storage.tsdb.retention.time=30d", "30d"),
            ("--storage.tsdb.retention.size=1GB", "0s"),
            ("--storage.tsdb.retention.time=0s", "0s"),
        ] {
            assert_eq!(parse(line).unwrap().0.in_use()["storage.tsdb.retention.time"], shown, "{line}");
        }
    }

    #[test]
    fn an_unknown_flag_is_left_out_and_told_of() {
        let (flags, left_out) = parse("--some.thing value --query.timeout=3s").unwrap();
        assert_eq!((left_out.unknown, flags.query_timeout), (vec!["--some.thing".to_owned()], Duration::from_secs(3)));
    }

    /// All texts that are one edit away from `name`.
    fn edits(name: &str) -> Vec<String> {
        let cut = |at: usize| (&name[..at], &name[at..]);
        let mut all = Vec::new();
        for at in 0..name.len() {
            let (before, after) = cut(at);
            all.push(format!("{before}{}", &after[1..]));
            all.push(format!("{before}x{after}"));
            all.push(format!("{before}x{}", &after[1..]));
            if let [first, second, ..] = after.as_bytes() {
                all.push(format!("{before}{}{}{}", char::from(*second), char::from(*first), &after[2..]));
            }
        }
        all
    }

    #[test]
    fn a_flag_one_edit_away_from_a_known_one_is_an_error_that_names_it() {
        let command = Flags::command();
        let known_names: Vec<&str> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
        let names = known_names.iter().copied().chain(WITHOUT_EFFECT.iter().map(|(name, _)| *name));
        for name in names.filter(|name| name.len() > 6) {
            for slip in edits(name).into_iter().filter(|slip| !slip.starts_with('-') && slip != name) {
                assert!(misspelled(&command, &slip).is_some(), "--{slip} is taken");
            }
        }
        let error = parse("--web.listen-adress=:1").unwrap_err().to_string();
        assert!(error.contains("unknown flag --web.listen-adress, did you mean --web.listen-address?"), "{error}");
        assert!(parse("--no-web.enable-lifecycl").unwrap_err().to_string().contains("--no-web.enable-lifecycle?"));
    }

    #[test]
    fn no_flag_that_prometheus_had_is_taken_for_a_misspelling() {
        let command = Flags::command();
        // Of this and earlier major versions.
        for name in [
            "alertmanager.timeout",
            "alertmanager.url",
            "query.staleness-delta",
            "storage.local.path",
            "storage.remote.timeout",
            "storage.tsdb.wal-compression",
            "storage.tsdb.retention",
            "storage.tsdb.delay-compact-file.path",
            "storage.agent.wal-compression-type",
            "web.telemetry-path",
            "web.enable-remote-shutdown",
            "web.user-assets",
            "storage.exemplars.exemplars-limit",
            "storage.tsdb.stale-series-compaction-threshold",
            "log.file",
            "otlp.endpoint",
        ] {
            assert_eq!(misspelled(&command, name).filter(|meant| meant != name), None, "{name}");
        }
    }

    #[test]
    fn a_misspelled_command_gets_a_hint() {
        for (line, meant) in
            [("chekc config a.yml", "check"), ("check confg a.yml", "config"), ("tsdb verfy d", "verify")]
        {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(&format!("'{meant}'")), "{line}: {error}");
        }
    }

    #[test]
    fn values_that_cannot_be_used_are_errors() {
        for bad in [
            "--query.timeout=soon",
            "--web.max-connections=0",
            "--storage.wal-sync=sometimes",
            "--query.max-memory=1024",
            "--query.max-memory=1kB",
            "--query.max-memory=1gb",
            "--storage.tsdb.retention.size=1GiB512MB",
            "--storage.tsdb.wal-segment-size=1KB",
            "stray",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(parse("--query.max-memory=1.5GB").unwrap().0.query_memory(), 3 << 29);
        assert_eq!(parse("--storage.tsdb.retention.size=1GB512MB").unwrap().0.retention_bytes, Some(3 << 29));
        assert_eq!(parse("--storage.tsdb.retention.size=1PB").unwrap().0.retention_bytes, Some(1 << 50));
        assert_eq!(parse("--query.max-memory=512MB").unwrap().0.query_memory(), 512 << 20);
        assert_eq!(parse("--query.max-memory-total=512MB").unwrap().0.query_memory(), 256 << 20);
        assert!(parse("").unwrap().0.query_memory() <= 1 << 30);
        assert_eq!(parse("--storage.wal-sync=commit").unwrap().0.wal_sync, WalSync::Commit);
    }

    #[test]
    fn subcommands_keep_their_arguments() {
        let (flags, _) = parse("check config a.yml b.yml").unwrap();
        assert!(matches!(flags.command, Some(Command::Check(Check::Config { files })) if files.len() == 2));
    }
}
