use std::path::Path;

use super::{Finding, Findings};
use crate::config::schema::{ROOT, Section, Type};
use crate::config::{Config, ConfigError};

const SECRET: &str = "hunter2";

/// Loads `text` as a file in a folder of its own, from which `files` can be read.
fn load(text: &str, files: &[(&str, &str)]) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    let path = folder.path().join("p.yml");
    std::fs::write(&path, text).unwrap();
    let without_folder = |e: ConfigError| e.to_string().replace(&format!("{}/", folder.path().display()), "");
    Config::load(&path).map_err(without_folder)
}

fn job(body: &str) -> String {
    format!("scrape_configs:\n- job_name: a\n  {}\n", body.replace('\n', "\n  "))
}

#[test]
fn every_fault_is_told_with_its_place_in_the_order_of_the_file() {
    let text = "global:\n  scrape_interval: 5\n  evalution_interval: 1s\nscrape_configs:\n- job_nam: a\n  scheme: f/p\n\
                - job_name: b\n  sample_limit: -1\n  relabel_configs:\n  - {regex: 'a(', action: nope}\n  - {action: drop, regex: '*'}\n\
                \x20 static_configs: [{targets: ['http://h'], labels: {'': x}}]\n  tls_config: {ca_file: none.pem}\n- job_name: b\n\
                scrape_config_files: ['*/x.yml', extra.yml]\nstorage: {tsdb: {retention: {size: 10}}}\n";
    let error =
        load(text, &[("extra.yml", "scrape_configs:\n- job_name: b\n- job_name: c\n  honor_labels: 1\n")]).unwrap_err();
    let expected = [
        "p.yml:2:20: global.scrape_interval: not a valid duration string: \"5\"",
        "p.yml:3:3: unknown key \"evalution_interval\" in global, did you mean \"evaluation_interval\"?",
        "p.yml:5:3: unknown key \"job_nam\" in scrape_configs, did you mean \"job_name\"?",
        "p.yml:6:11: \"f/p\" is not a valid scheme",
        "p.yml:8:17: scrape_configs.sample_limit: must be a whole number that is not negative, not \"-1\"",
        "p.yml:10:13: invalid regular expression \"a(\": missing closing ): `a(`",
        "p.yml:10:27: unknown relabel action \"nope\"",
        "p.yml:11:27: invalid regular expression \"*\": missing argument to repetition operator: `*`",
        "p.yml:12:31: \"http://h\" is not a valid hostname",
        "p.yml:12:53: \"\" is not a valid label name",
        "p.yml:13:15: unable to read file none.pem: No such file or directory (os error 2)",
        "p.yml:14:13: found multiple scrape configs with job name \"b\", first found in main config file",
        "p.yml:15:23: invalid scrape config file path \"*/x.yml\"",
        "p.yml:16:36: storage.tsdb.retention.size: not a valid size: \"10\"",
        "extra.yml:2:13: found multiple scrape configs with job name \"b\", first found in main config file",
        "extra.yml:4:17: scrape_configs.honor_labels: must be true or false, not \"1\"",
    ];
    let found: Vec<&str> = error.lines().collect();
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "found {found}\nwanted {expected}");
    }
    assert_eq!(found.len(), expected.len(), "{error}");
}

#[test]
fn a_key_without_a_value_is_an_empty_text_in_a_relabel_rule_and_the_default_elsewhere() {
    for null in ["", "~", "null"] {
        let rules = format!(
            "relabel_configs:\n- source_labels: [a, b]\n  target_label: t\n  separator: {null}\n  replacement: {null}\n  regex: {null}"
        );
        let config = load(&job(&rules), &[]).unwrap();
        let rule = &config.scrape[0].relabel[0];
        assert_eq!((rule.separator.as_str(), rule.replacement.as_str(), rule.regex.source()), ("", "", ""), "{null:?}");
        assert!(config.warnings().is_empty());
    }
    assert!(
        load(&job("relabel_configs: [{target_label: t, action: }]"), &[])
            .unwrap_err()
            .contains("action cannot be empty")
    );
    let config = load(&job("metrics_path:\nscheme: ~\nhonor_timestamps: null\nstatic_configs:"), &[]).unwrap();
    let plain = load(&job("scheme: http"), &[]).unwrap();
    assert_eq!(config.scrape, plain.scrape);
    let warnings: Vec<String> = config.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert!(
        warnings[0].ends_with("p.yml:3:15: scrape_configs.metrics_path has no value: the default applies"),
        "{warnings:?}"
    );
}

#[test]
fn a_modulus_may_be_any_64_bit_number() {
    let rule =
        |modulus: &str| job(&format!("relabel_configs: [{{action: hashmod, target_label: t, modulus: {modulus}}}]"));
    assert_eq!(load(&rule("18446744073709551615"), &[]).unwrap().scrape[0].relabel[0].modulus, u64::MAX);
    for bad in ["36893488147419103232", "-1", "0.5", "0"] {
        assert!(load(&rule(bad), &[]).is_err(), "{bad}");
    }
}

#[test]
fn security_that_would_have_no_effect_is_refused_where_a_connection_is_made() {
    for body in [
        "oauth2: {client_id: x, client_secret: y, token_url: 'http://h'}",
        "basic_auth: {username: x, password_ref: y}",
        "authorization: {credentials_ref: y}",
        "tls_config: {ca_ref: y}",
        "proxy_connect_header: {X: [y]}",
        "proxy_url: 'http://u:p@h'",
        "http_sd_configs: [{url: 'http://h', oauth2: {client_id: x}}]",
    ] {
        let error = load(&job(body), &[]).unwrap_err();
        assert!(error.contains("asks for security that this version does not have"), "{body}: {error}");
    }
    for body in [
        "oauth2:",
        "proxy_url: 'http://h'",
        "dns_sd_configs: [{names: [x]}]\nconsul_sd_configs: [{oauth2: {client_id: x}, tls_config: {ca_ref: y}}]",
    ] {
        assert!(load(&job(body), &[]).is_ok(), "{body}");
    }
    let unused = "remote_write: [{url: 'http://h', oauth2: {client_id: x}}, {url: 'http://i', sigv4: {region: x}}]\n\
                  alerting: {alertmanagers: [{basic_auth: {password_ref: x}, sigv4: {}}]}\n";
    assert_eq!(load(unused, &[]).unwrap().ignored(), ["alerting", "remote_write"]);
}

#[test]
fn credentials_that_are_not_there_are_a_doubt_and_certificates_a_fault() {
    let config = load(
        &job("authorization: {credentials_file: none}\nhttp_sd_configs: [{url: 'http://h', bearer_token_file: nor}]"),
        &[],
    );
    let doubts: Vec<String> = config.unwrap().doubts().iter().map(ToString::to_string).collect();
    assert!(doubts.len() == 2 && doubts[0].contains("p.yml:3:37: credentials cannot be read from "), "{doubts:?}");
    assert!(load(&job("authorization: {credentials_file: there}"), &[("there", "x")]).unwrap().doubts().is_empty());
    for tls in ["cert_file: c.pem, key_file: c.pem", "ca_file: c.pem", "cert_file: none, key_file: none"] {
        let error = load(&job(&format!("tls_config: {{{tls}}}")), &[("c.pem", "no certificate")]).unwrap_err();
        assert!(error.starts_with("p.yml:3:15: "), "{error}");
    }
}

/// Calls `check` with the path of every secret of `section`, as lines of YAML that end where its value belongs.
fn each_secret(section: &'static Section, lines: &str, indent: usize, check: &mut impl FnMut(&str)) {
    for field in section.fields() {
        let line = format!("{lines}{}{}:", " ".repeat(indent), field.name);
        each_secret_of(&field.holds, &line, indent, check);
    }
}

fn each_secret_of(holds: &Type, line: &str, indent: usize, check: &mut impl FnMut(&str)) {
    let deeper = " ".repeat(indent + 2);
    match holds {
        Type::Secret => check(line),
        Type::Section(section) => each_secret(section, &format!("{line}\n"), indent + 2, check),
        Type::List(Type::Section(section)) => each_secret(section, &format!("{line}\n{deeper}-\n"), indent + 4, check),
        Type::List(of) => each_secret_of(of, &format!("{line}\n{deeper}-"), indent + 2, check),
        Type::Map(of) => each_secret_of(of, &format!("{line}\n{deeper}X:"), indent + 2, check),
        _ => {}
    }
}

#[test]
fn no_error_quotes_a_secret() {
    let shapes = [
        format!(" [{SECRET}]"),
        format!(" {{{SECRET}: x}}"),
        format!(" {{x: {SECRET}}}"),
        format!(" *{SECRET}"),
        format!(" \"{SECRET}"),
        format!(" '{SECRET}"),
        format!(" @{SECRET}"),
        format!(" `{SECRET}"),
        format!(" %{SECRET}"),
        format!(" !{SECRET}"),
        format!(" !!int {SECRET}"),
        format!(" a: {SECRET}"),
        format!(" {SECRET}: {SECRET}"),
        format!(" \"\\q{SECRET}\""),
        format!(" \"{SECRET}\" {SECRET}"),
        format!(" [{SECRET}"),
        format!(" {{{SECRET}"),
        format!(" &{SECRET} *{SECRET}"),
        format!(" |x\n{SECRET}"),
        SECRET.to_owned(),
        format!("\t{SECRET}"),
        format!(" {SECRET}\n{SECRET}"),
    ];
    let (mut tried, mut refused) = (0, 0);
    each_secret(&ROOT, "", 0, &mut |lines| {
        for shape in &shapes {
            tried += 1;
            let mut findings = Findings::default();
            let config = Config::read_text(&format!("{lines}{shape}\n"), Path::new("p.yml"), |_| None, &mut findings);
            if let Err(error) = config.finish(findings) {
                refused += 1;
                assert!(!error.to_string().contains(SECRET), "{lines}{shape}\n{error}");
            }
        }
    });
    assert!(tried > 1_000 && refused > tried / 2, "{refused} of {tried}");
}

#[test]
fn a_password_in_an_address_is_not_quoted() {
    for body in [
        "static_configs: [{targets: ['http://u:hunter2@h']}]",
        "http_sd_configs: [{url: 'ftp://u:hunter2@h'}]",
        "http_sd_configs: [{url: 'http://u:hunter2@'}]",
        "proxy_url: 'http://u:hunter2@h'",
        "proxy_url: ['http://u:hunter2@h']",
        "http_headers: {X: {secrets: hunter2}}",
        "http_headers: {X: hunter2}",
        "basic_auth: {username: u, password:hunter2}",
        "basic_auth: hunter2",
        "authorization: [hunter2]",
    ] {
        let error = load(&job(body), &[]).unwrap_err();
        assert!(!error.contains(SECRET), "{body}: {error}");
    }
    assert!(
        load(&job("basic_auth: {username: u, password:hunter2}"), &[])
            .unwrap_err()
            .contains("needs a space behind its colon")
    );
}

#[test]
fn targets_and_files_that_the_start_does_not_need_are_doubts_of_the_check_with_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.yml");
    let targets = folder.path().join("t.json");
    std::fs::write(&targets, r#"[{"targets": ["a", "b/c"]}]"#).unwrap();
    let text = "rule_files: [none.yml]\nscrape_configs:\n- job_name: a\n  static_configs:\n  - targets: [h,\n      '']\n\
                \x20 file_sd_configs: [{files: ['[.json', none.json, t.json]}]\n";
    std::fs::write(&path, text).unwrap();
    assert_eq!(Config::load(&path).unwrap().doubts(), []);
    let config = Config::inspect(&path).unwrap();
    let told = |findings: &[Finding]| -> Vec<String> {
        let start = format!("{}:", path.display());
        findings.iter().map(|finding| finding.to_string().strip_prefix(&start).unwrap().to_owned()).collect()
    };
    assert_eq!(
        told(config.doubts()),
        [
            "1:14: \"none.yml\" does not point to an existing file".to_owned(),
            "6:7: target 1 cannot be scraped: no address".to_owned(),
            format!("7:30: {}: syntax error in pattern", folder.path().join("[.json").display()),
            format!(
                "7:51: {}:0: target 1 cannot be scraped: \"b/c\" is not a valid hostname",
                folder.path().join("t.json").display()
            ),
        ]
    );
    let warnings = told(config.warnings());
    assert_eq!(warnings, ["7:40: file \"none.json\" for file_sd in scrape job \"a\" does not exist"]);
}

#[test]
fn odd_values_that_prometheus_takes_are_warned_of() {
    for (body, warning) in [
        ("sample_limit: 1.5", "scrape_configs.sample_limit is a whole number: the fraction of 1.5 is cut off"),
        ("scheme: ftp", "no target can be scraped with scheme \"ftp\": it is neither http nor https"),
        (
            "tls_config: {min_version: TLS13, max_version: TLS12}",
            "tls_config.max_version is below tls_config.min_version: no connection can be made",
        ),
    ] {
        let config = load(&job(body), &[]).unwrap();
        let warnings: Vec<String> = config.warnings().iter().map(ToString::to_string).collect();
        assert!(warnings.len() == 1 && warnings[0].ends_with(warning), "{warnings:?}");
    }
    assert!(load(&job("scheme: HTTPS"), &[]).unwrap().warnings().is_empty());
}
