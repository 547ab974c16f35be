//! `info`: series with the labels of the info metrics that describe the same instance and job.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;

use tsdb::{Labels, LabelsBuilder, METRIC_NAME, MatchOp, Matcher};

use crate::error::Error;
use crate::eval::grid::{Grid, Rows};
use crate::eval::selector::{self, Take};
use crate::eval::source::Source;
use crate::eval::table::{Cell, Table};
use crate::eval::{Eval, Output};
use crate::format::label_set;
use crate::parser::{Call, Expr, Modifiers};

/// The info metric that is meant if no other is named.
const DEFAULT_INFO: &str = "target_info";

/// The labels by which series and info series find each other.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

fn fail<T>(message: String) -> Result<T, Error> {
    Err(Error::Execution(message))
}

/// What the second argument asks for.
struct Wanted<'q> {
    names: Vec<Matcher>,
    /// Conditions on data labels by label; if there are any, only these labels are added.
    data: BTreeMap<&'q str, Vec<&'q Matcher>>,
}

impl<'q> Wanted<'q> {
    fn new(call: &'q Call) -> Self {
        let mut wanted = Self { names: Vec::new(), data: BTreeMap::new() };
        match call.args.get(1) {
            Some(Expr::Selector(selector)) => {
                for matcher in &selector.matchers {
                    if matcher.name() == METRIC_NAME {
                        wanted.names.push(matcher.clone());
                    } else {
                        wanted.data.entry(matcher.name()).or_default().push(matcher);
                    }
                }
            }
            _ => wanted.names.push(Matcher::equal(METRIC_NAME, DEFAULT_INFO)),
        }
        wanted
    }

    /// Whether series of this name are info series themselves.
    fn is_info(&self, name: &str) -> bool {
        self.names.iter().any(|m| !m.op().is_negative()) && self.names.iter().all(|m| m.matches(name))
    }

    fn takes(&self, label: &str) -> bool {
        self.data.is_empty() || self.data.contains_key(label)
    }

    /// Whether series without info series stay.
    fn is_optional(&self) -> bool {
        self.data.values().flatten().all(|m| m.matches_empty())
    }
}

/// `info(v, {…})`
pub(super) fn info<'q>(eval: Eval<'q>, call: &'q Call) -> Result<Output<'q>, Error> {
    let wanted = Wanted::new(call);
    let base = eval.table(&call.args[0])?;
    let is_info: Vec<bool> =
        (0..base.len()).map(|i| wanted.is_info(base.label(i, METRIC_NAME).unwrap_or_default())).collect();
    let infos = select(eval, call, &wanted, &base, &is_info)?;
    let join = Join::new(&wanted, &base, infos.as_ref())?;
    let steps = eval.grid.count;
    let mut places: HashMap<Labels, usize> = HashMap::new();
    let (mut labels, mut drops, mut rows) = (Vec::new(), Vec::new(), Rows { steps, ..Rows::default() });
    for (series, is_info) in is_info.iter().copied().enumerate() {
        eval.query.stop.check("expression evaluation")?;
        let mut last: Option<(Vec<u32>, Option<usize>)> = None;
        for step in 0..steps {
            let Some(cell) = base.get(series, step) else { continue };
            let chosen = if is_info { Vec::new() } else { join.choose(series, step)? };
            let row = match &last {
                Some((before, row)) if *before == chosen => *row,
                _ => {
                    let named = join.enriched(series, &chosen, is_info)?;
                    let row = named.map(|named| {
                        *places.entry(named).or_insert_with_key(|named| {
                            labels.push(named.clone());
                            drops.push(base.drops_name(series));
                            rows.values.resize(labels.len() * steps, crate::value::ABSENT);
                            if rows.has_histograms() {
                                rows.histograms.resize(labels.len() * steps, None);
                            }
                            labels.len() - 1
                        })
                    });
                    last = Some((chosen, row));
                    row
                }
            };
            let Some(row) = row else { continue };
            if rows.is_present(row, step) {
                return Err(crate::eval::table::duplicate_labels());
            }
            match cell {
                Cell::Float(value) => rows.row_mut(row)[step] = value,
                Cell::Histogram(histogram) => rows.set_histogram(row, step, histogram.clone()),
            }
        }
    }
    let table = Table::from_rows(eval.query, labels, rows)?.with_drops(drops);
    Ok(Output::Series(std::sync::Arc::new(table)))
}

/// Evaluates the info series that may describe `base`; their values are the times of their samples.
fn select<'q>(
    eval: Eval<'q>,
    call: &'q Call,
    wanted: &Wanted<'q>,
    base: &Table<'q>,
    is_info: &[bool],
) -> Result<Option<Table<'q>>, Error> {
    let mut matchers = wanted.names.clone();
    if matchers.is_empty() {
        matchers.push(Matcher::equal(METRIC_NAME, DEFAULT_INFO));
    } else if matchers.iter().all(|m| m.op().is_negative()) {
        // Names that are only excluded are excluded from what looks like an info metric.
        matchers.extend(Matcher::new(MatchOp::Regex, METRIC_NAME, ".+_info"));
    }
    let mut identified = false;
    for label in IDENTIFYING {
        let described = (0..base.len()).filter(|i| !is_info[*i]);
        let values: BTreeSet<&str> = described.filter_map(|i| base.label(i, label)).collect();
        if values.is_empty() {
            continue;
        }
        identified = true;
        let pattern: Vec<String> = values.into_iter().map(model::regex::escape).collect();
        // Too many values to ask for are filtered when series are matched.
        if let Ok(matcher) = Matcher::new(MatchOp::Regex, label, pattern.join("|")) {
            matchers.push(matcher);
        }
    }
    if !identified {
        return Ok(None);
    }
    matchers.extend(wanted.data.values().flatten().map(|m| (*m).clone()));
    let (grid, offset_ms) = reference_times(eval, &call.args[0])?;
    let at = Eval { grid, counts: false, ..eval };
    let source = selector::open_matching(at, &matchers, offset_ms, Take::Origin, call.span, false)?;
    let table = Table::of(eval.query, source, eval.grid.count)?;
    if table.rows.has_histograms() {
        return fail("info sample should be float".into());
    }
    Ok(Some(table))
}

/// When the first selector in `expr` looks, seen from the steps.
fn reference_times(eval: Eval<'_>, expr: &Expr) -> Result<(Grid, i64), Error> {
    let mut path = Vec::new();
    first_selector(expr, &mut path);
    let (mut grid, mut offset_ms) = (eval.grid, 0);
    for modifiers in path {
        let here = Eval { grid, ..eval };
        let offset = here.offset_ms(modifiers)?;
        if modifiers.at.is_some() {
            // `offset` leads from the first step to the fixed moment; what came before does not matter.
            grid.step = 0;
            offset_ms = offset;
        } else {
            offset_ms += offset;
        }
    }
    Ok((grid, offset_ms))
}

/// Collects the modifiers on the way to the first selector, outermost first.
fn first_selector<'e>(expr: &'e Expr, path: &mut Vec<&'e Modifiers>) -> bool {
    match expr {
        Expr::Selector(e) => path.push(&e.modifiers),
        Expr::Matrix(e) => path.push(&e.selector.modifiers),
        Expr::Subquery(e) => {
            path.push(&e.modifiers);
            if !first_selector(&e.inner, path) {
                path.pop();
                return false;
            }
        }
        other => return other.children().any(|child| first_selector(child, path)),
    }
    true
}

/// Which info series describe which series.
struct Join<'a, 'q> {
    wanted: &'a Wanted<'q>,
    base: &'a Table<'q>,
    infos: Option<&'a Table<'q>>,
    /// Info series by metric name, then by identifying labels.
    by_name: BTreeMap<&'a str, HashMap<Labels, Vec<u32>>>,
    identities: Vec<Labels>,
}

impl<'a, 'q> Join<'a, 'q> {
    fn new(wanted: &'a Wanted<'q>, base: &'a Table<'q>, infos: Option<&'a Table<'q>>) -> Result<Self, Error> {
        let mut by_name: BTreeMap<&str, HashMap<Labels, Vec<u32>>> = BTreeMap::new();
        if let Some(infos) = infos {
            for series in 0..infos.len() {
                let name = infos.label(series, METRIC_NAME).unwrap_or_default();
                let of_name = by_name.entry(name).or_default();
                of_name.entry(identity(infos, series)).or_default().push(series as u32);
            }
        }
        let identities = (0..base.len()).map(|series| identity(base, series)).collect();
        Ok(Self { wanted, base, infos, by_name, identities })
    }

    /// The info series of a series at a step: of each name the one with the newest sample.
    fn choose(&self, series: usize, step: usize) -> Result<Vec<u32>, Error> {
        let mut chosen = Vec::new();
        let Some(infos) = self.infos else { return Ok(chosen) };
        for of_name in self.by_name.values() {
            let mut newest: Option<(f64, u32)> = None;
            for info in of_name.get(&self.identities[series]).into_iter().flatten() {
                let Some(Cell::Float(time)) = infos.get(*info as usize, step) else { continue };
                match newest {
                    Some((before, other)) if before == time => {
                        return fail(format!(
                            "found duplicate series for info metric: existing {} @ {before}, new {} @ {time}",
                            label_set(&infos.labels(other as usize)),
                            label_set(&infos.labels(*info as usize)),
                        ));
                    }
                    Some((before, _)) if before > time => {}
                    _ => newest = Some((time, *info)),
                }
            }
            chosen.extend(newest.map(|(_, info)| info));
        }
        Ok(chosen)
    }

    /// The labels of a series with those of its info series; `None` if it needs some and has none.
    fn enriched(&self, series: usize, chosen: &[u32], is_info: bool) -> Result<Option<Labels>, Error> {
        let own = self.base.labels(series);
        if is_info {
            return Ok(Some(own));
        }
        if chosen.is_empty() && !self.wanted.is_optional() {
            return Ok(None);
        }
        let mut added = LabelsBuilder::default();
        for info in chosen {
            let Some(infos) = self.infos else { break };
            for (name, value) in &infos.labels(*info as usize) {
                if name == METRIC_NAME || !self.wanted.takes(name) {
                    continue;
                }
                if added.get(name).is_some_and(|before| before != value) {
                    return fail(format!("conflicting label: {name}"));
                }
                if own.get(name).is_none() {
                    added.set(name, value);
                }
            }
        }
        let mut builder = LabelsBuilder::new(&own);
        for label in added.labels() {
            builder.set(&label.name, &label.value);
        }
        Ok(Some(builder.build()))
    }
}

/// The identifying labels of a series.
fn identity(table: &Table<'_>, series: usize) -> Labels {
    Labels::from_sorted(IDENTIFYING.iter().filter_map(|name| Some((*name, table.label(series, name)?))))
}
