//! What to scrape and how: plain data, made from the configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::parse::{Exposition, Format, Histograms};
use crate::relabel::{NameScheme, Relabel};
use crate::sample_rules::SampleLimits;
use crate::secret::{Secret, SecretSource};

/// One scrape job.
#[derive(Clone, Debug, PartialEq)]
pub struct ScrapeConfig {
    /// The value of the label `job` unless relabeling sets another; unique.
    pub job_name: String,
    /// Time from one scrape of a target to the next.
    pub interval: Duration,
    /// Time within which a target must have answered; at most the interval.
    pub timeout: Duration,
    /// Path of the request.
    pub metrics_path: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Query of the request.
    pub params: BTreeMap<String, Vec<String>>,
    /// Whether labels that the target writes win over those that the server gives.
    pub honor_labels: bool,
    /// Whether timestamps that the target writes count.
    pub honor_timestamps: bool,
    /// Whether series with such timestamps get stale markers.
    pub track_timestamps_staleness: bool,
    /// Formats to ask for, best first.
    pub protocols: Vec<Protocol>,
    /// The format to assume when the target does not name one that we know.
    pub fallback_protocol: Option<Protocol>,
    /// Which names are allowed.
    pub names: NameScheme,
    /// How to ask the target to write names that are not plain.
    pub escaping: Escaping,
    /// Whether to ask for gzip.
    pub compression: bool,
    /// Bytes of a body, uncompressed; 0 is [`DEFAULT_BODY_BYTES`](crate::DEFAULT_BODY_BYTES).
    pub body_size_limit: u64,
    /// What a scrape must not exceed.
    pub limits: SampleLimits,
    /// Which histograms are wanted.
    pub histograms: Histograms,
    /// The finest schema at which native histograms are stored.
    pub finest_schema: Option<i32>,
    /// Whether `_created` lines of OpenMetrics say when counts began, instead of being series.
    pub start_timestamps: bool,
    /// More targets than these are not scraped, any of them; 0 is no limit.
    pub target_limit: usize,
    /// How many dropped targets to keep for the web pages; 0 is no limit.
    pub keep_dropped_targets: usize,
    /// Whether to write `scrape_timeout_seconds` and its kin.
    pub extra_scrape_metrics: bool,
    /// How requests are made.
    pub http: HttpOptions,
    /// `relabel_configs`
    pub relabel: Vec<Relabel>,
    /// `metric_relabel_configs`
    pub metric_relabel: Vec<Relabel>,
    /// Where targets come from.
    pub discovery: Vec<Discovery>,
}

impl Default for ScrapeConfig {
    fn default() -> Self {
        Self {
            job_name: String::new(),
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(10),
            metrics_path: "/metrics".to_owned(),
            scheme: "http".to_owned(),
            params: BTreeMap::new(),
            honor_labels: false,
            honor_timestamps: true,
            track_timestamps_staleness: false,
            protocols: Protocol::DEFAULT.to_vec(),
            fallback_protocol: None,
            names: NameScheme::Utf8,
            escaping: Escaping::AllowUtf8,
            compression: true,
            body_size_limit: 0,
            limits: SampleLimits::default(),
            histograms: Histograms::default(),
            finest_schema: None,
            start_timestamps: false,
            target_limit: 0,
            keep_dropped_targets: 0,
            extra_scrape_metrics: false,
            http: HttpOptions::default(),
            relabel: Vec::new(),
            metric_relabel: Vec::new(),
            discovery: Vec::new(),
        }
    }
}

/// A format of exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// `PrometheusText0.0.4`
    Text004,
    /// `PrometheusText1.0.0`
    Text100,
    /// `OpenMetricsText0.0.1`
    OpenMetrics001,
    /// `OpenMetricsText1.0.0`
    OpenMetrics100,
    /// `PrometheusProto`
    Protobuf,
}

impl Protocol {
    /// What Prometheus asks for unless told otherwise, best first.
    pub const DEFAULT: [Self; 4] = [Self::OpenMetrics100, Self::OpenMetrics001, Self::Text100, Self::Text004];

    /// The same where native histograms are wanted, which only the first can bring.
    pub const WITH_NATIVE_HISTOGRAMS: [Self; 5] =
        [Self::Protobuf, Self::OpenMetrics100, Self::OpenMetrics001, Self::Text100, Self::Text004];

    /// As the configuration writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Protobuf => "PrometheusProto",
            Self::Text004 => "PrometheusText0.0.4",
            Self::Text100 => "PrometheusText1.0.0",
            Self::OpenMetrics001 => "OpenMetricsText0.0.1",
            Self::OpenMetrics100 => "OpenMetricsText1.0.0",
        }
    }

    /// The media type with its version.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Protobuf => {
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
            }
            Self::Text004 => "text/plain;version=0.0.4",
            Self::Text100 => "text/plain;version=1.0.0",
            Self::OpenMetrics001 => "application/openmetrics-text;version=0.0.1",
            Self::OpenMetrics100 => "application/openmetrics-text;version=1.0.0",
        }
    }

    /// What it is written in.
    #[must_use]
    pub const fn exposition(self) -> Exposition {
        match self {
            Self::Text004 | Self::Text100 => Exposition::Text(Format::Text),
            Self::OpenMetrics001 | Self::OpenMetrics100 => Exposition::Text(Format::OpenMetrics),
            Self::Protobuf => Exposition::Protobuf,
        }
    }

    /// Whether the version knows names in quotes, so that an escaping can be asked for.
    #[must_use]
    pub const fn has_escaping(self) -> bool {
        matches!(self, Self::Text100 | Self::OpenMetrics100)
    }
}

/// How a target should write names that are not plain identifiers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Escaping {
    /// As they are, in quotes.
    #[default]
    AllowUtf8,
    /// Other characters become underscores.
    Underscores,
    /// Dots become `_dot_`, underscores are doubled.
    Dots,
    /// Other characters become their code point, the name begins with `U__`.
    Values,
}

impl Escaping {
    /// As the configuration and the `Accept` header write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
        }
    }
}

/// How requests are made.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpOptions {
    /// The `Authorization` header.
    pub auth: Option<Auth>,
    /// For `https`.
    pub tls: TlsOptions,
    /// Further headers. Their files are read at each request.
    pub headers: Vec<Header>,
    /// Whether to go where a redirect points.
    pub follow_redirects: bool,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self { auth: None, tls: TlsOptions::default(), headers: Vec::new(), follow_redirects: true }
    }
}

/// What the `Authorization` header says. Files are read at each request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// `Basic`, of a name and a password.
    Basic {
        /// The user's name.
        username: SecretSource,
        /// The password; empty if there is none.
        password: Option<SecretSource>,
    },
    /// Any other scheme.
    Other {
        /// The scheme, such as `Bearer`.
        scheme: String,
        /// What follows it.
        credentials: Option<SecretSource>,
    },
}

/// A header and its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// One header line per value.
    pub values: Vec<SecretSource>,
}

/// How TLS connections are made. Files are read when a connection is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// Certificates to trust instead of the system's, PEM.
    pub ca: Option<SecretSource>,
    /// Our certificate and its key, PEM.
    pub client: Option<ClientCertificate>,
    /// The name that the target's certificate must have, instead of the host's.
    pub server_name: Option<String>,
    /// Whether any certificate will do.
    pub insecure_skip_verify: bool,
    /// The oldest version to speak.
    pub min_version: Option<TlsVersion>,
    /// The newest version to speak.
    pub max_version: Option<TlsVersion>,
}

/// A certificate that we show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate and those it hangs from, PEM.
    pub certificate: SecretSource,
    /// Its private key, PEM.
    pub key: SecretSource,
}

/// A version of TLS. Older ones are not spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2
    Tls12,
    /// TLS 1.3
    Tls13,
}

/// Where the targets of a job come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Discovery {
    /// They are listed.
    Static(Vec<TargetGroup>),
    /// Files list them.
    File(FileDiscovery),
    /// A server lists them.
    Http(Box<HttpDiscovery>),
    /// This host, read by the built-in collector, without a request.
    Host,
}

/// Targets with labels in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetGroup {
    /// Names the group in error messages: the position, the file, the address.
    pub source: String,
    /// Addresses: `host:port`.
    pub targets: Vec<String>,
    /// Labels of all of them.
    pub labels: BTreeMap<String, String>,
}

/// Targets listed in files, JSON or YAML. A change shows at once, by watching; the refresh is for what watching
/// misses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDiscovery {
    /// Paths; the last part may have one `*`.
    pub files: Vec<PathBuf>,
    /// How often to read the files if nothing seems to change.
    pub refresh_interval: Duration,
}

/// Targets listed by a server, JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpDiscovery {
    /// Where to ask.
    pub url: String,
    /// How often.
    pub refresh_interval: Duration,
    /// How requests are made.
    pub http: HttpOptions,
}

impl SecretSource {
    /// A secret that is written out.
    pub fn value(text: impl Into<String>) -> Self {
        Self::Value(Secret::new(text))
    }
}
