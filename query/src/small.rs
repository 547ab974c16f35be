//! Which queries take less time than another thread takes to wake up.

use tsdb::{Queryable, TimeRange};

use crate::engine::{Engine, Steps};
use crate::parser::Expr;

/// Nodes of the expression.
const MAX_NODES: usize = 32;
/// Bytes of a text in it: a regular expression, maybe.
const MAX_TEXT: usize = 64;
/// Series times steps, or times seconds where those are more: about a quarter of a millisecond.
const MAX_WORK: u64 = 1000;

impl Engine {
    /// Whether a query surely takes less than a quarter of a millisecond and reads no file: it consists of plain selectors, with
    /// conditions that no text needs to be searched for, that find few series. Cost: some look-ups; a few microseconds.
    #[must_use]
    pub fn is_small(&self, store: &dyn Queryable, expr: &Expr, steps: Steps) -> bool {
        let (start, end, count) = match steps {
            Steps::Instant(at) => (at.millis(), at.millis(), 1),
            Steps::Range { start, end, step } => {
                let (start, end) = (start.millis(), end.millis());
                let (span_ms, step_ms) = (end.saturating_sub(start).max(0) as u64, step.as_millis().max(1) as u64);
                (start, end, 1 + span_ms / step_ms.min(1000))
            }
        };
        let (mut nodes, mut plain, mut matchers) = (0, true, Vec::new());
        expr.visit(&mut |expr| {
            nodes += 1;
            plain &= match expr {
                Expr::Selector(selector) => {
                    matchers.push(&selector.matchers);
                    selector.modifiers.offset.is_none()
                        && selector.modifiers.at.is_none()
                        && selector.extension.is_none()
                        && selector.matchers.iter().all(|matcher| matcher.literals().is_some())
                }
                // It looks for series of its own.
                Expr::Call(call) => call.function.name != "info",
                Expr::Text(text) => text.value.len() <= MAX_TEXT,
                Expr::Matrix(_) | Expr::Subquery(_) => false,
                Expr::Number(_) | Expr::Aggregate(_) | Expr::Binary(_) | Expr::Unary(_) | Expr::Paren(_) => true,
            };
        });
        if !plain || nodes > MAX_NODES || count > MAX_WORK {
            return false;
        }
        let Ok(querier) = store.querier() else { return false };
        let lookback_ms = i64::try_from(self.options().lookback.as_millis()).unwrap_or(i64::MAX);
        let range = TimeRange::from_millis(start.saturating_sub(lookback_ms), end);
        let series = matchers.iter().fold(0u64, |sum, matchers| sum.saturating_add(querier.at_most(matchers, range)));
        // Without any there is still something to do for each step.
        series.max(1).saturating_mul(count) <= MAX_WORK
    }
}
