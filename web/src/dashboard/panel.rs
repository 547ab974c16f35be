//! A panel's queries and its picture.

use std::time::Duration;

use futures_util::future::join_all;
use query::{Answer, Point, Series, Steps, Value};
use tsdb::{Labels, TimeRange, Timestamp};

use super::model::{Panel, PanelKind, ValueKind};
use super::variables::{Choices, series_name, substitute, telling_names};
use crate::api::ApiError;
use crate::chart::{ChartOptions, Line, Theme, Unit, gauge, sparkline};
use crate::queries::Query;
use crate::state::AppState;
use crate::ui::Chart;

/// The span of time that a page or a picture shows, and its resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    pub(crate) step: Duration,
    /// The end as it was asked for: the moment of the latest numbers.
    pub(crate) at: Timestamp,
}

/// Points over the width of a picture.
const POINTS: i64 = 240;

impl Slice {
    /// From `start` to `end` in steps that suit a picture; moved to whole steps, so that a picture drawn a moment later
    /// shows the same points.
    pub(crate) fn new(start: Timestamp, end: Timestamp, step: Option<Duration>) -> Self {
        let span = end.millis().saturating_sub(start.millis()).max(1000);
        let step = step.unwrap_or_else(|| round_step(span / POINTS));
        let step_ms = (step.as_millis() as i64).max(1);
        let whole = |ms: i64| ms.div_euclid(step_ms) * step_ms;
        Self {
            start: Timestamp::from_millis(whole(start.millis())),
            end: Timestamp::from_millis(whole(end.millis())),
            step,
            at: end,
        }
    }

    pub(crate) fn range(&self) -> TimeRange {
        TimeRange { start: self.start, end: self.end }
    }
}

/// The next round duration.
fn round_step(ms: i64) -> Duration {
    const ROUND: [u64; 17] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 43_200, 86_400];
    let seconds =
        ROUND.into_iter().find(|&s| s as i64 * 1000 >= ms).unwrap_or_else(|| (ms as u64).div_ceil(86_400_000) * 86_400);
    Duration::from_secs(seconds)
}

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
        PanelKind::Stat => stat(state, panel, &exprs, slice).await.unwrap_or_else(|e| View::Error(e.message)),
        PanelKind::Gauge => gauge_view(state, panel, &exprs, slice).await.unwrap_or_else(|e| View::Error(e.message)),
        PanelKind::Table => table(state, panel, &exprs, slice).await.unwrap_or_else(|e| View::Error(e.message)),
    };
    PanelView { title: panel.title.clone(), description: panel.description.clone(), width: panel.width, view }
}

/// The query string of `/chart.svg` for a panel.
fn chart(panel: &Panel, exprs: &[String], slice: Slice) -> View {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (expr, spec) in exprs.iter().zip(&panel.queries) {
        query.append_pair("query", expr).append_pair("name", &spec.legend);
    }
    query.append_pair("start", &slice.start.to_string()).append_pair("end", &slice.end.to_string());
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

/// Evaluates an expression.
pub(crate) async fn evaluate(state: &AppState, expr: &str, steps: Steps) -> Result<Answer, ApiError> {
    let expr = query::parse(expr).map_err(|why| ApiError::parameter("query", why))?;
    let query = Query { expr, steps, lookback: None, count_all: false, timeout: state.options.query_timeout };
    state.queries.run(state.db.clone(), query).await.map(|(answer, _)| answer)
}

/// The series of several expressions over a slice of time, named by their templates.
pub(crate) async fn lines(state: &AppState, queries: &[(String, String)], slice: Slice) -> Result<Vec<Line>, ApiError> {
    let steps = || Steps::Range { start: slice.start, end: slice.end, step: slice.step };
    let answers = join_all(queries.iter().map(|(expr, _)| evaluate(state, expr, steps()))).await;
    let mut lines = Vec::new();
    for (answer, (_, template)) in answers.into_iter().zip(queries) {
        let Value::Matrix(matrix) = answer?.value else { continue };
        let names = if template.is_empty() {
            telling_names(matrix.iter().map(|series| &series.labels))
        } else {
            matrix.iter().map(|series| series_name(template, &series.labels)).collect()
        };
        lines.extend(names.into_iter().zip(matrix).map(|(name, series)| Line { name, series }));
    }
    Ok(lines)
}

/// The latest float of each series.
async fn latest(state: &AppState, expr: &str, slice: Slice) -> Result<Vec<(Labels, f64)>, ApiError> {
    Ok(match evaluate(state, expr, Steps::Instant(slice.at)).await?.value {
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

async fn stat(state: &AppState, panel: &Panel, exprs: &[String], slice: Slice) -> Result<View, ApiError> {
    let Some((labels, value)) = latest(state, &exprs[0], slice).await?.into_iter().next() else {
        return Ok(View::Empty);
    };
    if panel.show == ValueKind::Label {
        let value = series_name(&panel.queries[0].legend, &labels);
        return Ok(View::Stat { value, level: "", trend: String::new() });
    }
    let queries = [(exprs[0].clone(), String::new())];
    let trend = match lines(state, &queries, slice).await?.first() {
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

async fn gauge_view(state: &AppState, panel: &Panel, exprs: &[String], slice: Slice) -> Result<View, ApiError> {
    let Some((_, value)) = latest(state, &exprs[0], slice).await?.into_iter().next() else { return Ok(View::Empty) };
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
async fn table(state: &AppState, panel: &Panel, exprs: &[String], slice: Slice) -> Result<View, ApiError> {
    let answers = join_all(exprs.iter().map(|expr| latest(state, expr, slice))).await;
    let mut rows: Vec<(String, Vec<Cell>)> = Vec::new();
    for (column, answer) in answers.into_iter().enumerate() {
        let spec = &panel.queries[column];
        let (_, template) = spec.legend.split_once('|').unwrap_or(("", &spec.legend));
        for (labels, value) in answer? {
            let name = series_name(template, &labels);
            let at = rows.iter().position(|(n, _)| *n == name).unwrap_or_else(|| {
                rows.push((name, vec![Cell::default(); exprs.len()]));
                rows.len() - 1
            });
            rows[at].1[column] = Cell::new(spec.unit.unwrap_or(panel.unit), value);
        }
    }
    if rows.is_empty() {
        return Ok(View::Empty);
    }
    rows.sort();
    rows.truncate(MAX_ROWS);
    let heading =
        |spec: &super::model::Query| spec.legend.split_once('|').map_or("Value", |(heading, _)| heading).to_owned();
    let mut columns = vec![String::new()];
    columns.extend(panel.queries.iter().map(heading));
    let rows =
        rows.into_iter().map(|(name, cells)| std::iter::once(Cell { text: name, part: None }).chain(cells).collect());
    let rows = rows.collect();
    Ok(View::Table { columns, rows })
}
