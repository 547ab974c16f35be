//! Proves that all parts of a block's index say the same.

use std::ops::ControlFlow;

use super::reader::IndexReader;
use crate::error::Error;

impl IndexReader {
    /// Checks every page, value and list, and that the lists say of each series what its entry says.
    pub(crate) fn verify(&self, each: &mut dyn FnMut(Error)) {
        let mut bad = false;
        self.pages().verify(&mut |e| {
            bad = true;
            each(e);
        });
        if bad {
            return;
        }
        for name in 0..self.names.len() {
            if let Err(e) = self.verify_name(name) {
                each(e);
            }
        }
        if let Err(e) = self.verify_order() {
            each(e);
        }
    }

    fn verify_name(&self, name: usize) -> Result<(), Error> {
        let wrong = |what| Err(self.pages().corrupt(0, what));
        let (mut lists, mut last, mut ordered) = (Vec::new(), None::<String>, true);
        self.values(name, 0, |_, text, list| {
            ordered &= last.as_deref().is_none_or(|last| last < text) && !text.is_empty();
            last = Some(text.to_owned());
            lists.push(list);
            ControlFlow::Continue(())
        })?;
        if !ordered {
            return wrong("label values out of order");
        }
        // The rank of each series' value, as the lists have it.
        let mut listed = vec![u32::MAX; self.series as usize];
        let (mut twice, mut count) = (false, 0u64);
        for (list, rank) in lists.into_iter().zip(0..) {
            self.list(list, |id| {
                twice |= std::mem::replace(&mut listed[id as usize], rank) != u32::MAX;
                count += 1;
            })?;
        }
        if twice || count != u64::from(self.names[name].series) {
            return wrong("a series has a label twice, or a count is wrong");
        }
        let ids: Vec<u32> = (0..self.series).collect();
        let mut same = true;
        self.entries_of(&ids, |id, entry| {
            let rank = Some(listed[id as usize]).filter(|&rank| rank != u32::MAX);
            same &= entry.value(name as u32)? == rank;
            Ok(())
        })?;
        if same { Ok(()) } else { wrong("lists and series do not agree") }
    }

    /// Checks that the series ascend by their labels.
    fn verify_order(&self) -> Result<(), Error> {
        let ids: Vec<u32> = (0..self.series).collect();
        let (mut last, mut values): (Vec<(u32, u32)>, Vec<u32>) = Default::default();
        let (mut first, mut ordered) = (true, true);
        self.entries_of(&ids, |_, mut entry| {
            values.clear();
            let shape = &self.shapes[entry.shape() as usize];
            entry.take_values(&mut values)?;
            // Names and values are numbered in the order of their texts.
            let pairs: Vec<(u32, u32)> = shape.iter().copied().zip(values.iter().copied()).collect();
            ordered &= first || last < pairs;
            (last, first) = (pairs, false);
            Ok(())
        })?;
        if ordered { Ok(()) } else { Err(self.pages().corrupt(0, "series out of order")) }
    }
}
