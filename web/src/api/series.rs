//! `/series`: the label sets that selectors find.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::response::Response;
use query::Budget;
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
        let limits = state.engine.options();
        // As a query: within what one may hold, and all together.
        let budget = Budget::new(state.engine.reserve().clone(), limits.max_bytes, u64::MAX);
        let mut notes = Notes::default();
        let mut out = vec![b'['];
        let mut put = |labels: &Labels, i: usize| -> Result<(), ApiError> {
            let before = out.len();
            if i > 0 {
                out.push(b',');
            }
            put_labels(&mut out, labels);
            // The list, and the body that is made of it.
            Ok(budget.take_bytes(2 * (out.len() - before) as u64)?)
        };
        let most = limit.unwrap_or(usize::MAX);
        let found = if let [matchers] = &selectors[..] {
            let set = querier.select(matchers, range)?;
            (0..set.len().min(most)).try_for_each(|i| put(&set.labels(i), i))?;
            set.len()
        } else {
            let mut all = BTreeSet::new();
            for matchers in &selectors {
                let set = querier.select(matchers, range)?;
                // What comes first of all is among the first of each.
                for index in 0..set.len().min(most.saturating_add(1)) {
                    let labels = set.labels(index);
                    budget.take_bytes((labels.size_bytes() + size_of::<Labels>()) as u64)?;
                    all.insert(labels);
                }
            }
            all.iter().take(most).enumerate().try_for_each(|(i, labels)| put(labels, i))?;
            all.len()
        };
        if found > most {
            notes.warn("results truncated due to limit");
        }
        out.push(b']');
        Ok(success_raw(&out, &notes))
    })
    .await
}
