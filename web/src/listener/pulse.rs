//! The state of one connection: what the client keeps the server waiting for, and since when.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::head::{Beside, Refused};

/// The state of one connection, shared by its stream, its requests and the list of connections.
#[derive(Debug)]
pub(super) struct Pulse {
    state: Mutex<State>,
    closing: Notify,
}

#[derive(Debug)]
struct State {
    /// Between requests since then.
    idle_since: Option<Instant>,
    /// A request has begun to come, and is not whole.
    receiving_since: Option<Instant>,
    /// Bytes wait for the client to take them.
    stalled_since: Option<Instant>,
    /// Bytes of the next request came while this one is answered.
    is_next_begun: bool,
    /// A request is being answered.
    is_answering: bool,
    /// The parts of requests that do not go through the HTTP library, in the order of their heads.
    heads: VecDeque<Aside>,
    is_closing: bool,
}

/// The part of a request that does not go through the HTTP library.
#[derive(Debug)]
pub(super) enum Aside {
    /// All of it goes through.
    Nothing,
    Some(Box<Beside>),
    Refused(Refused),
}

/// A wait for the client; those come first that are ended first to make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wait {
    /// For a request.
    Idle,
    /// For the rest of one.
    Receiving,
    /// For the client to take an answer.
    Sending,
}

impl Pulse {
    /// A connection that has been accepted.
    pub(super) fn new(now: Instant) -> Self {
        let state = State {
            idle_since: Some(now),
            receiving_since: None,
            stalled_since: None,
            is_next_begun: false,
            is_answering: false,
            heads: VecDeque::new(),
            is_closing: false,
        };
        Self { state: Mutex::new(state), closing: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first byte of a head came.
    pub(super) fn head_begins(&self) {
        let mut state = self.state();
        if state.is_answering || !state.heads.is_empty() {
            state.is_next_begun = true;
        } else {
            (state.idle_since, state.receiving_since) = (None, Some(Instant::now()));
        }
    }

    /// A head is whole and goes to the HTTP library.
    pub(super) fn head_ends(&self, aside: Aside) {
        let mut state = self.state();
        state.is_next_begun = false;
        state.heads.push_back(aside);
    }

    /// A request is whole, with its body.
    pub(super) fn received(&self) {
        self.state().receiving_since = None;
    }

    /// A request is begun to be answered; gives what did not go through the HTTP library.
    pub(super) fn answer_begins(&self) -> Aside {
        let mut state = self.state();
        (state.is_answering, state.idle_since) = (true, None);
        state.heads.pop_front().unwrap_or(Aside::Nothing)
    }

    /// An answer has gone to the system, or to the queue before it.
    pub(super) fn answer_ends(&self) {
        let mut state = self.state();
        state.is_answering = false;
        if state.is_next_begun {
            state.receiving_since = Some(Instant::now());
        } else if state.heads.is_empty() && state.receiving_since.is_none() {
            state.idle_since = Some(Instant::now());
        }
    }

    /// The client does not take what is written; the first of such moments counts.
    pub(super) fn stalls(&self) {
        let mut state = self.state();
        state.stalled_since = state.stalled_since.or_else(|| Some(Instant::now()));
    }

    /// The client has taken what was written.
    pub(super) fn flows(&self) {
        let mut state = self.state();
        state.stalled_since = None;
        // The client was not idle while it read.
        state.idle_since = state.idle_since.map(|_| Instant::now());
    }

    /// The wait for the client, and since when it lasts. `None` while the server works.
    pub(super) fn wait(&self) -> Option<(Instant, Wait)> {
        let state = self.state();
        let wait = |since: Option<Instant>, wait| Some((since?, wait));
        wait(state.stalled_since, Wait::Sending)
            .or_else(|| wait(state.receiving_since, Wait::Receiving))
            .or_else(|| wait(state.idle_since, Wait::Idle))
    }

    /// Since when the connection could be closed to make room: while it is idle, or has not sent a whole head for `patience`.
    pub(super) fn spare_since(&self, now: Instant, patience: Duration) -> Option<(Wait, Instant)> {
        let state = self.state();
        if state.is_closing || state.is_answering || state.stalled_since.is_some() || !state.heads.is_empty() {
            return None;
        }
        let receiving = state.receiving_since.filter(|since| now.saturating_duration_since(*since) >= patience);
        state.idle_since.map(|since| (Wait::Idle, since)).or_else(|| Some((Wait::Receiving, receiving?)))
    }

    /// Tells the connection to close once what is being answered is.
    pub(super) fn close(&self) {
        self.state().is_closing = true;
        self.closing.notify_one();
    }

    /// Waits until the connection is told to close.
    pub(super) async fn told_to_close(&self) {
        self.closing.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wait_lasts_from_the_moment_that_the_client_is_due() {
        let second = Duration::from_secs(1);
        let begun = Instant::now();
        let pulse = Pulse::new(begun);
        assert_eq!(pulse.wait(), Some((begun, Wait::Idle)));
        tokio::time::advance(second).await;
        pulse.head_begins();
        assert_eq!(pulse.wait(), Some((begun + second, Wait::Receiving)));
        assert_eq!(pulse.spare_since(begun + second, second), None, "it is given time for its head");
        assert_eq!(pulse.spare_since(begun + 2 * second, second), Some((Wait::Receiving, begun + second)));
        pulse.head_ends(Aside::Nothing);
        pulse.received();
        assert!(matches!(pulse.answer_begins(), Aside::Nothing));
        assert_eq!((pulse.wait(), pulse.spare_since(begun + 9 * second, second)), (None, None));
        // The next request begins while this one is answered: its time begins with the end of the answer.
        pulse.head_begins();
        assert_eq!(pulse.wait(), None);
        tokio::time::advance(second).await;
        pulse.stalls();
        tokio::time::advance(second).await;
        pulse.stalls();
        assert_eq!(pulse.wait(), Some((begun + 2 * second, Wait::Sending)));
        pulse.flows();
        pulse.answer_ends();
        assert_eq!(pulse.wait(), Some((begun + 3 * second, Wait::Receiving)));
    }
}
