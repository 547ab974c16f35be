//! From labels to series: interned text and posting lists, in memory and in blocks.

mod postings;
mod reader;
mod select;
mod symbols;
mod verify;
mod writer;

pub(crate) use postings::{Postings, intersect, intersects, union, without};
pub(crate) use reader::{FILE_KIND, IndexReader};
pub(crate) use symbols::{Symbol, Symbols, SymbolsView};
pub(crate) use writer::{ChunkMeta, ColumnMeta, IndexWriter};
