//! A list that grows without moving what it holds.

/// Entries of a page: of writers it is 48 KiB, which is what an allocator has a size class for.
const PAGE: usize = 512;

/// Items by slot, in pages: growing copies nothing and leaves no slack beyond a page. Slots are never given twice; a
/// page whose items are all gone takes no memory.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    pages: Vec<Page<T>>,
    /// Slots given so far.
    len: usize,
    /// Items that are there.
    live: usize,
}

#[derive(Debug)]
struct Page<T> {
    items: Vec<Option<T>>,
    live: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { pages: Vec::new(), len: 0, live: 0 }
    }
}

impl<T> Slab<T> {
    /// Slots given so far: the next one is this.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Items that are there.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    pub(crate) fn push(&mut self, item: T) {
        self.push_or_skip(Some(item));
    }

    /// Gives the next slot to `item`, or to nothing.
    pub(crate) fn push_or_skip(&mut self, item: Option<T>) {
        if self.len.is_multiple_of(PAGE) {
            self.pages.push(Page { items: Vec::new(), live: 0 });
        }
        let page = self.pages.last_mut().expect("there is one for the next slot");
        if item.is_some() {
            // A page of which everything is gone so far has let go of its memory: its items are put back as gaps.
            page.items.reserve_exact(PAGE - page.items.len());
            page.items.resize_with(self.len % PAGE, || None);
            page.live += 1;
            self.live += 1;
            page.items.push(item);
        }
        self.len += 1;
    }

    #[inline]
    pub(crate) fn get(&self, slot: u32) -> Option<&T> {
        self.pages.get(slot as usize / PAGE)?.items.get(slot as usize % PAGE)?.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.pages.get_mut(slot as usize / PAGE)?.items.get_mut(slot as usize % PAGE)?.as_mut()
    }

    /// Takes an item out; its slot stays empty for good.
    pub(crate) fn remove(&mut self, slot: u32) -> Option<T> {
        let page = self.pages.get_mut(slot as usize / PAGE)?;
        let item = page.items.get_mut(slot as usize % PAGE)?.take()?;
        page.live -= 1;
        self.live -= 1;
        if page.live == 0 {
            page.items = Vec::new();
        }
        Some(item)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flat_map(|page| &page.items).flatten()
    }

    /// The slots that hold something, ascending.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> {
        let pages = self.pages.iter().enumerate();
        pages.flat_map(|(at, page)| {
            let items = page.items.iter().enumerate().filter(|(_, item)| item.is_some());
            items.map(move |(i, _)| (at * PAGE + i) as u32)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_slab_behaves_as_a_map_from_slots(ops in prop::collection::vec(prop_oneof![
            3 => Just(None), 1 => any::<prop::sample::Index>().prop_map(Some)], 0..4000)) {
            let (mut slab, mut model) = (Slab::default(), BTreeMap::new());
            for op in ops {
                match op {
                    None => {
                        model.insert(slab.len() as u32, slab.len());
                        slab.push(slab.len());
                    }
                    Some(index) if slab.len() > 0 => {
                        let slot = index.index(slab.len()) as u32;
                        prop_assert_eq!(slab.remove(slot), model.remove(&slot));
                    }
                    Some(_) => {}
                }
            }
            prop_assert!(slab.slots().eq(model.keys().copied()));
            prop_assert!(slab.iter().eq(model.values()));
            prop_assert_eq!(slab.live(), model.len());
            prop_assert!((0..slab.len() as u32).all(|slot| slab.get(slot) == model.get(&slot)));
        }
    }
}
