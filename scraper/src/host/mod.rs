//! The host that this process runs on, read from `/proc` and `/sys`.

use std::time::Duration;

use crate::options::TargetGroup;

/// What the URL of the host's own target begins with.
pub(crate) const SCHEME: &str = "host:";

/// The host as a target.
pub(crate) fn target_group() -> TargetGroup {
    let labels = [("__scheme__", "host")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    TargetGroup { source: "host".to_owned(), targets: vec!["localhost".to_owned()], labels: labels.into() }
}

/// Writes the state of the host as a text exposition.
pub fn collect(_timeout: Duration, _out: &mut Vec<u8>) {}
