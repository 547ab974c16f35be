//! From matchers to series, in the index of a block.

use std::ops::ControlFlow;

use super::reader::{IndexReader, ListRef};
use super::{intersect, without};
use crate::error::Error;
use crate::matcher::Matcher;

/// Where a list has this many times as many series as are left, each of those is looked at instead.
const LOOK_FACTOR: u64 = 24;

/// Values of one label, and where their series are.
#[derive(Debug, Default)]
struct Values {
    name: u32,
    /// Ascending.
    ranks: Vec<u32>,
    lists: Vec<ListRef>,
    /// Series in all lists.
    series: u64,
}

impl IndexReader {
    /// The series that pass all `matchers`, ascending.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> Result<Vec<u32>, Error> {
        let (absent_passes, absent_fails): (Vec<_>, Vec<_>) = matchers.iter().partition(|m| m.matches_empty());
        let mut passing = Vec::with_capacity(absent_fails.len());
        for matcher in absent_fails {
            let values = self.matching(matcher, true)?;
            if values.lists.is_empty() {
                return Ok(Vec::new());
            }
            passing.push(values);
        }
        // The cheapest first: what it leaves bounds the work of the others.
        passing.sort_by_key(|values| values.series);
        let mut series: Option<Vec<u32>> = None;
        for values in &passing {
            match &mut series {
                None => series = Some(self.union(values)?),
                Some(series) => self.narrow(series, values, true)?,
            }
        }
        let mut series = series.unwrap_or_else(|| (0..self.series).collect());
        for matcher in absent_passes {
            if series.is_empty() {
                break;
            }
            self.narrow(&mut series, &self.matching(matcher, false)?, false)?;
        }
        Ok(series)
    }

    /// Keeps the series that have one of `values` (or that have none of them).
    fn narrow(&self, series: &mut Vec<u32>, values: &Values, having: bool) -> Result<(), Error> {
        if values.lists.is_empty() {
            if having {
                series.clear();
            }
            return Ok(());
        }
        if values.series <= series.len() as u64 * LOOK_FACTOR {
            let others = self.union(values)?;
            if having {
                intersect(series, &others);
            } else {
                without(series, &others);
            }
            return Ok(());
        }
        let mut kept = Vec::with_capacity(series.len());
        self.entries_of(series, |id, entry| {
            let has = entry.value(values.name)?.is_some_and(|rank| values.ranks.binary_search(&rank).is_ok());
            if has == having {
                kept.push(id);
            }
            Ok(())
        })?;
        *series = kept;
        Ok(())
    }

    /// The values that pass `matcher` (or that fail it).
    fn matching(&self, matcher: &Matcher, passing: bool) -> Result<Values, Error> {
        let Some(name) = self.name(matcher.name()) else { return Ok(Values::default()) };
        let mut found = Values { name: name as u32, ..Values::default() };
        let mut add = |rank, list: ListRef| {
            found.ranks.push(rank);
            found.lists.push(list);
            found.series += u64::from(list.count);
        };
        // What the literals and the prefix speak of is what passes, or for a negative matcher what fails.
        if passing != matcher.op().is_negative() {
            if let Some(literals) = matcher.literals() {
                for literal in literals {
                    self.values(name, self.block_of(name, literal)?, |rank, text, list| {
                        if text == literal {
                            add(rank, list);
                        }
                        if text >= literal { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                    })?;
                }
                return Ok(found);
            }
            let prefix = matcher.prefix();
            self.values(name, self.block_of(name, prefix)?, |rank, text, list| {
                if text.starts_with(prefix) {
                    if matcher.matches(text) == passing {
                        add(rank, list);
                    }
                } else if text > prefix {
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })?;
            return Ok(found);
        }
        self.values(name, 0, |rank, text, list| {
            if matcher.matches(text) == passing {
                add(rank, list);
            }
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// All series in the lists of `values`, ascending.
    fn union(&self, values: &Values) -> Result<Vec<u32>, Error> {
        let mut series = Vec::with_capacity(values.series.min(u64::from(self.series)) as usize);
        if let [list] = *values.lists {
            self.list(list, |id| series.push(id))?;
            return Ok(series);
        }
        if values.series * 16 < u64::from(self.series) {
            for &list in &values.lists {
                self.list(list, |id| series.push(id))?;
            }
            series.sort_unstable();
            return Ok(series);
        }
        let mut bits = vec![0u64; self.series as usize / 64 + 1];
        for &list in &values.lists {
            self.list(list, |id| bits[id as usize / 64] |= 1 << (id % 64))?;
        }
        for (word, base) in bits.into_iter().zip((0u32..).step_by(64)) {
            let mut word = word;
            while word != 0 {
                series.push(base + word.trailing_zeros());
                word &= word - 1;
            }
        }
        Ok(series)
    }

    /// The texts of some values of a name, sorted, by their ranks, which ascend.
    pub(crate) fn texts(&self, name: usize, ranks: &[u32], mut visit: impl FnMut(&str)) -> Result<(), Error> {
        let mut rest = ranks.iter().copied().peekable();
        while let Some(&first) = rest.peek() {
            self.values(name, first / super::reader::VALUES_PER_BLOCK as u32, |rank, text, _| {
                match rest.peek() {
                    Some(&next) if next == rank => {
                        visit(text);
                        rest.next();
                    }
                    // Far ahead: begin anew at its block.
                    Some(&next) if next > rank + 4 * super::reader::VALUES_PER_BLOCK as u32 => {
                        return ControlFlow::Break(());
                    }
                    Some(_) => {}
                    None => return ControlFlow::Break(()),
                }
                ControlFlow::Continue(())
            })?;
            if rest.peek() == Some(&first) {
                return Err(self.pages().corrupt(0, "a series has a value that is not there"));
            }
        }
        Ok(())
    }

    /// Hands all values of a name to `each`, sorted, at most `limit`.
    pub(crate) fn all_values(&self, name: usize, limit: usize, mut each: impl FnMut(&str)) -> Result<(), Error> {
        let mut left = limit;
        if left == 0 {
            return Ok(());
        }
        self.values(name, 0, |_, text, _| {
            each(text);
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    }
}
