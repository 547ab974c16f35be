//! `silverback tsdb verify`

use std::path::Path;

use crate::cli::Failure;
use crate::cli::progress::Progress;
use crate::cli::source::{disk, readable_bytes};

/// Proves all that a data directory holds; 1 if anything is damaged.
pub(crate) fn run(dir: &Path) -> Result<u8, Failure> {
    // Both ways to tell of something come in turn, never at once.
    let progress = std::cell::RefCell::new(Progress::new("verifying"));
    let mut faults = 0u64;
    let verified = tsdb::verify(
        &disk(),
        dir,
        |fault| {
            faults += 1;
            progress.borrow_mut().clear();
            println!("{fault}");
        },
        |done, all| progress.borrow_mut().show(done, all),
    )?;
    progress.borrow_mut().clear();
    if let Some(unfinished) = &verified.unfinished {
        println!("note: {unfinished}: not counted as damage; the next start of a server cuts it off");
    }
    let tsdb::Verified { blocks, chunk_files, segments, records, bytes, .. } = verified;
    let what = if faults == 0 { "all is whole".to_owned() } else { format!("{faults} damaged") };
    println!(
        "{}: {what}: {blocks} blocks, {chunk_files} chunk files, {segments} log segments, {records} records, {}",
        dir.display(),
        readable_bytes(bytes)
    );
    Ok(u8::from(faults > 0))
}
