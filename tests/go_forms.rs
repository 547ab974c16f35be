//! Text forms of Go and Prometheus, read by this server and by a real Prometheus: regular expressions, replacement
//! templates, case mapping, sizes and durations.
//!
//! `SILVERBACK_SEED=n` makes other expressions. The seed is printed.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod common;
#[path = "differential/random.rs"]
#[allow(dead_code, unreachable_pub, reason = "the module belongs to another test")]
mod random;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use common::{Process, Server, fetch, free_port, program, skip, wait_for};
use random::Random;
use serde_json::Value;

/// Texts that expressions are held against.
const TEXTS: [&str; 22] = [
    "",
    "a",
    "b",
    "ab",
    "aab",
    "A",
    "a{",
    "a{,3}",
    "[x",
    "x&&",
    "-",
    "^",
    "]",
    "a\nb",
    "ä",
    "ÄB",
    "٣",
    "1",
    "a-b_1",
    "ſK\u{212a}",
    "a.b",
    "Ωω",
];

/// Pieces of expressions: usual ones, and those that engines read differently.
const PIECES: [&str; 86] = [
    "a",
    "b",
    "x",
    "1",
    ".",
    ".*",
    ".+",
    "a*",
    "a+?",
    "b??",
    "(a)",
    "(a|b)",
    "(?:ab)",
    "(?P<n>a)",
    "(?<n>b)",
    "(?P<1x>.)",
    "|",
    "|b",
    "^",
    "$",
    "\\A",
    "\\z",
    "\\Z",
    "\\b",
    "\\B",
    "\\d",
    "\\D",
    "\\w",
    "\\W",
    "\\s",
    "\\S",
    "\\pL",
    "\\PN",
    "\\pN",
    "\\p{Greek}",
    "\\p{^Greek}",
    "\\p{greek}",
    "\\p{Lu}",
    "\\P{Lu}",
    "\\p{Letter}",
    "\\p{Alphabetic}",
    "\\p{isLatin}",
    "\\p{Latn}",
    "[a-b]",
    "[^a]",
    "[]a]",
    "[^]a]",
    "[a-]",
    "[-a]",
    "[a-b-x]",
    "[\\w-]",
    "[\\d-z]",
    "[a&&b]",
    "[[a-z]+",
    "[[:alpha:]]",
    "[[:^alpha:]]",
    "[[:nope:]]",
    "[a~~b]",
    "[^\\n]",
    "[z-a]",
    "[\\x{D800}-\\x{E000}]",
    "\\Qa.b\\E",
    "\\Q",
    "\\E",
    "\\C",
    "\\x41",
    "\\x{61}",
    "\\x6",
    "\\101",
    "\\0",
    "\\1",
    "\\8",
    "\\_",
    "\\-",
    "\\/",
    "\\\"",
    "\\a",
    "(?i)",
    "(?s)",
    "(?-s)",
    "(?m)",
    "(?U)",
    "(?x)",
    "(?i:ä)",
    "(?)",
    "ä",
];

const SUFFIXES: [&str; 18] =
    ["", "", "", "", "", "", "*", "+", "?", "{2}", "{,3}", "{1,}", "{", "}", "{2,1}", "{1001}", "**", ")"];

const TEMPLATES: [&str; 14] =
    ["$0", "<$1>", "${1}x", "$1x", "$n", "${n}-$$", "$", "${", "${1", "$$$1", "$01", "$1_", "${n}${1}", "a$2"];

/// Expressions that are worth asking for by themselves.
const PATTERNS: [&str; 40] = [
    "a{",
    "a{,3}",
    "[[a-z]+",
    "[x",
    "(?x)a",
    "a)|(b",
    "a(?i)*",
    "a(?i)b",
    "a|(?i)B|a",
    "(?i)k+",
    "(?i)ſ",
    "(?i)\\W+",
    "(?i)[^\\W]+",
    "(?i)[[:upper:]]+",
    "(?i)\\p{Lu}+",
    "(?i)Ω",
    "(a{10}){100}",
    "(a{11}){100}",
    "(a{2}|b){600}",
    "((a{0,}){1000})*",
    "a{0}",
    "x{1000}",
    "a**",
    "a*\\Q\\E*",
    "\\Q\\E*",
    "^*a",
    "$*a*",
    "\\b+a",
    "(|a)*",
    "(?s).*",
    "(?-s).*",
    "(?m)^a$\n^b$",
    "a$b|ab",
    "[^a]*",
    "\\x{110000}",
    "(?P<n>a)(?P<n>b)",
    "(?P<n>a)|(?P<n>b)",
    "[[:word:][:space:]]",
    "\\pZ|\\p{Any}",
    "(?i)straße|ß",
];

fn prometheus(config: &str) -> Option<(Process, String, tempfile::TempDir)> {
    let Some(path) = program("prometheus") else {
        skip("prometheus is not there; name its folder in PEERS");
        return None;
    };
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("prometheus.yml"), config).unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let process = Process::start(Command::new(path).current_dir(dir.path()).args([
        "--config.file=prometheus.yml".to_owned(),
        "--storage.tsdb.path=data".to_owned(),
        format!("--web.listen-address={address}"),
    ]));
    let url = format!("http://{address}");
    wait_for("prometheus", || fetch(&format!("{url}/-/ready")).status == 200);
    Some((process, url, dir))
}

/// `text` as a string of PromQL or of YAML.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
    out + "\""
}

fn seed() -> u64 {
    let seed = std::env::var("SILVERBACK_SEED").map_or(1, |text| text.parse().unwrap());
    println!("seed {seed}");
    seed
}

fn patterns(random: &mut Random, count: usize) -> Vec<String> {
    let mut all: Vec<String> = PATTERNS.iter().map(|&pattern| pattern.to_owned()).collect();
    for _ in 0..count {
        let mut pattern = String::new();
        for _ in 0..=random.below(3) {
            pattern += random.pick(&PIECES);
            pattern += random.pick(&SUFFIXES);
        }
        all.push(pattern);
    }
    all
}

/// What `label_replace` makes of every text; `None` if it refuses the expression.
fn replaced(url: &str, pattern: &str, template: &str) -> Option<BTreeMap<String, String>> {
    let texts = TEXTS.iter().enumerate().map(|(at, text)| {
        let source = format!("label_replace(vector(0), \"s\", {}, \"\", \"\")", quoted(text));
        format!("label_replace({source}, \"i\", \"{at}\", \"\", \"\")")
    });
    let vectors = texts.collect::<Vec<_>>().join(" or ");
    let query = format!("label_replace({vectors}, \"d\", {}, \"s\", {})", quoted(template), quoted(pattern));
    let body = common::encode(&[("query", &query)]);
    let sent = common::agent().post(format!("{url}/api/v1/query")).content_type("application/x-www-form-urlencoded");
    let answer = common::answer(sent.send(&body)).json();
    let label = |row: &Value, name: &str| row["metric"][name].as_str().unwrap_or_default().to_owned();
    let rows = answer["data"]["result"].as_array()?;
    Some(rows.iter().map(|row| (label(row, "i"), label(row, "d"))).collect())
}

#[test]
fn label_replace_and_matchers_read_what_go_reads() {
    let Some((_peer, peer, _dir)) = prometheus("global: {}\n") else { return };
    let server = Server::with_config("global: {}\n", &[]);
    let mut random = Random::new(seed());
    let (mut valid, mut differences) = (0, Vec::new());
    let patterns = patterns(&mut random, 600);
    for pattern in &patterns {
        let template = random.pick(&TEMPLATES);
        let [ours, theirs] = [&server.url, &peer].map(|url| replaced(url, pattern, template));
        valid += usize::from(theirs.is_some());
        if ours != theirs {
            differences.push(format!("{pattern:?} {template:?}\n   here {ours:?}\n  there {theirs:?}"));
        }
        let selector = format!("x{{s=~{}}}", quoted(pattern));
        let status =
            |url: &str| fetch(&format!("{url}/api/v1/query?{}", common::encode(&[("query", &selector)]))).status;
        let [ours, theirs] = [&server.url, &peer].map(|url| status(url));
        // Selectors of 3.5 do not know loose names and aliases of classes, which label_replace knows.
        let loose = ["\\p{greek}", "\\p{Letter}"].iter().any(|class| pattern.contains(class));
        if ours != theirs && !loose {
            differences.push(format!("{selector}: {ours} here, {theirs} there"));
        }
    }
    println!("{} expressions, {valid} valid, {} differences", patterns.len(), differences.len());
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(valid > 100 && valid < patterns.len() - 100, "{valid}");
}

/// Labels of all targets, by their `instance`.
fn targets(url: &str) -> BTreeMap<String, Value> {
    let data = &fetch(&format!("{url}/api/v1/targets")).json()["data"]["activeTargets"];
    let targets = data.as_array().cloned().unwrap_or_default();
    targets.into_iter().map(|target| (target["labels"]["instance"].to_string(), target["labels"].clone())).collect()
}

/// All letters that have another case, in texts of a few hundred.
fn letters() -> Vec<String> {
    // What both know: characters of Unicode 15 and before.
    let cased = ('\u{80}'..'\u{1e944}').filter(
        |c| !matches!(u32::from(*c), 0x1c89..=0x1c8a | 0xa7cb..=0xa7dd | 0x10d50..=0x10d85 | 0x16ea0..=0x16ed3),
    );
    let cased: Vec<char> = cased
        .filter(|c| c.is_alphabetic() && (c.is_lowercase() || c.is_uppercase() || c.to_uppercase().ne([*c])))
        .collect();
    cased.chunks(200).map(|chunk| chunk.iter().collect()).collect()
}

#[test]
fn relabeling_reads_expressions_templates_and_letters_as_prometheus_does() {
    let mut yaml = String::from("scrape_configs:\n- job_name: a\n  scrape_interval: 1h\n  static_configs:\n");
    let letters = letters();
    for (at, text) in TEXTS.iter().map(|&text| text.to_owned()).chain(letters.iter().cloned()).enumerate() {
        writeln!(yaml, "  - {{targets: ['127.0.0.1:{}'], labels: {{s: {}}}}}", 20_000 + at, quoted(&text)).unwrap();
    }
    yaml += "  relabel_configs:\n  - {source_labels: [s], action: lowercase, target_label: low}\n  - {source_labels: [s], action: uppercase, target_label: up}\n";
    yaml += "  - {source_labels: [s], action: hashmod, modulus: 18446744073709551615, target_label: hash}\n";
    let mut random = Random::new(seed());
    let Some((_judge, judge, _dir)) = prometheus("global: {}\n") else { return };
    let mut rules = 0;
    for pattern in patterns(&mut random, 300) {
        let template = random.pick(&TEMPLATES);
        // One that is refused would end the start of both.
        if replaced(&judge, &pattern, template).is_none() {
            continue;
        }
        let (pattern, template) = (quoted(&pattern), quoted(template));
        writeln!(yaml, "  - {{source_labels: [s], regex: {pattern}, replacement: {template}, target_label: d{rules}}}")
            .unwrap();
        writeln!(yaml, "  - {{regex: {pattern}, replacement: {template}, action: labelmap}}").unwrap_or_default();
        rules += 1;
    }
    yaml = yaml.lines().filter(|line| !line.contains("labelmap")).fold(String::new(), |all, line| all + line + "\n");
    let Some((_peer, peer, _dir)) = prometheus(&yaml) else { return };
    let server = Server::with_config(&yaml, &[]);
    let count = TEXTS.len() + letters.len();
    wait_for("targets here", || targets(&server.url).len() == count);
    wait_for("targets there", || targets(&peer).len() == count);
    let (ours, theirs) = (targets(&server.url), targets(&peer));
    println!("{rules} rules, {count} targets");
    for (instance, labels) in &theirs {
        let empty = serde_json::Map::new();
        let (ours, theirs) = (ours[instance].as_object().unwrap_or(&empty), labels.as_object().unwrap());
        for name in ours.keys().chain(theirs.keys()) {
            assert_eq!(ours.get(name), theirs.get(name), "{instance} {name}: here, there");
        }
    }
    assert!(rules > 100, "{rules}");
}

/// Tells if `check config` of both take `yaml`.
fn verdicts(promtool: &Path, dir: &Path, yaml: &str) -> (bool, bool) {
    let file = dir.join("prometheus.yml");
    std::fs::write(&file, yaml).unwrap();
    let run =
        |program: &Path, args: &[&str]| Command::new(program).args(args).arg(&file).output().unwrap().status.success();
    (run(Path::new(env!("CARGO_BIN_EXE_silverback")), &["check", "config"]), run(promtool, &["check", "config"]))
}

#[test]
fn sizes_and_durations_are_taken_and_refused_as_prometheus_does() {
    let Some(promtool) = program("promtool") else { return skip("promtool is not there; name its folder in PEERS") };
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::new(seed());
    let numbers = [
        "1",
        "0",
        "1.5",
        ".5",
        "1.",
        ".",
        "10",
        "007",
        "-1",
        "+2",
        "1e3",
        "9223372036854775807",
        "99999999999999999999",
        "",
    ];
    let sizes = ["B", "KB", "kB", "KiB", "MB", "MiB", "mb", "GB", "TB", "PB", "EB", "ZB", "M", "iB", "", " MB"];
    let durations = ["ms", "s", "m", "h", "d", "w", "y", "S", "us", "", " s", "min"];
    let mut differences = Vec::new();
    for _ in 0..150 {
        for (key, units) in [("body_size_limit", &sizes[..]), ("scrape_interval", &durations[..])] {
            let mut value = String::new();
            for _ in 0..=random.below(2) {
                value += random.pick(&numbers);
                value += random.pick(units);
            }
            let yaml = format!("global:\n  scrape_timeout: 1ms\n  {key}: {value:?}\n");
            let (ours, theirs) = verdicts(&promtool, dir.path(), &yaml);
            if ours != theirs {
                differences.push(format!("{key}: {value:?}: {ours} here, {theirs} there"));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
