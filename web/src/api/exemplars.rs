//! `/query_exemplars`: the exemplars of the series that an expression selects.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use tsdb::{Exemplar, FoundExemplars, Labels, TimeRange, Timestamp};

use super::params::Params;
use super::{ApiError, Notes, begin_with, no_content, put_float, reply};
use crate::queries::Run;
use crate::reply::Reply;
use crate::state::AppState;

/// What an answer says that is not whole.
const LEFT_OUT: &str = "there are more exemplars than max_exemplars allows: the oldest are left out; ask for less time or \
                        fewer series";

/// Bytes that an exemplar takes beside its texts, about.
const EXEMPLAR_BYTES: usize = 500;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OfSeries {
    series_labels: BTreeMap<String, String>,
    exemplars: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    labels: BTreeMap<String, String>,
    value: String,
    timestamp: f64,
}

impl From<Exemplar> for Entry {
    fn from(exemplar: Exemplar) -> Self {
        let mut value = Vec::new();
        put_float(&mut value, exemplar.value);
        Self {
            labels: map(&exemplar.labels),
            value: String::from_utf8(value).expect("numbers are written in ASCII"),
            timestamp: exemplar.timestamp.millis() as f64 / 1000.0,
        }
    }
}

fn map(labels: &Labels) -> BTreeMap<String, String> {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// `/query_exemplars`. An expression without selectors has no answer, as in Prometheus.
pub(crate) async fn exemplars(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    let (start, end) = (params.time("start")?, params.time("end")?);
    if start.zip(end).is_some_and(|(start, end)| end < start) {
        return Err(ApiError::bad("end timestamp must not be before start timestamp"));
    }
    let expr = state.queries.read(params.get("query"), |why| ApiError::bad(why.to_string())).await?;
    let selectors: Vec<Vec<_>> = expr.selectors().iter().map(|used| used.matchers().to_vec()).collect();
    if selectors.is_empty() {
        return Ok(no_content());
    }
    let range = TimeRange { start: start.unwrap_or(Timestamp::MIN), end: end.unwrap_or(Timestamp::MAX) };
    let (timeout, of_work) = (state.queries.timeout(&params)?, state.clone());
    let work = move |mut run: Run| {
        let found = of_work.db.exemplars(&selectors, range, || run.stop().is_set());
        run.check()?;
        let found = found?;
        run.take(bytes_of(&found))?;
        Ok(answer(run, found))
    };
    Ok(state.queries.guarded(timeout, work).await?.send(&state.queries, timeout))
}

/// What they take in memory while they are answered with, about: as they were found, as what is written, and written.
fn bytes_of(found: &FoundExemplars) -> usize {
    let text = |labels: &Labels| 4 * labels.size_bytes() + EXEMPLAR_BYTES;
    let of_series = |(labels, exemplars): &(Labels, Vec<Exemplar>)| {
        text(labels) + exemplars.iter().map(|exemplar| text(&exemplar.labels)).sum::<usize>()
    };
    found.series.iter().map(of_series).sum()
}

fn answer(run: Run, found: FoundExemplars) -> Reply {
    let of_series = found.series.into_iter().map(|(labels, exemplars)| OfSeries {
        series_labels: map(&labels),
        exemplars: exemplars.into_iter().map(Entry::from).collect(),
    });
    let mut notes = Notes::default();
    if found.is_partial {
        notes.warn(LEFT_OUT);
    }
    reply(run, begin_with(&of_series.collect::<Vec<_>>()), &notes)
}
