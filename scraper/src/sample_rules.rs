//! From the labels that a target writes to those that are stored.

use std::borrow::Cow;
use std::sync::Arc;

use tsdb::{Labels, LabelsBuilder, METRIC_NAME};

use crate::parse::Histograms;
use crate::relabel::{NameScheme, Relabel, relabel_in_place};

/// How the samples of a target become series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SampleRules {
    /// The target's own labels, which all its series get.
    pub target: Labels,
    /// Whether a label that the target writes wins over the same of `target`; else it becomes `exported_…`.
    pub honor_labels: bool,
    /// Whether timestamps that the target writes count.
    pub honor_timestamps: bool,
    /// Whether series with such timestamps get stale markers.
    pub track_timestamps_staleness: bool,
    /// `metric_relabel_configs`, shared by the targets of a job.
    pub relabel: Arc<[Relabel]>,
    /// Which names are allowed.
    pub names: NameScheme,
    /// What a scrape must not exceed.
    pub limits: SampleLimits,
    /// Which histograms are wanted.
    pub histograms: Histograms,
    /// The finest schema at which native histograms are stored.
    pub finest_schema: Option<i32>,
    /// Whether `_created` lines of OpenMetrics say when counts began, instead of being series.
    pub start_timestamps: bool,
}

/// What a scrape must not exceed after relabeling; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SampleLimits {
    /// Samples.
    pub samples: usize,
    /// Series of a target: those that are known go on, new ones are left out.
    pub series: usize,
    /// Labels of a series.
    pub labels: usize,
    /// Bytes of a label name.
    pub name_bytes: usize,
    /// Bytes of a label value.
    pub value_bytes: usize,
    /// Buckets of a native histogram, which is made coarser to keep to it.
    pub buckets: usize,
}

/// Labels that fail a scrape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// Relabeling has removed the metric name.
    #[error("missing metric name (__name__ label)")]
    NoName,
    /// A name that the scheme does not allow.
    #[error("invalid metric name or label names: {0}")]
    InvalidName(String),
    /// A label is there twice.
    #[error("label name {0:?} is not unique: invalid sample")]
    Twice(String),
    /// A limit is exceeded; the text says which, in the words of Prometheus.
    #[error("{0}")]
    Limit(String),
}

pub(crate) const EXPORTED: &str = "exported_";

/// Most bytes of a label's name or value where no limit is configured.
const MAX_LABEL_BYTES: usize = 64 << 10;

/// Bytes of a text that an error shows.
const SHOWN_BYTES: usize = 200;

impl SampleRules {
    /// The labels to store for a sample that the target writes with `labels`; `None` if relabeling drops it.
    ///
    /// # Errors
    /// If the labels cannot be stored, which fails the scrape.
    pub(crate) fn resolve<'l>(
        &self,
        labels: impl Iterator<Item = (Cow<'l, str>, Cow<'l, str>)>,
    ) -> Result<Option<Labels>, LabelError> {
        let mut written: Vec<(Cow<'_, str>, Cow<'_, str>)> = labels.collect();
        written.sort_by(|a, b| a.0.cmp(&b.0));
        let twice = written.windows(2).find(|pair| pair[0].0 == pair[1].0).map(|pair| pair[0].clone());
        if twice.is_some() {
            written.dedup_by(|b, a| a.0 == b.0);
        }
        // An empty label that wins over the target's leaves the series without it.
        let honored_empty: Vec<Cow<'_, str>> = match self.honor_labels {
            true => written.iter().filter(|(_, value)| value.is_empty()).map(|(name, _)| name.clone()).collect(),
            false => Vec::new(),
        };
        written.retain(|(_, value)| !value.is_empty());
        let own = |name: &str| !honored_empty.iter().any(|empty| empty == name);
        let conflict = self.target.iter().any(|(name, _)| written.binary_search_by(|w| (*w.0).cmp(name)).is_ok());
        let resolved = if conflict || !self.relabel.is_empty() {
            match self.resolve_slowly(&written, own) {
                Some(resolved) => resolved,
                None => return Ok(None),
            }
        } else {
            let target = self.target.iter().filter(|(name, _)| own(name));
            written.extend(target.map(|(name, value)| (Cow::Borrowed(name), Cow::Borrowed(value))));
            written.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            Labels::from_sorted(written.iter().map(|(name, value)| (&**name, &**value)))
        };
        if resolved.is_empty() {
            return Ok(None);
        }
        self.check(&resolved)?;
        // Relabeling may have taken the label away that was there twice.
        if let Some((name, value)) = twice
            && resolved.get(&name) == Some(&*value)
        {
            return Err(LabelError::Twice(shown(&name)));
        }
        Ok(Some(resolved))
    }

    /// Settles conflicts and relabels. `written` is sorted.
    fn resolve_slowly(&self, written: &[(Cow<'_, str>, Cow<'_, str>)], own: impl Fn(&str) -> bool) -> Option<Labels> {
        let mut builder =
            LabelsBuilder::new(&Labels::from_sorted(written.iter().map(|(name, value)| (&**name, &**value))));
        let mut conflicts = Vec::new();
        for (name, value) in self.target.iter().filter(|(name, _)| own(name)) {
            let old = written.binary_search_by(|w| (*w.0).cmp(name)).ok().map(|at| &*written[at].1);
            match old {
                Some(_) if self.honor_labels => {}
                Some(old) => {
                    conflicts.push((name, old));
                    builder.set(name, value);
                }
                None => {
                    builder.set(name, value);
                }
            }
        }
        // Shorter names first: `a` takes `exported_a` before an `exported_a` of the target looks for a place.
        conflicts.sort_by_key(|(name, _)| name.len());
        for (name, value) in conflicts {
            let mut free = format!("{EXPORTED}{name}");
            while builder.get(&free).is_some() {
                free.insert_str(0, EXPORTED);
            }
            builder.set(&free, value);
        }
        relabel_in_place(&mut builder, &self.relabel, self.names).then(|| builder.build())
    }

    fn check(&self, labels: &Labels) -> Result<(), LabelError> {
        let metric = labels.metric_name().ok_or(LabelError::NoName)?;
        let allowed = self.names.allows_metric(metric)
            && labels.iter().all(|(name, _)| name == METRIC_NAME || self.names.allows_label(name));
        if !allowed {
            return Err(LabelError::InvalidName(shown(&labels.to_string())));
        }
        let limits = &self.limits;
        if limits.labels > 0 && labels.len() > limits.labels {
            return Err(LabelError::Limit(format!(
                "label_limit exceeded (metric: {metric:.50}, number of labels: {}, limit: {})",
                labels.len(),
                limits.labels
            )));
        }
        for (name, value) in labels {
            let longest = |limit: usize| if limit == 0 { MAX_LABEL_BYTES } else { usize::MAX };
            if name.len() > longest(limits.name_bytes) || value.len() > longest(limits.value_bytes) {
                let bytes = name.len().max(value.len());
                let what = format!("label too long (metric: {metric:.50}, label name: {name:.50}, {bytes} bytes)");
                return Err(LabelError::Limit(what));
            }
            if limits.name_bytes > 0 && name.len() > limits.name_bytes {
                return Err(LabelError::Limit(format!(
                    "label_name_length_limit exceeded (metric: {metric:.50}, label name: {name:.50}, length: {}, \
                     limit: {})",
                    name.len(),
                    limits.name_bytes
                )));
            }
            if limits.value_bytes > 0 && value.len() > limits.value_bytes {
                let start: String = value.chars().take(50).collect();
                return Err(LabelError::Limit(format!(
                    "label_value_length_limit exceeded (metric: {metric:.50}, label name: {name:.50}, value: \
                     {start:?}, length: {}, limit: {})",
                    value.len(),
                    limits.value_bytes
                )));
            }
        }
        Ok(())
    }
}

/// The beginning of `text`.
fn shown(text: &str) -> String {
    let end = (0..=SHOWN_BYTES.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    let dots = if end < text.len() { "…" } else { "" };
    format!("{}{dots}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::{Format, Parser};
    use crate::relabel::Action;

    fn resolve(rules: &SampleRules, line: &str) -> Result<Option<String>, String> {
        let mut parser = Parser::new(line.as_bytes(), Format::Text);
        parser.entry().unwrap();
        rules.resolve(parser.labels()).map(|l| l.map(|l| l.to_string())).map_err(|e| e.to_string())
    }

    fn kept(rules: &SampleRules, line: &str) -> String {
        resolve(rules, line).unwrap().unwrap()
    }

    fn rules(target: &[(&str, &str)]) -> SampleRules {
        SampleRules { target: Labels::from_pairs(target.iter().copied()), ..SampleRules::default() }
    }

    #[test]
    fn the_target_gives_its_labels_to_every_series() {
        let rules = rules(&[("instance", "h:1"), ("job", "j")]);
        assert_eq!(kept(&rules, "m{z=\"1\",a=\"\"} 1"), r#"m{instance="h:1", job="j", z="1"}"#);
    }

    #[test]
    fn conflicts_are_renamed_or_honored() {
        let mut rules = rules(&[("exported_job", "x"), ("job", "j")]);
        assert_eq!(
            kept(&rules, "m{job=\"a\",exported_job=\"b\"} 1"),
            r#"m{exported_exported_exported_job="b", exported_exported_job="a", exported_job="x", job="j"}"#
        );
        rules.honor_labels = true;
        assert_eq!(kept(&rules, "m{job=\"a\"} 1"), r#"m{exported_job="x", job="a"}"#);
        assert_eq!(kept(&rules, "m{job=\"\"} 1"), r#"m{exported_job="x"}"#);
    }

    #[test]
    fn an_honored_empty_label_wins_over_the_targets_and_no_other_does() {
        let mut rules = rules(&[("instance", "h:1"), ("job", "j")]);
        assert_eq!(kept(&rules, "m{instance=\"\",a=\"\"} 1"), r#"m{instance="h:1", job="j"}"#);
        rules.honor_labels = true;
        for (line, labels) in [
            ("m{instance=\"\",a=\"\"} 1", r#"m{job="j"}"#),
            ("m{instance=\"\",job=\"\"} 1", "m"),
            ("m{instance=\"\",job=\"k\"} 1", r#"m{job="k"}"#),
        ] {
            assert_eq!(kept(&rules, line), labels);
        }
        let asks = Relabel {
            source_labels: vec!["instance".to_owned()],
            regex: model::Regex::pasted("").unwrap(),
            target_label: "without".to_owned(),
            replacement: "yes".to_owned(),
            ..Relabel::default()
        };
        rules.relabel = [asks].into();
        assert_eq!(kept(&rules, "m{instance=\"\"} 1"), r#"m{job="j", without="yes"}"#);
        assert_eq!(kept(&rules, "m 1"), r#"m{instance="h:1", job="j"}"#);
    }

    #[test]
    fn labels_and_error_texts_are_bounded_without_a_configured_limit() {
        let mut rules = rules(&[("job", "j")]);
        let long = "v".repeat(MAX_LABEL_BYTES + 1);
        for line in [format!("m{{a=\"{long}\"}} 1"), format!("m{{{long}=\"a\"}} 1"), format!("{long} 1")] {
            let error = resolve(&rules, &line).unwrap_err();
            assert!(error.starts_with("label too long") && error.len() < 300, "{error}");
        }
        rules.limits = SampleLimits { value_bytes: 1 << 20, ..SampleLimits::default() };
        assert!(resolve(&rules, &format!("m{{a=\"{long}\"}} 1")).is_ok());
        let error = resolve(&rules, &format!("m{{{long}=\"1\",{long}=\"2\"}} 1")).unwrap_err();
        assert!(error.len() < 400, "{error}");
    }

    #[test]
    fn relabeling_may_drop_a_sample_but_not_its_name() {
        let drop = Relabel {
            action: Action::Drop,
            source_labels: vec!["__name__".to_owned()],
            regex: model::Regex::pasted("go_.*").unwrap(),
            ..Relabel::default()
        };
        let unname = Relabel {
            action: Action::LabelDrop,
            regex: model::Regex::pasted("__name__").unwrap(),
            ..Relabel::default()
        };
        let mut rules = rules(&[("job", "j")]);
        rules.relabel = [drop.clone()].into();
        assert_eq!(resolve(&rules, "go_x 1"), Ok(None));
        rules.relabel = [drop, unname].into();
        assert_eq!(resolve(&rules, "m 1"), Err("missing metric name (__name__ label)".to_owned()));
    }

    #[test]
    fn bad_labels_are_errors() {
        let mut rules = rules(&[("job", "j")]);
        assert_eq!(
            resolve(&rules, "m{a=\"1\",a=\"2\"} 1").unwrap_err(),
            "label name \"a\" is not unique: invalid sample"
        );
        rules.names = NameScheme::Legacy;
        assert!(resolve(&rules, "{\"a.b\"} 1").unwrap_err().starts_with("invalid metric name or label names"));
        rules.limits = SampleLimits { labels: 3, name_bytes: 8, value_bytes: 4, ..SampleLimits::default() };
        for (line, error) in [
            ("m{a=\"1\",b=\"1\"} 1", "label_limit exceeded (metric: m, number of labels: 4, limit: 3)"),
            (
                "m{abcdefghi=\"1\"} 1",
                "label_name_length_limit exceeded (metric: m, label name: abcdefghi, length: 9, limit: 8)",
            ),
            (
                "m{a=\"12345\"} 1",
                "label_value_length_limit exceeded (metric: m, label name: a, value: \"12345\", length: 5, limit: 4)",
            ),
        ] {
            assert_eq!(resolve(&rules, line).unwrap_err(), error);
        }
    }
}
