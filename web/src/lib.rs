//! The HTTP API, SVG charts, dashboards and pages.

#![forbid(unsafe_code)]
