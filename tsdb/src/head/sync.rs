//! When what is logged is made to survive a power cut, and when commits may be read.

use parking_lot::{Condvar, Mutex};

use super::Head;
use crate::error::Error;
use crate::fs::AtPath;
use crate::wal::{LogFile, SyncPolicy};

/// Syncs the log, for many commits at once where they wait together.
#[derive(Debug)]
pub(crate) struct Syncer {
    policy: SyncPolicy,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The newest commit that survives a power cut.
    synced: u64,
    /// Whether a thread is syncing now.
    busy: bool,
    failed: Option<String>,
}

impl Syncer {
    pub(crate) fn new(policy: SyncPolicy) -> Self {
        Self { policy, state: Mutex::default(), changed: Condvar::new() }
    }

    pub(crate) fn policy(&self) -> SyncPolicy {
        self.policy
    }

    /// Completes `commit`, which is logged and applied: syncs it if the policy says so, and lets it be read.
    pub(crate) fn finish(&self, head: &Head, commit: u64) -> Result<(), Error> {
        if self.policy == SyncPolicy::EveryCommit {
            self.sync(head, commit)?;
        }
        head.isolation.publish(commit);
        Ok(())
    }

    /// Returns once all commits up to `commit` survive a power cut. One thread syncs; others that come meanwhile wait,
    /// and are served together by the next sync.
    pub(crate) fn sync(&self, head: &Head, commit: u64) -> Result<(), Error> {
        let mut state = self.state.lock();
        loop {
            if let Some(reason) = &state.failed {
                return Err(Error::Paused { reason: reason.clone() });
            }
            if state.synced >= commit {
                return Ok(());
            }
            if state.busy {
                self.changed.wait(&mut state);
                continue;
            }
            state.busy = true;
            drop(state);
            let (files, upto) = head.committer.lock().unsynced();
            let sync = |log: &LogFile| {
                log.file.sync().at(&log.path)?;
                if log.ended.is_some() { Ok(()) } else { log.must_be_there() }
            };
            let result = files.iter().try_for_each(sync);
            state = self.state.lock();
            state.busy = false;
            match result {
                Ok(()) => {
                    state.synced = upto;
                    drop(state);
                    head.name_ended(&files);
                    state = self.state.lock();
                }
                Err(error) => {
                    let what = match &error {
                        Error::Io { path, source } => format!("{}: cannot be synced: {source}", path.display()),
                        other => other.to_string(),
                    };
                    let reason = format!("{what}; goes on once all of it could be written to other files");
                    head.committer.lock().fail(reason.clone());
                    state.failed = Some(reason);
                }
            }
            self.changed.notify_all();
        }
    }

    /// Lets nothing count as synced until [`resume`](Self::resume).
    pub(crate) fn fail(&self, reason: String) {
        self.state.lock().failed = Some(reason);
        self.changed.notify_all();
    }

    /// Whether a sync has failed and nothing is accepted since.
    pub(crate) fn has_failed(&self) -> bool {
        self.state.lock().failed.is_some()
    }

    /// Goes on after a failed sync: what had been committed up to `commit` survives by other means.
    pub(crate) fn resume(&self, commit: u64) {
        let mut state = self.state.lock();
        state.failed = None;
        state.synced = state.synced.max(commit);
    }
}
