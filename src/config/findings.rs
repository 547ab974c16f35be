//! Faults and doubts of a configuration, each with its file and place.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use scraper::TlsOptions;

use super::tree::{Fault, Node, Place};

/// A fault and the file it is in. Displays as `file:line:column: what is wrong`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    path: PathBuf,
    place: Place,
    what: String,
}

impl Finding {
    pub(super) fn new(path: &Path, fault: Fault) -> Self {
        Self { path: path.to_owned(), place: fault.place, what: fault.what }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.path.display())?;
        if self.place.line > 0 {
            write!(f, "{}:{}:", self.place.line, self.place.column)?;
        }
        write!(f, " {}", self.what)
    }
}

/// All faults of a configuration: one line for each.
#[derive(Debug)]
pub(crate) struct ConfigError(Vec<Finding>);

impl ConfigError {
    pub(super) fn one(finding: Finding) -> Self {
        Self(vec![finding])
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, finding) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { "\n" };
            write!(f, "{separator}{finding}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// How far a configuration is looked into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Depth {
    /// As far as the start needs.
    #[default]
    Start,
    /// Down to the targets and the files that name them.
    Targets,
}

/// What reading a configuration brings to light besides its values.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) depth: Depth,
    /// The file being read.
    path: PathBuf,
    faults: Vec<Finding>,
    /// Faults that do not end the start, but make `check config` fail: the target concerned will be down.
    pub(super) doubts: Vec<Finding>,
    /// Keys that say less than their writer may think.
    pub(super) warnings: Vec<Finding>,
    /// Keys that are set and do nothing.
    pub(super) idle: BTreeSet<String>,
    /// TLS settings whose files are to be read once all else is known.
    tls: Vec<(PathBuf, Place, TlsOptions)>,
    /// Files of credentials that should exist.
    credentials: Vec<(PathBuf, Place, PathBuf)>,
}

impl Findings {
    pub(super) fn new(depth: Depth) -> Self {
        Self { depth, ..Self::default() }
    }

    /// Turns to another file; the values returned are restored with [`leave`](Self::leave).
    pub(super) fn enter(&mut self, path: &Path) -> PathBuf {
        std::mem::replace(&mut self.path, path.to_owned())
    }

    /// Turns back to `path`.
    pub(super) fn leave(&mut self, path: PathBuf) {
        self.path = path;
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        let finding = Finding::new(&self.path, fault);
        if !self.faults.contains(&finding) {
            self.faults.push(finding);
        }
    }

    pub(super) fn doubt(&mut self, fault: Fault) {
        let finding = Finding::new(&self.path, fault);
        if !self.faults.contains(&finding) {
            self.doubts.push(finding);
        }
    }

    pub(super) fn warn(&mut self, fault: Fault) {
        self.warnings.push(Finding::new(&self.path, fault));
    }

    /// The value of `result`, or `None` and a fault. Faults of a whole section are not counted where a part of it has been
    /// found faulty already: they follow from that.
    pub(super) fn keep<T>(&mut self, section: &Node, result: Result<T, Fault>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(fault) => {
                if fault.place != section.place || !section.is_flawed() {
                    self.fault(fault);
                }
                None
            }
        }
    }

    pub(super) fn look_at_tls(&mut self, place: Place, options: &TlsOptions) {
        self.tls.push((self.path.clone(), place, options.clone()));
    }

    pub(super) fn look_at_credentials(&mut self, place: Place, file: &Path) {
        self.credentials.push((self.path.clone(), place, file.to_owned()));
    }

    /// Reads the files that TLS settings name, and looks for those of credentials.
    pub(super) fn look_at_files(&mut self) {
        for (path, place, options) in std::mem::take(&mut self.tls) {
            if let Err(what) = options.check() {
                self.faults.push(Finding { path, place, what });
            }
        }
        for (path, place, file) in std::mem::take(&mut self.credentials) {
            if let Err(error) = std::fs::metadata(&file) {
                let what = format!("credentials cannot be read from {}: {error}", file.display());
                self.doubts.push(Finding { path, place, what });
            }
        }
    }

    /// An error that names all faults, if there are any.
    pub(super) fn into_result(mut self) -> Result<Self, ConfigError> {
        if self.faults.is_empty() {
            return Ok(self);
        }
        // Files keep the order in which they were read.
        let order: Vec<PathBuf> = self.faults.iter().map(|finding| finding.path.clone()).collect();
        let rank = |finding: &Finding| order.iter().position(|path| *path == finding.path);
        self.faults.sort_by_key(|finding| (rank(finding), finding.place.line, finding.place.column));
        Err(ConfigError(self.faults))
    }
}

#[cfg(test)]
mod tests;
