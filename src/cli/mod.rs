//! What the program does instead of serving: one file per subcommand.

mod check;

use crate::flags::Command;

/// Runs a subcommand and gives the exit code.
pub(crate) fn run(command: &Command) -> u8 {
    match command {
        Command::Check(what) => check::run(what),
    }
}
