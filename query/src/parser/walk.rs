//! Looking through expressions.

use tsdb::Matcher;

use super::ast::{At, Expr, Modifiers, VectorSelector};
use super::duration::DurationExpr;

/// A selector as an expression uses it.
#[derive(Clone, Copy, Debug)]
pub struct SelectorUse<'e> {
    /// The selector.
    pub selector: &'e VectorSelector,
    /// Its window, if it has one.
    pub range: Option<&'e DurationExpr>,
}

impl<'e> SelectorUse<'e> {
    /// The conditions on its series.
    #[must_use]
    pub fn matchers(&self) -> &'e [Matcher] {
        &self.selector.matchers
    }
}

impl Expr {
    /// Its direct parts, in the order of the text.
    pub fn children(&self) -> impl Iterator<Item = &Self> {
        let (first, second, rest): (Option<&Self>, Option<&Self>, &[Self]) = match self {
            Self::Number(_) | Self::Text(_) | Self::Selector(_) | Self::Matrix(_) => (None, None, &[]),
            Self::Subquery(e) => (Some(&e.inner), None, &[]),
            Self::Call(e) => (None, None, &e.args),
            Self::Aggregate(e) => (e.param.as_deref(), Some(&e.expr), &[]),
            Self::Binary(e) => (Some(&e.lhs), Some(&e.rhs), &[]),
            Self::Unary(e) => (Some(&e.expr), None, &[]),
            Self::Paren(e) => (Some(&e.expr), None, &[]),
        };
        first.into_iter().chain(second).chain(rest)
    }

    /// All selectors in it, in the order of the text.
    #[must_use]
    pub fn selectors(&self) -> Vec<SelectorUse<'_>> {
        let mut found = Vec::new();
        self.visit(&mut |expr| match expr {
            Self::Selector(selector) => found.push(SelectorUse { selector, range: None }),
            Self::Matrix(m) => found.push(SelectorUse { selector: &m.selector, range: Some(&m.range) }),
            _ => {}
        });
        found
    }

    /// Whether it reads any series.
    #[must_use]
    pub fn has_selectors(&self) -> bool {
        matches!(self, Self::Selector(_) | Self::Matrix(_)) || self.children().any(Self::has_selectors)
    }

    /// Shows every node to `f`, parents first.
    pub fn visit<'e>(&'e self, f: &mut impl FnMut(&'e Self)) {
        f(self);
        for child in self.children() {
            child.visit(f);
        }
    }

    /// The node itself or its modifiers changed by `f`, all nodes in turn, parents first. `f` says whether to go below.
    pub fn edit_modifiers(&mut self, f: &mut impl FnMut(&mut Modifiers) -> bool) {
        match self {
            Self::Number(_) | Self::Text(_) => {}
            Self::Selector(e) => {
                f(&mut e.modifiers);
            }
            Self::Matrix(e) => {
                f(&mut e.selector.modifiers);
            }
            Self::Subquery(e) => {
                if f(&mut e.modifiers) {
                    e.inner.edit_modifiers(f);
                }
            }
            Self::Call(e) => {
                // The conditions of info() are no selector of their own.
                let own = if e.function.name == "info" { 1 } else { e.args.len() };
                for arg in e.args.iter_mut().take(own) {
                    arg.edit_modifiers(f);
                }
            }
            Self::Aggregate(e) => {
                if let Some(param) = &mut e.param {
                    param.edit_modifiers(f);
                }
                e.expr.edit_modifiers(f);
            }
            Self::Binary(e) => {
                e.lhs.edit_modifiers(f);
                e.rhs.edit_modifiers(f);
            }
            Self::Unary(e) => e.expr.edit_modifiers(f),
            Self::Paren(e) => e.expr.edit_modifiers(f),
        }
    }

    /// Whether it has the same value at every step of a query, whatever is stored.
    pub(crate) fn is_step_invariant(&self) -> bool {
        let fixed = |modifiers: &Modifiers| matches!(modifiers.at, Some(At::Time(_) | At::Start | At::End));
        match self {
            Self::Number(_) | Self::Text(_) => true,
            Self::Selector(e) => fixed(&e.modifiers),
            Self::Matrix(e) => fixed(&e.selector.modifiers),
            Self::Subquery(e) => fixed(&e.modifiers),
            Self::Call(e) => !e.function.depends_on_time(e.args.len()) && self.children().all(Self::is_step_invariant),
            Self::Binary(last) => {
                let mut e = last;
                while let Self::Binary(inner) = &*e.lhs {
                    if !e.rhs.is_step_invariant() {
                        return false;
                    }
                    e = inner;
                }
                e.lhs.is_step_invariant() && e.rhs.is_step_invariant()
            }
            _ => self.children().all(Self::is_step_invariant),
        }
    }
}
