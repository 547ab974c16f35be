//! Flags → run → exit code.

#![forbid(unsafe_code)]

fn main() {}
