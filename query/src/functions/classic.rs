//! Quantiles and fractions of histograms: native ones, and classic ones made of series by `le`.

use hashbrown::HashMap;
use std::sync::Arc;

use tsdb::{FloatHistogram, Labels, LabelsBuilder, METRIC_NAME};

use super::buckets::{self, Buckets};
use super::histogram::{self, NanEffect};
use crate::error::Error;
use crate::eval::grid::Rows;
use crate::eval::notes::{Origin, for_metric};
use crate::eval::source::{SharedSource, Source};
use crate::eval::table::{Cell, Table};
use crate::eval::{Eval, Output};
use crate::format::{general, parse_float, quote};
use crate::parser::Call;
use crate::value::is_absent;

/// The label that holds a classic bucket's upper bound.
const BOUND: &str = "le";

/// A histogram: series of classic buckets, or a native series, or (by mistake) both.
struct Group {
    /// Without `le`, with the metric name.
    labels: Labels,
    drops: bool,
    /// Upper bound and series, in the order of the series.
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
    /// Notes point at the vector.
    origin: Origin,
}

impl<'q> Groups<'q> {
    fn new(eval: Eval<'q>, call: &'q Call, arg: usize) -> Result<Self, Error> {
        // Quantiles look at buckets.
        let eval = Eval { stats_only: false, ..eval };
        let origin = Origin::new(call.span, call.args[arg].unwrapped().span());
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
            match parse_float(bound) {
                Some(upper) => {
                    let at = place(table.labels(series).filtered(|name| name != BOUND), drops, &mut groups);
                    groups[at].buckets.push((upper, series));
                }
                None => {
                    let name = table.label(series, METRIC_NAME).unwrap_or_default();
                    let message = format!(
                        "bucket label \"le\" is missing or has a malformed value of {}{}",
                        quote(bound.as_bytes()),
                        for_metric(name)
                    );
                    eval.query.notes.warn(origin, message);
                }
            }
        }
        Ok(Self { eval, table, groups, origin })
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
                buckets::sort(&mut buckets);
                let native = group.native.and_then(|series| self.table.rows.histogram(series, step));
                match native {
                    Some(_) if !buckets.is_empty() => {
                        let message = "vector contains a mix of classic and native histograms";
                        self.eval.query.notes.warn(self.origin, format!("{message}{}", for_metric(self.name(number))));
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

    /// The name that notes about a result tell: none where it is dropped already.
    fn result_name(&self, group: usize) -> &str {
        if self.eval.query.delays_name_removal() { self.name(group) } else { "" }
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
                    let message = format!("{message}{}", for_metric(self.result_name(group)));
                    self.eval.query.notes.info(self.origin, message);
                }
                value
            }
            Found::Classic(buckets) => {
                let (value, repair) = buckets::quantile(q, buckets, self.eval.grid.at(step));
                if let Some(repair) = repair {
                    let message = "input to histogram_quantile needed to be fixed for monotonicity (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)";
                    let message = format!("{message}{}", for_metric(self.result_name(group)));
                    self.eval.query.notes.repaired(self.origin, message, repair);
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

fn warn_quantile(eval: Eval<'_>, call: &Call, arg: usize, q: f64) {
    if !(0.0..=1.0).contains(&q) {
        let message = format!("quantile value should be between 0 and 1, got {}", general(q));
        eval.query.notes.warn(Origin::new(call.span, call.args[arg].unwrapped().span()), message);
    }
}

/// `histogram_quantile(q, v)`
pub(super) fn quantile<'q>(eval: Eval<'q>, call: &'q Call) -> Result<Output<'q>, Error> {
    let q = eval.scalar(&call.args[0])?;
    q.iter().for_each(|q| warn_quantile(eval, call, 0, *q));
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
    for arg in 2..call.args.len() {
        let q = eval.scalar(&call.args[arg])?;
        q.iter().for_each(|q| warn_quantile(eval, call, arg, *q));
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
                let (value, excludes_nan) = histogram::fraction(lower[step], upper[step], native);
                if excludes_nan {
                    let message =
                        "input to histogram_fraction has NaN observations, which are excluded from all fractions";
                    let message = format!("{message}{}", for_metric(groups.result_name(group)));
                    eval.query.notes.info(groups.origin, message);
                }
                value
            }
            Found::Classic(buckets) => buckets::fraction(lower[step], upper[step], buckets),
        };
        rows.row_mut(group)[step] = number(value);
    })?;
    let (labels, drops, rows) = groups.result(rows, Labels::clone)?;
    finish(eval, labels, drops, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_floats_have_a_point() {
        assert_eq!(
            ["0.0", "1.0", "0.25", "NaN"],
            [0.0, 1.0, 0.25, f64::NAN].map(open_metrics).each_ref().map(String::as_str)
        );
    }
}
