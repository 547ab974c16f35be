//! How messages call tokens and nodes.

use super::super::ast::{AggregateOp, Expr};
use super::super::lexer::Kind;
use crate::format::quote;

/// How messages call the node.
pub(super) fn kind_name(expr: &Expr) -> &'static str {
    match expr {
        Expr::Number(_) => "number literal",
        Expr::Text(_) => "string literal",
        Expr::Selector(_) => "vector selector",
        Expr::Matrix(_) => "range vector selector",
        Expr::Subquery(_) => "subquery",
        Expr::Call(_) => "function call",
        Expr::Aggregate(_) => "aggregation",
        Expr::Binary(_) => "binary expression",
        Expr::Unary(_) => "unary expression",
        Expr::Paren(_) => "parenthesized expression",
    }
}

const KEYWORDS: [&str; 15] = [
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "bool",
    "offset",
    "anchored",
    "smoothed",
    "fill",
    "fill_left",
    "fill_right",
    "start",
    "end",
];

/// Words that call no function even before parentheses.
pub(super) fn is_keyword(word: &str) -> bool {
    matches!(word, "and" | "or" | "unless" | "atan2")
        || (KEYWORDS.contains(&word) && crate::functions::find(word).is_none())
}

/// How messages call a token. Within braces there are no keywords.
pub(super) fn describe(kind: Kind, text: &str, in_braces: bool) -> String {
    let lower = text.to_ascii_lowercase();
    match kind {
        Kind::Word if in_braces => format!("identifier {}", quote(text.as_bytes())),
        Kind::End => "end of input".into(),
        Kind::Word if AggregateOp::ALL.iter().any(|op| op.as_str() == lower) => format!("<aggr:{lower}>"),
        Kind::Word if KEYWORDS.contains(&lower.as_str()) => format!("<{lower}>"),
        Kind::Word if matches!(lower.as_str(), "and" | "or" | "unless" | "atan2") => format!("<op:{lower}>"),
        Kind::Word if lower == "inf" || lower == "nan" => format!("number {}", quote(text.as_bytes())),
        Kind::Word if text.contains(':') => format!("metric identifier {}", quote(text.as_bytes())),
        Kind::Word => format!("identifier {}", quote(text.as_bytes())),
        Kind::Number => format!("number {}", quote(text.as_bytes())),
        Kind::Duration => format!("duration {}", quote(text.as_bytes())),
        Kind::Text => {
            let short: String = text.chars().take(10).collect();
            let dots = if text.chars().count() > 10 { "..." } else { "" };
            format!("string {}{dots}", quote(short.as_bytes()))
        }
        Kind::LeftParen
        | Kind::RightParen
        | Kind::LeftBrace
        | Kind::RightBrace
        | Kind::LeftBracket
        | Kind::RightBracket
        | Kind::Comma
        | Kind::Colon
        | Kind::Assign => quote(text.as_bytes()),
        _ => format!("<op:{text}>"),
    }
}
