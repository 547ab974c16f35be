//! Annotations while they are collected: each text once, with a place in the query.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use crate::annotations::{Annotations, Level};
use crate::parser::Span;

/// Collects the notes of all threads.
#[derive(Debug, Default)]
pub(crate) struct Notes(Mutex<BTreeMap<(Level, String), Place>>);

/// A note's node of the expression, and the place that it points at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    node: Span,
    place: Span,
}

impl Origin {
    /// A note that `node` makes and that points at `place`.
    pub(crate) fn new(node: Span, place: Span) -> Self {
        Self { node, place }
    }

    /// The same place, noted by another node.
    pub(crate) fn noted_by(self, node: Span) -> Self {
        Self { node, ..self }
    }

    /// Sorts by the order of evaluation: operands before their operator, left before right.
    fn order(&self) -> (u32, Reverse<u32>, u32) {
        (self.node.end, Reverse(self.node.start), self.place.start)
    }
}

impl From<Span> for Origin {
    fn from(span: Span) -> Self {
        Self { node: span, place: span }
    }
}

#[derive(Clone, Copy, Debug)]
struct Place {
    origin: Origin,
    repair: Option<Repair>,
}

/// How far classic buckets were off before they were made monotonic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Repair {
    pub(crate) min_bound: f64,
    pub(crate) max_bound: f64,
    pub(crate) max_diff: f64,
    pub(crate) first_ms: i64,
    pub(crate) last_ms: i64,
    pub(crate) samples: u64,
}

impl Repair {
    fn merge(self, other: Self) -> Self {
        Self {
            min_bound: self.min_bound.min(other.min_bound),
            max_bound: self.max_bound.max(other.max_bound),
            max_diff: self.max_diff.max(other.max_diff),
            first_ms: self.first_ms.min(other.first_ms),
            last_ms: self.last_ms.max(other.last_ms),
            samples: self.samples + other.samples,
        }
    }
}

impl Notes {
    /// Notes something that probably makes the answer wrong.
    pub(crate) fn warn(&self, origin: impl Into<Origin>, message: String) {
        self.add(Level::Warning, message, Place { origin: origin.into(), repair: None });
    }

    /// Notes something that may make the answer unexpected.
    pub(crate) fn info(&self, origin: impl Into<Origin>, message: String) {
        self.add(Level::Info, message, Place { origin: origin.into(), repair: None });
    }

    /// Notes that buckets had to be repaired.
    pub(crate) fn repaired(&self, origin: impl Into<Origin>, message: String, repair: Repair) {
        self.add(Level::Info, message, Place { origin: origin.into(), repair: Some(repair) });
    }

    /// Of equal texts the one evaluated last stays, or the first one if they tell of repairs, whichever thread is first.
    fn add(&self, level: Level, message: String, place: Place) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        notes
            .entry((level, message))
            .and_modify(|before| {
                let replaces = match before.repair {
                    None => before.origin.order() < place.origin.order(),
                    Some(_) => place.origin.order() < before.origin.order(),
                };
                if replaces {
                    before.origin = place.origin;
                }
                before.repair = match (before.repair, place.repair) {
                    (Some(a), Some(b)) => Some(a.merge(b)),
                    (a, b) => a.or(b),
                };
            })
            .or_insert(place);
    }

    /// The notes as the API shows them.
    pub(crate) fn finish(&self) -> Annotations {
        let notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = Annotations::default();
        for ((level, message), place) in notes.iter() {
            let prefix = if *level == Level::Warning { "PromQL warning: " } else { "PromQL info: " };
            let mut text = format!("{prefix}{message}");
            if let Some(repair) = place.repair {
                let _ = write!(
                    text,
                    ", from buckets {} to {}, with a max diff of {}, over {} samples from {} to {}",
                    crate::format::general(repair.min_bound),
                    crate::format::general(repair.max_bound),
                    crate::format::two_digits(repair.max_diff),
                    repair.samples,
                    crate::functions::time::rfc3339(repair.first_ms),
                    crate::functions::time::rfc3339(repair.last_ms),
                );
            }
            let _ = write!(text, " ({}:{})", place.origin.place.line, place.origin.place.column);
            out.add(*level, text);
        }
        out
    }
}

/// ` for metric name "x"`, or nothing without a name.
pub(crate) fn for_metric(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!(" for metric name {}", crate::format::quote(name.as_bytes())) }
}
