//! Quantiles and fractions of histograms: native ones, and classic ones made of series by `le`.

use hashbrown::HashMap;
use std::sync::Arc;

use tsdb::{FloatHistogram, Labels, LabelsBuilder, METRIC_NAME};

use super::histogram::{self, NanEffect};
use crate::error::Error;
use crate::eval::grid::Rows;
use crate::eval::notes::{Repair, for_metric};
use crate::eval::source::{SharedSource, Source};
use crate::eval::table::{Cell, Table};
use crate::eval::{Eval, Output};
use crate::format::{general, quote};
use crate::parser::{Call, Span};
use crate::value::is_absent;

/// The label that holds a classic bucket's upper bound.
const BOUND: &str = "le";

/// Counts that differ less than this, relatively, differ by rounding.
const SMALL_DELTA: f64 = 1e-12;

/// A classic histogram at one step: cumulative counts by upper bound.
type Buckets = Vec<(f64, f64)>;

/// A histogram: series of classic buckets, or a native series, or (by mistake) both.
struct Group {
    /// Without `le`, with the metric name.
    labels: Labels,
    drops: bool,
    /// Upper bound and series, sorted by bound.
    buckets: Vec<(f64, usize)>,
    native: Option<usize>,
}

/// What a group has at one step.
enum Found<'a> {
    Classic(&'a mut Buckets),
    Native(&'a FloatHistogram),
}

/// All histograms of a vector.
struct Groups<'q> {
    eval: Eval<'q>,
    table: Table<'q>,
    groups: Vec<Group>,
    span: Span,
}

impl<'q> Groups<'q> {
    fn new(eval: Eval<'q>, call: &'q Call, arg: usize) -> Result<Self, Error> {
        // Quantiles look at buckets.
        let eval = Eval { stats_only: false, ..eval };
        let span = call.args[arg].span();
        let table = eval.table(&call.args[arg])?;
        let mut groups: Vec<Group> = Vec::new();
        let mut places: HashMap<Labels, usize> = HashMap::new();
        let mut place = |labels: Labels, drops: bool, groups: &mut Vec<Group>| {
            *places.entry(labels).or_insert_with_key(|labels| {
                groups.push(Group { labels: labels.clone(), drops, buckets: Vec::new(), native: None });
                groups.len() - 1
            })
        };
        for series in 0..table.len() {
            let drops = table.drops_name(series);
            if table.rows.histogram_row(series).iter().any(Option::is_some) {
                let at = place(table.labels(series), drops, &mut groups);
                groups[at].native = Some(series);
            }
            if table.rows.row(series).iter().all(|v| is_absent(*v)) {
                continue;
            }
            let bound = table.label(series, BOUND).unwrap_or_default();
            match bound.parse::<f64>() {
                Ok(upper) => {
                    let at = place(table.labels(series).filtered(|name| name != BOUND), drops, &mut groups);
                    groups[at].buckets.push((upper, series));
                }
                Err(_) => {
                    let name = table.label(series, METRIC_NAME).unwrap_or_default();
                    let message = format!(
                        "bucket label \"le\" is missing or has a malformed value of {}{}",
                        quote(bound.as_bytes()),
                        for_metric(name)
                    );
                    eval.query.notes.warn(span, message);
                }
            }
        }
        for group in &mut groups {
            group.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        Ok(Self { eval, table, groups, span })
    }

    /// Calls `f(group, step, what is there)` for every group and step that has a histogram of one kind.
    fn each(&self, mut f: impl FnMut(usize, usize, Found<'_>)) -> Result<(), Error> {
        let mut buckets = Buckets::new();
        for (number, group) in self.groups.iter().enumerate() {
            self.eval.query.stop.check("expression evaluation")?;
            for step in 0..self.eval.grid.count {
                buckets.clear();
                for (upper, series) in &group.buckets {
                    if let Some(Cell::Float(count)) = self.table.get(*series, step) {
                        buckets.push((*upper, count));
                    }
                }
                let native = group.native.and_then(|series| self.table.rows.histogram(series, step));
                match native {
                    Some(_) if !buckets.is_empty() => {
                        let message = "vector contains a mix of classic and native histograms";
                        self.eval.query.notes.warn(self.span, format!("{message}{}", for_metric(self.name(number))));
                    }
                    Some(histogram) => f(number, step, Found::Native(histogram)),
                    None if !buckets.is_empty() => f(number, step, Found::Classic(&mut buckets)),
                    None => {}
                }
            }
        }
        Ok(())
    }

    fn name(&self, group: usize) -> &str {
        self.groups[group].labels.metric_name().unwrap_or_default()
    }

    /// One row per group; the metric name goes.
    fn result(&self, rows: Rows, label: impl Fn(&Labels) -> Labels) -> Result<(Vec<Labels>, Vec<bool>, Rows), Error> {
        let labels = self.groups.iter().map(|group| label(&group.labels)).collect();
        Ok((labels, self.groups.iter().map(|group| group.drops).collect(), rows))
    }

    fn quantile(&self, q: f64, group: usize, step: usize, found: Found<'_>) -> f64 {
        match found {
            Found::Native(native) => {
                let (value, effect) = histogram::quantile(q, native);
                if effect != NanEffect::None {
                    let what = if effect == NanEffect::Nan { "NaN" } else { "skewed higher" };
                    let message = format!("input to histogram_quantile has NaN observations, result is {what}");
                    self.eval.query.notes.info(self.span, format!("{message}{}", for_metric(self.name(group))));
                }
                value
            }
            Found::Classic(buckets) => {
                let (value, repair) = bucket_quantile(q, buckets, self.eval.grid.at(step));
                if let Some(repair) = repair {
                    let message = "input to histogram_quantile needed to be fixed for monotonicity (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)";
                    let message = format!("{message}{}", for_metric(self.name(group)));
                    self.eval.query.notes.repaired(self.span, message, repair);
                }
                value
            }
        }
    }
}

fn number(value: f64) -> f64 {
    if is_absent(value) { f64::NAN } else { value }
}

/// A table of results, without metric names.
fn finish<'q>(eval: Eval<'q>, labels: Vec<Labels>, drops: Vec<bool>, rows: Rows) -> Result<Output<'q>, Error> {
    let table: SharedSource<'q> = Arc::new(Table::from_rows(eval.query, labels, rows)?.with_drops(drops));
    Ok(Output::Series(eval.without_name(table)?))
}

fn warn_quantile(eval: Eval<'_>, span: Span, q: f64) {
    if !(0.0..=1.0).contains(&q) {
        let message = format!("quantile value should be between 0 and 1, got {}", general(q));
        eval.query.notes.warn(span, message);
    }
}

/// `histogram_quantile(q, v)`
pub(super) fn quantile<'q>(eval: Eval<'q>, call: &'q Call) -> Result<Output<'q>, Error> {
    let q = eval.scalar(&call.args[0])?;
    q.iter().for_each(|q| warn_quantile(eval, call.args[0].span(), *q));
    let groups = Groups::new(eval, call, 1)?;
    let mut rows = Rows::new(groups.groups.len(), eval.grid.count);
    groups.each(|group, step, found| {
        rows.row_mut(group)[step] = number(groups.quantile(q[step], group, step, found));
    })?;
    let (labels, drops, rows) = groups.result(rows, Labels::clone)?;
    finish(eval, labels, drops, rows)
}

/// `histogram_quantiles(v, "label", q…)`
pub(super) fn quantiles<'q>(eval: Eval<'q>, call: &'q Call) -> Result<Output<'q>, Error> {
    let name = eval.text(&call.args[1])?;
    let label = std::str::from_utf8(name).ok().filter(|label| !label.is_empty());
    let label = label.ok_or_else(|| Error::Execution(format!("invalid label name {}", quote(name))))?;
    let mut wanted = Vec::new();
    for arg in &call.args[2..] {
        let q = eval.scalar(arg)?;
        q.iter().for_each(|q| warn_quantile(eval, arg.span(), *q));
        wanted.push(q);
    }
    let groups = Groups::new(eval, call, 0)?;
    let (mut all_labels, mut all_drops) = (Vec::new(), Vec::new());
    let mut all = Rows { steps: eval.grid.count, ..Rows::default() };
    for q in wanted {
        // A quantile that changes over time has a series for each of its values.
        let mut texts: Vec<String> = q.iter().map(|q| open_metrics(*q)).collect();
        let by_step = texts.clone();
        texts.sort_unstable();
        texts.dedup();
        for text in texts {
            let mut rows = Rows::new(groups.groups.len(), eval.grid.count);
            groups.each(|group, step, found| {
                if by_step[step] == text {
                    rows.row_mut(group)[step] = number(groups.quantile(q[step], group, step, found));
                }
            })?;
            let named = |labels: &Labels| LabelsBuilder::new(labels).set(label, &text).build();
            let (labels, drops, rows) = groups.result(rows, named)?;
            all_labels.extend(labels);
            all_drops.extend(drops);
            for row in 0..rows.len() {
                all.push_row(&rows, row);
            }
        }
    }
    finish(eval, all_labels, all_drops, all)
}

/// A float as OpenMetrics writes it: always with a point or an exponent.
fn open_metrics(value: f64) -> String {
    let text = general(value);
    if value.is_finite() && !text.contains(['.', 'e']) { format!("{text}.0") } else { text }
}

/// `histogram_fraction(lower, upper, v)`
pub(super) fn fraction<'q>(eval: Eval<'q>, call: &'q Call) -> Result<Output<'q>, Error> {
    let (lower, upper) = (eval.scalar(&call.args[0])?, eval.scalar(&call.args[1])?);
    let groups = Groups::new(eval, call, 2)?;
    let mut rows = Rows::new(groups.groups.len(), eval.grid.count);
    groups.each(|group, step, found| {
        let value = match found {
            Found::Native(native) => {
                if native.sum.is_nan() && native.count != 0.0 {
                    let message =
                        "input to histogram_fraction has NaN observations, which are excluded from all fractions";
                    eval.query.notes.info(groups.span, format!("{message}{}", for_metric(groups.name(group))));
                }
                histogram::fraction(lower[step], upper[step], native)
            }
            Found::Classic(buckets) => bucket_fraction(lower[step], upper[step], buckets),
        };
        rows.row_mut(group)[step] = number(value);
    })?;
    let (labels, drops, rows) = groups.result(rows, Labels::clone)?;
    finish(eval, labels, drops, rows)
}

/// Adds up buckets of equal bounds. `buckets` is sorted.
fn coalesce(buckets: &mut Buckets) {
    buckets.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 += next.1;
        }
        same
    });
}

/// Whether two numbers are equal but for rounding.
fn almost_equal(a: f64, b: f64) -> bool {
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < SMALL_DELTA * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < SMALL_DELTA
}

/// Raises counts that are below those of lower buckets. What is more than rounding is reported.
fn make_monotonic(buckets: &mut Buckets, at_ms: i64) -> Option<Repair> {
    let mut repair: Option<Repair> = None;
    let mut previous = buckets[0].1;
    for (bound, count) in buckets.iter_mut().skip(1) {
        let current = *count;
        if current == previous {
            continue;
        }
        if almost_equal(previous, current) {
            *count = previous;
        } else if current < previous {
            *count = previous;
            let repair = repair.get_or_insert(Repair {
                min_bound: *bound,
                max_bound: *bound,
                max_diff: 0.0,
                first_ms: at_ms,
                last_ms: at_ms,
                samples: 1,
            });
            repair.max_bound = *bound;
            repair.max_diff = repair.max_diff.max(previous - current);
        } else {
            previous = current;
        }
    }
    repair
}

/// Linear interpolation between the bounds of classic buckets, which are sorted by bound.
fn bucket_quantile(q: f64, buckets: &mut Buckets, at_ms: i64) -> (f64, Option<Repair>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if buckets.last().is_none_or(|b| b.0 != f64::INFINITY) {
        return (f64::NAN, None);
    }
    coalesce(buckets);
    let repair = make_monotonic(buckets, at_ms);
    let last = buckets.len() - 1;
    let observations = buckets[last].1;
    if last == 0 || observations == 0.0 {
        return (f64::NAN, repair);
    }
    let mut rank = q * observations;
    let b = buckets[..last].partition_point(|bucket| bucket.1 < rank);
    if b == last {
        return (buckets[last - 1].0, repair);
    }
    if b == 0 && buckets[0].0 <= 0.0 {
        return (buckets[0].0, repair);
    }
    let (mut start, end, mut count) = (0.0, buckets[b].0, buckets[b].1);
    if b > 0 {
        start = buckets[b - 1].0;
        count -= buckets[b - 1].1;
        rank -= buckets[b - 1].1;
    }
    (start + (end - start) * (rank / count), repair)
}

/// The share of the observations between `lower` and `upper`.
fn bucket_fraction(lower: f64, upper: f64, buckets: &mut Buckets) -> f64 {
    if buckets.last().is_none_or(|b| b.0 != f64::INFINITY) {
        return f64::NAN;
    }
    coalesce(buckets);
    let count = buckets[buckets.len() - 1].1;
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let (mut rank, mut lower_rank, mut upper_rank) = (0.0, None, None);
    let mut from = if buckets[0].0 > 0.0 { 0.0 } else { f64::NEG_INFINITY };
    for (to, cumulative) in buckets.iter() {
        let rank_at = |value: f64| {
            if from == f64::NEG_INFINITY {
                *cumulative
            } else {
                rank + (cumulative - rank) * (value - from) / (to - from)
            }
        };
        for (bound, found) in [(lower, &mut lower_rank), (upper, &mut upper_rank)] {
            if found.is_none() && from >= bound {
                *found = Some(rank);
            } else if found.is_none() && from < bound && *to > bound {
                *found = Some(rank_at(bound));
            }
        }
        if lower_rank.is_some() && upper_rank.is_some() {
            break;
        }
        rank = *cumulative;
        from = *to;
    }
    let within = |found: Option<f64>| found.filter(|r| *r <= count).unwrap_or(count);
    (within(upper_rank) - within(lower_rank)) / count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_classic_buckets() {
        let buckets = || vec![(0.0, 0.0), (2.0, 1.0), (4.0, 2.0), (6.0, 3.0), (f64::INFINITY, 3.0)];
        let quantile = |q| bucket_quantile(q, &mut buckets(), 0).0;
        assert_eq!((quantile(0.5), quantile(1.0), quantile(-1.0)), (3.0, 6.0, f64::NEG_INFINITY));
        assert!(bucket_quantile(0.5, &mut vec![(1.0, 1.0)], 0).0.is_nan());
    }

    #[test]
    fn decreases_are_repaired_and_reported_unless_they_are_rounding() {
        let mut buckets = vec![(1.0, 2.0), (2.0, 1.0), (4.0, 5.0), (f64::INFINITY, 4.0)];
        let repair = make_monotonic(&mut buckets, 7).unwrap();
        assert_eq!(buckets.iter().map(|b| b.1).collect::<Vec<_>>(), [2.0, 2.0, 5.0, 5.0]);
        assert_eq!((repair.min_bound, repair.max_bound, repair.max_diff), (2.0, f64::INFINITY, 1.0));
        let mut rounded = vec![(1.0, 1.0), (2.0, 1.0 - 1e-15), (f64::INFINITY, 2.0)];
        assert!(make_monotonic(&mut rounded, 0).is_none());
        assert_eq!(rounded[1].1, 1.0);
    }

    #[test]
    fn open_metrics_floats_have_a_point() {
        assert_eq!(
            ["0.0", "1.0", "0.25", "NaN"],
            [0.0, 1.0, 0.25, f64::NAN].map(open_metrics).each_ref().map(String::as_str)
        );
    }
}
