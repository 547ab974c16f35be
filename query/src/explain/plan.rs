//! The nodes of an expression as they are evaluated.

use std::ops::Range;

use crate::engine::NodeStats;
use crate::parser::Expr;

/// Bytes of a node's text that are shown.
const MAX_TEXT: usize = 120;

/// A node of an expression.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanNode {
    /// How many nodes lie around it. Nodes follow each other in the order of the text, parents first.
    pub depth: usize,
    /// Where it stands in the text, in bytes.
    pub span: Range<usize>,
    /// What it is: `vector selector`, `aggregation`.
    pub kind: &'static str,
    /// Its text on one line, cut if it is long.
    pub text: String,
    /// How it is evaluated, where that is not plain.
    pub notes: Vec<&'static str>,
    /// What it took, if the query ran and counted it.
    pub stats: Option<NodeStats>,
}

/// The nodes of `expr`, parents first; parentheses and literals within are left out. `ran` is what the nodes took, if the query has run.
#[must_use]
pub fn plan(expr: &Expr, ran: &[NodeStats]) -> Vec<PlanNode> {
    let (mut open, mut nodes) = (vec![(expr, 0, false)], Vec::new());
    while let Some((node, depth, within_once)) = open.pop() {
        let below = open.len();
        if let Expr::Paren(paren) = node {
            open.push((&paren.expr, depth, within_once));
            continue;
        }
        if depth > 0 && matches!(node, Expr::Number(_) | Expr::Text(_)) {
            continue;
        }
        let span = node.span();
        let span = span.start as usize..span.end as usize;
        let once = !within_once && !matches!(node, Expr::Number(_) | Expr::Text(_)) && node.is_step_invariant();
        nodes.push(PlanNode {
            depth,
            kind: kind(node),
            text: shortened(node),
            notes: notes(node, once),
            stats: ran.iter().find(|stats| stats.span == span).cloned(),
            span,
        });
        open.extend(node.children().map(|child| (child, depth + 1, within_once || once)));
        open[below..].reverse();
    }
    nodes
}

fn kind(node: &Expr) -> &'static str {
    match node {
        Expr::Number(_) => "number",
        Expr::Text(_) => "text",
        Expr::Selector(_) => "vector selector",
        Expr::Matrix(_) => "range vector selector",
        Expr::Subquery(_) => "subquery",
        Expr::Call(_) => "function",
        Expr::Aggregate(_) => "aggregation",
        Expr::Binary(e) if e.op.is_set() => "set operator",
        Expr::Binary(e) if e.op.is_comparison() => "comparison",
        Expr::Binary(_) => "arithmetic",
        Expr::Unary(_) => "sign",
        Expr::Paren(_) => "parentheses",
    }
}

fn notes(node: &Expr, once: bool) -> Vec<&'static str> {
    let mut notes = Vec::new();
    if once {
        notes.push("evaluated once for all steps");
    }
    match node {
        Expr::Matrix(_) => notes.push("samples are decoded once and windows slide over them"),
        Expr::Subquery(_) => notes.push("evaluated once for all windows"),
        Expr::Aggregate(_) => notes.push("only groups are kept"),
        Expr::Binary(e) if e.matching.is_some() => notes.push("both sides are kept and joined by their labels"),
        _ => {}
    }
    notes
}

fn shortened(node: &Expr) -> String {
    let mut text = node.to_string();
    if text.len() > MAX_TEXT {
        let end = (0..=MAX_TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::parse;

    #[test]
    fn a_plan_lists_parents_first_and_leaves_parentheses_and_literals_out() {
        let expr = parse("sum((rate(a[5m]) + b @ 10)) > 1").unwrap();
        let shown: Vec<(usize, &str, String)> =
            plan(&expr, &[]).into_iter().map(|n| (n.depth, n.kind, n.text)).collect();
        let shown: Vec<(usize, &str, &str)> = shown.iter().map(|(d, k, t)| (*d, *k, t.as_str())).collect();
        assert_eq!(
            shown,
            [
                (0, "comparison", "sum((rate(a[5m]) + b @ 10.000)) > 1"),
                (1, "aggregation", "sum((rate(a[5m]) + b @ 10.000))"),
                (2, "arithmetic", "rate(a[5m]) + b @ 10.000"),
                (3, "function", "rate(a[5m])"),
                (4, "range vector selector", "a[5m]"),
                (3, "vector selector", "b @ 10.000"),
            ]
        );
        assert_eq!(plan(&expr, &[])[5].notes, ["evaluated once for all steps"]);
    }
}
