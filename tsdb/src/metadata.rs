//! What a metric family is: TYPE, HELP and UNIT.

use std::fmt;

/// The type of a metric family, as OpenMetrics names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum MetricKind {
    /// Not said.
    #[default]
    Unknown = 0,
    /// Only goes up, but for resets.
    Counter = 1,
    /// Goes up and down.
    Gauge = 2,
    /// Buckets of observations, counted since the start.
    Histogram = 3,
    /// Buckets of observations that may go down.
    GaugeHistogram = 4,
    /// Quantiles of observations.
    Summary = 5,
    /// Always 1; the labels are what matters.
    Info = 6,
    /// One of a set of states.
    StateSet = 7,
}

impl MetricKind {
    const ALL: [Self; 8] = [
        Self::Unknown,
        Self::Counter,
        Self::Gauge,
        Self::Histogram,
        Self::GaugeHistogram,
        Self::Summary,
        Self::Info,
        Self::StateSet,
    ];

    /// As the API and the exposition formats write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
        }
    }

    /// From the text of a TYPE line; `untyped`, as the classic format has it, is unknown. `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "untyped" {
            return Some(Self::Unknown);
        }
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// From the number in the log; one that is not known yet is unknown.
    pub(crate) fn from_code(code: u8) -> Self {
        Self::ALL.get(usize::from(code)).copied().unwrap_or_default()
    }
}

impl fmt::Display for MetricKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is known about a metric family.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Metadata {
    /// Its type.
    pub kind: MetricKind,
    /// What it measures, in words.
    pub help: String,
    /// What it is measured in; empty if not said.
    pub unit: String,
}
