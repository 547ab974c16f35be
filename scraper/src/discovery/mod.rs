//! Service discovery: one file per mechanism.
//!
//! A mechanism is a task that reports all its groups whenever they may have changed. One that cannot learn its groups
//! reports why, and the targets of before stay.

mod file;
mod glob;
mod http;
mod provider;
mod written;

use std::sync::Arc;

use crate::metrics::Metrics;
use crate::options::{Discovery, TargetGroup};

pub use self::file::read_target_file;
pub use self::glob::{BadPattern, matching_files};
pub(crate) use self::provider::{Finding, Provider, Providers};

/// Groups that `discovery` has without asking anybody; `None` for a mechanism that runs.
pub(crate) fn fixed_groups(discovery: &Discovery) -> Option<Vec<TargetGroup>> {
    match discovery {
        Discovery::Static(groups) => Some(groups.clone()),
        Discovery::Host => Some(vec![crate::host::target_group()]),
        Discovery::File(_) | Discovery::Http(_) => None,
    }
}

/// Runs the mechanism that `discovery` describes until its task is aborted.
async fn run(discovery: Discovery, metrics: Arc<Metrics>, reporter: provider::Reporter) {
    match discovery {
        Discovery::Static(_) | Discovery::Host => {}
        Discovery::File(options) => file::run(options, metrics, reporter).await,
        Discovery::Http(options) => http::run(*options, metrics, reporter).await,
    }
}
