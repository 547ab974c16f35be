//! A panel's queries and its picture.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use query::{Point, Series, Steps, Value};
use tsdb::{Db, Labels};

use super::lines::{Most, lines};
use super::model::{Panel, PanelKind, ValueKind};
use super::slice::Slice;
use super::variables::{Choices, series_name, substitute};
use crate::api::ApiError;
use crate::chart::{ChartOptions, Line, Theme, Unit, gauge, sparkline};
use crate::queries::{Query, Run};
use crate::state::AppState;
use crate::ui::Chart;

/// A panel as the page shows it.
pub(crate) struct PanelView {
    pub(crate) title: String,
    pub(crate) description: String,
    /// Twelfths of the page.
    pub(crate) width: u8,
    pub(crate) view: View,
}

/// What is in a panel.
pub(crate) enum View {
    /// A picture that the browser fetches.
    Chart(Chart),
    /// A number with its colour class and its trend as SVG.
    Stat { value: String, level: &'static str, trend: String },
    /// SVG.
    Gauge(String),
    /// Rows of cells, with the headings.
    Table { columns: Vec<String>, rows: Vec<Vec<Cell>> },
    /// There is nothing to show.
    Empty,
    /// Why it cannot be shown.
    Error(String),
}

/// A cell of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cell {
    pub(crate) text: String,
    /// Per cent of a whole, if the number is one.
    pub(crate) part: Option<u64>,
}

impl Cell {
    fn new(unit: Unit, value: f64) -> Self {
        let part = match unit {
            Unit::Ratio => Some(value * 100.0),
            Unit::Percent => Some(value),
            _ => None,
        };
        // The cast takes what is no number, or below zero, to zero.
        Self { text: unit.format(value), part: part.map(|part| part.min(100.0) as u64) }
    }
}

/// Rows of a table at the most.
const MAX_ROWS: usize = 100;

/// Evaluates what the page itself shows of a panel. Charts are left to the browser, which asks for them one by one.
pub(crate) async fn render(state: &AppState, panel: &Panel, choices: &[Choices], slice: Slice) -> PanelView {
    let exprs: Vec<String> = panel.queries.iter().map(|q| substitute(&q.expr, choices, slice.step)).collect();
    let view = match panel.kind {
        PanelKind::Line | PanelKind::StackedArea | PanelKind::Bar => chart(panel, &exprs, slice),
        PanelKind::Stat => evaluated(state, panel, exprs, slice, stat).await,
        PanelKind::Gauge => evaluated(state, panel, exprs, slice, gauge_view).await,
        PanelKind::Table => evaluated(state, panel, exprs, slice, table).await,
    };
    PanelView { title: panel.title.clone(), description: panel.description.clone(), width: panel.width, view }
}

/// What a panel's expressions are evaluated with.
struct Evaluation {
    run: Run,
    db: Arc<Db>,
    exprs: Vec<String>,
    slice: Slice,
}

/// The view that `make` makes of a panel, in a place among the queries.
async fn evaluated(
    state: &AppState,
    panel: &Panel,
    exprs: Vec<String>,
    slice: Slice,
    make: fn(&mut Evaluation, &Panel) -> Result<View, ApiError>,
) -> View {
    let (db, panel) = (Arc::clone(&state.db), panel.clone());
    let work = move |run| make(&mut Evaluation { run, db, exprs, slice }, &panel);
    state.queries.guarded(state.options.query_timeout, work).await.unwrap_or_else(|why| View::Error(why.message))
}

impl Evaluation {
    /// The latest float of each series of an expression.
    fn latest(&mut self, expr: &str) -> Result<Vec<(Labels, f64)>, ApiError> {
        let expr = query::parse(expr).map_err(|why| ApiError::parameter("query", why))?;
        let steps = Steps::Instant(self.slice.at);
        let query = Query { expr, steps, lookback: None, count_all: false, timeout: Duration::ZERO };
        Ok(match self.run.evaluate(&*self.db, &query)?.value {
            Value::Scalar(value) => vec![(Labels::empty(), value)],
            Value::Vector(samples) => samples
                .into_iter()
                .filter_map(|s| match s.point {
                    Point::Float(value) => Some((s.labels, value)),
                    Point::Histogram(_) => None,
                })
                .collect(),
            Value::Matrix(_) | Value::String(_) => Vec::new(),
        })
    }

    /// The latest float of the first series of the first expression.
    fn first(&mut self) -> Result<Option<(Labels, f64)>, ApiError> {
        let expr = self.exprs[0].clone();
        Ok(self.latest(&expr)?.into_iter().next())
    }
}

/// The query string of `/chart.svg` for a panel.
fn chart(panel: &Panel, exprs: &[String], slice: Slice) -> View {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (expr, spec) in exprs.iter().zip(&panel.queries) {
        query.append_pair("query", expr).append_pair("name", &spec.legend);
    }
    query.append_pair("start", &slice.start.to_string()).append_pair("end", &slice.at.to_string());
    query.append_pair("step", &slice.step.as_secs_f64().to_string());
    query.append_pair("unit", panel.unit.name());
    query.append_pair(
        "type",
        match panel.kind {
            PanelKind::StackedArea => "area",
            PanelKind::Bar => "bar",
            _ => "line",
        },
    );
    for (name, bound) in [("min", panel.min), ("max", panel.max)] {
        if let Some(bound) = bound {
            query.append_pair(name, &bound.to_string());
        }
    }
    let width = (u32::from(panel.width) * 100).max(240);
    View::Chart(Chart { query: query.finish(), title: panel.title.clone(), width, height: panel.height })
}

fn stat(evaluation: &mut Evaluation, panel: &Panel) -> Result<View, ApiError> {
    let Some((labels, value)) = evaluation.first()? else { return Ok(View::Empty) };
    if panel.show == ValueKind::Label {
        let value = series_name(&panel.queries[0].legend, &labels);
        return Ok(View::Stat { value, level: "", trend: String::new() });
    }
    let queries = [(evaluation.exprs[0].clone(), String::new())];
    let most = Most { series: 1, points: usize::MAX };
    let trend = match lines(&mut evaluation.run, &*evaluation.db, &queries, evaluation.slice, most)?.lines.first() {
        Some(Line { series: Series { values, .. }, .. }) => {
            let options = ChartOptions { width: 240, height: 40, theme: Theme::Page, ..ChartOptions::default() };
            sparkline(values, &options)
        }
        None => String::new(),
    };
    Ok(View::Stat { value: panel.unit.format(value), level: level(panel, value), trend })
}

/// The class of the colour that thresholds give a number.
fn level(panel: &Panel, value: f64) -> &'static str {
    match panel.thresholds {
        Some((_, red)) if value >= red => "red",
        Some((amber, _)) if value >= amber => "amber",
        Some(_) => "green",
        None => "",
    }
}

fn gauge_view(evaluation: &mut Evaluation, panel: &Panel) -> Result<View, ApiError> {
    let Some((_, value)) = evaluation.first()? else { return Ok(View::Empty) };
    let options = ChartOptions {
        width: 240,
        height: 140,
        theme: Theme::Page,
        unit: panel.unit,
        min: panel.min,
        max: panel.max,
        ..ChartOptions::default()
    };
    let full = if panel.unit == Unit::Ratio { 1.0 } else { 100.0 };
    Ok(View::Gauge(gauge(value, panel.thresholds.unwrap_or((full * 0.7, full * 0.9)), &options)))
}

/// A row per series name, a column per query.
fn table(evaluation: &mut Evaluation, panel: &Panel) -> Result<View, ApiError> {
    let mut rows: BTreeMap<String, Vec<Cell>> = BTreeMap::new();
    let count = evaluation.exprs.len();
    for (column, expr) in evaluation.exprs.clone().iter().enumerate() {
        let spec = &panel.queries[column];
        let (_, template) = spec.legend.split_once('|').unwrap_or(("", &spec.legend));
        for (labels, value) in evaluation.latest(expr)? {
            let name = series_name(template, &labels);
            evaluation.run.take(name.len() + count * size_of::<Cell>())?;
            let cells = rows.entry(name).or_insert_with(|| vec![Cell::default(); count]);
            cells[column] = Cell::new(spec.unit.unwrap_or(panel.unit), value);
        }
    }
    if rows.is_empty() {
        return Ok(View::Empty);
    }
    let heading =
        |spec: &super::model::Query| spec.legend.split_once('|').map_or("Value", |(heading, _)| heading).to_owned();
    let mut columns = vec![String::new()];
    columns.extend(panel.queries.iter().map(heading));
    let row = |(name, cells)| std::iter::once(Cell { text: name, part: None }).chain(cells).collect();
    let rows = rows.into_iter().take(MAX_ROWS).map(row).collect();
    Ok(View::Table { columns, rows })
}
