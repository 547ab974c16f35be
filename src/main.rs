//! Flags → run → exit code.

#![forbid(unsafe_code)]

mod cli;
mod config;
mod cure;
mod flags;
mod log;
mod memory;
mod process;
mod wire;

use std::process::ExitCode;

use flags::Flags;

/// Half the time of glibc's for the many small pieces that labels and chunks are; how it is set: `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let (flags, left_out) = match Flags::parse_from(std::env::args()) {
        Ok(parsed) => parsed,
        Err(error) => error.exit(),
    };
    if let Some(command) = &flags.command {
        return cli::run(command).into();
    }
    process::use_small_pages();
    log::start(flags.log_level, flags.log_format);
    log::left_out(&left_out);
    match wire::serve(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("silverback: {error}");
            ExitCode::FAILURE
        }
    }
}
