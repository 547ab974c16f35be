//! Flags → run → exit code.

#![forbid(unsafe_code)]

#[cfg_attr(not(test), expect(dead_code, reason = "the server that is configured is still to be wired"))]
mod config;

fn main() {}
