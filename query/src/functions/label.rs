//! Functions of labels.

use std::sync::Arc;

use model::Regex;
use tsdb::{Labels, LabelsBuilder, METRIC_NAME};

use crate::error::Error;
use crate::eval::source::{Relabeled, SharedSource};
use crate::eval::table::{NameOf, Table};
use crate::eval::{Eval, Output};
use crate::format::quote;
use crate::parser::Call;

fn fail<T>(message: String) -> Result<T, Error> {
    Err(Error::Execution(message))
}

/// A label name given as an argument.
fn label_name<'q>(eval: Eval<'q>, call: &'q Call, arg: usize, function: &str, which: &str) -> Result<&'q str, Error> {
    let bytes = eval.text(&call.args[arg])?;
    match std::str::from_utf8(bytes) {
        Ok(name) if !name.is_empty() || which == "source" => Ok(name),
        _ => fail(format!("invalid {which} label name in {function}(): {}", text(bytes))),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Bytes that a label value may have which a function makes.
const MAX_VALUE_BYTES: usize = 1 << 20;

/// Bytes that a regular expression may have.
const MAX_PATTERN_BYTES: usize = 64 << 10;

fn too_long<T>(function: &str) -> Result<T, Error> {
    fail(format!("{function}() makes a label value that is longer than {MAX_VALUE_BYTES} bytes"))
}

/// Gives all series new labels, or leaves them as they are where there are none; series that become equal are merged.
///
/// A series that gets another `destination` which is the metric name keeps it.
fn relabel<'q>(
    eval: Eval<'q>,
    source: SharedSource<'q>,
    destination: &str,
    change: impl Fn(&Labels) -> Result<Option<Labels>, Error>,
) -> Result<Output<'q>, Error> {
    let mut held = eval.query.hold(0)?;
    let (mut labels, mut drops) = (Vec::with_capacity(source.len()), Vec::with_capacity(source.len()));
    for index in 0..source.len() {
        eval.query.stop.check("expression evaluation")?;
        let before = source.labels(index);
        let changed = change(&before)?;
        drops.push(source.drops_name(index) && !(changed.is_some() && destination == METRIC_NAME));
        let after = changed.unwrap_or(before);
        held.grow(after.size_bytes() as u64)?;
        labels.push(after);
    }
    let relabeled: SharedSource<'q> = Arc::new(Relabeled { inner: source, labels, drops });
    Ok(Output::Series(Arc::new(Table::merged(eval.query, relabeled, eval.grid.count, NameOf::FirstSeries)?)))
}

/// `label_replace(v, dst, replacement, src, regex)`
pub(super) fn replace<'q>(eval: Eval<'q>, call: &'q Call) -> Result<Output<'q>, Error> {
    let replacement = text(eval.text(&call.args[2])?);
    let origin = text(eval.text(&call.args[3])?);
    let bytes = eval.text(&call.args[4])?;
    let pattern = text(bytes);
    if pattern.len() > MAX_PATTERN_BYTES {
        return fail(format!("regular expression in label_replace() is longer than {MAX_PATTERN_BYTES} bytes"));
    }
    let regex = std::str::from_utf8(bytes).ok().and_then(|pattern| Regex::pasted(pattern).ok());
    let Some(regex) = regex else {
        return fail(format!("invalid regular expression in label_replace(): {pattern}"));
    };
    let destination = label_name(eval, call, 1, "label_replace", "destination")?;
    let source = eval.vector(&call.args[0])?;
    relabel(eval, source, destination, |labels| {
        let value = labels.get(&origin).unwrap_or_default();
        match regex.captures(value) {
            Some(captures) => {
                let Some(value) = captures.expand_within(&replacement, MAX_VALUE_BYTES) else {
                    return too_long("label_replace");
                };
                let mut builder = LabelsBuilder::new(labels);
                builder.set(destination, &value);
                Ok(Some(builder.build()))
            }
            None => Ok(None),
        }
    })
}

/// `label_join(v, dst, separator, src…)`
pub(super) fn join<'q>(eval: Eval<'q>, call: &'q Call) -> Result<Output<'q>, Error> {
    let separator = text(eval.text(&call.args[2])?);
    let mut origins = Vec::with_capacity(call.args.len());
    for arg in 3..call.args.len() {
        let bytes = eval.text(&call.args[arg])?;
        match std::str::from_utf8(bytes) {
            Ok(name) if !name.is_empty() => origins.push(name),
            _ => return fail(format!("invalid source label name in label_join(): {}", quote(bytes).trim_matches('"'))),
        }
    }
    let destination = label_name(eval, call, 1, "label_join", "destination")?;
    let source = eval.vector(&call.args[0])?;
    relabel(eval, source, destination, |labels| {
        let values: Vec<&str> = origins.iter().map(|name| labels.get(name).unwrap_or_default()).collect();
        let separators = separator.len().saturating_mul(values.len());
        if values.iter().map(|value| value.len()).sum::<usize>().saturating_add(separators) > MAX_VALUE_BYTES {
            return too_long("label_join");
        }
        let mut builder = LabelsBuilder::new(labels);
        builder.set(destination, &values.join(&separator));
        Ok(Some(builder.build()))
    })
}
