//! From configuration to appended samples: discovery, relabeling, scraping, parsing.

#![forbid(unsafe_code)]

mod buffers;
pub mod cache;
mod clock;
mod discovery;
pub mod fetch;
pub mod host;
mod lanes;
mod manager;
mod memory;
mod metadata;
mod metrics;
mod options;
pub mod parse;
mod pool;
mod relabel;
mod report;
mod sample_rules;
mod scrape_loop;
mod secret;
pub mod store;
mod target;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod tls;
mod url;

pub use cache::schema_of_factor;
pub use clock::Clock;
pub use discovery::{BadPattern, matching_files, read_target_file};
pub use fetch::DEFAULT_BODY_BYTES;
pub use manager::{ApplyError, ScrapeManager, Targets};
pub use metadata::{Described, FamilyTable};
pub use options::{
    Auth, ClientCertificate, Discovery, Escaping, FileDiscovery, Header, HttpDiscovery, HttpOptions, Protocol,
    ScrapeConfig, TargetGroup, TlsOptions, TlsVersion,
};
pub use parse::Histograms;
pub use relabel::{Action, NameScheme, Relabel, relabel};
pub use sample_rules::{LabelError, SampleLimits, SampleRules};
pub use secret::{Secret, SecretSource};
pub use target::{ActiveTarget, LastScrape, OverBudget, RefusedSamples, TargetHealth, TargetSpec, TargetState};
pub use url::{HttpUrl, UrlError};
