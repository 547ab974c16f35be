//! The pages: rendered here, complete without a script, better with one.

mod assets;
mod dashboards;
mod page;
mod query;
mod status;
mod targets;

pub(crate) use assets::asset;
pub(crate) use dashboards::{home, one};
pub(crate) use page::{Chart, theme};
pub(crate) use query::query;
pub(crate) use status::{configuration, flags, tsdb};
pub(crate) use targets::targets;
