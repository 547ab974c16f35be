//! From labels to series: interned text and posting lists.

mod postings;
mod symbols;

pub(crate) use postings::{Postings, intersect, union, without};
pub(crate) use symbols::{Symbol, Symbols, SymbolsView};
