//! Verdicts of `silverback check config` and of a real `promtool check config` over small configurations, most of one key
//! each.
//!
//! `check_config/cases.txt` lists them. Where the two may differ says [`EXCEPTIONS`].

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use common::{program, skip};

/// Files that the configurations name.
const FILES: [(&str, &[u8]); 32] = [
    ("jobs/ok.yml", b"scrape_configs: [{job_name: of_file}]"),
    ("jobs/unknown.txt", b"nonsense: 1"),
    ("jobs/two.txt", b"scrape_configs: [{job_name: a}]\n---\nscrape_configs: [{job_name: b}]"),
    ("jobs/target.txt", b"scrape_configs: [{job_name: a, static_configs: [{targets: ['']}]}]"),
    ("rules/ok.yml", b"groups: []"),
    ("rules/broken.txt", b"groups: {"),
    ("secrets/token", b"token"),
    ("sd/ok.json", br#"[{"targets": ["a:1"], "labels": {"x": "y"}}]"#),
    ("sd/OK.JSON", br#"[{"targets": ["a:1"]}]"#),
    ("sd/ok.yml", b"- targets: [a:1]"),
    ("sd/ok.txt", b"[]"),
    ("sd/syntax.json", b"["),
    ("sd/empty.json", b""),
    ("sd/empty.yml", b""),
    ("sd/map.json", br#"{"targets": []}"#),
    ("sd/null.json", b"null"),
    ("sd/nullgroup.json", b"[null]"),
    ("sd/unknown.json", br#"[{"targets": ["a"], "label": {}}]"#),
    ("sd/unknown.yml", b"- target: [a]"),
    ("sd/number.json", br#"[{"targets": [1]}]"#),
    ("sd/number.yml", b"- targets: [1]"),
    ("sd/case.json", br#"[{"Targets": ["a"]}]"#),
    ("sd/twice.yml", b"- targets: [a]\n  targets: [b]"),
    ("sd/two.yml", b"- targets: [a]\n---\n]"),
    ("sd/tail.json", b"[] []"),
    ("sd/slash.json", br#"[{"targets": ["http://a"]}]"#),
    ("sd/slash.yml", b"- targets: [a/b]"),
    ("sd/noaddress.json", br#"[{"targets": [""]}]"#),
    ("sd/timeout.json", br#"[{"targets": ["a"], "labels": {"__scrape_timeout__": "2m"}}]"#),
    ("sd/label.json", br#"[{"targets": ["a"], "labels": {"": "x"}}]"#),
    ("sd/label.yml", b"- targets: [a]\n  labels: {a-b: c}"),
    ("sd/latin.json", b"[{\"targets\": [\"\xe4\"]}]"),
];

/// Configurations of which the two programs think differently, and the reason.
struct Exception {
    ours: Verdict,
    why: &'static str,
    cases: &'static [&'static str],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Accepts,
    Refuses,
}

const EXCEPTIONS: [Exception; 18] = [
    Exception {
        ours: Verdict::Refuses,
        why: "one file holds one configuration: a second document with content would be left out in silence",
        cases: &[
            r"---\n---\nnonsense: 1",
            r"global: {}\n---\nglobal: {}",
            r"global: {}\n---\nnonsense: 1",
            r"global: {}\n---\n]",
            r"scrape_config_files: [jobs/two.txt]",
        ],
    },
    Exception {
        ours: Verdict::Accepts,
        why: "rules are not evaluated yet, so their files are looked for and not read",
        cases: &["rule_files: [rules/broken.txt]"],
    },
    Exception {
        ours: Verdict::Refuses,
        why: "Prometheus 3.5 holds names of labels against the scheme of the job only when it scrapes, later ones here",
        cases: &[
            "global: {external_labels: {a-b: c}, metric_name_validation_scheme: legacy}",
            r"global: {metric_name_validation_scheme: legacy}\nscrape_configs: [{job_name: j, relabel_configs: [{target_label: a-b}]}]",
            r"global: {metric_name_validation_scheme: legacy}\nscrape_configs: [{job_name: j, relabel_configs: [{target_label: 'ä'}]}]",
            r"global: {metric_name_validation_scheme: legacy}\nscrape_configs: [{job_name: j, relabel_configs: [{source_labels: [a-b], target_label: c}]}]",
        ],
    },
    Exception {
        ours: Verdict::Accepts,
        why: "the escaping scheme follows the validation scheme of the job since Prometheus 3.6",
        cases: &[
            "scrape_configs: [{job_name: j, metric_name_validation_scheme: legacy}]",
            "scrape_configs: [{job_name: j, metric_name_validation_scheme: legacy, relabel_configs: [{target_label: 'a$1'}]}]",
            "scrape_configs: [{job_name: j, metric_name_validation_scheme: legacy, static_configs: [{targets: [a], labels: {b-c: d}}]}]",
        ],
    },
    Exception {
        ours: Verdict::Refuses,
        why: "Prometheus 3.5 reads the schemes of names only where a job uses them",
        cases: &[
            "global: {metric_name_validation_scheme: other}",
            "global: {metric_name_validation_scheme: Legacy}",
            "global: {metric_name_escaping_scheme: other}",
        ],
    },
    Exception {
        ours: Verdict::Accepts,
        why: "keys that Prometheus 3.5 does not know: they are newer, or ours",
        cases: &[
            "global: {scrape_native_histograms: true}",
            "global: {scrape_native_histograms: yes}",
            "global: {scrape_native_histograms: ~}",
            "global: {extra_scrape_metrics: true}",
            "scrape_configs: [{job_name: j, series_budget: 3}]",
        ],
    },
    Exception {
        ours: Verdict::Refuses,
        why: "the number overflows: Prometheus reads a negative size, or a limit near 2^64 for -1.5",
        cases: &[
            "global: {body_size_limit: 8EB}",
            "global: {sample_limit: -1.5}",
            "global: {sample_limit: -9223372036854775809}",
        ],
    },
    Exception {
        ours: Verdict::Refuses,
        why: "a scheme with other characters than those of schemes changes the host that is asked",
        cases: &[
            "scrape_configs: [{job_name: j, scheme: 'http://'}]",
            "scrape_configs: [{job_name: j, scheme: 'a b'}]",
            "scrape_configs: [{job_name: j, static_configs: [{targets: [a], labels: {__scheme__: 'x y'}}]}]",
            "scrape_configs: [{job_name: j, static_configs: [{targets: [a]}], relabel_configs: [{target_label: __scheme__, replacement: 'ftp:/'}]}]",
        ],
    },
    Exception {
        ours: Verdict::Accepts,
        why: "proxies are not used yet, so their URLs are not read",
        cases: &["scrape_configs: [{job_name: j, proxy_url: '%zz'}]"],
    },
    Exception {
        ours: Verdict::Refuses,
        why: "TLS below 1.2 is not spoken",
        cases: &[
            "scrape_configs: [{job_name: j, tls_config: {max_version: TLS11}}]",
            "scrape_configs: [{job_name: j, tls_config: {min_version: TLS11, max_version: TLS10}}]",
        ],
    },
    Exception {
        ours: Verdict::Refuses,
        why: "promtool looks for certificates of clients only; the server of Prometheus cannot use the job either",
        cases: &[
            "scrape_configs: [{job_name: j, tls_config: {ca_file: secrets/none}}]",
            "scrape_configs: [{job_name: j, http_sd_configs: [{url: 'http://h/t', tls_config: {ca_file: secrets/none}}]}]",
        ],
    },
    Exception {
        ours: Verdict::Refuses,
        why: "promtool looks for credentials of jobs, not for those of discovery",
        cases: &[
            "scrape_configs: [{job_name: j, http_sd_configs: [{url: 'http://h/t', bearer_token_file: secrets/none}]}]",
            "scrape_configs: [{job_name: j, http_sd_configs: [{url: 'http://h/t', authorization: {credentials_file: secrets/none}}]}]",
        ],
    },
    Exception {
        ours: Verdict::Refuses,
        why: "no server can be asked there: Prometheus says so at the first request",
        cases: &[
            "scrape_configs: [{job_name: j, http_sd_configs: [{url: 'http://h:99999/'}]}]",
            "scrape_configs: [{job_name: j, http_sd_configs: [{url: 'http://%e4/'}]}]",
        ],
    },
    Exception {
        ours: Verdict::Refuses,
        why: "a URL without a host is most likely a mistake; Prometheus asks this machine",
        cases: &["scrape_configs: [{job_name: j, http_sd_configs: [{url: 'http://:80/'}]}]"],
    },
    Exception {
        ours: Verdict::Accepts,
        why: "YAML 1.2, which is read here, allows what 1.1 does not",
        cases: &["global: {external_labels: {a: !!null x}}", r"%YAML 1.2\n---\nglobal: {}", "..."],
    },
    Exception {
        ours: Verdict::Refuses,
        why: "a number in quotes is a text here, whatever tag it has",
        cases: &["global: {sample_limit: !!int \"5\"}"],
    },
    Exception {
        ours: Verdict::Accepts,
        why: "alerts are not sent yet, so files that list Alertmanagers are not read",
        cases: &["alerting: {alertmanagers: [{file_sd_configs: [{files: [sd/syntax.json]}]}]}"],
    },
    Exception {
        ours: Verdict::Accepts,
        why: "mechanisms of discovery that are not there yet: their keys are not read, and some builds of promtool lack them",
        cases: &[
            "scrape_configs: [{job_name: j, dns_sd_configs: [{}]}]",
            "scrape_configs: [{job_name: j, dns_sd_configs: [{names: [a], type: x}]}]",
            "scrape_configs: [{job_name: j, dns_sd_configs: [{names: [a], type: A}]}]",
            "scrape_configs: [{job_name: j, kubernetes_sd_configs: [{}]}]",
            "scrape_configs: [{job_name: j, kubernetes_sd_configs: [{role: x}]}]",
            "scrape_configs: [{job_name: j, docker_sd_configs: [{}]}]",
        ],
    },
];

/// All configurations, in the form of the list: a line break is `\n`.
fn cases() -> Vec<String> {
    let (mut cases, mut around) = (Vec::new(), "$");
    for line in include_str!("check_config/cases.txt").lines() {
        match line.strip_prefix("== ") {
            Some(text) => around = text,
            None if line.is_empty() || line.starts_with("# ") => {}
            None => cases.push(around.replacen('$', line, 1)),
        }
    }
    cases
}

fn write_files(folder: &Path) {
    let latin: (&str, &[u8]) = ("sd/latin.yml", b"- targets: [\"\xe4\"]");
    for (name, bytes) in FILES.into_iter().chain([latin]) {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    std::fs::create_dir(folder.join("sd/folder.json")).unwrap();
}

/// The verdict of `program`, by its exit code, and its reasons.
fn verdict(program: &Path, file: &Path) -> (Verdict, String) {
    let output = Command::new(program).args(["check", "config"]).arg(file).output().unwrap();
    let verdict = match output.status.code() {
        Some(0) => Verdict::Accepts,
        Some(1) => Verdict::Refuses,
        code => panic!("{program:?} ended with {code:?}: {output:?}"),
    };
    (verdict, String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

/// Configurations of which the programs think differently: our verdict, and the reasons of both.
fn differences(cases: &[String], folder: &Path, promtool: &Path) -> BTreeMap<String, (Verdict, String)> {
    let (next, found) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let file = tempfile::Builder::new().suffix(".yml").tempfile_in(folder).unwrap();
            std::fs::write(file.path(), case.replace("\\n", "\n")).unwrap();
            let (ours, our_reason) = verdict(Path::new(env!("CARGO_BIN_EXE_silverback")), file.path());
            let (theirs, their_reason) = verdict(promtool, file.path());
            if ours != theirs {
                let reasons = format!("we: {our_reason}\n  promtool: {their_reason}");
                found.lock().unwrap_or_else(PoisonError::into_inner).insert(case.clone(), (ours, reasons));
            }
        }
    };
    std::thread::scope(|scope| {
        for thread in [scope.spawn(work), scope.spawn(work)] {
            thread.join().unwrap();
        }
    });
    found.into_inner().unwrap()
}

#[test]
fn the_verdict_over_a_configuration_is_that_of_promtool() {
    let Some(promtool) = program("promtool") else { return skip("promtool is not installed") };
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path());
    let cases = cases();
    assert!(cases.len() > 600, "{} configurations", cases.len());
    let mut found = differences(&cases, folder.path(), &promtool);
    let mut stale = Vec::new();
    for exception in &EXCEPTIONS {
        for case in exception.cases {
            match found.remove(*case) {
                Some((ours, _)) if ours == exception.ours => {}
                _ => stale.push(format!("{case}: no longer differs ({})", exception.why)),
            }
        }
    }
    println!("{} configurations, {} without a reason differ", cases.len(), found.len());
    let found: Vec<String> =
        found.into_iter().map(|(case, (ours, why))| format!("{ours:?}: {case}\n  {why}")).collect();
    assert!(found.is_empty() && stale.is_empty(), "{}\n{}", found.join("\n"), stale.join("\n"));
}
