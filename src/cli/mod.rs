//! What the program does instead of serving: one file per subcommand.

mod args;
mod check;
mod openmetrics;
mod progress;
mod query;
mod source;
mod tsdb;

use std::fmt;
use std::io;

pub(crate) use args::{Check, Command};

/// Runs a subcommand and gives the exit code.
pub(crate) fn run(command: &Command) -> u8 {
    let done = match command {
        Command::Check(what) => return check::run(what),
        Command::Tsdb(what) => tsdb::run(what),
        Command::Query(what) => query::run(what),
    };
    done.unwrap_or_else(|failure| {
        // Whoever reads the output has seen enough.
        if matches!(&failure, Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe) {
            return 0;
        }
        eprintln!("silverback: {failure}");
        1
    })
}

/// Why a subcommand could not do what it was asked.
#[derive(Debug)]
enum Failure {
    Told(String),
    Output(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Told(why) => f.write_str(why),
            Self::Output(error) => write!(f, "the output cannot be written: {error}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<::tsdb::Error> for Failure {
    fn from(error: ::tsdb::Error) -> Self {
        Self::Told(match &error {
            ::tsdb::Error::Foreign { dir, found, writer, beside } => {
                crate::cure::foreign(dir, found, *writer, *beside, None)
            }
            other => other.to_string(),
        })
    }
}

impl From<::query::Error> for Failure {
    fn from(error: ::query::Error) -> Self {
        Self::Told(error.to_string())
    }
}
