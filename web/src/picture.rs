//! `/chart.svg`: the answer to a query as a picture, at an address that stays. `/chart.json`: the same as numbers, for
//! the script that puts a cross-hair over the picture.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use jiff::tz::TimeZone;
use model::{format_duration, parse_duration};
use query::is_absent;
use serde_json::json;
use tsdb::Timestamp;

use crate::api::params::Params;
use crate::api::{ApiError, Notes, begin_with, put_str, reply};
use crate::chart::{
    self, ChartOptions, Kind, Line, SIZES, Theme, Unit, colors_for, css, draw, draw_error, draw_message,
};
use crate::dashboard::{Drawn, Most, Slice, lines};
use crate::queries::Run;
use crate::reply::Reply;
use crate::state::{AppState, now};

const SVG: &str = "image/svg+xml";

/// Points of a series of a picture at the most.
const MAX_POINTS: i64 = 11_000;

/// Bytes that drawing takes for a point beside the picture, about.
const DRAWN_POINT_BYTES: usize = 64;

/// The years 1 to 9998: what a picture of all of time shows. Calendars know no others.
const FIRST_DRAWN: Timestamp = Timestamp::from_millis(-62_135_596_800_000);
const LAST_DRAWN: Timestamp = Timestamp::from_millis(253_370_764_800_000);

/// The contents of a picture.
struct Picture {
    /// Expressions, each with the template that names its series.
    queries: Vec<(String, String)>,
    slice: Slice,
    options: ChartOptions,
    timeout: Duration,
}

/// `/chart.svg`.
pub(crate) async fn svg(State(state): State<AppState>, params: Params) -> Response {
    // The looks first: an error is drawn in them.
    let options = looks(&params);
    let fallback = options.as_ref().map_or_else(|_| ChartOptions::default(), Clone::clone);
    let drawn = async {
        let picture = Picture::from_params(&state, &params, options?)?;
        let (timeout, of_work) = (picture.timeout, state.clone());
        let reply = state.queries.guarded(timeout, move |run| picture.draw(&of_work, run)).await?;
        Ok(reply.send(&state.queries, timeout))
    };
    let mut response = drawn.await.unwrap_or_else(|ApiError { kind, message }| {
        let headers = [(header::CONTENT_TYPE, SVG)];
        (kind.status(), headers, draw_error(&message, &fallback)).into_response()
    });
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// `/chart.json`: where the plot is in the picture of the same parameters, and the points that are drawn.
pub(crate) async fn data(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    let picture = Picture::from_params(&state, &params, looks(&params)?)?;
    let (timeout, of_work) = (picture.timeout, state.clone());
    let reply = state.queries.guarded(timeout, move |run| picture.write(&of_work, run)).await?;
    Ok(reply.send(&state.queries, timeout))
}

impl Picture {
    fn from_params(state: &AppState, params: &Params, mut options: ChartOptions) -> Result<Self, ApiError> {
        let (count, most) = (params.all("query").count(), state.options.max_chart_queries);
        if count > most {
            let why = format!(
                "a chart has at most {most} queries, the limit set by --web.max-chart-queries; here are {count}"
            );
            return Err(ApiError::parameter("query", why));
        }
        let names: Vec<&str> = params.all("name").take(count).collect();
        let named = |(i, expr): (usize, &str)| (expr.to_owned(), names.get(i).copied().unwrap_or_default().to_owned());
        let queries: Vec<_> = params.all("query").enumerate().map(named).collect();
        if queries.is_empty() {
            return Err(ApiError::parameter("query", "there is none"));
        }
        if params.get("unit").is_empty() {
            options.unit = Unit::guess(&queries[0].0);
        }
        Ok(Self { queries, slice: slice(params, now())?, options, timeout: state.queries.timeout(params)? })
    }

    /// Evaluates the expressions; the picture gets to know how many series it leaves out.
    fn lines(&mut self, state: &AppState, run: &mut Run) -> Result<Vec<Line>, ApiError> {
        let most = Most { series: self.options.max_series, points: state.options.max_chart_points };
        let Drawn { lines, left_out } = lines(run, &*state.db, &self.queries, self.slice, most)?;
        self.options.left_out = left_out;
        Ok(lines)
    }

    /// As SVG.
    fn draw(mut self, state: &AppState, mut run: Run) -> Result<Reply, ApiError> {
        let lines = self.lines(state, &mut run)?;
        let svg = if lines.is_empty() {
            draw_message(&self.no_data(state), &self.options)
        } else {
            let points: usize = lines.iter().map(|line| line.series.values.len()).sum();
            run.take(points * DRAWN_POINT_BYTES)?;
            let svg = draw(&lines, self.slice.range(), &self.options);
            run.give_back((points * DRAWN_POINT_BYTES) as u64);
            svg
        };
        run.take(svg.len())?;
        Ok(Reply::whole(StatusCode::OK, SVG, svg.into_bytes(), run.into_lease()))
    }

    fn no_data(&self, state: &AppState) -> String {
        let mut text = "No data in this time range".to_owned();
        // What came and went between two steps is not seen.
        if self.slice.step > state.queries.engine().options().lookback {
            text.push_str(&format!(" at steps of {}", format_duration(self.slice.step)));
        }
        text
    }

    /// As JSON.
    fn write(mut self, state: &AppState, mut run: Run) -> Result<Reply, ApiError> {
        let lines = self.lines(state, &mut run)?;
        let geometry = chart::geometry(&lines, &self.options);
        let colors = colors_for(lines.iter().map(|line| line.name.as_str()));
        let range = self.slice.range();
        let head = json!({
            "size": [self.options.width, self.options.height],
            "plot": geometry.plot,
            "values": geometry.values,
            "time": [range.start.millis(), range.end.millis()],
            "step": self.slice.step.as_millis() as u64,
        });
        let mut body = begin_with(&head);
        // The series come last in the object.
        body.pop();
        body.extend_from_slice(b",\"series\":[");
        for (i, (line, color)) in lines.iter().zip(colors).enumerate() {
            let before = body.len();
            if i > 0 {
                body.push(b',');
            }
            put_line(&mut body, line, &css(color), self.options.unit);
            run.take(body.len() - before)?;
        }
        body.extend_from_slice(b"]}");
        Ok(reply(run, body, &Notes::default()))
    }
}

/// Appends a line as an object: its name, its colour, and its points as moment, value and the value as people write it.
fn put_line(out: &mut Vec<u8>, Line { name, series }: &Line, color: &str, unit: Unit) {
    out.extend_from_slice(b"{\"name\":");
    put_str(out, name);
    out.extend_from_slice(b",\"color\":");
    put_str(out, color);
    out.extend_from_slice(b",\"points\":[");
    let points = series.timestamps_ms.iter().zip(&series.values).filter(|(_, v)| !is_absent(**v) && v.is_finite());
    for (i, (at, value)) in points.enumerate() {
        out.extend_from_slice(if i > 0 { b",[" } else { b"[" });
        out.extend_from_slice(format!("{at},{value:?},").as_bytes());
        put_str(out, &unit.format(*value));
        out.push(b']');
    }
    out.extend_from_slice(b"]}");
}

/// The span of time that parameters ask for: `start` and `end`, or `range` up to `end` or to now; by default an hour.
pub(crate) fn slice(params: &Params, now: Timestamp) -> Result<Slice, ApiError> {
    let drawn = |at: Timestamp| at.clamp(FIRST_DRAWN, LAST_DRAWN);
    let end = params.time("end")?.map_or(now, drawn);
    let range = match params.get("range") {
        "" => Duration::from_secs(3600),
        text => parse_duration(text).ok().filter(|range| !range.is_zero()).ok_or_else(|| {
            ApiError::parameter("range", format!("cannot parse {text:?} to a duration like 15m or 6h"))
        })?,
    };
    let start = params.time("start")?.map(drawn).unwrap_or_else(|| end.plus_millis(-(range.as_millis() as i64)));
    if end < start {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    let step = params.duration("step")?.filter(|step| !step.is_zero());
    let slice = Slice::new(start, end, step);
    if slice.end.millis().saturating_sub(slice.start.millis()) / (slice.step.as_millis() as i64).max(1) > MAX_POINTS {
        return Err(ApiError::parameter("step", "exceeded maximum resolution of 11,000 points; try a larger step"));
    }
    Ok(slice)
}

/// The clock and calendar that parameters ask for.
pub(crate) fn zone(params: &Params) -> Result<TimeZone, ApiError> {
    match params.get("tz") {
        "" => Ok(TimeZone::UTC),
        "local" => Ok(TimeZone::system()),
        name => TimeZone::get(name).map_err(|_| ApiError::parameter("tz", format!("there is no time zone {name:?}"))),
    }
}

/// What the picture looks like.
fn looks(params: &Params) -> Result<ChartOptions, ApiError> {
    let mut options =
        ChartOptions { title: params.get("title").to_owned(), zone: zone(params)?, ..ChartOptions::default() };
    let size = |name: &str, default: u32, allowed: std::ops::RangeInclusive<u32>| match params.get(name) {
        "" => Ok(default),
        text => text.parse().ok().filter(|size| allowed.contains(size)).ok_or_else(|| {
            ApiError::parameter(
                name,
                format!("must be a number of pixels from {} to {}", allowed.start(), allowed.end()),
            )
        }),
    };
    options.width = size("width", options.width, SIZES.0)?;
    options.height = size("height", options.height, SIZES.1)?;
    let bound = |name: &str| match params.get(name) {
        "" => Ok(None),
        text => match text.parse::<f64>() {
            Ok(bound) if bound.is_finite() => Ok(Some(bound)),
            _ => Err(ApiError::parameter(name, "must be a number")),
        },
    };
    (options.min, options.max) = (bound("min")?, bound("max")?);
    if options.min.zip(options.max).is_some_and(|(min, max)| max <= min) {
        return Err(ApiError::parameter("max", "must be greater than min"));
    }
    let chosen = |name: &str, choices: &str| ApiError::parameter(name, format!("must be one of {choices}"));
    match params.get("theme") {
        "" => {}
        text => options.theme = Theme::parse(text).ok_or_else(|| chosen("theme", "light, dark, page"))?,
    }
    match params.get("type") {
        "" => {}
        text => options.kind = Kind::parse(text).ok_or_else(|| chosen("type", "line, area, bar"))?,
    }
    match params.get("unit") {
        "" => {}
        text => options.unit = Unit::parse(text).ok_or_else(|| chosen("unit", Unit::NAMES))?,
    }
    match params.get("legend") {
        "" | "true" | "1" => {}
        "false" | "0" => options.legend = false,
        _ => return Err(chosen("legend", "true, false")),
    }
    match params.get("max_series") {
        "" => {}
        text => {
            let series = text.parse().ok().filter(|n| (1..=1000).contains(n));
            options.max_series =
                series.ok_or_else(|| ApiError::parameter("max_series", "must be a number from 1 to 1000"))?;
        }
    }
    Ok(options)
}
