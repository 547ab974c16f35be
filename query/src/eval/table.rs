//! Evaluated series: rows in memory, with their labels.

use hashbrown::HashMap;
use std::ops::Range;
use std::sync::Arc;

use tsdb::{FloatHistogram, Labels};

use super::grid::Rows;
use super::query::{Held, Query};
use super::source::{Scratch, SharedSource, Source, for_each_batch};
use crate::error::{Error, Limit};
use crate::value::is_absent;

/// Where the labels of a table's series come from.
enum LabelColumn<'q> {
    Owned(Vec<Labels>),
    /// Series of another source, by index: their labels are made when asked for.
    Of(SharedSource<'q>, Vec<u32>),
}

/// Choice among series with equal labels of the one whose mark says if their name is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameOf {
    /// The first one.
    FirstSeries,
    /// The one that has the first value.
    FirstStep,
}

/// Series that have been evaluated.
pub(crate) struct Table<'q> {
    names: LabelColumn<'q>,
    /// Whether the name is to be dropped, per series; empty if for none.
    drops: Vec<bool>,
    one_name: bool,
    pub(crate) rows: Rows,
    _held: Held<'q>,
}

impl<'q> Table<'q> {
    /// Evaluates all of `source`. Series without any value are left out.
    ///
    /// # Errors
    /// If the evaluation fails or the rows take more memory than the query may use.
    pub(crate) fn of(query: &'q Query<'q>, source: SharedSource<'q>, steps: usize) -> Result<Self, Error> {
        let mut held = query.hold(0)?;
        let (mut rows, mut indices) = (Rows { steps, ..Rows::default() }, Vec::new());
        for_each_batch(
            query,
            &*source,
            steps,
            |range, rows, _| {
                if (0..range.len()).all(|series| rows.any_present(series)) {
                    return Ok((std::mem::take(rows), range.map(|index| index as u32).collect()));
                }
                let mut kept = Rows { steps, ..Rows::default() };
                let mut indices = Vec::new();
                for (series, index) in range.enumerate() {
                    if rows.any_present(series) {
                        kept.push_row(rows, series);
                        indices.push(index as u32);
                    }
                }
                Ok((kept, indices))
            },
            |(part, part_indices): (Rows, Vec<u32>)| {
                held.grow(part.side_bytes() + (part_indices.len() * size_of::<u32>()) as u64)?;
                held.grow_points(part.point_count())?;
                make_room(&mut rows.values, part.values.len(), &mut held)?;
                rows.append(part);
                indices.extend(part_indices);
                Ok(())
            },
        )?;
        let drops = if indices.iter().any(|i| source.drops_name(*i as usize)) {
            indices.iter().map(|i| source.drops_name(*i as usize)).collect()
        } else {
            Vec::new()
        };
        let one_name = source.one_name();
        Ok(Self { names: LabelColumn::Of(source, indices), drops, one_name, rows, _held: held })
    }

    /// A table of rows that are already there, one per label set.
    ///
    /// # Errors
    /// If it takes more memory than the query may use.
    pub(crate) fn from_rows(query: &'q Query<'q>, labels: Vec<Labels>, rows: Rows) -> Result<Self, Error> {
        debug_assert!(rows.steps == 0 || rows.len() == labels.len());
        let names: usize = labels.iter().map(|l| l.size_bytes() + size_of::<Labels>()).sum();
        let mut held = query.hold(names as u64 + rows.size_bytes())?;
        held.grow_points(rows.point_count())?;
        Ok(Self { names: LabelColumn::Owned(labels), drops: Vec::new(), one_name: false, rows, _held: held })
    }

    /// A table of rows that are already there, of some series of `source`.
    ///
    /// # Errors
    /// If it takes more memory than the query may use.
    pub(crate) fn picked(
        query: &'q Query<'q>,
        source: SharedSource<'q>,
        indices: Vec<u32>,
        rows: Rows,
    ) -> Result<Self, Error> {
        let mut held = query.hold(rows.size_bytes() + (indices.len() * size_of::<u32>()) as u64)?;
        held.grow_points(rows.point_count())?;
        let drops: Vec<bool> = indices.iter().map(|i| source.drops_name(*i as usize)).collect();
        let one_name = source.one_name();
        let table = Self { names: LabelColumn::Of(source, indices), drops: Vec::new(), one_name, rows, _held: held };
        Ok(table.with_drops(drops))
    }

    /// Marks series whose name is to be dropped.
    pub(crate) fn with_drops(mut self, drops: Vec<bool>) -> Self {
        self.drops = if drops.contains(&true) { drops } else { Vec::new() };
        self
    }

    /// Says that dropping the name makes no two series equal.
    pub(crate) fn with_one_name(mut self, one_name: bool) -> Self {
        self.one_name = one_name;
        self
    }

    /// Makes one series of those with equal labels, which may not have values at the same step.
    ///
    /// # Errors
    /// If they do.
    pub(crate) fn merged(
        query: &'q Query<'q>,
        source: SharedSource<'q>,
        steps: usize,
        name_of: NameOf,
    ) -> Result<Self, Error> {
        let table = Self::of(query, source, steps)?;
        let labels: Vec<Labels> = (0..table.len()).map(|i| table.labels(i)).collect();
        let mut first: HashMap<&Labels, usize> = HashMap::with_capacity(labels.len());
        let mut target = Vec::with_capacity(labels.len());
        for (index, labels) in labels.iter().enumerate() {
            target.push(*first.entry(labels).or_insert(index));
        }
        if target.iter().enumerate().all(|(index, target)| index == *target) {
            return Ok(table);
        }
        let (mut rows, mut names, mut drops) = (Rows { steps, ..Rows::default() }, Vec::new(), Vec::new());
        let mut place = vec![usize::MAX; labels.len()];
        for (index, target) in target.into_iter().enumerate() {
            if target == index {
                place[index] = names.len();
                names.push(labels[index].clone());
                drops.push(table.drops_name(index));
                rows.push_row(&table.rows, index);
                continue;
            }
            let first_step = |rows: &Rows, row| (0..steps).find(|step| rows.is_present(row, *step));
            if name_of == NameOf::FirstStep && first_step(&table.rows, index) < first_step(&rows, place[target]) {
                drops[place[target]] = table.drops_name(index);
            }
            for step in 0..steps {
                if !table.rows.is_present(index, step) {
                    continue;
                }
                if rows.is_present(place[target], step) {
                    return Err(duplicate_labels());
                }
                match table.rows.histogram(index, step) {
                    Some(histogram) => rows.set_histogram(place[target], step, histogram.clone()),
                    None => rows.row_mut(place[target])[step] = table.rows.row(index)[step],
                }
            }
        }
        Ok(Self::from_rows(query, names, rows)?.with_drops(drops))
    }

    /// The float or histogram of a series at a step.
    pub(crate) fn get(&self, series: usize, step: usize) -> Option<Cell<'_>> {
        if let Some(histogram) = self.rows.histogram(series, step) {
            return Some(Cell::Histogram(histogram));
        }
        let value = self.rows.values[series * self.rows.steps + step];
        (!is_absent(value)).then_some(Cell::Float(value))
    }
}

/// Makes room for `more` values, accounted for before it is there. Grows by half, not by doubling: what is held is what is
/// accounted for.
fn make_room(values: &mut Vec<f64>, more: usize, held: &mut Held<'_>) -> Result<(), Error> {
    let (before, needed) = (values.capacity(), values.len().saturating_add(more));
    if needed <= before {
        return Ok(());
    }
    let capacity = needed.max(before.saturating_add(before / 2));
    held.grow((capacity * size_of::<f64>()) as u64)?;
    if values.try_reserve_exact(capacity - values.len()).is_err() {
        return Err(Error::Limit(Limit::Memory, "query needs more memory than the system has to give".into()));
    }
    held.shrink((before * size_of::<f64>()) as u64);
    Ok(())
}

/// What a series has at one step.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cell<'a> {
    Float(f64),
    Histogram(&'a Arc<FloatHistogram>),
}

/// Two series of a result have the same labels.
pub(crate) fn duplicate_labels() -> Error {
    Error::Execution("vector cannot contain metrics with the same labelset".into())
}

impl Source for Table<'_> {
    fn len(&self) -> usize {
        match &self.names {
            LabelColumn::Owned(labels) => labels.len(),
            LabelColumn::Of(_, indices) => indices.len(),
        }
    }

    fn labels(&self, index: usize) -> Labels {
        match &self.names {
            LabelColumn::Owned(labels) => labels[index].clone(),
            LabelColumn::Of(source, indices) => source.labels(indices[index] as usize),
        }
    }

    fn label(&self, index: usize, name: &str) -> Option<&str> {
        match &self.names {
            LabelColumn::Owned(labels) => labels[index].get(name),
            LabelColumn::Of(source, indices) => source.label(indices[index] as usize, name),
        }
    }

    fn drops_name(&self, index: usize) -> bool {
        self.drops.get(index).copied().unwrap_or(false)
    }

    fn one_name(&self) -> bool {
        self.one_name
    }

    fn eval(&self, range: Range<usize>, rows: &mut Rows, _: &mut Scratch) -> Result<(), Error> {
        let cells = range.start * rows.steps..range.end * rows.steps;
        rows.values.copy_from_slice(&self.rows.values[cells.clone()]);
        if let Some(histograms) = self.rows.histograms.get(cells)
            && histograms.iter().any(Option::is_some)
        {
            rows.histograms.extend_from_slice(histograms);
        }
        Ok(())
    }
}
