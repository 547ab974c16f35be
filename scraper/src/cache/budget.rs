//! The budget of series of a target: what is known goes on, what is new finds no place once the budget is spent.

use std::cmp::Reverse;

use hashbrown::{HashMap, HashSet};
use tsdb::{AppendError, Labels, METRIC_NAME, SeriesRef};

use super::ingest::{Ingest, Reading};
use super::{Fate, IngestError};
use crate::parse::Entry;
use crate::store::Batch;

/// Refused series that are looked at to tell what is to blame.
const LOOKED_AT: usize = 500;
/// Bytes of a name or value that are shown.
const SHOWN_BYTES: usize = 100;

/// What most of the series have in common that found no place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Culprit {
    /// The metric that most of them are of.
    pub metric: String,
    /// The label of it with the most values.
    pub label: String,
    /// How many values, among those looked at.
    pub values: usize,
    /// One of them.
    pub example: String,
}

/// Counts what refused series are made of.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    metrics: HashMap<String, Suspect>,
    looked_at: usize,
}

#[derive(Debug, Default)]
struct Suspect {
    series: usize,
    labels: HashMap<String, HashSet<String>>,
}

impl Suspects {
    /// Whether enough have been looked at.
    pub(super) fn suffice(&self) -> bool {
        self.looked_at >= LOOKED_AT
    }

    /// Looks at a refused series.
    pub(super) fn add(&mut self, labels: &Labels) {
        self.looked_at += 1;
        let suspect = self.metrics.entry_ref(labels.metric_name().unwrap_or_default()).or_default();
        suspect.series += 1;
        for (name, value) in labels.iter().filter(|(name, _)| *name != METRIC_NAME) {
            suspect.labels.entry_ref(name).or_default().get_or_insert_with(value, str::to_owned);
        }
    }

    /// The metric with the most of them, and its label with the most values; `None` if none were looked at.
    pub(super) fn worst(&self) -> Option<Culprit> {
        let (metric, suspect) = self.metrics.iter().max_by_key(|(name, suspect)| (suspect.series, *name))?;
        let widest = suspect.labels.iter().max_by_key(|(name, values)| (values.len(), Reverse(*name)));
        Some(match widest.filter(|(_, values)| values.len() >= self.metrics.len()) {
            Some((label, values)) => Culprit {
                metric: shown(metric),
                label: shown(label),
                values: values.len(),
                example: shown(values.iter().min().map_or("", String::as_str)),
            },
            // It is the names of metrics that are so many.
            None => Culprit {
                metric: shown(metric),
                label: METRIC_NAME.to_owned(),
                values: self.metrics.len(),
                example: shown(metric),
            },
        })
    }
}

fn shown(text: &str) -> String {
    let end = (0..=SHOWN_BYTES.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    let dots = if end < text.len() { "…" } else { "" };
    format!("{}{dots}", &text[..end])
}

impl<B: Batch> Ingest<'_, '_, B> {
    /// The body has been read, and the series that are known are counted: gives the places that are left to those that
    /// are new, in the order of the body.
    pub(super) fn give_places(&mut self) -> Result<(), IngestError> {
        let mut left = match self.rules.limits.series {
            // What waits was refused by the store, which may have a place by now.
            0 => usize::MAX,
            budget => budget.saturating_sub(self.placed),
        };
        let mut suspects = Suspects::default();
        for (at, text) in std::mem::take(&mut self.waiting) {
            if left == 0 {
                self.counts.refused += 1;
                if !self.has_fresh_refusals || suspects.suffice() {
                    continue;
                }
            }
            let line = self.scratch.lines[at as usize];
            self.parser.seek(text as usize, line.kind);
            let Some(Entry::Sample(sample)) = self.parser.entry()? else { continue };
            let Some(labels) = self.rules.resolve(self.parser.labels())? else { continue };
            if left == 0 {
                suspects.add(&labels);
                continue;
            }
            let series = match self.batch.series(&labels) {
                Err(AppendError::TooManySeries) => {
                    left = 0;
                    self.counts.refused += 1;
                    suspects.add(&labels);
                    continue;
                }
                series => series?,
            };
            left -= 1;
            let fate = self.append(series, sample.value, sample.timestamp);
            self.counts.added += 1;
            let line = &mut self.scratch.lines[at as usize];
            (line.series, line.fate) = (series, fate);
            self.hand_exemplar_on(at as usize, None);
        }
        self.scratch.exemplars.sort_unstable_by_key(|(line, _)| *line);
        if let Some(culprit) = suspects.worst() {
            self.culprit = Some(culprit);
        }
        Ok(())
    }

    /// A line whose series has no place yet.
    pub(super) fn wait(&mut self, reading: Reading) -> (Fate, SeriesRef) {
        self.waiting.push((self.scratch.lines.len() as u32, reading.text as u32));
        (Fate::Refused, SeriesRef(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metric_and_the_label_that_spent_the_budget_are_named() {
        let mut suspects = Suspects::default();
        assert_eq!(suspects.worst(), None);
        for i in 0..20 {
            let (user, code) = (format!("u{i:02}"), (i % 3).to_string());
            suspects.add(&Labels::from_pairs([("__name__", "requests_total"), ("code", &code), ("user", &user)]));
        }
        suspects.add(&Labels::from_pairs([("__name__", "other"), ("x", "y")]));
        let culprit = suspects.worst().unwrap();
        assert_eq!((&*culprit.metric, &*culprit.label, culprit.values), ("requests_total", "user", 20));
        assert_eq!(culprit.example, "u00");
        let mut suspects = Suspects::default();
        for i in 0..5 {
            suspects.add(&Labels::from_pairs([("__name__", &*format!("m{i}")), ("job", "j")]));
        }
        assert_eq!(suspects.worst().unwrap().label, "__name__");
        assert_eq!(shown(&"ä".repeat(80)).len(), 103);
    }
}
