//! `global` and `scrape_configs`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use model::{Regex, format_duration};
use scraper::{
    Action, Discovery, Escaping, FileDiscovery, Histograms, HttpDiscovery, HttpUrl, NameScheme, Protocol, Relabel,
    SampleLimits, ScrapeConfig, TargetGroup, UrlError, schema_of_factor,
};

use super::findings::Findings;
use super::http::http_options;
use super::render::without_password;
use super::tree::{Fault, Node, Value};
use super::values::within;

/// What holds for jobs that do not say otherwise.
#[derive(Clone, Debug)]
pub(super) struct Global {
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) evaluation_interval: Duration,
    pub(super) external_labels: BTreeMap<String, String>,
    protocols: Option<Vec<Protocol>>,
    histograms: Histograms,
    body_size_limit: u64,
    limits: SampleLimits,
    target_limit: usize,
    keep_dropped_targets: usize,
    pub(super) names: NameScheme,
    escaping: Escaping,
    extra_scrape_metrics: bool,
}

impl Global {
    /// Reads `node`. `None` stands for an empty section.
    pub(super) fn read(node: Option<&Node>, findings: &mut Findings) -> Self {
        let empty = Node { place: super::tree::Place::default(), value: Value::Null };
        let node = node.unwrap_or(&empty);
        let times = findings.keep(node, Times::read(node)).unwrap_or_default();
        let interval = times.interval.unwrap_or(Duration::from_secs(60));
        if times.timeout.is_some_and(|timeout| timeout > interval) {
            let at = node.get("scrape_timeout").unwrap_or(node);
            findings.fault(at.fault("global scrape timeout greater than scrape interval"));
        }
        let evaluation = findings.keep(node, node.duration_of("evaluation_interval")).flatten();
        let names = findings.keep(node, names(node)).flatten().unwrap_or_default();
        let limits = Limits::read(node, &Limits::default(), findings);
        Self {
            interval,
            timeout: times.timeout.unwrap_or(Duration::from_secs(10).min(interval)),
            evaluation_interval: evaluation.unwrap_or(Duration::from_secs(60)),
            external_labels: external_labels(node, names, findings),
            protocols: findings.keep(node, protocols(node, "for global config")).flatten(),
            histograms: histograms(node, Histograms::default()),
            body_size_limit: limits.body_size,
            limits: limits.samples,
            target_limit: limits.targets,
            keep_dropped_targets: limits.dropped,
            names,
            escaping: findings.keep(node, escaping(node)).flatten().unwrap_or(default_escaping(names)),
            extra_scrape_metrics: node.bool_of("extra_scrape_metrics").unwrap_or(false),
        }
    }
}

/// How often and for how long to scrape, where it is said.
#[derive(Default)]
struct Times {
    interval: Option<Duration>,
    timeout: Option<Duration>,
}

impl Times {
    fn read(node: &Node) -> Result<Self, Fault> {
        Ok(Self { interval: node.duration_of("scrape_interval")?, timeout: node.duration_of("scrape_timeout")? })
    }
}

/// The limits that both the whole and a job may set.
#[derive(Default)]
struct Limits {
    body_size: u64,
    samples: SampleLimits,
    targets: usize,
    dropped: usize,
}

impl Limits {
    /// What `node` says; where it says nothing, what `defaults` say.
    fn read(node: &Node, defaults: &Self, findings: &mut Findings) -> Self {
        let body_size = findings.keep(node, node.size_of("body_size_limit")).flatten().filter(|bytes| *bytes > 0);
        let mut count = |key, default| findings.keep(node, node.count_of(key)).flatten().unwrap_or(default);
        Self {
            body_size: body_size.unwrap_or(defaults.body_size),
            samples: SampleLimits {
                samples: count("sample_limit", defaults.samples.samples),
                series: count("series_budget", defaults.samples.series),
                labels: count("label_limit", defaults.samples.labels),
                name_bytes: count("label_name_length_limit", defaults.samples.name_bytes),
                value_bytes: count("label_value_length_limit", defaults.samples.value_bytes),
                buckets: count("native_histogram_bucket_limit", defaults.samples.buckets),
            },
            targets: count("target_limit", defaults.targets),
            dropped: count("keep_dropped_targets", defaults.dropped),
        }
    }
}

/// Reads one job; files are looked for from `folder`.
pub(super) fn scrape_config(node: &Node, global: &Global, folder: &Path, findings: &mut Findings) -> ScrapeConfig {
    let job_name = node.string_of("job_name").unwrap_or_default();
    if job_name.is_empty() && !node.is_flawed() {
        findings.fault(node.fault("job_name is empty"));
    }
    let times = findings.keep(node, Times::read(node)).unwrap_or_default();
    let interval = times.interval.unwrap_or(global.interval);
    if times.timeout.is_some_and(|timeout| timeout > interval) {
        let at = node.get("scrape_timeout").unwrap_or(node);
        findings.fault(at.fault(format!(
            "scrape timeout greater than scrape interval for scrape config with job name {job_name:?}"
        )));
    }
    let (names, escaping) = findings.keep(node, naming(node, global)).unwrap_or((global.names, global.escaping));
    let defaults = Limits {
        body_size: global.body_size_limit,
        samples: global.limits,
        targets: global.target_limit,
        dropped: global.keep_dropped_targets,
    };
    let limits = Limits::read(node, &defaults, findings);
    let whose = format!("for scrape config with job name {job_name:?}");
    let histograms = histograms(node, global.histograms);
    let protocols = findings.keep(node, protocols(node, &whose)).flatten().or_else(|| global.protocols.clone());
    let protocols = protocols.unwrap_or_else(|| match histograms.native {
        true => Protocol::WITH_NATIVE_HISTOGRAMS.to_vec(),
        false => Protocol::DEFAULT.to_vec(),
    });
    let scheme = node.some_string_of("scheme").unwrap_or_else(|| "http".to_owned());
    check_scheme(node.get("scheme").unwrap_or(node), &scheme, findings);
    let relabel = relabels(node, "relabel_configs", names, findings);
    ScrapeConfig {
        interval,
        timeout: times.timeout.unwrap_or(global.timeout.min(interval)),
        metrics_path: node.some_string_of("metrics_path").unwrap_or_else(|| "/metrics".to_owned()),
        scheme,
        params: params(node),
        honor_labels: node.bool_of("honor_labels").unwrap_or(false),
        honor_timestamps: node.bool_of("honor_timestamps").unwrap_or(true),
        track_timestamps_staleness: node.bool_of("track_timestamps_staleness").unwrap_or(false),
        protocols,
        histograms,
        finest_schema: bucket_factor(node).and_then(schema_of_factor),
        start_timestamps: false,
        fallback_protocol: findings.keep(node, fallback(node, &job_name)).flatten(),
        names,
        escaping,
        compression: node.bool_of("enable_compression").unwrap_or(true),
        body_size_limit: limits.body_size,
        limits: limits.samples,
        target_limit: limits.targets,
        keep_dropped_targets: limits.dropped,
        extra_scrape_metrics: node.bool_of("extra_scrape_metrics").unwrap_or(global.extra_scrape_metrics),
        http: http_options(node, folder, findings),
        discovery: discovery(node, folder, relabel.is_empty(), findings),
        metric_relabel: relabels(node, "metric_relabel_configs", names, findings),
        relabel,
        job_name,
    }
}

/// Refuses a scheme that would change the host of the URL, and warns of one that no target can be asked with.
fn check_scheme(at: &Node, scheme: &str, findings: &mut Findings) {
    if !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)) {
        findings.fault(at.fault(format!("{scheme:?} is not a valid scheme")));
    } else if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        findings
            .warn(at.fault(format!("no target can be scraped with scheme {scheme:?}: it is neither http nor https")));
    }
}

fn bucket_factor(node: &Node) -> Option<f64> {
    node.text_of("native_histogram_min_bucket_factor")?.parse().ok()
}

/// What a job says with its defaults written out, for those who want to see them.
pub(super) fn written_out(config: &ScrapeConfig) -> Vec<(&'static str, Node)> {
    vec![
        ("honor_timestamps", Node::bool_node(config.honor_timestamps)),
        ("track_timestamps_staleness", Node::bool_node(config.track_timestamps_staleness)),
        ("scrape_interval", Node::text_node(format_duration(config.interval))),
        ("scrape_timeout", Node::text_node(format_duration(config.timeout))),
        ("metrics_path", Node::text_node(config.metrics_path.as_str())),
        ("scheme", Node::text_node(config.scheme.as_str())),
        ("enable_compression", Node::bool_node(config.compression)),
        ("follow_redirects", Node::bool_node(config.http.follow_redirects)),
    ]
}

fn external_labels(node: &Node, names: NameScheme, findings: &mut Findings) -> BTreeMap<String, String> {
    check_names(node.get("external_labels"), names, findings);
    node.text_map_of("external_labels")
}

/// Tells of keys of `labels` that cannot name a label.
fn check_names(labels: Option<&Node>, names: NameScheme, findings: &mut Findings) {
    for (key, _) in labels.map(Node::entries).unwrap_or_default() {
        if !names.allows_label(&key.name) {
            findings.fault(Fault { place: key.place, what: format!("{:?} is not a valid label name", key.name) });
        }
    }
}

fn names(node: &Node) -> Result<Option<NameScheme>, Fault> {
    let Some(scheme) = node.get("metric_name_validation_scheme") else { return Ok(None) };
    match scheme.text() {
        "" => Ok(None),
        "utf8" => Ok(Some(NameScheme::Utf8)),
        "legacy" => Ok(Some(NameScheme::Legacy)),
        other => Err(scheme.fault(format!(
            "unknown name validation method specified, must be either '', 'legacy' or 'utf8', got {other}"
        ))),
    }
}

fn escaping(node: &Node) -> Result<Option<Escaping>, Fault> {
    let Some(scheme) = node.get("metric_name_escaping_scheme").filter(|node| !node.text().is_empty()) else {
        return Ok(None);
    };
    let all = [Escaping::AllowUtf8, Escaping::Underscores, Escaping::Dots, Escaping::Values];
    let found = all.into_iter().find(|escaping| escaping.as_str() == scheme.text());
    found.map(Some).ok_or_else(|| {
        scheme.fault(format!(
            "unknown name escaping method specified, must be one of 'allow-utf-8', 'underscores', 'dots', or \
             'values', got {:?}",
            scheme.text()
        ))
    })
}

const fn default_escaping(names: NameScheme) -> Escaping {
    match names {
        NameScheme::Utf8 => Escaping::AllowUtf8,
        NameScheme::Legacy => Escaping::Underscores,
    }
}

/// A job that says how names must look, and not how to ask for them, does not ask as the others do.
fn naming(node: &Node, global: &Global) -> Result<(NameScheme, Escaping), Fault> {
    let own = names(node)?;
    let names = own.unwrap_or(global.names);
    let inherited = if own.is_some() { default_escaping(names) } else { global.escaping };
    let escaping = escaping(node)?.unwrap_or(inherited);
    if escaping == Escaping::AllowUtf8 && names == NameScheme::Legacy {
        return Err(node.fault("utf8 metric names requested but validation scheme is not set to UTF8"));
    }
    Ok((names, escaping))
}

const PROTOCOLS: [Protocol; 5] = Protocol::WITH_NATIVE_HISTOGRAMS;

fn unknown_protocol(name: &str) -> String {
    format!(
        "unknown scrape protocol {name}, supported: [OpenMetricsText0.0.1 OpenMetricsText1.0.0 PrometheusProto \
         PrometheusText0.0.4 PrometheusText1.0.0]"
    )
}

/// Which histograms `node` wants; where it says nothing, what `defaults` say.
fn histograms(node: &Node, defaults: Histograms) -> Histograms {
    Histograms {
        native: node.bool_of("scrape_native_histograms").unwrap_or(defaults.native),
        always_classic: node.bool_of("always_scrape_classic_histograms").unwrap_or(defaults.always_classic),
        convert_classic: node.bool_of("convert_classic_histograms_to_nhcb").unwrap_or(defaults.convert_classic),
    }
}

/// The formats to ask for.
fn protocols(node: &Node, whose: &str) -> Result<Option<Vec<Protocol>>, Fault> {
    let Some(list) = node.get("scrape_protocols") else { return Ok(None) };
    if list.items().is_empty() {
        return Err(list.fault(format!("scrape_protocols cannot be empty {whose}")));
    }
    let (mut protocols, mut seen) = (Vec::new(), Vec::new());
    for item in list.items() {
        let name = item.text();
        if seen.contains(&name) {
            return Err(item.fault(format!("duplicated protocol in scrape_protocols, got {name} {whose}")));
        }
        seen.push(name);
        match PROTOCOLS.into_iter().find(|protocol| protocol.as_str() == name) {
            Some(protocol) => protocols.push(protocol),
            None => return Err(item.fault(format!("scrape_protocols: {} {whose}", unknown_protocol(name)))),
        }
    }
    Ok(Some(protocols))
}

fn fallback(node: &Node, job: &str) -> Result<Option<Protocol>, Fault> {
    let Some(fallback) = node.get("fallback_scrape_protocol").filter(|node| !node.text().is_empty()) else {
        return Ok(None);
    };
    let found = PROTOCOLS.into_iter().find(|protocol| protocol.as_str() == fallback.text());
    found.map(Some).ok_or_else(|| {
        let why = unknown_protocol(fallback.text());
        fallback.fault(format!("invalid fallback_scrape_protocol for scrape config with job name {job:?}: {why}"))
    })
}

fn params(node: &Node) -> BTreeMap<String, Vec<String>> {
    let entries = node.get("params").map(Node::entries).unwrap_or_default();
    entries.iter().map(|(key, values)| (key.name.clone(), values.texts())).collect()
}

/// Reads a list of rules.
pub(super) fn relabels(node: &Node, key: &str, names: NameScheme, findings: &mut Findings) -> Vec<Relabel> {
    let rules = node.items_of(key).iter().filter(|rule| !rule.is_flawed());
    rules.filter_map(|rule| relabel(rule, names, findings)).collect()
}

fn relabel(node: &Node, names: NameScheme, findings: &mut Findings) -> Option<Relabel> {
    let default = Relabel::default();
    let regex = match node.text_or_empty_of("regex") {
        None => Some(default.regex),
        Some(text) => {
            let at = node.get("regex").unwrap_or(node);
            findings.keep(node, Regex::pasted(text).map_err(|what| at.fault(what.to_string())))
        }
    };
    for label in node.items_of("source_labels") {
        // Prometheus takes an item without a value for a label that no target has.
        if label.value != Value::Null && !names.allows_label(label.text()) {
            findings.fault(label.fault(format!("{:?} is not a valid label name", label.text())));
        }
    }
    let action = findings.keep(node, action(node));
    // A key without a value is an empty text.
    let text = |key, default: String| node.text_or_empty_of(key).map_or(default, str::to_owned);
    let rule = Relabel {
        action: action?,
        source_labels: node.texts_of("source_labels"),
        separator: text("separator", default.separator),
        regex: regex?,
        modulus: node.uint_of("modulus").unwrap_or(0),
        target_label: text("target_label", String::new()),
        replacement: text("replacement", default.replacement),
    };
    findings.keep(node, rule.validate(names).map_err(|what| node.fault(what)))?;
    Some(rule)
}

fn action(rule: &Node) -> Result<Action, Fault> {
    let text = match rule.text_or_empty_of("action") {
        None => return Ok(Action::default()),
        Some("") => return Err(rule.fault("relabel action cannot be empty")),
        Some(text) => text,
    };
    let known = Action::ALL.into_iter().find(|known| known.as_str() == text.to_lowercase());
    known.ok_or_else(|| rule.get("action").unwrap_or(rule).fault(format!("unknown relabel action {text:?}")))
}

fn discovery(node: &Node, folder: &Path, plain: bool, findings: &mut Findings) -> Vec<Discovery> {
    let mut all = Vec::new();
    let groups: Vec<TargetGroup> = node
        .items_of("static_configs")
        .iter()
        .enumerate()
        .map(|(at, group)| static_group(group, at, plain, findings))
        .collect();
    if !groups.is_empty() {
        all.push(Discovery::Static(groups));
    }
    for file in node.items_of("file_sd_configs") {
        all.push(Discovery::File(file_discovery(file, folder, findings)));
    }
    for http in node.items_of("http_sd_configs") {
        let discovery = http_discovery(http, folder, findings);
        all.extend(findings.keep(http, discovery).map(|http| Discovery::Http(Box::new(http))));
    }
    all
}

/// Without relabeling, a URL where an address should be is certainly a mistake.
fn static_group(node: &Node, at: usize, plain: bool, findings: &mut Findings) -> TargetGroup {
    for target in node.items_of("targets").iter().filter(|_| plain) {
        if target.text().contains('/') {
            let shown = without_password(target.text());
            findings.fault(target.fault(format!("{shown:?} is not a valid hostname")));
        }
    }
    // The name scheme of the job holds for what is left after relabeling.
    check_names(node.get("labels"), NameScheme::Utf8, findings);
    TargetGroup { source: at.to_string(), targets: node.texts_of("targets"), labels: node.text_map_of("labels") }
}

fn file_discovery(node: &Node, folder: &Path, findings: &mut Findings) -> FileDiscovery {
    if node.items_of("files").is_empty() && !node.is_flawed() {
        findings.fault(node.fault("file service discovery config must contain at least one path name"));
    }
    for file in node.items_of("files") {
        if file.value != Value::Invalid && !is_file_pattern(file.text()) {
            findings.fault(file.fault(format!("path name {:?} is not valid for file discovery", file.text())));
        }
    }
    let refresh_interval = findings.keep(node, node.duration_of("refresh_interval")).flatten();
    FileDiscovery {
        files: node.texts_of("files").iter().map(|file| within(folder, file)).collect(),
        refresh_interval: refresh_interval.unwrap_or(Duration::from_secs(300)),
    }
}

/// A path to JSON or YAML, with stars in its last part at most.
fn is_file_pattern(path: &str) -> bool {
    let known = [".json", ".yml", ".yaml", ".JSON", ".YML", ".YAML"].iter().any(|ending| path.ends_with(ending));
    let starred_folder = path.find('*').is_some_and(|star| path[star..].contains('/'));
    known && !starred_folder
}

fn http_discovery(node: &Node, folder: &Path, findings: &mut Findings) -> Result<HttpDiscovery, Fault> {
    let Some(url) = node.some_string_of("url") else { return Err(node.fault("URL is missing")) };
    let at = node.get("url").unwrap_or(node);
    // The text is not quoted: it may hold a password.
    match HttpUrl::parse(&url) {
        Ok(_) => {}
        Err(UrlError::Scheme) => return Err(at.fault("URL scheme must be 'http' or 'https'")),
        Err(UrlError::NoHost) => return Err(at.fault("host is missing in URL")),
        Err(error) => return Err(at.fault(format!("malformed URL: {error}"))),
    }
    Ok(HttpDiscovery {
        url,
        refresh_interval: node.duration_of("refresh_interval")?.unwrap_or(Duration::from_secs(60)),
        http: http_options(node, folder, findings),
    })
}
