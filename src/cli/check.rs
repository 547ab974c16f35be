//! `silverback check …`

use std::path::Path;

use super::Check;
use crate::config::Config;

/// Checks and prints what is found; 1 if anything is wrong.
pub(crate) fn run(what: &Check) -> u8 {
    match what {
        Check::Config { files } => u8::from(files.iter().filter(|file| !config(file)).count() > 0),
    }
}

fn config(path: &Path) -> bool {
    match Config::load(path) {
        Ok(config) => {
            println!("{}: valid, {} scrape jobs", path.display(), config.scrape.len());
            if !config.ignored().is_empty() {
                println!("  without effect in this version: {}", config.ignored().join(", "));
            }
            for notice in config.notices() {
                println!("  note: {notice}");
            }
            true
        }
        Err(error) => {
            eprintln!("{error}");
            false
        }
    }
}
