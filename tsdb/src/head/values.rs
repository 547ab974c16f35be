//! The values of a label, in the order of their text.

use super::Head;
use crate::index::{Symbol, SymbolsView};

/// With so many values their order is worth keeping.
const MANY: usize = 10_000;

/// The values of one label name in their order: of that which was asked for last, so that the first of a million need not
/// be looked for each time. 4 bytes per value.
#[derive(Debug, Default)]
pub(crate) struct ValueOrder {
    name: Option<Symbol>,
    /// Of each shard when its values were read.
    versions: Vec<u64>,
    sorted: Vec<Symbol>,
}

impl Head {
    /// The first `limit` values of the label `name`. Cost: where nothing has come or gone since the last time, that of the
    /// values that are given.
    pub(super) fn first_values(&self, name: Symbol, limit: usize) -> Vec<String> {
        let shards = self.index.shards();
        let mut order = self.value_order.lock();
        let versions: Vec<u64> = shards.iter().map(|shard| shard.read().values_version(name)).collect();
        if order.name != Some(name) || order.versions != versions {
            // What comes meanwhile is in the values and not in the versions: the next one to ask looks again.
            let mut values = Vec::new();
            shards.iter().for_each(|shard| values.extend(shard.read().values(name)));
            let view = self.index.symbols_view();
            if values.len() < MANY || limit >= values.len() {
                drop(order);
                return first_texts(values, &view, limit);
            }
            values.sort_unstable();
            values.dedup();
            values.sort_unstable_by_key(|&value| view.text(value));
            *order = ValueOrder { name: Some(name), versions, sorted: values };
        }
        let view = self.index.symbols_view();
        order.sorted.iter().take(limit).map(|&value| view.text(value).to_owned()).collect()
    }
}

/// The texts of `symbols`, each once, sorted, at most `limit`.
pub(super) fn first_texts(mut symbols: Vec<Symbol>, view: &SymbolsView, limit: usize) -> Vec<String> {
    symbols.sort_unstable();
    symbols.dedup();
    let mut texts: Vec<&str> = symbols.iter().map(|&symbol| view.text(symbol)).collect();
    if limit < texts.len() {
        texts.select_nth_unstable(limit);
        texts.truncate(limit);
    }
    texts.sort_unstable();
    texts.into_iter().map(str::to_owned).collect()
}
