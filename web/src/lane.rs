//! Threads for work that would hold up those that serve connections.

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// Threads of their own for one kind of work, so that it never waits for another kind, nor lets it wait. They are started
/// when there is work for them and end when there has been none for some seconds.
#[derive(Debug)]
pub(crate) struct Lane(Option<Runtime>);

impl Lane {
    /// A lane of up to `threads` threads, each of which calls `on_start` first.
    pub(crate) fn new(name: &'static str, threads: usize, on_start: fn()) -> Self {
        // Only the runtime's pool for blocking work is used; nothing drives the rest.
        let mut builder = Builder::new_current_thread();
        builder.max_blocking_threads(threads.max(1)).thread_name(name).on_thread_start(on_start);
        let runtime = builder.build();
        if let Err(error) = &runtime {
            tracing::warn!(%error, lane = name, "threads cannot be set apart; work runs on those of all");
        }
        Self(runtime.ok())
    }

    /// Runs work on one of the threads, as soon as one is free.
    pub(crate) fn spawn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        match &self.0 {
            Some(runtime) => runtime.spawn_blocking(work),
            None => tokio::task::spawn_blocking(work),
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // A runtime waits for its threads when it is dropped, which must not happen on one that serves connections.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
