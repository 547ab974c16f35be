//! Where targets come from: one file per kind.
//!
//! A provider is a task that hands over all its groups whenever they may have changed. One that cannot say what it
//! knows says nothing: the targets of before stay.

mod file;
mod http;

use std::sync::Arc;

use serde::Deserialize;
use std::collections::BTreeMap;

use crate::metrics::Metrics;
use crate::options::{Discovery, TargetGroup};

/// Takes what a provider has found.
pub(crate) type Found = Box<dyn Fn(Vec<TargetGroup>) + Send + Sync>;

/// Says what `discovery` knows by itself, if it needs no task.
pub(crate) fn fixed_groups(discovery: &Discovery) -> Option<Vec<TargetGroup>> {
    match discovery {
        Discovery::Static(groups) => Some(groups.clone()),
        Discovery::Host => Some(vec![crate::host::target_group()]),
        Discovery::File(_) | Discovery::Http(_) => None,
    }
}

/// Runs the provider that `discovery` describes, for as long as it is wanted.
pub(crate) async fn run(discovery: Discovery, metrics: Arc<Metrics>, found: Found) {
    match discovery {
        Discovery::Static(_) | Discovery::Host => {}
        Discovery::File(options) => file::run(options, metrics, found).await,
        Discovery::Http(options) => http::run(*options, metrics, found).await,
    }
}

/// A group as files and servers write it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenGroup {
    #[serde(default)]
    targets: Vec<String>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

/// Makes groups of what is written in `source`, each with the label `meta` that names the source.
fn groups(written: Vec<Option<WrittenGroup>>, source: &str, meta: &str) -> Result<Vec<TargetGroup>, String> {
    let group = |(at, group): (usize, Option<WrittenGroup>)| {
        let group = group.ok_or("nil target group item found")?;
        let mut labels = group.labels.unwrap_or_default();
        if labels.contains_key("") {
            return Err("\"\" is not a valid label name".to_owned());
        }
        labels.insert(meta.to_owned(), source.to_owned());
        Ok(TargetGroup { source: format!("{source}:{at}"), targets: group.targets, labels })
    };
    written.into_iter().enumerate().map(group).collect()
}
