//! The labels by which series of two vectors match.

use hashbrown::HashMap;

use tsdb::{Labels, METRIC_NAME};

use super::super::source::{Source, is_metadata};
use crate::parser::Matching;

/// Numbers signatures: equal ones get equal numbers, in the order in which they come.
#[derive(Debug)]
pub(super) struct Signatures<'q> {
    on: bool,
    /// Sorted, each once.
    names: Vec<&'q str>,
    numbers: HashMap<Labels, u32>,
    pub(super) all: Vec<Labels>,
}

impl<'q> Signatures<'q> {
    pub(super) fn new(matching: &'q Matching) -> Self {
        let mut names: Vec<&str> = matching.labels.iter().map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        Self { on: matching.on, names, numbers: HashMap::new(), all: Vec::new() }
    }

    /// The signature of one series.
    fn signature(&self, source: &dyn Source, index: usize) -> Labels {
        if self.on {
            return Labels::from_sorted(self.names.iter().filter_map(|name| Some((*name, source.label(index, name)?))));
        }
        source.labels(index).filtered(|name| name != METRIC_NAME && self.names.binary_search(&name).is_err())
    }

    /// The numbers of all series of `source`.
    pub(super) fn of(&mut self, source: &dyn Source) -> Vec<u32> {
        (0..source.len())
            .map(|index| {
                let signature = self.signature(source, index);
                if let Some(number) = self.numbers.get(&signature) {
                    return *number;
                }
                let number = self.all.len() as u32;
                self.all.push(signature.clone());
                self.numbers.insert(signature, number);
                number
            })
            .collect()
    }

    /// The labels of a result of one-to-one matching.
    pub(super) fn one_to_one(&self, labels: &Labels, drop_name: bool) -> Labels {
        labels.filtered(|name| {
            let listed = self.names.binary_search(&name).is_ok();
            listed == self.on && !(drop_name && is_metadata(name))
        })
    }
}

/// Series by the number of their signature.
pub(super) fn by_number(numbers: &[u32], count: usize) -> Vec<Vec<u32>> {
    let mut lists = vec![Vec::new(); count];
    for (series, number) in numbers.iter().enumerate() {
        lists[*number as usize].push(series as u32);
    }
    lists
}
