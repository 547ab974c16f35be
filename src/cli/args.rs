//! The subcommands and their arguments.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use tsdb::{Matcher, TimeRange, Timestamp};

/// What to do instead of serving.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Check files without starting anything.
    #[command(subcommand)]
    Check(Check),
    /// Look into a data directory, prove it, take data out or bring data in.
    #[command(subcommand)]
    Tsdb(Tsdb),
    /// Evaluate an expression over a data directory, also of a running server, or over a file in OpenMetrics text.
    Query(Query),
}

/// What to check.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Check {
    /// Configuration files: prints what is wrong with them, and what of them has no effect.
    Config {
        /// The files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Files for `--web.config.file`: one that asks for TLS or passwords would end the start.
    WebConfig {
        /// The files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

/// What to do with a data directory. All but `import` only read, and may be used while a server runs.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Tsdb {
    /// Prove every chunk, posting, frame and record: one line per damage; exit code 1 if there is any.
    Verify {
        /// The data directory.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
    /// Show the blocks and what is not in blocks yet.
    List {
        /// The data directory.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// Write JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write samples to standard output.
    Dump(Dump),
    /// Show which metrics and labels have the most series, how series change, and what samples cost.
    Analyze(Analyze),
    /// Bring samples of any age in, as blocks. No server may have the directory open.
    Import(Import),
}

/// `tsdb dump`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Dump {
    /// The data directory.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) part: Part,
    /// `openmetrics` text (floats only, without stale markers), or `json`: an object for each series on a line, with
    /// `metric`, `values`, `timestamps` in milliseconds and `histograms`. Neither has exemplars.
    #[arg(long, value_name = "FORMAT", default_value = "openmetrics", hide_possible_values = true)]
    pub(crate) format: DumpFormat,
    /// Go on although part of the data is damaged and left out.
    #[arg(long)]
    pub(crate) allow_damage: bool,
}

/// Series and times that are of interest.
#[derive(Clone, Debug, Args)]
pub(crate) struct Part {
    /// Only these series, as `up{job="node"}`.
    #[arg(long = "match", value_name = "SELECTOR", value_parser = selector, default_value = "{}", hide_default_value = true)]
    pub(crate) matchers: Selector,
    /// From this time on: RFC 3339, or seconds since 1970.
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true)]
    pub(crate) min_time: Option<Timestamp>,
    /// Up to this time.
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true)]
    pub(crate) max_time: Option<Timestamp>,
}

impl Part {
    pub(crate) fn range(&self) -> TimeRange {
        let TimeRange { start, end } = TimeRange::ALL;
        TimeRange { start: self.min_time.unwrap_or(start), end: self.max_time.unwrap_or(end) }
    }
}

/// The matchers of a selector.
#[derive(Clone, Debug)]
pub(crate) struct Selector(pub(crate) Vec<Matcher>);

/// `tsdb dump --format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DumpFormat {
    Openmetrics,
    Json,
}

/// `tsdb analyze`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Analyze {
    /// The data directory.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) part: Part,
    /// Entries of each list.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: usize,
}

/// `tsdb import`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Import {
    /// The data directory; made if need be.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// A file in OpenMetrics text, whose samples say their times, or the data directory of a Prometheus that does not run.
    /// Exemplars come along.
    #[arg(value_name = "SOURCE")]
    pub(crate) source: PathBuf,
    /// Exit with 0 although part of the source is left out: what is damaged, and samples that cannot be kept because of
    /// their time, because they contradict themselves, or because another value is there. All of it is counted and named in
    /// any case; without this the exit code is 1.
    #[arg(long)]
    pub(crate) allow_partial: bool,
}

/// `query`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Query {
    /// The expression.
    #[arg(value_name = "EXPR", value_parser = expression)]
    pub(crate) expr: ::query::Expr,
    /// A data directory, or a file in OpenMetrics text.
    #[arg(long, value_name = "DIR|FILE")]
    pub(crate) from: PathBuf,
    /// When: RFC 3339, or seconds since 1970. [default: the time of the newest sample]
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with_all = ["start", "end", "step"], allow_hyphen_values = true)]
    pub(crate) time: Option<Timestamp>,
    /// Evaluate at every step from this time on.
    #[arg(long, value_name = "TIME", value_parser = time, requires_all = ["end", "step"], allow_hyphen_values = true)]
    pub(crate) start: Option<Timestamp>,
    /// Up to this time.
    #[arg(long, value_name = "TIME", value_parser = time, requires = "start", allow_hyphen_values = true)]
    pub(crate) end: Option<Timestamp>,
    /// How far the steps lie apart.
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "start")]
    pub(crate) step: Option<Duration>,
    /// How long a sample counts as current.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub(crate) lookback: Duration,
    /// `table`, `json` as the HTTP API has it, or `csv`.
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_possible_values = true)]
    pub(crate) format: QueryFormat,
    /// Answer although part of the data is damaged and left out.
    #[arg(long)]
    pub(crate) allow_damage: bool,
}

/// `query --format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum QueryFormat {
    Table,
    Json,
    Csv,
}

fn time(text: &str) -> Result<Timestamp, String> {
    web::parse_time(text).map_err(|_| "must be a time like 2026-01-31T12:00:00Z, or seconds since 1970".into())
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = model::parse_duration(text).ok().filter(|duration| !duration.is_zero());
    duration.ok_or_else(|| "must be a duration like 30s, 5m or 1h30m".into())
}

fn selector(text: &str) -> Result<Selector, String> {
    match text.trim() {
        "{}" => Ok(Selector(Vec::new())),
        text => ::query::parse_selector(text).map(Selector).map_err(|error| error.to_string()),
    }
}

fn expression(text: &str) -> Result<::query::Expr, String> {
    ::query::parse(text).map_err(|error| error.to_string())
}
