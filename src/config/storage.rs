//! The section `storage`.

use std::time::Duration;

use model::parse_duration;

use super::tree::{Fault, Node};

/// What a configuration says of the store. What it does not say is left to the flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Storage {
    /// How late samples may come; zero, and late ones are refused.
    pub(crate) late_window: Option<Duration>,
    pub(crate) retention_time: Option<Duration>,
    pub(crate) retention_bytes: Option<u64>,
    /// Exemplars kept in memory, and found at once. Read at start only.
    pub(crate) max_exemplars: Option<usize>,
}

impl Storage {
    pub(super) fn read(root: &Node) -> Result<Self, Fault> {
        let Some(storage) = root.get("storage") else { return Ok(Self::default()) };
        let mut read = Self::default();
        if let Some(exemplars) = storage.get("exemplars") {
            // Zero and less mean none here, as in Prometheus.
            read.max_exemplars =
                exemplars.int_of("max_exemplars").map(|count| usize::try_from(count).unwrap_or_default());
        }
        let Some(tsdb) = storage.get("tsdb") else { return Ok(read) };
        if let Some(window) = tsdb.get("out_of_order_time_window") {
            // Zero is a wish, not the default.
            read.late_window = Some(parse_duration(window.text()).map_err(|what| window.fault(what.to_string()))?);
        }
        if let Some(retention) = tsdb.get("retention") {
            read.retention_time = retention.duration_of("time")?;
            read.retention_bytes = retention.size_of("size")?.filter(|&bytes| bytes > 0);
        }
        Ok(read)
    }
}
