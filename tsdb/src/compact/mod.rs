//! Making few large blocks of many small ones, and dropping what is too old or too much.

mod exemplars;
mod merge;
mod plan;
mod retention;

pub(crate) use merge::{Compacted, compact};
pub(crate) use plan::{BASE_WIDTH_MS, Candidate, Plan, plan, widths};
pub use retention::Retention;
pub(crate) use retention::{Present, expired};
