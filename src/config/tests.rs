use std::collections::BTreeMap;

use scraper::{Action, Auth, Discovery, Escaping, NameScheme, Protocol, SecretSource};

use super::*;

fn read(text: &str) -> Result<Config, String> {
    let (path, mut findings) = (Path::new("/etc/p/prometheus.yml"), Findings::default());
    findings.enter(path);
    let variable = |name: &str| (name == "ZONE").then(|| "eu".to_owned());
    let config = Config::read_text(text, path, variable, &mut findings);
    config.finish(findings).map_err(|e| e.to_string().replace("/etc/p/", ""))
}

fn good(text: &str) -> Config {
    read(text).unwrap()
}

fn job(body: &str) -> ScrapeConfig {
    let body = body.replace('\n', "\n  ");
    good(&format!("scrape_configs:\n- job_name: a\n  {body}\n")).scrape.remove(0)
}

#[test]
fn an_empty_file_has_the_defaults_of_prometheus() {
    for text in ["", "# nothing\n", "global:\n", "scrape_configs:\n"] {
        let config = good(text);
        assert!(config.scrape.is_empty() && config.ignored().is_empty() && config.notices().is_empty());
        assert_eq!(config.evaluation_interval, Duration::from_secs(60));
        assert!(config.yaml().contains("scrape_interval: 1m\n"), "{}", config.yaml());
    }
    let config = job("");
    assert_eq!(config, ScrapeConfig { job_name: "a".to_owned(), ..ScrapeConfig::default() });
}

#[test]
fn a_job_takes_from_global_what_it_does_not_say() {
    let config = good(
        "global: {scrape_interval: 15s, scrape_timeout: 12s, sample_limit: 5, body_size_limit: 1MB, label_limit: 3,\n\
         \x20 target_limit: 7, keep_dropped_targets: 2, extra_scrape_metrics: true, scrape_protocols: [PrometheusText0.0.4]}\n\
         scrape_configs:\n- job_name: a\n- job_name: b\n  scrape_interval: 10s\n  sample_limit: 9\n  extra_scrape_metrics: false\n",
    );
    let [a, b] = &config.scrape[..] else { panic!() };
    assert_eq!((a.interval, a.timeout), (Duration::from_secs(15), Duration::from_secs(12)));
    assert_eq!((b.interval, b.timeout), (Duration::from_secs(10), Duration::from_secs(10)));
    assert_eq!((a.limits.samples, b.limits.samples, b.limits.labels), (5, 9, 3));
    assert_eq!((a.body_size_limit, a.target_limit, a.keep_dropped_targets), (1 << 20, 7, 2));
    assert_eq!((a.extra_scrape_metrics, b.extra_scrape_metrics), (true, false));
    assert_eq!(b.protocols, [Protocol::Text004]);
}

#[test]
fn everything_a_job_can_say_is_read() {
    let config = job(
        "honor_labels: true\nhonor_timestamps: false\ntrack_timestamps_staleness: true\nmetrics_path: /m\nscheme: https\n\
         params: {module: [x, 1.0]}\nenable_compression: false\nfollow_redirects: false\nfallback_scrape_protocol: PrometheusText0.0.4\n\
         metric_name_validation_scheme: legacy\nbasic_auth: {username: u, password_file: pw}\n\
         tls_config: {ca_file: ca.pem, cert: C, key_file: /k, server_name: s, insecure_skip_verify: true, min_version: TLS10, max_version: TLS13}\n\
         http_headers: {X-A: {values: [v], secrets: [s], files: [f]}}\n\
         relabel_configs:\n- {source_labels: [a, b], separator: '-', target_label: c, regex: 'x(.*)', replacement: $1, action: Replace}\n\
         - {source_labels: [a], target_label: d, modulus: 4, action: hashmod}\n\
         metric_relabel_configs:\n- {regex: 'e|f', action: labeldrop}\n\
         static_configs:\n- targets: [h:1, h:2]\n  labels: {v: 1.10}\n- targets:\n\
         file_sd_configs:\n- files: [t/*.yml, /abs/x.json]\n  refresh_interval: 10s\n\
         http_sd_configs:\n- url: http://h/sd\n  authorization: {credentials: tok}",
    );
    assert!(config.honor_labels && !config.honor_timestamps && config.track_timestamps_staleness);
    assert_eq!((config.metrics_path.as_str(), config.scheme.as_str()), ("/m", "https"));
    assert_eq!(config.params["module"], ["x", "1.0"]);
    assert!(!config.compression && !config.http.follow_redirects);
    assert_eq!((config.names, config.escaping), (NameScheme::Legacy, Escaping::Underscores));
    assert_eq!(config.fallback_protocol, Some(Protocol::Text004));
    let Some(Auth::Basic { password, .. }) = &config.http.auth else { panic!() };
    assert_eq!(password, &Some(SecretSource::File("/etc/p/pw".into())));
    let tls = &config.http.tls;
    assert_eq!(tls.ca, Some(SecretSource::File("/etc/p/ca.pem".into())));
    assert_eq!(tls.client.as_ref().unwrap().key, SecretSource::File("/k".into()));
    assert_eq!(config.http.headers[0].values.len(), 3);
    assert_eq!((config.relabel[0].action, config.relabel[1].modulus), (Action::Replace, 4));
    assert_eq!(config.metric_relabel[0].action, Action::LabelDrop);
    let [Discovery::Static(groups), Discovery::File(file), Discovery::Http(http)] = &config.discovery[..] else {
        panic!()
    };
    assert_eq!((groups[0].targets.len(), groups[0].labels["v"].as_str(), groups.len()), (2, "1.10", 2));
    assert_eq!(file.files, [PathBuf::from("/etc/p/t/*.yml"), PathBuf::from("/abs/x.json")]);
    assert_eq!(file.refresh_interval, Duration::from_secs(10));
    assert_eq!(http.refresh_interval, Duration::from_secs(60));
    assert!(matches!(&http.http.auth, Some(Auth::Other { scheme, .. }) if scheme == "Bearer"));
}

#[test]
fn errors_say_where_and_what() {
    for (text, error) in [
        (
            "global:\n  scrape_intervall: 1s\n",
            "prometheus.yml:2:3: unknown key \"scrape_intervall\" in global, did you mean \"scrape_interval\"?",
        ),
        ("x: 1\n", "prometheus.yml:1:1: unknown key \"x\" in the configuration"),
        ("global: [1]\n", "prometheus.yml:1:9: global must be a map, not a list"),
        (
            "global:\n  scrape_interval: 15\n",
            "prometheus.yml:2:20: global.scrape_interval: not a valid duration string: \"15\"",
        ),
        (
            "global:\n  scrape_interval: 5s\n  scrape_timeout: 10s\n",
            "prometheus.yml:3:19: global scrape timeout greater than scrape interval",
        ),
        (
            "scrape_configs:\n- job_name: a\n  scrape_timeout: 2m\n",
            "prometheus.yml:3:19: scrape timeout greater than scrape interval for scrape config with job name \"a\"",
        ),
        ("scrape_configs:\n- scheme: http\n", "prometheus.yml:2:3: job_name is empty"),
        ("scrape_configs:\n-\n", "prometheus.yml:2:2: empty or null section in scrape_configs"),
        (
            "scrape_configs:\n- job_name: a\n- job_name: a\n",
            "prometheus.yml:3:13: found multiple scrape configs with job name \"a\", first found in main config file",
        ),
        (
            "scrape_configs:\n- job_name: a\n  honor_labels: 1\n",
            "prometheus.yml:3:17: scrape_configs.honor_labels: must be true or false, not \"1\"",
        ),
        (
            "scrape_configs:\n- job_name: a\n  sample_limit: -1\n",
            "prometheus.yml:3:17: scrape_configs.sample_limit: must be a whole number that is not negative, not \"-1\"",
        ),
        (
            "scrape_configs:\n- job_name: a\n  body_size_limit: 10\n",
            "prometheus.yml:3:20: scrape_configs.body_size_limit: not a valid size: \"10\"",
        ),
        (
            "scrape_configs:\n- job_name: a\n  static_configs:\n  - targets: ['http://h']\n",
            "prometheus.yml:4:15: \"http://h\" is not a valid hostname",
        ),
        ("scrape_configs:\n- job_name: a\n  scheme: 'ftp:'\n", "prometheus.yml:3:11: \"ftp:\" is not a valid scheme"),
        (
            "scrape_configs:\n- job_name: a\n  relabel_configs:\n  - regex: 'a('\n    target_label: b\n",
            "prometheus.yml:4:12: invalid regular expression \"a(\": missing closing ): `a(`",
        ),
        (
            "scrape_configs:\n- job_name: a\n  relabel_configs:\n  - action: keeep\n",
            "prometheus.yml:4:13: unknown relabel action \"keeep\"",
        ),
        (
            "scrape_configs:\n- job_name: a\n  relabel_configs:\n  - action: replace\n",
            "prometheus.yml:4:5: relabel configuration for replace action requires 'target_label' value",
        ),
        (
            "scrape_configs:\n- job_name: a\n  bearer_token: x\n  basic_auth: {username: u}\n",
            "prometheus.yml:3:17: at most one of basic_auth, authorization, oauth2, bearer_token & bearer_token_file must be configured",
        ),
        (
            "scrape_configs:\n- job_name: a\n  basic_auth: {password: x, password_file: y}\n",
            "prometheus.yml:3:15: at most one of basic_auth password & password_file must be configured",
        ),
        (
            "scrape_configs:\n- job_name: a\n  authorization: {type: Basic}\n",
            "prometheus.yml:3:18: authorization type cannot be set to \"basic\", use \"basic_auth\" instead",
        ),
        (
            "scrape_configs:\n- job_name: a\n  http_headers: {User-Agent: {values: [x]}}\n",
            "prometheus.yml:3:18: setting header \"User-Agent\" is not allowed",
        ),
        (
            "scrape_configs:\n- job_name: a\n  file_sd_configs:\n  - files: [a*/x.json]\n",
            "prometheus.yml:4:13: path name \"a*/x.json\" is not valid for file discovery",
        ),
        (
            "scrape_configs:\n- job_name: a\n  http_sd_configs:\n  - url: ftp://x\n",
            "prometheus.yml:4:10: URL scheme must be 'http' or 'https'",
        ),
        (
            "scrape_configs:\n- job_name: a\n  scrape_protocols: [x]\n",
            "prometheus.yml:3:22: scrape_protocols: unknown scrape protocol x, supported: [OpenMetricsText0.0.1 \
             OpenMetricsText1.0.0 PrometheusProto PrometheusText0.0.4 PrometheusText1.0.0] for scrape config with job name \"a\"",
        ),
        (
            "remote_write:\n- url: x\n  queue_config: {capacity: many}\n",
            "prometheus.yml:3:28: remote_write.queue_config.capacity: must be a whole number, not \"many\"",
        ),
        (
            "scrape_configs:\n- job_name: a\n  kubernetes_sd_configs:\n  - rolle: pod\n",
            "prometheus.yml:4:5: unknown key \"rolle\" in scrape_configs.kubernetes_sd_configs, did you mean \"role\"?",
        ),
        ("a: [\n", "prometheus.yml:1:4: not valid YAML: unclosed bracket"),
    ] {
        let found = read(text).expect_err(text);
        assert!(found.starts_with(error), "{text}\n found {found}\nwanted {error}");
    }
}

#[test]
fn what_it_says_of_the_store_is_read_and_zero_is_a_wish() {
    let storage = |text: &str| good(&format!("storage: {text}")).storage;
    assert_eq!(storage("{}"), Storage::default());
    let all = storage(
        "{tsdb: {out_of_order_time_window: 5m, retention: {time: 30d, size: 10GB}}, exemplars: {max_exemplars: 7}}",
    );
    let expected = Storage {
        late_window: Some(Duration::from_secs(300)),
        retention_time: Some(Duration::from_secs(30 * 86_400)),
        retention_bytes: Some(10 << 30),
        max_exemplars: Some(7),
    };
    assert_eq!(all, expected);
    let none = storage("{tsdb: {out_of_order_time_window: 0s}, exemplars: {max_exemplars: 0}}");
    assert_eq!((none.late_window, none.max_exemplars), (Some(Duration::ZERO), Some(0)));
}

#[test]
fn keys_that_do_nothing_are_named_once_and_the_missed_ones_noticed() {
    let config = good(
        "runtime: {gogc: 50}\nrule_files: [a.yml]\nalerting: {alertmanagers: [{static_configs: [{targets: [h:9093]}]}]}\n\
         remote_write: [{url: 'http://h'}]\nremote_read: []\nstorage: {tsdb: {out_of_order_time_window: 30m}}\n\
         scrape_configs:\n- job_name: a\n  proxy_url: http://p\n  scrape_native_histograms: false\n  dns_sd_configs: [{names: [x]}]\n\
         - job_name: b\n  proxy_url: http://p\n  scrape_protocols: [PrometheusProto, PrometheusText0.0.4]\n",
    );
    assert_eq!(
        config.ignored(),
        [
            "alerting",
            "remote_write",
            "rule_files",
            "runtime",
            "scrape_configs.dns_sd_configs",
            "scrape_configs.proxy_url",
        ]
    );
    assert_eq!(config.notices().len(), 3);
    assert!(config.notices()[0].contains("no alert will fire"));
    assert_eq!(config.scrape[1].protocols, [Protocol::Protobuf, Protocol::Text004]);
}

#[test]
fn external_labels_expand_variables() {
    let config = good("global:\n  external_labels: {a: '${ZONE}-$ZONE', b: $NONE, c: '$$ZONE', d: 'x${', e: plain}\n");
    let expected = [("a", "eu-eu"), ("b", ""), ("c", "$ZONE"), ("d", "x{"), ("e", "plain")];
    assert_eq!(config.external_labels, BTreeMap::from(expected.map(|(n, v)| (n.to_owned(), v.to_owned()))));
}

#[test]
fn what_is_shown_has_the_defaults_and_no_secret() {
    let config = good(
        "scrape_configs:\n- job_name: a\n  authorization: {credentials: hunter2}\n  static_configs:\n  - targets: [h:1]\n",
    );
    assert_eq!(
        config.yaml(),
        "global:\n  scrape_interval: 1m\n  scrape_timeout: 10s\n  evaluation_interval: 1m\nscrape_configs:\n\
         - job_name: a\n  authorization:\n    credentials: <secret>\n  static_configs:\n  - targets:\n    - h:1\n\
         \x20 honor_timestamps: true\n  track_timestamps_staleness: false\n  scrape_interval: 1m\n  scrape_timeout: 10s\n\
         \x20 metrics_path: /metrics\n  scheme: http\n  enable_compression: true\n  follow_redirects: true\n"
    );
    assert!(config.job_yaml("a").unwrap().starts_with("job_name: a\n"));
    assert!(config.job_yaml("b").is_none());
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn scrape_config_files_add_jobs() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir(path("jobs")).unwrap();
    std::fs::write(path("jobs/b.yml"), "scrape_configs:\n- job_name: b\n  file_sd_configs: [{files: [x.json]}]\n")
        .unwrap();
    let main = "global: {scrape_interval: 7s}\nscrape_config_files: ['jobs/*.yml']\nscrape_configs: [{job_name: a}]\n";
    std::fs::write(path("p.yml"), main).unwrap();
    let config = Config::load(&path("p.yml")).unwrap();
    let names: Vec<&str> = config.scrape.iter().map(|c| c.job_name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(config.scrape[1].interval, Duration::from_secs(7));
    assert!(matches!(&config.scrape[1].discovery[0], Discovery::File(f) if f.files == [path("jobs/x.json")]));
    std::fs::write(path("jobs/c.yml"), "scrape_configs:\n- job_name: a\n").unwrap();
    let error = Config::load(&path("p.yml")).unwrap_err().to_string();
    assert!(
        error.ends_with(
            "c.yml:2:13: found multiple scrape configs with job name \"a\", first found in main config file"
        ),
        "{error}"
    );
    assert!(Config::load(&path("none.yml")).unwrap_err().to_string().contains("none.yml: No such file"));
}

#[test]
fn the_example_is_a_good_configuration() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/silverback.yml");
    // The files that it names are those of its reader.
    let mut findings = Findings::default();
    let config = Config::read(&path, |_| None, &mut findings).finish(findings).unwrap();
    assert_eq!(config.scrape.len(), 5);
    assert!(config.ignored().is_empty(), "{:?}", config.ignored());
}
