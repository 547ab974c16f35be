//! How far something is, on standard error.

use std::io::{IsTerminal, Write};

/// A line with a percentage that renews itself; nothing where standard error is no terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    what: &'static str,
    shown: Option<u64>,
    is_terminal: bool,
}

impl Progress {
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, shown: None, is_terminal: std::io::stderr().is_terminal() }
    }

    /// Shows that `done` of `all` is done.
    pub(crate) fn show(&mut self, done: u64, all: u64) {
        const WIDTH: usize = 30;
        let percent = (u128::from(done.min(all)) * 100 / u128::from(all.max(1))) as u64;
        if self.is_terminal && self.shown != Some(percent) {
            self.shown = Some(percent);
            let full = percent as usize * WIDTH / 100;
            // Only for the eye: that it cannot be shown is no reason to stop.
            let _ = write!(std::io::stderr(), "\r{} [{:<WIDTH$}] {percent:3} %", self.what, "#".repeat(full));
        }
    }

    /// Removes the line, so that something else can be written.
    pub(crate) fn clear(&mut self) {
        if self.shown.take().is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
