//! PromQL scripts: our own in `promql/`, and those of a folder that `SILVERBACK_SCRIPTS` names.
//!
//! `docs/conformance.md` holds how many evaluations of each file pass; fewer fail the test. `SILVERBACK_BLESS=1` writes
//! it anew.

#![cfg(feature = "testing")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use query::Engine;
use query::testing::{Outcome, engine_options, play};
use tsdb::testing::ModelStore;

fn play_file(path: &Path, threads: usize) -> Outcome {
    let text = std::fs::read_to_string(path).expect("the script can be read");
    let engine = Engine::new(engine_options(threads), || Duration::ZERO);
    play(&engine, &mut ModelStore::default(), &text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn scripts(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = files.map(|file| file.expect("the folder can be read").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "test"));
    paths.sort();
    paths
}

fn name(path: &Path) -> String {
    path.file_name().expect("a file has a name").to_string_lossy().into_owned()
}

#[test]
fn our_own_scripts_pass() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/promql");
    let mut report = String::new();
    let mut total = 0;
    for path in scripts(&folder) {
        let outcome = play_file(&path, 1);
        total += outcome.total;
        for failure in outcome.failures {
            let _ = writeln!(report, "{}:{}: {}\n    {}", name(&path), failure.line, failure.query, failure.reason);
        }
    }
    assert!(report.is_empty(), "\n{report}");
    assert!(total > 0, "no scripts in {}", folder.display());
    println!("{total} evaluations passed");
}

#[test]
fn our_own_scripts_use_every_function_and_operator() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/promql");
    let text: String = scripts(&folder).iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let evals: Vec<&str> = text.lines().filter(|line| line.starts_with("eval ")).collect();
    let used = |what: &str| evals.iter().any(|line| line.contains(what));
    let calls = query::FUNCTIONS.iter().map(|function| format!("{}(", function.name));
    let aggregations = query::AggregateOp::ALL.iter().map(|op| op.as_str().to_owned());
    let operators = "+ - * / % ^ atan2 == != < <= > >= </ >/ and or unless".split(' ').map(|op| format!(" {op} "));
    let modifiers =
        "bool on ignoring group_left group_right fill fill_left fill_right by without offset @ anchored smoothed";
    let modifiers = modifiers.split(' ').map(|word| format!(" {word}"));
    let unused: Vec<String> =
        calls.chain(aggregations).chain(operators).chain(modifiers).filter(|what| !used(what)).collect();
    assert!(unused.is_empty(), "not in any script: {unused:?}");
}

/// Reads `| file | passed | total |` rows.
fn committed(text: &str) -> BTreeMap<String, usize> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [file, passed, _] = cells[..] else { return None };
        Some((file.to_owned(), passed.parse().ok()?))
    };
    text.lines().filter_map(row).collect()
}

#[test]
fn the_scripts_of_a_folder_pass_as_often_as_before() {
    let Some(folder) = std::env::var_os("SILVERBACK_SCRIPTS") else {
        println!("skipped: SILVERBACK_SCRIPTS is not set");
        return;
    };
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/conformance.md");
    let before = committed(&std::fs::read_to_string(&page).unwrap_or_default());
    let only = std::env::var("SILVERBACK_ONLY").unwrap_or_default();
    let (mut rows, mut failures, mut worse) = (String::new(), String::new(), Vec::new());
    let (mut all, mut all_passed) = (0, 0);
    for path in scripts(Path::new(&folder)).into_iter().filter(|path| name(path).contains(&only)) {
        let outcome = play_file(&path, 1);
        let (file, passed) = (name(&path), outcome.total - outcome.failures.len());
        println!("{file}: {passed}/{}", outcome.total);
        let _ = writeln!(rows, "| {file} | {passed} | {} |", outcome.total);
        for failure in &outcome.failures {
            let reason = failure.reason.lines().next().unwrap_or_default();
            println!("    {file}:{}: {}\n        {reason}", failure.line, failure.query);
            let _ = writeln!(failures, "* `{file}:{}` `{}`: {reason}", failure.line, failure.query);
        }
        if before.get(&file).is_some_and(|count| passed < *count) {
            worse.push(file);
        }
        all += outcome.total;
        all_passed += passed;
    }
    println!("{all_passed}/{all}");
    if std::env::var_os("SILVERBACK_BLESS").is_some() {
        let missing = if failures.is_empty() { "Nothing.\n".to_owned() } else { failures };
        let text = format!(
            "# PromQL conformance\n\n\
             How many evaluations of Prometheus' own scripts (development tree that calls itself 3.14.0) give what they\n\
             should. Written by `SILVERBACK_BLESS=1 SILVERBACK_SCRIPTS=<folder> cargo test -p query --features testing --test scripts`.\n\n\
             | file | passed | total |\n| --- | ---: | ---: |\n{rows}| all | {all_passed} | {all} |\n\n\
             ## What does not pass\n\n{missing}"
        );
        std::fs::write(&page, text).unwrap();
    }
    assert!(worse.is_empty(), "fewer evaluations pass than docs/conformance.md says: {worse:?}");
}
