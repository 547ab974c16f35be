//! Label names and values, each text once.

use std::sync::Arc;

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use crate::labels::{push_text, split_text};

/// Where a text begins, in units of [`ALIGN`] bytes; the upper bits number the page. The order is that of interning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Symbol(u32);

/// Texts begin at multiples of this.
const ALIGN: usize = 4;
/// Bytes of a page; a page with a longer text holds only that.
const PAGE_BYTES: usize = 1 << 16;
const PAGE_SHIFT: u32 = 14;
const _: () = assert!(PAGE_BYTES / ALIGN == 1 << PAGE_SHIFT);

/// An interner. About 40 ns per text that is there; the texts lie back to back in pages that full ones share with
/// every [`SymbolsView`].
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    full: Vec<Arc<str>>,
    tail: String,
    table: HashTable<Symbol>,
    /// What [`view`](Self::view) gave last, as long as nothing has been added.
    view: Option<Arc<SymbolsView>>,
}

/// All texts as of one moment, to be read without a lock.
#[derive(Debug)]
pub(crate) struct SymbolsView {
    pages: Vec<Arc<str>>,
}

impl SymbolsView {
    pub(crate) fn text(&self, symbol: Symbol) -> &str {
        text_in(&self.pages[(symbol.0 >> PAGE_SHIFT) as usize], symbol)
    }
}

fn text_in(page: &str, symbol: Symbol) -> &str {
    split_text(&page[(symbol.0 as usize & ((1 << PAGE_SHIFT) - 1)) * ALIGN..]).0
}

impl Symbols {
    pub(crate) fn text(&self, symbol: Symbol) -> &str {
        let page = (symbol.0 >> PAGE_SHIFT) as usize;
        text_in(self.full.get(page).map_or(self.tail.as_str(), |page| page), symbol)
    }

    /// The symbol of `text`, if it has one.
    pub(crate) fn find(&self, text: &str) -> Option<Symbol> {
        self.table.find(xxh3_64(text.as_bytes()), |&s| self.text(s) == text).copied()
    }

    /// The symbol of `text`; gives it one if need be.
    ///
    /// # Panics
    /// Beyond 16 GiB of text.
    pub(crate) fn intern(&mut self, text: &str) -> Symbol {
        if let Some(symbol) = self.find(text) {
            return symbol;
        }
        self.view = None;
        // Four digits of six bits measure texts up to 16 MiB; a longer one takes a fifth.
        if !self.tail.is_empty() && self.tail.len() + text.len() + 5 > PAGE_BYTES {
            self.full.push(std::mem::take(&mut self.tail).into());
        }
        let page = u32::try_from(self.full.len()).ok().filter(|&page| page < 1 << (32 - PAGE_SHIFT));
        let page = page.expect("label names and values fit 16 GiB");
        let symbol = Symbol(page << PAGE_SHIFT | (self.tail.len() / ALIGN) as u32);
        push_text(&mut self.tail, text);
        while !self.tail.len().is_multiple_of(ALIGN) {
            self.tail.push('\0');
        }
        let Self { full, tail, table, .. } = self;
        table.insert_unique(xxh3_64(text.as_bytes()), symbol, |&s| {
            let page = (s.0 >> PAGE_SHIFT) as usize;
            xxh3_64(text_in(full.get(page).map_or(tail.as_str(), |page| page), s).as_bytes())
        });
        symbol
    }

    /// All texts as of now. Copies at most the last page.
    pub(crate) fn view(&mut self) -> Arc<SymbolsView> {
        if let Some(view) = &self.view {
            return view.clone();
        }
        let mut pages = Vec::with_capacity(self.full.len() + 1);
        pages.extend(self.full.iter().cloned());
        pages.push(self.tail.as_str().into());
        let view = Arc::new(SymbolsView { pages });
        self.view = Some(view.clone());
        view
    }

    /// As [`view`](Self::view), if nothing has been added since the last call of it.
    pub(crate) fn last_view(&self) -> Option<Arc<SymbolsView>> {
        self.view.clone()
    }

    /// How many texts there are.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Bytes that the texts and the table take.
    pub(crate) fn size_bytes(&self) -> usize {
        self.full.iter().map(|page| page.len()).sum::<usize>() + self.tail.capacity() + self.table.capacity() * 5
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_has_one_symbol_over_many_pages() {
        let mut symbols = Symbols::default();
        let texts: Vec<String> = (0..20_000).map(|i| format!("value-{i}-{}", "ü".repeat(i % 40))).collect();
        let ids: Vec<Symbol> = texts.iter().map(|t| symbols.intern(t)).collect();
        let view = symbols.view();
        let long = "x".repeat(300_000);
        let long_id = symbols.intern(&long);
        let after = symbols.intern("after");
        for (text, &id) in texts.iter().zip(&ids) {
            assert_eq!(symbols.intern(text), id);
            assert_eq!((symbols.text(id), view.text(id)), (text.as_str(), text.as_str()));
        }
        assert_eq!((symbols.text(long_id), symbols.text(after)), (long.as_str(), "after"));
        assert_eq!(symbols.view().text(long_id), long);
        assert_eq!(symbols.find("missing"), None);
        assert_eq!(symbols.len(), 20_002);
    }
}
