//! What a query will do, what it did, and why it found nothing.

mod empty;
mod plan;

pub use empty::{Missing, Why, why_empty};
pub use plan::{PlanNode, plan};
