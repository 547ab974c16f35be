//! Keys that send to, receive from or read from other servers, and those of the store.

use super::discovery::DISCOVERY;
use super::{Field, HTTP, RELABELS, Section, TEXTS, TLS, Type, acts, idle};

pub(super) const ALERTING: Section = Section(&[&[
    idle("alert_relabel_configs", RELABELS),
    idle("alertmanagers", Type::List(&Type::Section(&ALERTMANAGER))),
]]);

const ALERTMANAGER: Section = Section(&[
    HTTP,
    DISCOVERY,
    &[
        idle("timeout", Type::Duration),
        idle("api_version", Type::Text),
        idle("path_prefix", Type::Text),
        idle("scheme", Type::Text),
        idle("relabel_configs", RELABELS),
        idle("alert_relabel_configs", RELABELS),
        idle("sigv4", Type::Section(&SIGV4)),
    ],
]);

const SIGV4: Section = Section(&[&[
    idle("region", Type::Text),
    idle("access_key", Type::Text),
    idle("secret_key", Type::Secret),
    idle("profile", Type::Text),
    idle("role_arn", Type::Text),
    idle("external_id", Type::Text),
    idle("use_fips_sts_endpoint", Type::Bool),
    idle("service_name", Type::Text),
]]);

/// What both directions have.
const REMOTE: &[Field] = &[
    idle("url", Type::Url),
    idle("name", Type::Text),
    idle("remote_timeout", Type::Duration),
    idle("headers", Type::Map(&Type::Text)),
];

pub(super) const REMOTE_WRITE: Section = Section(&[
    HTTP,
    REMOTE,
    &[
        idle("protobuf_message", Type::Text),
        idle("write_relabel_configs", RELABELS),
        idle("send_exemplars", Type::Bool),
        idle("send_native_histograms", Type::Bool),
        idle("round_robin_dns", Type::Bool),
        idle("queue_config", Type::Section(&QUEUE)),
        idle("metadata_config", Type::Section(&METADATA)),
        idle("sigv4", Type::Section(&SIGV4)),
        idle("azuread", Type::Section(&AZURE_AD)),
        idle("google_iam", Type::Section(&GOOGLE_IAM)),
    ],
]);

const QUEUE: Section = Section(&[&[
    idle("capacity", Type::Int),
    idle("max_shards", Type::Int),
    idle("min_shards", Type::Int),
    idle("max_samples_per_send", Type::Int),
    idle("batch_send_deadline", Type::Duration),
    idle("min_backoff", Type::Duration),
    idle("max_backoff", Type::Duration),
    idle("retry_on_http_429", Type::Bool),
    idle("sample_age_limit", Type::Duration),
]]);

const METADATA: Section = Section(&[&[
    idle("send", Type::Bool),
    idle("send_interval", Type::Duration),
    idle("max_samples_per_send", Type::Int),
]]);

const AZURE_AD: Section = Section(&[&[
    idle("cloud", Type::Text),
    idle("scope", Type::Text),
    idle("managed_identity", Type::Section(&Section(&[&[idle("client_id", Type::Text)]]))),
    idle(
        "workload_identity",
        Type::Section(&Section(&[&[
            idle("client_id", Type::Text),
            idle("tenant_id", Type::Text),
            idle("token_file_path", Type::Text),
        ]])),
    ),
    idle(
        "oauth",
        Type::Section(&Section(&[&[
            idle("client_id", Type::Text),
            idle("client_secret", Type::Secret),
            idle("tenant_id", Type::Text),
        ]])),
    ),
    idle("sdk", Type::Section(&Section(&[&[idle("tenant_id", Type::Text)]]))),
]]);

const GOOGLE_IAM: Section = Section(&[&[idle("credentials_file", Type::Text)]]);

pub(super) const REMOTE_READ: Section = Section(&[
    HTTP,
    REMOTE,
    &[
        idle("chunked_read_limit", Type::Uint),
        idle("read_recent", Type::Bool),
        idle("required_matchers", Type::Map(&Type::Text)),
        idle("filter_external_labels", Type::Bool),
    ],
]);

pub(super) const OTLP: Section = Section(&[&[
    idle("promote_all_resource_attributes", Type::Bool),
    idle("promote_resource_attributes", TEXTS),
    idle("ignore_resource_attributes", TEXTS),
    idle("translation_strategy", Type::Text),
    idle("keep_identifying_resource_attributes", Type::Bool),
    idle("convert_histograms_to_nhcb", Type::Bool),
    idle("promote_scope_metadata", Type::Bool),
    idle("label_name_underscore_sanitization", Type::Bool),
    idle("label_name_preserve_multiple_underscores", Type::Bool),
]]);

pub(super) const STORAGE: Section = Section(&[&[
    acts("tsdb", Type::Section(&TSDB)),
    acts("exemplars", Type::Section(&Section(&[&[acts("max_exemplars", Type::Int)]]))),
]]);

const TSDB: Section = Section(&[&[
    acts("out_of_order_time_window", Type::Duration),
    idle("stale_series_compaction_threshold", Type::Float),
    acts(
        "retention",
        Type::Section(&Section(&[&[
            acts("time", Type::Duration),
            acts("size", Type::Size),
            idle("percentage", Type::Float),
        ]])),
    ),
]]);

pub(super) const TRACING: Section = Section(&[&[
    idle("client_type", Type::Text),
    idle("endpoint", Type::Text),
    idle("sampling_fraction", Type::Float),
    idle("insecure", Type::Bool),
    idle("headers", Type::Map(&Type::Text)),
    idle("compression", Type::Text),
    idle("timeout", Type::Duration),
    idle("tls_config", Type::Section(&TLS)),
]]);
