//! `/series`: the label sets that selectors find.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::response::Response;
use tsdb::{Labels, Queryable};

use super::json::put_labels;
use super::params::Params;
use super::{ApiError, Notes, success_raw};
use crate::state::AppState;

/// `/series`.
pub(crate) async fn series(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    let selectors = params.selectors()?;
    if selectors.is_empty() {
        return Err(ApiError::bad("no match[] parameter provided"));
    }
    let (range, limit) = (params.range()?, params.limit()?);
    super::labels::blocking(move || {
        let querier = state.db.querier()?;
        let mut notes = Notes::default();
        let mut out = vec![b'['];
        let mut put = |labels: &Labels, i: usize| {
            if i > 0 {
                out.push(b',');
            }
            put_labels(&mut out, labels);
        };
        let most = limit.unwrap_or(usize::MAX);
        if let [matchers] = &selectors[..] {
            let set = querier.select(matchers, range)?;
            (0..set.len().min(most)).for_each(|i| put(&set.labels(i), i));
            if set.len() > most {
                notes.warn("results truncated due to limit");
            }
        } else {
            let mut all = BTreeSet::new();
            for matchers in &selectors {
                let set = querier.select(matchers, range)?;
                all.extend((0..set.len()).map(|i| set.labels(i)));
            }
            all.iter().take(most).enumerate().for_each(|(i, labels)| put(labels, i));
            if all.len() > most {
                notes.warn("results truncated due to limit");
            }
        }
        out.push(b']');
        Ok(success_raw(&out, &notes))
    })
    .await
}
