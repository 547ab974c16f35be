//! `/chart.svg`: the answer to a query as a picture, at an address that stays. `/chart.json`: the same as numbers, for
//! the script that puts a cross-hair over the picture.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use jiff::tz::TimeZone;
use model::parse_duration;
use query::is_absent;
use serde_json::json;
use tsdb::Timestamp;

use crate::api::params::Params;
use crate::api::{ApiError, success};
use crate::chart::{
    self, ChartOptions, Kind, Line, SIZES, Theme, Unit, colors_for, css, draw, draw_error, draw_message,
};
use crate::dashboard::{Slice, lines};
use crate::state::{AppState, now};

/// Points of a picture at the most.
const MAX_POINTS: i64 = 11_000;

/// What a picture is to show.
struct Picture {
    /// Expressions, each with the template that names its series.
    queries: Vec<(String, String)>,
    slice: Slice,
    options: ChartOptions,
}

/// `/chart.svg`.
pub(crate) async fn svg(State(state): State<AppState>, params: Params) -> Response {
    // The looks first: an error is drawn in them.
    let options = looks(&params);
    let fallback = options.as_ref().map_or_else(|_| ChartOptions::default(), Clone::clone);
    let drawn = async {
        let picture = Picture::from_params(&params, options?)?;
        let lines = lines(&state, &picture.queries, picture.slice).await?;
        Ok(if lines.is_empty() {
            draw_message("No data in this time range", &picture.options)
        } else {
            draw(&lines, picture.slice.range(), &picture.options)
        })
    };
    let (status, svg) = match drawn.await {
        Ok(svg) => (StatusCode::OK, svg),
        Err(ApiError { kind, message }) => (kind.status(), draw_error(&message, &fallback)),
    };
    let headers = [(header::CONTENT_TYPE, "image/svg+xml"), (header::CACHE_CONTROL, "no-cache")];
    (status, headers, svg).into_response()
}

/// `/chart.json`: where the plot is in the picture of the same parameters, and the points that are drawn.
pub(crate) async fn data(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    let picture = Picture::from_params(&params, looks(&params)?)?;
    let mut lines = lines(&state, &picture.queries, picture.slice).await?;
    let geometry = chart::geometry(&lines, &picture.options);
    lines.truncate(picture.options.max_series);
    let colors = colors_for(lines.iter().map(|line| line.name.as_str()));
    let unit = picture.options.unit;
    let series = lines.iter().zip(colors).map(|(Line { name, series }, color)| {
        let points = series.timestamps_ms.iter().zip(&series.values).filter(|(_, v)| !is_absent(**v) && v.is_finite());
        let points: Vec<_> = points.map(|(&at, &value)| json!([at, value, unit.format(value)])).collect();
        json!({ "name": name, "color": css(color), "points": points })
    });
    let series: Vec<_> = series.collect();
    Ok(success(&json!({
        "size": [picture.options.width, picture.options.height],
        "plot": geometry.plot,
        "values": geometry.values,
        "time": [picture.slice.start.millis(), picture.slice.end.millis()],
        "step": picture.slice.step.as_millis() as u64,
        "series": series,
    })))
}

impl Picture {
    fn from_params(params: &Params, mut options: ChartOptions) -> Result<Self, ApiError> {
        let names: Vec<&str> = params.all("name").collect();
        let named = |(i, expr): (usize, &str)| (expr.to_owned(), names.get(i).copied().unwrap_or_default().to_owned());
        let queries: Vec<_> = params.all("query").enumerate().map(named).collect();
        if queries.is_empty() {
            return Err(ApiError::parameter("query", "there is none"));
        }
        if params.get("unit").is_empty() {
            options.unit = Unit::guess(&queries[0].0);
        }
        Ok(Self { queries, slice: slice(params, now())?, options })
    }
}

/// The span of time that parameters ask for: `start` and `end`, or `range` up to `end` or to now; by default an hour.
pub(crate) fn slice(params: &Params, now: Timestamp) -> Result<Slice, ApiError> {
    let end = params.time("end")?.unwrap_or(now);
    let range = match params.get("range") {
        "" => Duration::from_secs(3600),
        text => parse_duration(text).ok().filter(|range| !range.is_zero()).ok_or_else(|| {
            ApiError::parameter("range", format!("cannot parse {text:?} to a duration like 15m or 6h"))
        })?,
    };
    let start = params.time("start")?.unwrap_or_else(|| end.plus_millis(-(range.as_millis() as i64)));
    if end < start {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    let step = params.duration("step")?.filter(|step| !step.is_zero());
    let slice = Slice::new(start, end, step);
    if (slice.end.millis() - slice.start.millis()) / (slice.step.as_millis() as i64).max(1) > MAX_POINTS {
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
