//! Label names and values, each text once.

use std::sync::Arc;

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use crate::labels::{push_text, split_text};

/// Where a text begins, in units of [`ALIGN`] bytes; the upper bits number the page. It means another text once
/// [`Symbols::retain`] has let go of this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Symbol(u32);

/// Texts begin at multiples of this.
const ALIGN: usize = 4;
/// Bytes of a page; a page with a longer text holds only that. Texts that come together, and most often go together, share
/// one.
const PAGE_BYTES: usize = 1 << 14;
const PAGE_SHIFT: u32 = 12;
const _: () = assert!(PAGE_BYTES / ALIGN == 1 << PAGE_SHIFT);

/// An interner. About 40 ns per text that is there; the texts lie back to back in pages that full ones share with
/// every [`SymbolsView`].
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    /// Those that are empty wait for other texts.
    full: Vec<Arc<str>>,
    tail: String,
    /// The page that the tail is going to be.
    tail_page: usize,
    empty: Vec<usize>,
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

/// Some of the symbols of a [`Symbols`], a bit for each place where one may begin.
#[derive(Debug)]
pub(crate) struct SymbolSet(Vec<u64>);

/// Words of a set for one page.
const SET_WORDS: usize = 1 << (PAGE_SHIFT - 6);

impl SymbolSet {
    pub(crate) fn insert(&mut self, symbol: Symbol) {
        self.0[symbol.0 as usize / 64] |= 1 << (symbol.0 % 64);
    }

    fn contains(&self, symbol: Symbol) -> bool {
        self.0[symbol.0 as usize / 64] >> (symbol.0 % 64) & 1 != 0
    }

    fn has_any_of(&self, page: usize) -> bool {
        self.0[page * SET_WORDS..(page + 1) * SET_WORDS].iter().any(|&word| word != 0)
    }
}

fn text_in(page: &str, symbol: Symbol) -> &str {
    split_text(&page[(symbol.0 as usize & ((1 << PAGE_SHIFT) - 1)) * ALIGN..]).0
}

/// The page that a symbol is in.
fn page_of<'s>(full: &'s [Arc<str>], tail_page: usize, tail: &'s str, symbol: Symbol) -> &'s str {
    let page = (symbol.0 >> PAGE_SHIFT) as usize;
    if page == tail_page { tail } else { &full[page] }
}

impl Symbols {
    pub(crate) fn text(&self, symbol: Symbol) -> &str {
        text_in(page_of(&self.full, self.tail_page, &self.tail, symbol), symbol)
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
            self.end_page();
        }
        let page = u32::try_from(self.tail_page).ok().filter(|&page| page < 1 << (32 - PAGE_SHIFT));
        let page = page.expect("label names and values fit 16 GiB");
        let symbol = Symbol(page << PAGE_SHIFT | (self.tail.len() / ALIGN) as u32);
        push_text(&mut self.tail, text);
        while !self.tail.len().is_multiple_of(ALIGN) {
            self.tail.push('\0');
        }
        let Self { full, tail, tail_page, table, .. } = self;
        table.insert_unique(xxh3_64(text.as_bytes()), symbol, |&s| {
            xxh3_64(text_in(page_of(full, *tail_page, tail, s), s).as_bytes())
        });
        symbol
    }

    fn end_page(&mut self) {
        let page = std::mem::take(&mut self.tail).into();
        match self.full.get_mut(self.tail_page) {
            Some(empty) => *empty = page,
            None => self.full.push(page),
        }
        self.tail_page = self.empty.pop().unwrap_or(self.full.len());
    }

    /// A set for all symbols there are, with none in it.
    pub(crate) fn no_symbols(&self) -> SymbolSet {
        SymbolSet(vec![0; SET_WORDS * self.full.len().max(self.tail_page + 1)])
    }

    /// Lets go of all texts but those of `live`. The memory of a page is free once none of its texts is live, and nobody has
    /// a view that it is in. Cost: 20 ns per text.
    pub(crate) fn retain(&mut self, live: &SymbolSet) {
        self.table.retain(|&mut symbol| live.contains(symbol));
        let Self { full, tail, tail_page, table, .. } = self;
        table.shrink_to(table.len() * 2, |&s| xxh3_64(text_in(page_of(full, *tail_page, tail, s), s).as_bytes()));
        for page in 0..self.full.len() {
            if page != self.tail_page && !self.full[page].is_empty() && !live.has_any_of(page) {
                self.full[page] = Arc::from("");
                self.empty.push(page);
            }
        }
        self.view = None;
    }

    /// All texts as of now. Copies at most the last page.
    pub(crate) fn view(&mut self) -> Arc<SymbolsView> {
        if let Some(view) = &self.view {
            return view.clone();
        }
        let mut pages = Vec::with_capacity(self.full.len() + 1);
        pages.extend(self.full.iter().cloned());
        let tail = self.tail.as_str().into();
        match pages.get_mut(self.tail_page) {
            Some(empty) => *empty = tail,
            None => pages.push(tail),
        }
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

    #[test]
    fn what_is_not_retained_makes_room_and_views_keep_what_they_have() {
        let mut symbols = Symbols::default();
        let kept = symbols.intern("kept");
        let generation = |g: usize| (0..5000).map(move |i| format!("generation-{g}-value-{i}"));
        let first: Vec<Symbol> = generation(0).map(|text| symbols.intern(&text)).collect();
        let (view, bytes) = (symbols.view(), symbols.size_bytes());
        for g in 1..20 {
            let last: Vec<Symbol> = generation(g).map(|text| symbols.intern(&text)).collect();
            let mut live = symbols.no_symbols();
            last.iter().chain([&kept]).for_each(|&symbol| live.insert(symbol));
            symbols.retain(&live);
            assert_eq!(symbols.len(), 5001);
            assert!(symbols.size_bytes() < bytes * 5 / 2, "{} bytes of {bytes}", symbols.size_bytes());
            let now = symbols.view();
            for (text, &symbol) in generation(g).zip(&last) {
                assert_eq!((symbols.text(symbol), now.text(symbol)), (text.as_str(), text.as_str()));
                assert_eq!(symbols.find(&text), Some(symbol));
            }
            assert_eq!(symbols.find("generation-0-value-7"), None);
            assert_eq!(symbols.text(kept), "kept");
        }
        assert!(generation(0).zip(first).all(|(text, symbol)| view.text(symbol) == text), "the old view is as it was");
    }
}
