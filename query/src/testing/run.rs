//! Commands → outcome.

use std::time::Duration;

use tsdb::{Labels, Timestamp};

use super::ScriptStore;
use super::compare::{check, check_vector, points};
use super::script::{Command, Eval, Expected, Pattern, ScriptError, When, parse};
use crate::annotations::{Annotations, Level};
use crate::engine::{Engine, Features, Options, Request, Steps};
use crate::parser::{At, Expr};
use crate::value::{Point, Value};
use crate::{StopFlag, error::Error};

/// How a script went.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// `eval` commands.
    pub total: usize,
    /// Those that did not give what they should.
    pub failures: Vec<Failure>,
}

/// An `eval` that did not give what it should.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its line, from 1.
    pub line: usize,
    /// Its query.
    pub query: String,
    /// What was wrong.
    pub reason: String,
}

/// The options that Prometheus plays its scripts with.
#[must_use]
pub fn engine_options(threads: usize) -> Options {
    Options {
        max_samples: 10_000,
        threads,
        features: Features {
            delayed_name_removal: true,
            type_and_unit_labels: false,
            use_start_timestamps: true,
            per_step_stats: false,
        },
        ..Options::default()
    }
}

/// Plays a script.
///
/// # Errors
/// If the script itself is not understood. An `eval` that fails is part of the outcome.
pub fn play(engine: &Engine, store: &mut dyn ScriptStore, text: &str) -> Result<Outcome, ScriptError> {
    let commands = parse(text)?;
    store.clear();
    let mut outcome = Outcome::default();
    for command in commands {
        match command {
            Command::Clear => store.clear(),
            Command::Load(block) => store.append(&block),
            Command::Eval(eval) => {
                outcome.total += 1;
                if let Err(reason) = evaluate(engine, store, &eval) {
                    outcome.failures.push(Failure { line: eval.line, query: eval.query.clone(), reason });
                }
            }
        }
    }
    Ok(outcome)
}

fn run(engine: &Engine, store: &dyn ScriptStore, expr: &Expr, steps: Steps) -> Result<(Value, Annotations), Error> {
    let request = Request { expr, steps, lookback: None, count_all: false, stop: StopFlag::default() };
    engine.run(store.queryable(), &request).map(|answer| (answer.value, answer.annotations))
}

fn evaluate(engine: &Engine, store: &dyn ScriptStore, eval: &Eval) -> Result<(), String> {
    match eval.when {
        When::Range { start, end, step } => {
            let steps = Steps::Range {
                start: Timestamp::from_millis(start),
                end: Timestamp::from_millis(end),
                step: Duration::from_millis(step.unsigned_abs()),
            };
            judge(eval, run(engine, store, &eval.expr, steps)).map(|_| ())
        }
        When::Instant(at) => {
            let succeeded = judge_instant(engine, store, eval, &eval.expr, at)?;
            if succeeded {
                as_range(engine, store, eval, &eval.expr, at)?;
            }
            fixed(engine, store, eval, at)
        }
    }
}

/// Whether the query gave what it should; `Ok(true)` if that is a value.
fn judge(eval: &Eval, result: Result<(Value, Annotations), Error>) -> Result<bool, String> {
    let expected = &eval.expected;
    match (result, &expected.fail) {
        (Err(error), Some(pattern)) if pattern.matches(&error.to_string()) => Ok(false),
        (Err(error), Some(_)) => Err(format!("failed with another error: {error}")),
        (Err(error), None) => Err(format!("failed: {error}")),
        (Ok((value, _)), Some(_)) => Err(format!("should fail, but gave {value:?}")),
        (Ok((value, annotations)), None) => {
            check_annotations(expected, &annotations)?;
            check(eval, &value)?;
            Ok(true)
        }
    }
}

fn judge_instant(engine: &Engine, store: &dyn ScriptStore, eval: &Eval, expr: &Expr, at: i64) -> Result<bool, String> {
    judge(eval, run(engine, store, expr, Steps::Instant(Timestamp::from_millis(at))))
}

fn check_annotations(expected: &Expected, annotations: &Annotations) -> Result<(), String> {
    let levels = [
        (Level::Warning, &expected.warn, expected.no_warn, "warning"),
        (Level::Info, &expected.info, expected.no_info, "info"),
    ];
    for (level, patterns, none, name) in levels {
        let notes: Vec<&str> = annotations.of(level).collect();
        if none && !notes.is_empty() {
            return Err(format!("unexpected {name}: {notes:?}"));
        }
        if patterns.is_empty() {
            continue;
        }
        let unmatched = |pattern: &&Pattern| !notes.iter().any(|note| pattern.matches(note));
        if let Some(pattern) = patterns.iter().find(unmatched) {
            return Err(format!("{name} {pattern:?} is missing among {notes:?}"));
        }
        if let Some(note) = notes.iter().find(|note| !patterns.iter().any(|p| p.matches(note))) {
            return Err(format!("unexpected {name}: {note}"));
        }
    }
    Ok(())
}

/// Functions whose value changes with the time of evaluation although their arguments are fixed.
const UNFIXABLE: [&str; 15] = [
    "days_in_month",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "hour",
    "minute",
    "month",
    "year",
    "predict_linear",
    "time",
    "timestamp",
    "start",
    "end",
    "range",
    "step",
];

/// A query whose selectors are all fixed to its time must give the same at any other time.
fn fixed(engine: &Engine, store: &dyn ScriptStore, eval: &Eval, at: i64) -> Result<(), String> {
    let mut fixable = true;
    eval.expr.visit(&mut |node| {
        if let Expr::Call(call) = node {
            fixable &= !UNFIXABLE.contains(&call.function.name);
        }
    });
    if !fixable {
        return Ok(());
    }
    let mut expr = eval.expr.clone();
    expr.edit_modifiers(&mut |modifiers| {
        if !matches!(modifiers.at, Some(At::Time(_))) {
            modifiers.at = Some(At::Time(Timestamp::from_millis(at)));
        }
        // Below a subquery that has a time nothing changes any more.
        false
    });
    let text = expr.to_string();
    let reparsed = crate::parser::parse(&text).map_err(|error| format!("{text}: {error}"))?;
    let times = if at == 0 { vec![-1_000, 0, 1_000] } else { vec![-10 * at, 0, at / 5, at, 10 * at] };
    for time in times {
        let context = |reason: String| format!("{text} at {time} ms: {reason}");
        if judge_instant(engine, store, eval, &reparsed, time).map_err(context)? {
            as_range(engine, store, eval, &reparsed, time).map_err(context)?;
        }
    }
    Ok(())
}

/// The middle of a range query around the time must be what the instant query gives.
fn as_range(engine: &Engine, store: &dyn ScriptStore, eval: &Eval, expr: &Expr, at: i64) -> Result<(), String> {
    let expected = &eval.expected;
    let depends = ["start()", "end()", "range()", "step()"].iter().any(|call| eval.query.contains(call));
    if expected.ordered || expected.text.is_some() || expected.range_vector.is_some() || depends {
        return Ok(());
    }
    let step = 60_000;
    let steps = Steps::Range {
        start: Timestamp::from_millis(at - step),
        end: Timestamp::from_millis(at + step),
        step: Duration::from_millis(step as u64),
    };
    let context = |reason: String| format!("as range query: {reason}");
    let (value, _) = run(engine, store, expr, steps).map_err(|error| context(error.to_string()))?;
    let Value::Matrix(series) = value else { return Err(context(format!("got {value:?}"))) };
    let middle: Vec<(&Labels, Point)> = series
        .iter()
        .filter_map(|series| {
            let point = points(series).into_iter().find(|(time, _)| *time == at)?.1;
            Some((&series.labels, point))
        })
        .collect();
    if let Some(wanted) = expected.scalar {
        return match &middle[..] {
            [(labels, Point::Float(value))] if labels.is_empty() => {
                check(eval, &Value::Scalar(*value)).map_err(context)
            }
            _ => Err(context(format!("expected the scalar {wanted}, got {middle:?}"))),
        };
    }
    let actual: Vec<(&Labels, &Point)> = middle.iter().map(|(labels, point)| (*labels, point)).collect();
    check_vector(&expected.series, &actual, false).map_err(context)
}
