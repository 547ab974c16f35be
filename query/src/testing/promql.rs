//! What holds for any text that is read as PromQL.

use std::time::Duration;

use tsdb::{Labels, Timestamp};

use super::Synthetic;
use crate::engine::{Engine, Options, Request, Steps};
use crate::parser::{Expr, parse, parse_selector};
use crate::{StopFlag, Value};

/// Reads `bytes` as an expression and a selector, prints what it reads, reads that again, and evaluates it over a few
/// series within small limits. Bytes that are no UTF-8 are replaced, as the API does.
///
/// # Panics
/// If a printed expression is not the one that was read, or a place lies outside the text.
pub fn check_promql(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = parse_selector(&text);
    let expr = match parse(&text) {
        Ok(expr) => expr,
        Err(error) => {
            assert!(error.span.start <= error.span.end && error.span.end <= text.len(), "{text:?}: {error:?}");
            return;
        }
    };
    for printed in [expr.to_string(), expr.pretty()] {
        match parse(&printed) {
            Ok(again) => assert!(again == expr, "{text:?} became {printed:?}"),
            Err(error) => panic!("{text:?} became {printed:?}: {error}"),
        }
    }
    FIXTURE.with(|(engine, store)| evaluate(&expr, engine, store));
}

thread_local! {
    /// Each thread has its own, so that each sees its own memory only.
    static FIXTURE: (Engine, Synthetic) = {
        let options = Options {
            max_samples: 20_000,
            max_bytes: 4 << 20,
            max_total_bytes: 8 << 20,
            max_steps: 2_000,
            threads: 1,
            ..Options::default()
        };
        let series = ["a", "b", "c"].into_iter().map(|job| {
            let labels = Labels::from_pairs([("__name__", "up"), ("job", job), ("le", "1")]);
            (labels, (0..40).map(|k| f64::from(k % 7)).collect())
        });
        let times = (0..40).map(|k| k * 15_000).collect();
        (Engine::new(options, || Duration::ZERO), Synthetic::new(times, series.collect()))
    };
}

fn evaluate(expr: &Expr, engine: &Engine, store: &Synthetic) {
    let at = Timestamp::from_millis(600_000);
    let range = Steps::Range { start: Timestamp::from_millis(0), end: at, step: Duration::from_secs(60) };
    for steps in [Steps::Instant(at), range] {
        let request = Request { expr, steps, lookback: None, count_all: false, stop: StopFlag::default() };
        if let Ok(answer) = engine.run(store, &request)
            && let Value::Matrix(series) = &answer.value
        {
            assert!(
                series.is_sorted_by(|a, b| a.labels <= b.labels),
                "series are out of order: {:.200}",
                expr.to_string()
            );
        }
    }
    assert_eq!(engine.reserve().held_bytes(), 0, "memory is kept: {:.200}", expr.to_string());
}
