//! Arithmetic and comparison between two vectors.

use hashbrown::HashMap;
use std::sync::Arc;

use tsdb::{Labels, LabelsBuilder};

use super::super::grid::Rows;
use super::super::query::Held;
use super::super::source::{SharedSource, Source, is_metadata, without_metadata};
use super::super::table::{Cell, Table};
use super::super::{Eval, Output};
use super::cells::{Outcome, apply};
use super::scalar::{arithmetic, compares, drops_name};
use super::signature::{ByNumber, Signatures};
use crate::error::Error;
use crate::format::label_set;
use crate::parser::{Binary, BinaryOp, Cardinality, Matching};
use crate::value::{ABSENT, is_absent};

/// Evaluates an operator between two vectors.
pub(super) fn eval<'q>(
    eval: Eval<'q>,
    e: &'q Binary,
    matching: &'q Matching,
    lhs: SharedSource<'q>,
    rhs: SharedSource<'q>,
) -> Result<Output<'q>, Error> {
    let (query, steps) = (eval.query, eval.grid.count);
    let lhs = Table::of(query, lhs, steps)?;
    let rhs = Table::of(query, rhs, steps)?;
    let mut signatures = Signatures::new(matching);
    let swapped = matching.cardinality == Cardinality::OneToMany;
    let (many, one) = if swapped { (&rhs, &lhs) } else { (&lhs, &rhs) };
    let (many_numbers, one_numbers) = (signatures.of(many), signatures.of(one));
    let count = signatures.len();
    let _held = query.hold(signatures.size_bytes())?;
    let mut join = Join {
        eval,
        e,
        matching,
        signatures: &signatures,
        many,
        one,
        swapped,
        fill_many: matching.fill.left,
        fill_one: matching.fill.right,
        many_present: any_present(many),
        by_signature: vec![None; count],
        output: Results::new(eval, query.hold(0)?),
    };
    let (many_lists, one_lists) = (ByNumber::new(&many_numbers, count), ByNumber::new(&one_numbers, count));
    for number in 0..count {
        query.stop.check("expression evaluation")?;
        join.group(number, many_lists.get(number), one_lists.get(number))?;
    }
    Ok(Output::Series(Arc::new(join.output.finish(eval)?)))
}

/// Whether any series has a value, by step.
fn any_present(table: &Table<'_>) -> Vec<bool> {
    let mut present = vec![false; table.rows.steps];
    for series in 0..table.len() {
        for (step, present) in present.iter_mut().enumerate() {
            *present |= table.rows.is_present(series, step);
        }
    }
    present
}

struct Join<'a, 'q> {
    eval: Eval<'q>,
    e: &'q Binary,
    matching: &'q Matching,
    signatures: &'a Signatures<'q>,
    /// The side that may have several series per signature.
    many: &'a Table<'q>,
    /// The side that may not.
    one: &'a Table<'q>,
    /// Whether the many side stands on the right.
    swapped: bool,
    /// `fill_left`, which Prometheus gives to the many side even if that stands on the right.
    fill_many: Option<f64>,
    fill_one: Option<f64>,
    many_present: Vec<bool>,
    /// Rows of results whose labels are their signature.
    by_signature: Vec<Option<usize>>,
    output: Results<'q>,
}

impl<'q> Join<'_, 'q> {
    /// Joins the series of one signature.
    fn group(&mut self, number: usize, many: &[u32], one: &[u32]) -> Result<(), Error> {
        let filled = self.fill_many.is_some() || self.fill_one.is_some();
        let one_to_one = self.matching.cardinality == Cardinality::OneToOne;
        let floats = !self.many.rows.has_histograms() && !self.one.rows.has_histograms() && !self.e.op.is_trim();
        if let [one] = one
            && floats
            && !filled
            && (many.len() == 1 || !one_to_one)
        {
            return many.iter().try_for_each(|many| {
                self.eval.query.stop.check("expression evaluation")?;
                self.pair(number, *many as usize, *one as usize)
            });
        }
        if one.len() > 1 {
            self.check_one_side(number, one, filled)?;
        }
        let steps = self.eval.grid.count;
        let partner: Vec<Option<u32>> = (0..steps)
            .map(|step| one.iter().copied().find(|series| self.one.rows.is_present(*series as usize, step)))
            .collect();
        let mut matched = vec![false; steps];
        for series in many {
            self.eval.query.stop.check("expression evaluation")?;
            let mut last = None;
            for step in 0..steps {
                let matches = partner[step].is_some() || self.fill_one.is_some();
                if !matches || !self.many.rows.is_present(*series as usize, step) {
                    continue;
                }
                if std::mem::replace(&mut matched[step], true) && one_to_one {
                    return Err(Error::Execution(
                        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
                            .into(),
                    ));
                }
                self.emit(number, Some(*series), partner[step], step, &mut last)?;
            }
        }
        if self.fill_many.is_some() {
            let mut last = None;
            for step in 0..steps {
                if !matched[step] && partner[step].is_some() {
                    self.emit(number, None, partner[step], step, &mut last)?;
                }
            }
        }
        Ok(())
    }

    /// The usual case: one float series on each side.
    fn pair(&mut self, number: usize, many: usize, one: usize) -> Result<(), Error> {
        let (op, return_bool) = (self.e.op, self.e.return_bool);
        let (many_row, one_row) = (self.many.rows.row(many), self.one.rows.row(one));
        let (left, right) = if self.swapped { (one_row, many_row) } else { (many_row, one_row) };
        if left.iter().zip(right).all(|(a, b)| is_absent(*a) || is_absent(*b)) {
            return Ok(());
        }
        let row = self.row(number, Some(many as u32), Some(one as u32))?;
        let cells = row * left.len()..(row + 1) * left.len();
        let (values, matched) = (&mut self.output.rows.values[cells.clone()], &mut self.output.matched[cells]);
        let mut overlap = false;
        combine_rows(op, return_bool, left, right, &mut self.output.scratch);
        for (step, value) in self.output.scratch.iter().enumerate() {
            if !is_absent(left[step]) && !is_absent(right[step]) {
                overlap |= std::mem::replace(&mut matched[step], true);
                values[step] = *value;
            }
        }
        if overlap { Err(Results::ambiguous(self.matching)) } else { Ok(()) }
    }

    /// At no step may two series of the one side have a value, unless the other side has nothing at all.
    fn check_one_side(&self, number: usize, one: &[u32], filled: bool) -> Result<(), Error> {
        for step in 0..self.eval.grid.count {
            self.eval.query.stop.check("expression evaluation")?;
            let mut present = one.iter().copied().filter(|series| self.one.rows.is_present(*series as usize, step));
            let (first, second) = (present.next(), present.next());
            if let (Some(first), Some(second)) = (first, second)
                && (self.many_present[step] || filled)
            {
                let mut names = [first, second].map(|series| self.one.labels(series as usize));
                names.sort();
                return Err(Error::Execution(format!(
                    "found duplicate series for the match group {} on the {} hand-side of the operation: [{}, {}];\
                     many-to-many matching not allowed: matching labels must be unique on one side",
                    label_set(&self.signatures.labels(number)),
                    if self.swapped { "left" } else { "right" },
                    label_set(&names[0]),
                    label_set(&names[1]),
                )));
            }
        }
        Ok(())
    }

    /// Computes one value; `None` stands for a side that is filled in. `last` is the partner of the step before, and
    /// the result's row.
    fn emit(
        &mut self,
        number: usize,
        many: Option<u32>,
        one: Option<u32>,
        step: usize,
        last: &mut Option<(Option<u32>, usize)>,
    ) -> Result<(), Error> {
        let cell = |table: &'_ Table<'q>, series: Option<u32>, fill: Option<f64>| match series {
            Some(series) => table.get(series as usize, step).map(Outcome::from),
            None => fill.map(Outcome::Float),
        };
        let many_value = cell(self.many, many, self.fill_many);
        let one_value = cell(self.one, one, self.fill_one);
        let (Some(many_value), Some(one_value)) = (many_value, one_value) else { return Ok(()) };
        let (left, right) = if self.swapped { (&one_value, &many_value) } else { (&many_value, &one_value) };
        let outcome = match (left.as_cell(), right.as_cell()) {
            (Some(a), Some(b)) => apply(self.eval.query, self.e, a, b),
            _ => Outcome::Nothing,
        };
        let row = match last {
            Some((before, row)) if *before == one => *row,
            _ => {
                let row = self.row(number, many, one)?;
                *last = Some((one, row));
                row
            }
        };
        self.output.set(row, step, outcome, self.matching)
    }

    /// The row of a result.
    fn row(&mut self, number: usize, many: Option<u32>, one: Option<u32>) -> Result<usize, Error> {
        let drops = self.e.return_bool && self.eval.query.delays_name_removal();
        // One-to-one, and without the name: then the signature makes the labels.
        let one_to_one = self.matching.cardinality == Cardinality::OneToOne;
        let unnamed = self.unnamed();
        if one_to_one && (self.matching.on || unnamed) {
            if let Some(row) = self.by_signature[number] {
                return Ok(row);
            }
            let mut labels = self.signatures.labels(number);
            let listed = self.matching.labels.iter().any(|label| is_metadata(label));
            if unnamed && (listed || self.eval.query.has_metadata_labels()?) {
                labels = without_metadata(&labels);
            }
            let row = self.output.new_row(labels, drops)?;
            self.by_signature[number] = Some(row);
            return Ok(row);
        }
        let labels = self.labels(number, many, one);
        self.output.row_of(labels, drops)
    }

    /// Whether the name goes at once: arithmetic never delays that, only `bool` does.
    fn unnamed(&self) -> bool {
        drops_name(self.e) && !(self.e.return_bool && self.eval.query.delays_name_removal())
    }

    /// The labels of a result.
    fn labels(&self, number: usize, many: Option<u32>, one: Option<u32>) -> Labels {
        let drop_name = self.unnamed();
        let signature = || self.signatures.labels(number);
        let base = many.map_or_else(signature, |series| self.many.labels(series as usize));
        if self.matching.cardinality == Cardinality::OneToOne {
            return self.signatures.one_to_one(&base, drop_name);
        }
        let mut builder = LabelsBuilder::new(&base);
        if drop_name {
            builder.retain(|label| !is_metadata(&label.name));
        }
        for name in &self.matching.include {
            match one {
                Some(series) => builder.set(name, self.one.label(series as usize, name).unwrap_or_default()),
                None => builder.set(name, signature().get(name).unwrap_or_default()),
            };
        }
        builder.build()
    }
}

impl Outcome {
    fn as_cell(&self) -> Option<Cell<'_>> {
        match self {
            Self::Float(value) => Some(Cell::Float(*value)),
            Self::Histogram(histogram) => Some(Cell::Histogram(histogram)),
            Self::Nothing => None,
        }
    }
}

/// Two rows of floats, operator by operator, so that each loop can do several steps at once.
fn combine_rows(op: BinaryOp, return_bool: bool, left: &[f64], right: &[f64], out: &mut [f64]) {
    macro_rules! each {
        ($f:expr) => {
            for ((out, a), b) in out.iter_mut().zip(left).zip(right) {
                let result = $f(*a, *b);
                *out = if is_absent(*a) || is_absent(*b) { ABSENT } else { result };
            }
        };
    }
    match op {
        BinaryOp::Add => each!(|a: f64, b: f64| a + b),
        BinaryOp::Sub => each!(|a: f64, b: f64| a - b),
        BinaryOp::Mul => each!(|a: f64, b: f64| a * b),
        BinaryOp::Div => each!(|a: f64, b: f64| a / b),
        _ if op.is_comparison() && return_bool => each!(|a: f64, b: f64| f64::from(u8::from(compares(op, a, b)))),
        _ if op.is_comparison() => each!(|a: f64, b: f64| if compares(op, a, b) { a } else { ABSENT }),
        _ => each!(|a: f64, b: f64| arithmetic(op, a, b)),
    }
}

/// Result series by their labels.
struct Results<'q> {
    labels: Vec<Labels>,
    drops: Vec<bool>,
    places: HashMap<Labels, usize>,
    rows: Rows,
    /// Steps that a result was computed for, filtered away or not.
    matched: Vec<bool>,
    /// One row.
    scratch: Vec<f64>,
    held: Held<'q>,
}

impl<'q> Results<'q> {
    fn new(eval: Eval<'q>, held: Held<'q>) -> Self {
        Self {
            labels: Vec::new(),
            drops: Vec::new(),
            places: HashMap::new(),
            rows: Rows { steps: eval.grid.count, ..Rows::default() },
            matched: Vec::new(),
            scratch: vec![ABSENT; eval.grid.count],
            held,
        }
    }

    fn row_of(&mut self, labels: Labels, drops: bool) -> Result<usize, Error> {
        if let Some(row) = self.places.get(&labels) {
            return Ok(*row);
        }
        let row = self.new_row(labels.clone(), drops)?;
        self.places.insert(labels, row);
        Ok(row)
    }

    fn new_row(&mut self, labels: Labels, drops: bool) -> Result<usize, Error> {
        let row = self.labels.len();
        let steps = self.rows.steps;
        self.held.grow((steps * (size_of::<f64>() + 1) + labels.size_bytes() + 64) as u64)?;
        self.rows.values.resize((row + 1) * steps, ABSENT);
        if self.rows.has_histograms() {
            self.rows.histograms.resize((row + 1) * steps, None);
        }
        self.matched.resize((row + 1) * steps, false);
        self.labels.push(labels);
        self.drops.push(drops);
        Ok(row)
    }

    fn set(&mut self, row: usize, step: usize, outcome: Outcome, matching: &Matching) -> Result<(), Error> {
        if std::mem::replace(&mut self.matched[row * self.rows.steps + step], true) {
            return Err(Self::ambiguous(matching));
        }
        match outcome {
            Outcome::Float(value) => self.rows.row_mut(row)[step] = value,
            Outcome::Histogram(histogram) => self.rows.set_histogram(row, step, histogram),
            Outcome::Nothing => {}
        }
        Ok(())
    }

    /// Two matches make the same result.
    fn ambiguous(matching: &Matching) -> Error {
        if matching.cardinality == Cardinality::OneToOne {
            return super::super::table::duplicate_labels();
        }
        Error::Execution("multiple matches for labels: grouping labels must ensure unique matches".into())
    }

    fn finish(self, eval: Eval<'q>) -> Result<Table<'q>, Error> {
        let (mut rows, mut labels, mut drops) =
            (Rows { steps: self.rows.steps, ..Rows::default() }, Vec::new(), Vec::new());
        if (0..self.labels.len()).all(|row| self.rows.any_present(row)) {
            (rows, labels, drops) = (self.rows, self.labels, self.drops);
        } else {
            for (row, name) in self.labels.into_iter().enumerate() {
                if self.rows.any_present(row) {
                    rows.push_row(&self.rows, row);
                    labels.push(name);
                    drops.push(self.drops[row]);
                }
            }
        }
        drop(self.held);
        Ok(Table::from_rows(eval.query, labels, rows)?.with_drops(drops))
    }
}
