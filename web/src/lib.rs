//! The HTTP API, SVG charts, dashboards and pages.
//!
//! A handler parses, calls and renders; nothing is computed in one.

#![forbid(unsafe_code)]

mod address;
mod allowance;
mod api;
pub mod chart;
mod client;
mod compress;
mod dashboard;
mod early;
mod front;
mod lane;
mod listener;
mod metrics;
mod origin;
mod picture;
mod queries;
mod reply;
mod router;
mod routes;
mod state;
mod status;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod ui;

pub use api::{parse_time, put_result};
pub use early::early;
pub use listener::{Connections, Limits, listen};
pub use queries::Queries;
pub use router::router;
pub use state::{AppState, Options};
pub use status::{ActiveTarget, DroppedTarget, Health, Server, TargetMetadata, Targets};
