//! `/series`: the label sets that selectors find.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use tsdb::{Labels, Matcher, Querier, Queryable, SeriesSet, TimeRange};

use super::json::put_labels;
use super::params::Params;
use super::{ApiError, Notes, begin, reply, success};
use crate::queries::Run;
use crate::state::AppState;

/// Series that are written between two looks at the clock and the budget.
const PART: usize = 256;

/// Bytes that a set holds for each of its series, about.
const BYTES_PER_REFERENCE: usize = 24;

/// `/series`.
pub(crate) async fn series(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    params.well_formed()?;
    if params.all("match[]").next().is_none() {
        return Err(ApiError::bad("no match[] parameter provided"));
    }
    let (limit, range, timeout) = (params.limit()?, params.range()?, state.queries.timeout(&params)?);
    let selectors = params.selectors().map_err(|why| ApiError::parameter("match[]", why))?;
    if range.end < range.start {
        return Ok(success(&[(); 0]));
    }
    let of_work = state.clone();
    let work = move |run| {
        let mut listing = Listing { state: &of_work, range, most: limit.unwrap_or(usize::MAX), run };
        let mut body = begin();
        body.push(b'[');
        // A series of the head is found for any time before its end; nothing is there at a time that nothing reaches.
        let is_reached = !of_work.db.querier()?.label_names(&[], range, 1)?.is_empty();
        let found = match &selectors[..] {
            _ if !is_reached => 0,
            [matchers] => listing.of_one(matchers, &mut body)?,
            _ => listing.of_many(&selectors, &mut body)?,
        };
        body.push(b']');
        let mut notes = Notes::default();
        if found > listing.most {
            notes.warn("results truncated due to limit");
        }
        Ok(reply(listing.run, body, &notes))
    };
    Ok(state.queries.guarded(timeout, work).await?.send(&state.queries, timeout))
}

/// What is listed, and within what.
struct Listing<'a> {
    state: &'a AppState,
    range: TimeRange,
    most: usize,
    run: Run,
}

impl Listing<'_> {
    fn select(&mut self, querier: &dyn Querier, matchers: &[Matcher]) -> Result<Arc<dyn SeriesSet>, ApiError> {
        self.run.take(0)?;
        // One more than is given tells that there are more.
        let set = querier.select_first(matchers, self.range, self.most.saturating_add(1))?;
        self.run.take(set.len() * BYTES_PER_REFERENCE)?;
        Ok(set)
    }

    /// Writes the series that one selector finds; gives how many there are, or one more than are asked for.
    fn of_one(&mut self, matchers: &[Matcher], body: &mut Vec<u8>) -> Result<usize, ApiError> {
        let set = self.select(&*self.state.db.querier()?, matchers)?;
        let count = set.len().min(self.most);
        for part in (0..count).step_by(PART) {
            let before = body.len();
            for index in part..(part + PART).min(count) {
                separate(body, index);
                put_labels(body, (0..).map_while(|n| set.pair(index, n)));
            }
            self.run.take(body.len() - before)?;
        }
        Ok(set.len())
    }

    /// Writes the series that any of several selectors finds; gives how many there are, or one more than are asked for.
    fn of_many(&mut self, selectors: &[Vec<Matcher>], body: &mut Vec<u8>) -> Result<usize, ApiError> {
        let (querier, mut all) = (self.state.db.querier()?, BTreeSet::new());
        for matchers in selectors {
            let set = self.select(&*querier, matchers)?;
            // What comes first of all is among the first of each.
            for index in 0..set.len() {
                let labels = set.labels(index);
                self.run.take(labels.size_bytes() + size_of::<Labels>())?;
                all.insert(labels);
            }
        }
        for (index, labels) in all.iter().take(self.most).enumerate() {
            let before = body.len();
            separate(body, index);
            put_labels(body, labels);
            self.run.take(body.len() - before)?;
        }
        Ok(all.len())
    }
}

fn separate(body: &mut Vec<u8>, index: usize) {
    if index > 0 {
        body.push(b',');
    }
}
