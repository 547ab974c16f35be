//! All connections of the server: how many there may be, and which of them go when there are too many.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::pulse::{Pulse, Wait};

/// How long a client has for its head while others wait for a place.
const PATIENCE: Duration = Duration::from_secs(10);

/// Time between two messages that all places are taken.
const QUIET: Duration = Duration::from_secs(60);

/// What bounds connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once, of all addresses together; more wait to be accepted. At least one.
    pub connections: usize,
    /// How long a request may take to come, a connection may be idle, and a client may take no byte of an answer. `None`
    /// bounds none of these.
    pub read_timeout: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 512, read_timeout: Some(Duration::from_secs(300)) }
    }
}

/// The connections that are open, within their limits. One for all addresses of a server.
#[derive(Debug)]
pub struct Connections {
    limits: Limits,
    table: Mutex<Table>,
    /// A place has become free.
    room: Notify,
    pub(super) counts: Counts,
}

#[derive(Debug, Default)]
struct Table {
    open: HashMap<u64, Arc<Pulse>>,
    next_id: u64,
    /// All places are taken, since then.
    full_since: Option<Instant>,
    /// When that was told last, and whether the present time of it was.
    told: Option<Instant>,
    is_told: bool,
}

/// Counters of connections.
#[derive(Debug, Default)]
pub(super) struct Counts {
    accepted: AtomicU64,
    closed: AtomicU64,
    full: AtomicU64,
    evicted: AtomicU64,
    pub(super) failed: AtomicU64,
    timed_out: [AtomicU64; 3],
}

impl Counts {
    pub(super) fn timed_out(&self, wait: Wait) {
        self.timed_out[wait as usize].fetch_add(1, Relaxed);
    }
}

/// A place of a connection; free when dropped.
#[derive(Debug)]
pub(super) struct Place {
    connections: Arc<Connections>,
    id: u64,
    pub(super) pulse: Arc<Pulse>,
}

impl Connections {
    /// No connections yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let limits = Limits { connections: limits.connections.max(1), ..limits };
        Self { limits, table: Mutex::default(), room: Notify::new(), counts: Counts::default() }
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place. While there is none, the connection that has been idle longest is closed for it, or one that has
    /// not sent its head for [`PATIENCE`].
    pub(super) async fn admit(self: &Arc<Self>) -> Place {
        loop {
            let mut room = std::pin::pin!(self.room.notified());
            room.as_mut().enable();
            if let Some(place) = self.take() {
                return place;
            }
            // Those that send no heads become spare by time alone.
            let _ = tokio::time::timeout(Duration::from_secs(1), room).await;
        }
    }

    /// A place, if there is one; else makes room.
    fn take(self: &Arc<Self>) -> Option<Place> {
        let now = Instant::now();
        let mut table = self.table();
        if table.open.len() < self.limits.connections {
            self.counts.accepted.fetch_add(1, Relaxed);
            let (id, pulse) = (table.next_id, Arc::new(Pulse::new(now)));
            table.next_id += 1;
            table.open.insert(id, Arc::clone(&pulse));
            return Some(Place { connections: Arc::clone(self), id, pulse });
        }
        if table.full_since.is_none() {
            self.counts.full.fetch_add(1, Relaxed);
            table.full_since = Some(now);
            table.is_told = table.told.is_none_or(|told| now.saturating_duration_since(told) >= QUIET);
            if table.is_told {
                table.told = Some(now);
                tracing::warn!(
                    connections = self.limits.connections,
                    "the limit of connections is reached: idle ones are closed for new ones, which wait meanwhile"
                );
            }
        }
        let spare = table.open.values().filter_map(|pulse| Some((pulse.spare_since(now, PATIENCE)?, pulse)));
        if let Some((_, pulse)) = spare.min_by_key(|(spare, _)| *spare) {
            self.counts.evicted.fetch_add(1, Relaxed);
            pulse.close();
        }
        None
    }

    fn free(&self, id: u64) {
        let mut table = self.table();
        table.open.remove(&id);
        self.counts.closed.fetch_add(1, Relaxed);
        // Over once a tenth of the places is free, so that it does not come and go with every connection.
        let few = self.limits.connections - (self.limits.connections / 10).max(1);
        if table.open.len() <= few
            && let Some(since) = table.full_since.take()
            && table.is_told
        {
            let seconds = since.elapsed().as_secs_f64();
            tracing::info!(connections = table.open.len(), seconds, "there are places for connections again");
        }
        drop(table);
        self.room.notify_waiters();
    }

    /// Appends the metrics in the classic text format, under Prometheus' names where they mean the same.
    pub fn metrics(&self, out: &mut String) {
        let (open, is_full) = {
            let table = self.table();
            (table.open.len(), table.full_since.is_some())
        };
        let counts = &self.counts;
        let mut put = |name: &str, labels: &str, kind: &str, help: &str, value: u64| {
            write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name}{labels} {value}\n")
                .expect("writing to a string");
        };
        let http = "{listener_name=\"http\"}";
        put(
            "net_conntrack_listener_conn_accepted_total",
            http,
            "counter",
            "Connections that were accepted.",
            counts.accepted.load(Relaxed),
        );
        put(
            "net_conntrack_listener_conn_closed_total",
            http,
            "counter",
            "Connections that were accepted and are closed.",
            counts.closed.load(Relaxed),
        );
        put("silverback_http_connections", "", "gauge", "Connections that are open.", open as u64);
        put(
            "silverback_http_connections_max",
            "",
            "gauge",
            "Connections that may be open at once.",
            self.limits.connections as u64,
        );
        put(
            "silverback_http_connections_limit_reached",
            "",
            "gauge",
            "Whether all places for connections are taken and new ones wait.",
            u64::from(is_full),
        );
        put(
            "silverback_http_connections_limit_reached_total",
            "",
            "counter",
            "Times that a new connection found all places taken.",
            counts.full.load(Relaxed),
        );
        put(
            "silverback_http_connections_evicted_total",
            "",
            "counter",
            "Connections closed to make room for new ones.",
            counts.evicted.load(Relaxed),
        );
        put(
            "silverback_http_accept_errors_total",
            "",
            "counter",
            "Connections that the system could not hand over, most often for want of file descriptors.",
            counts.failed.load(Relaxed),
        );
        let name = "silverback_http_connections_timed_out_total";
        let help = "Connections closed for keeping the server waiting longer than the read timeout.";
        write!(out, "# HELP {name} {help}\n# TYPE {name} counter\n").expect("writing to a string");
        for (wait, while_) in [(Wait::Idle, "idle"), (Wait::Receiving, "receiving"), (Wait::Sending, "sending")] {
            let count = counts.timed_out[wait as usize].load(Relaxed);
            writeln!(out, "{name}{{while=\"{while_}\"}} {count}").expect("writing to a string");
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.free(self.id);
    }
}
