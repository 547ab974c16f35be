//! All keys of `prometheus.yml`, as of Prometheus 3.14: what they hold, and whether anything comes of them here.
//!
//! Source: <https://prometheus.io/docs/prometheus/latest/configuration/configuration/>.

mod discovery;
mod remote;

use discovery::DISCOVERY;
use remote::{ALERTING, OTLP, REMOTE_READ, REMOTE_WRITE, STORAGE, TRACING};

/// What a key holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Type {
    /// A text, or what can be taken for one.
    Text,
    Bool,
    Int,
    /// A whole number from 0 on.
    Uint,
    Float,
    /// `1m30s`
    Duration,
    /// `10MB`, in powers of 1024.
    Size,
    /// A text that is not shown.
    Secret,
    /// A text of which a password is not shown.
    Url,
    List(&'static Self),
    /// Texts by name.
    Map(&'static Self),
    Section(&'static Section),
    /// Whatever.
    Any,
}

/// A map with known keys. Groups of keys are shared between sections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section(pub(super) &'static [&'static [Field]]);

/// One key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) holds: Type,
    pub(super) effect: Effect,
    /// A null is an empty text here, as in Prometheus, and not the default.
    pub(super) may_be_null: bool,
}

/// What comes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Acts,
    /// Nothing yet; a warning names it.
    None,
    /// Nothing yet, though it asks for security: an error.
    Secures,
}

impl Section {
    pub(super) fn fields(&self) -> impl Iterator<Item = &'static Field> {
        self.0.iter().copied().flatten()
    }

    /// Tells if a key holds a secret.
    pub(super) fn holds_secret(&self) -> bool {
        self.fields().any(|field| matches!(field.holds, Type::Secret | Type::List(Type::Secret)))
    }

    pub(super) fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields().find(|field| field.name == name)
    }
}

const fn acts(name: &'static str, holds: Type) -> Field {
    Field { name, holds, effect: Effect::Acts, may_be_null: false }
}

/// As [`acts`]; a null is an empty text.
const fn acts_if_null(name: &'static str) -> Field {
    Field { name, holds: Type::Text, effect: Effect::Acts, may_be_null: true }
}

/// A key that asks for security that is not there yet.
const fn secures(name: &'static str, holds: Type) -> Field {
    Field { name, holds, effect: Effect::Secures, may_be_null: false }
}

const fn idle(name: &'static str, holds: Type) -> Field {
    Field { name, holds, effect: Effect::None, may_be_null: false }
}

const TEXTS: Type = Type::List(&Type::Text);

/// The whole file.
pub(super) const ROOT: Section = Section(&[&[
    acts("global", Type::Section(&GLOBAL)),
    idle("runtime", Type::Section(&RUNTIME)),
    acts("scrape_config_files", TEXTS),
    acts("scrape_configs", SCRAPES),
    idle("rule_files", TEXTS),
    idle("alerting", Type::Section(&ALERTING)),
    idle("remote_write", Type::List(&Type::Section(&REMOTE_WRITE))),
    idle("remote_read", Type::List(&Type::Section(&REMOTE_READ))),
    idle("otlp", Type::Section(&OTLP)),
    acts("storage", Type::Section(&STORAGE)),
    idle("tracing", Type::Section(&TRACING)),
]]);

/// A file that `scrape_config_files` names.
pub(super) const SCRAPE_FILE: Section = Section(&[&[acts("scrape_configs", SCRAPES)]]);

const SCRAPES: Type = Type::List(&Type::Section(&SCRAPE));

const RUNTIME: Section = Section(&[&[idle("gogc", Type::Int)]]);

/// What both the whole and one job may say.
const BOTH: &[Field] = &[
    acts("scrape_interval", Type::Duration),
    acts("scrape_timeout", Type::Duration),
    acts("scrape_protocols", TEXTS),
    acts("body_size_limit", Type::Size),
    acts("sample_limit", Type::Uint),
    // Ours: what is over it is left out, instead of failing the scrape.
    acts("series_budget", Type::Uint),
    acts("target_limit", Type::Uint),
    acts("label_limit", Type::Uint),
    acts("label_name_length_limit", Type::Uint),
    acts("label_value_length_limit", Type::Uint),
    acts("keep_dropped_targets", Type::Uint),
    acts("metric_name_validation_scheme", Type::Text),
    acts("metric_name_escaping_scheme", Type::Text),
    acts("extra_scrape_metrics", Type::Bool),
    acts("scrape_native_histograms", Type::Bool),
    acts("convert_classic_histograms_to_nhcb", Type::Bool),
    acts("always_scrape_classic_histograms", Type::Bool),
    idle("scrape_failure_log_file", Type::Text),
];

const GLOBAL: Section = Section(&[
    BOTH,
    &[
        acts("evaluation_interval", Type::Duration),
        acts("external_labels", Type::Map(&Type::Text)),
        idle("rule_query_offset", Type::Duration),
        idle("query_log_file", Type::Text),
    ],
]);

pub(super) const SCRAPE: Section = Section(&[
    BOTH,
    HTTP,
    DISCOVERY,
    &[
        acts_if_null("job_name"),
        acts("fallback_scrape_protocol", Type::Text),
        acts("metrics_path", Type::Text),
        acts("scheme", Type::Text),
        acts("params", Type::Map(&TEXTS)),
        acts("honor_labels", Type::Bool),
        acts("honor_timestamps", Type::Bool),
        acts("track_timestamps_staleness", Type::Bool),
        acts("enable_compression", Type::Bool),
        acts("relabel_configs", RELABELS),
        acts("metric_relabel_configs", RELABELS),
        acts("native_histogram_bucket_limit", Type::Uint),
        acts("native_histogram_min_bucket_factor", Type::Float),
    ],
]);

const RELABELS: Type = Type::List(&Type::Section(&RELABEL));

const RELABEL: Section = Section(&[&[
    acts("source_labels", TEXTS),
    acts_if_null("separator"),
    acts_if_null("target_label"),
    acts_if_null("regex"),
    acts("modulus", Type::Uint),
    acts_if_null("replacement"),
    acts_if_null("action"),
]]);

/// How requests are made.
const HTTP: &[Field] = &[
    acts("basic_auth", Type::Section(&BASIC_AUTH)),
    acts("authorization", Type::Section(&AUTHORIZATION)),
    acts("bearer_token", Type::Secret),
    acts("bearer_token_file", Type::Text),
    acts("tls_config", Type::Section(&TLS)),
    acts("follow_redirects", Type::Bool),
    acts("enable_http2", Type::Bool),
    acts("http_headers", Type::Map(&Type::Section(&HTTP_HEADER))),
    secures("oauth2", Type::Section(&OAUTH2)),
    idle("proxy_url", Type::Url),
    idle("no_proxy", Type::Text),
    idle("proxy_from_environment", Type::Bool),
    secures("proxy_connect_header", Type::Map(&Type::List(&Type::Secret))),
];

const BASIC_AUTH: Section = Section(&[&[
    acts("username", Type::Text),
    acts("username_file", Type::Text),
    acts("password", Type::Secret),
    acts("password_file", Type::Text),
    secures("username_ref", Type::Text),
    secures("password_ref", Type::Text),
]]);

const AUTHORIZATION: Section = Section(&[&[
    acts("type", Type::Text),
    acts("credentials", Type::Secret),
    acts("credentials_file", Type::Text),
    secures("credentials_ref", Type::Text),
]]);

const TLS: Section = Section(&[&[
    acts("ca", Type::Text),
    acts("ca_file", Type::Text),
    acts("cert", Type::Text),
    acts("cert_file", Type::Text),
    acts("key", Type::Secret),
    acts("key_file", Type::Text),
    acts("server_name", Type::Text),
    acts("insecure_skip_verify", Type::Bool),
    acts("min_version", Type::Text),
    acts("max_version", Type::Text),
    secures("ca_ref", Type::Text),
    secures("cert_ref", Type::Text),
    secures("key_ref", Type::Text),
]]);

const HTTP_HEADER: Section =
    Section(&[&[acts("values", TEXTS), acts("secrets", Type::List(&Type::Secret)), acts("files", TEXTS)]]);

const OAUTH2: Section = Section(&[&[
    idle("client_id", Type::Text),
    idle("client_secret", Type::Secret),
    idle("client_secret_file", Type::Text),
    idle("client_secret_ref", Type::Text),
    idle("client_certificate_key_id", Type::Text),
    idle("client_certificate_key", Type::Secret),
    idle("client_certificate_key_file", Type::Text),
    idle("client_certificate_key_ref", Type::Text),
    idle("grant_type", Type::Text),
    idle("signature_algorithm", Type::Text),
    idle("iss", Type::Text),
    idle("audience", Type::Text),
    idle("claims", Type::Any),
    idle("scopes", TEXTS),
    idle("token_url", Type::Url),
    idle("endpoint_params", Type::Map(&Type::Text)),
    idle("tls_config", Type::Section(&TLS)),
    idle("proxy_url", Type::Url),
    idle("no_proxy", Type::Text),
    idle("proxy_from_environment", Type::Bool),
    idle("proxy_connect_header", Type::Map(&Type::List(&Type::Secret))),
]]);
