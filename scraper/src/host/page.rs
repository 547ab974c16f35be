//! An exposition in the making.

use std::fmt::Write;

/// The type of a family.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Untyped,
}

/// An exposition in the making.
#[derive(Debug)]
pub(super) struct Page(String);

impl Page {
    /// Begins a page in the memory of `buffer`.
    pub(super) fn reusing(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        Self(String::from_utf8(buffer).expect("nothing is valid UTF-8"))
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0.into_bytes()
    }

    /// Begins a family.
    pub(super) fn head(&mut self, name: &str, help: &str, kind: Kind) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Untyped => "untyped",
        };
        crate::metrics::head(&mut self.0, name, help, kind);
    }

    /// Writes a sample of the family that has been begun.
    pub(super) fn line(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        crate::metrics::line(&mut self.0, name, labels, value);
    }

    /// Writes a family of one sample.
    pub(super) fn one(&mut self, name: &str, help: &str, kind: Kind, value: f64) {
        self.head(name, help, kind);
        let _ = writeln!(self.0, "{name} {value}");
    }
}
