//! `/labels` and `/label/NAME/values`.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::Response;
use tokio::task::JoinError;
use tsdb::{METRIC_NAME, Matcher, Querier, Queryable, TimeRange};

use super::json::put_strings;
use super::params::Params;
use super::{ApiError, Notes, begin, reply, success};
use crate::queries::Run;
use crate::state::AppState;

/// Series of a store whose names are so few that they are listed where their request is.
const MAX_AT_ONCE: u64 = 10_000;
/// Bytes that a text takes beside its letters, about.
const TEXT_BYTES: u64 = 40;

/// `/labels`.
pub(crate) async fn names(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    let asked = Asked::new(&state, &params)?;
    let range = asked.range;
    let look_up = move |querier: &dyn Querier, matchers: &[Matcher], limit| querier.label_names(matchers, range, limit);
    // Without matchers the names are few and at hand: another thread would take longer to wake up.
    let at_once = asked.selectors.is_empty();
    list(state, asked, at_once, look_up).await
}

/// `/label/NAME/values`.
pub(crate) async fn values(
    State(state): State<AppState>,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let name = unescape(&name);
    if name.is_empty() {
        return Err(ApiError::bad(format!("invalid label name: {name:?}")));
    }
    let asked = Asked::new(&state, &params)?;
    let (range, is_of_metrics) = (asked.range, name == METRIC_NAME);
    let look_up =
        move |querier: &dyn Querier, matchers: &[Matcher], limit| querier.label_values(&name, matchers, range, limit);
    // So are the names of metrics.
    let at_once = is_of_metrics && asked.selectors.is_empty();
    list(state, asked, at_once, look_up).await
}

/// What a request lists.
struct Asked {
    limit: Option<usize>,
    range: TimeRange,
    selectors: Vec<Vec<Matcher>>,
    timeout: Duration,
}

impl Asked {
    /// Reads the parameters in the order of Prometheus, which tells the first that is wrong.
    fn new(state: &AppState, params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            limit: params.limit()?,
            range: params.range()?,
            selectors: params.selectors().map_err(ApiError::bad)?,
            timeout: state.queries.timeout(params)?,
        })
    }
}

/// Answers with what `look_up` finds for each selector, together, sorted: here and `at_once`, or as a query is.
async fn list(
    state: AppState,
    Asked { limit, range, selectors, timeout }: Asked,
    at_once: bool,
    look_up: impl Fn(&dyn Querier, &[Matcher], usize) -> Result<Vec<String>, tsdb::Error> + Send + 'static,
) -> Result<Response, ApiError> {
    if range.end < range.start {
        return Ok(success(&[(); 0]));
    }
    let of_work = state.clone();
    let work = move |mut run: Run| {
        let state = of_work;
        let querier = state.db.querier()?;
        // One more than asked for, to tell whether there are more; and no more than may be held.
        let within = usize::try_from(state.queries.engine().options().max_bytes / TEXT_BYTES).unwrap_or(usize::MAX);
        let most = limit.map_or(usize::MAX, |limit| limit.saturating_add(1)).min(within.saturating_add(1));
        let mut look_up = |matchers: &[Matcher]| -> Result<Vec<String>, ApiError> {
            run.check()?;
            let found = look_up(&*querier, matchers, most)?;
            // Each as it is held, as text of the list, and as the body that is made of it.
            run.take(found.iter().map(|text| 3 * text.len() + TEXT_BYTES as usize).sum())?;
            Ok(found)
        };
        let mut found = match &selectors[..] {
            [] => look_up(&[])?,
            [matchers] => look_up(matchers)?,
            _ => {
                let mut all = BTreeSet::new();
                for matchers in &selectors {
                    all.extend(look_up(matchers)?);
                }
                all.into_iter().collect()
            }
        };
        let mut notes = Notes::default();
        if limit.is_some_and(|limit| found.len() > limit) {
            found.truncate(limit.unwrap_or_default());
            notes.warn("results truncated due to limit");
        }
        let mut body = begin();
        put_strings(&mut body, &found);
        Ok(reply(run, body, &notes))
    };
    let reply = if at_once {
        // These wait for no place.
        if state.db.series_count() <= MAX_AT_ONCE {
            state.queries.at_once(work).await?
        } else {
            state.queries.moment(work).await?
        }
    } else {
        state.queries.guarded(timeout, work).await?
    };
    Ok(reply.send(&state.queries, timeout))
}

/// Runs work that takes the store's locks off the threads that serve connections.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|ended| Err(goes_on(ended)))
}

/// Lets a panic of work on the blocking pool go on in the handler that waits for it: all panics are counted, logged and
/// answered at one place.
pub(crate) fn goes_on(ended: JoinError) -> ApiError {
    match ended.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => ApiError::unavailable("the server is stopping"),
    }
}

/// The label name that `U__…` stands for in a path: `_XX_` is the character of that number, `__` an underscore.
fn unescape(name: &str) -> String {
    let Some(escaped) = name.strip_prefix("U__") else { return name.to_owned() };
    let mut out = String::new();
    let mut rest = escaped;
    while let Some(at) = rest.find('_') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('_') {
            out.push('_');
            rest = after;
            continue;
        }
        let character = rest.find('_').and_then(|end| {
            let code = u32::from_str_radix(&rest[..end], 16).ok()?;
            Some((char::from_u32(code)?, &rest[end + 1..]))
        });
        // What is not escaped as it should be was not escaped.
        let Some((character, after)) = character else { return name.to_owned() };
        out.push(character);
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_label_names_are_unescaped() {
        assert_eq!(unescape("U__http_2e_status__code"), "http.status_code");
        assert_eq!(unescape("U___e4_"), "ä");
        for same in ["job", "U__bad_zz_", "U__open_2", "U__x_d800_"] {
            assert_eq!(unescape(same), same);
        }
    }
}
