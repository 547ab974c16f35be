//! Account of what an import leaves out, by reason.

use std::collections::BTreeMap;
use std::fmt;

/// Reason why a part of a source is not imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Omission {
    /// Samples at a time that has another value in their series.
    ConflictingSample,
    /// Samples and exemplars at a time that no block can hold.
    TimeOutOfRange,
    /// Native histograms that contradict themselves.
    InvalidHistogram,
    /// Samples and exemplars of the log whose series it does not name.
    UnknownSeries,
    /// Series whose labels cannot be read.
    UnreadableLabels,
    /// Chunks that are damaged.
    DamagedChunk,
    /// Chunks of an encoding that is not known.
    UnknownEncoding,
    /// Records of the log of a kind that is not known.
    UnknownRecord,
    /// Exemplars at a time that has another exemplar of their series.
    ConflictingExemplar,
    /// Exemplars from times without samples: no block is made for them.
    ExemplarWithoutSamples,
}

impl fmt::Display for Omission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConflictingSample => "samples with another value at a time that is taken",
            Self::TimeOutOfRange => "samples or exemplars at a time that cannot be kept",
            Self::InvalidHistogram => "native histograms that contradict themselves",
            Self::UnknownSeries => "samples or exemplars of the log whose series is not there",
            Self::UnreadableLabels => "series with labels that cannot be read",
            Self::DamagedChunk => "damaged chunks",
            Self::UnknownEncoding => "chunks of an encoding that is not known",
            Self::UnknownRecord => "records of the log of a kind that is not known",
            Self::ConflictingExemplar => "exemplars other than the one at their time",
            Self::ExemplarWithoutSamples => "exemplars from times without samples",
        })
    }
}

/// Counts of what was left out, with the first of each kind.
#[derive(Clone, Debug, Default)]
pub struct LeftOut(BTreeMap<Omission, (u64, String)>);

impl LeftOut {
    /// Counts one more; `example` names it.
    pub fn add(&mut self, omission: Omission, example: impl FnOnce() -> String) {
        self.0.entry(omission).or_insert_with(|| (0, example())).0 += 1;
    }

    /// Whether all was imported.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many were left out for this reason.
    #[must_use]
    pub fn count(&self, omission: Omission) -> u64 {
        self.0.get(&omission).map_or(0, |(count, _)| *count)
    }

    /// Each reason with its count and the first that it met.
    pub fn iter(&self) -> impl Iterator<Item = (Omission, u64, &str)> {
        self.0.iter().map(|(omission, (count, example))| (*omission, *count, example.as_str()))
    }

    /// Adds what another account holds.
    pub(super) fn merge(&mut self, other: Self) {
        for (omission, (count, example)) in other.0 {
            self.0.entry(omission).or_insert((0, example)).0 += count;
        }
    }
}
