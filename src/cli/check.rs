//! `silverback check …`

use std::path::Path;

use super::Check;
use crate::config::{Config, check_web_file};

/// Checks and prints what is found; 1 if anything is wrong.
pub(crate) fn run(what: &Check) -> u8 {
    match what {
        Check::Config { files } => u8::from(files.iter().filter(|file| !config(file)).count() > 0),
        Check::WebConfig { files } => u8::from(files.iter().filter(|file| !web_config(file)).count() > 0),
    }
}

fn web_config(path: &Path) -> bool {
    match check_web_file(path) {
        Ok(()) => {
            println!("{}: valid, asks for nothing", path.display());
            true
        }
        Err(error) => {
            eprintln!("{error}");
            false
        }
    }
}

fn config(path: &Path) -> bool {
    let config = match Config::inspect(path) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return false;
        }
    };
    for doubt in config.doubts() {
        eprintln!("{doubt}");
    }
    let valid = config.doubts().is_empty();
    if valid {
        let jobs = config.scrape.len();
        println!("{}: valid, {jobs} scrape job{}", path.display(), if jobs == 1 { "" } else { "s" });
    }
    for warning in config.warnings() {
        println!("  warning: {warning}");
    }
    if !config.ignored().is_empty() {
        println!("  without effect in this version: {}", config.ignored().join(", "));
    }
    for notice in config.notices() {
        println!("  note: {notice}");
    }
    valid
}
