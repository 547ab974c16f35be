//! `silverback tsdb …`

mod analyze;
mod dump;
mod import;
mod list;
mod verify;

use super::Failure;
use super::args::Tsdb;

/// Runs it and gives the exit code.
pub(crate) fn run(what: &Tsdb) -> Result<u8, Failure> {
    match what {
        Tsdb::Verify { dir } => verify::run(dir),
        Tsdb::List { dir, json } => list::run(dir, *json),
        Tsdb::Dump(dump) => dump::run(dump),
        Tsdb::Analyze(analyze) => analyze::run(analyze),
        Tsdb::Import(import) => import::run(import),
    }
}
