//! Warnings and infos: what a user should know about an answer that is nevertheless given.

use std::collections::BTreeSet;

/// How much an annotation matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The answer is probably not what was meant.
    Warning,
    /// The answer may not be what was meant.
    Info,
}

/// The annotations of one query, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    notes: BTreeSet<(Level, String)>,
}

impl Annotations {
    /// Adds a note: the whole text as the API shows it, `PromQL warning: … (1:15)`.
    pub fn add(&mut self, level: Level, text: String) {
        self.notes.insert((level, text));
    }

    /// Takes over all notes of `other`.
    pub fn merge(&mut self, other: Self) {
        self.notes.extend(other.notes);
    }

    /// The notes of one level, sorted.
    pub fn of(&self, level: Level) -> impl Iterator<Item = &str> {
        self.notes.iter().filter(move |(l, _)| *l == level).map(|(_, text)| text.as_str())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.notes.is_empty()
    }
}
