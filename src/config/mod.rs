//! `prometheus.yml` → each crate's options.
//!
//! A document is read into a tree whose nodes know their place, held against the schema of Prometheus, and turned into
//! options. What is wrong is said with file, line and column; a key that Prometheus knows and that does nothing here is
//! named, not refused.

mod check;
mod findings;
mod http;
mod idle;
mod render;
mod schema;
mod scrape;
mod storage;
mod targets;
mod tree;
mod values;
mod web_file;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::format_duration;
use scraper::ScrapeConfig;

use check::check_section;
pub(crate) use findings::{ConfigError, Finding};
use findings::{Depth, Findings};
use schema::{ROOT, SCRAPE, SCRAPE_FILE};
use scrape::{Global, scrape_config, written_out};
pub(crate) use storage::Storage;
use tree::{Fault, Key, Node, Place, Value};
use values::within;
pub(crate) use web_file::check_web_file;

/// A configuration, checked and complete.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// All jobs, those of `scrape_config_files` after those of the file itself.
    pub(crate) scrape: Vec<ScrapeConfig>,
    /// What to add to series and alerts that go elsewhere. `${VAR}` is expanded.
    #[cfg_attr(not(test), expect(dead_code, reason = "what goes elsewhere, alerts and remote write, is yet to come"))]
    pub(crate) external_labels: BTreeMap<String, String>,
    /// What it says of the store.
    pub(crate) storage: Storage,
    /// How often rules would be evaluated; the default step of subqueries.
    pub(crate) evaluation_interval: Duration,
    ignored: Vec<String>,
    notices: Vec<&'static str>,
    warnings: Vec<Finding>,
    doubts: Vec<Finding>,
    yaml: String,
    job_yaml: BTreeMap<String, String>,
}

/// Sections of which nothing comes that one would miss, and what to tell people.
const NOTICES: [(&str, &str); 4] = [
    ("rule_files", "rule_files are not evaluated yet: no recording rule is computed, no alert will fire"),
    ("alerting", "alerting is not acted on yet: nothing is sent to an Alertmanager"),
    ("remote_write", "remote_write is not acted on yet: no sample leaves this server"),
    ("remote_read", "remote_read is not acted on yet: queries see what is stored here only"),
];

impl Config {
    /// Reads and checks the file at `path`, and the files that it names.
    ///
    /// # Errors
    /// If anything is wrong anywhere; the error names every fault with its place.
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        let mut findings = Findings::default();
        let config = Self::read(path, |name| std::env::var(name).ok(), &mut findings);
        findings.look_at_files();
        config.finish(findings)
    }

    /// Loads the file at `path` as [`load`](Self::load) does, and also looks at what does not matter to the start: targets
    /// under relabeling, files of targets and rule files. Faults of these are doubts.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    pub(crate) fn inspect(path: &Path) -> Result<Self, ConfigError> {
        let mut findings = Findings::new(Depth::Targets);
        let config = Self::read(path, |name| std::env::var(name).ok(), &mut findings);
        findings.look_at_files();
        config.finish(findings)
    }

    /// Reads the file at `path` into `findings` and the configuration, of which what is wrong is left out. `variable` gives
    /// the values of environment variables.
    fn read(path: &Path, variable: impl Fn(&str) -> Option<String>, findings: &mut Findings) -> Self {
        findings.enter(path);
        match std::fs::read_to_string(path) {
            Ok(text) => Self::read_text(&text, path, variable, findings),
            Err(error) => {
                findings.fault(Fault { place: Place::default(), what: error.to_string() });
                Self::read_text("", path, variable, findings)
            }
        }
    }

    fn read_text(text: &str, path: &Path, variable: impl Fn(&str) -> Option<String>, findings: &mut Findings) -> Self {
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut root = document(text, &ROOT, findings);
        let global = Global::read(root.get("global"), findings);
        for file in root.items_of("rule_files") {
            findings.keep(file, check_pattern(file, "rule"));
            targets::check_rule_file(file, folder, findings);
        }
        idle::check(&root, global.names, folder, findings);
        let mut jobs = Jobs::default();
        for node in root.items_of("scrape_configs").iter().filter(|node| node.value != Value::Invalid) {
            jobs.add(scrape_config(node, &global, folder, findings), node, "main config file", findings);
        }
        for pattern in root.items_of("scrape_config_files") {
            for file in findings.keep(pattern, files(pattern, folder)).unwrap_or_default() {
                jobs.add_file(&file, &global, findings);
            }
        }
        let storage = findings.keep(&root, Storage::read(&root)).unwrap_or_default();
        let set = |key: &str| findings.idle.contains(key);
        let notices = NOTICES.into_iter().filter(|(key, _)| set(key)).map(|(_, notice)| notice).collect();
        let expanded: BTreeMap<String, String> =
            global.external_labels.iter().map(|(name, value)| (name.clone(), expand(value, &variable))).collect();
        fill_in(&mut root, &global, &jobs.configs);
        Self {
            external_labels: expanded,
            storage,
            evaluation_interval: global.evaluation_interval,
            ignored: Vec::new(),
            notices,
            warnings: Vec::new(),
            doubts: Vec::new(),
            yaml: render::render(&root, &ROOT),
            job_yaml: jobs.yaml,
            scrape: jobs.configs,
        }
    }

    /// The configuration with what was found besides, or all of its faults.
    fn finish(self, findings: Findings) -> Result<Self, ConfigError> {
        let Findings { idle, warnings, doubts, .. } = findings.into_result()?;
        Ok(Self { ignored: idle.into_iter().collect(), warnings, doubts, ..self })
    }

    /// Keys that say less than their writer may think.
    pub(crate) fn warnings(&self) -> &[Finding] {
        &self.warnings
    }

    /// Faults with which the server starts, though some targets will be down.
    pub(crate) fn doubts(&self) -> &[Finding] {
        &self.doubts
    }

    /// Keys that are set and do nothing, for one warning: `remote_write`, `scrape_configs.proxy_url`, …
    pub(crate) fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// What people should know about this configuration, for every page.
    pub(crate) fn notices(&self) -> &[&'static str] {
        &self.notices
    }

    /// The file with the defaults that matter written out, and `<secret>` for every secret.
    pub(crate) fn yaml(&self) -> &str {
        &self.yaml
    }

    /// The same of one job.
    pub(crate) fn job_yaml(&self, job: &str) -> Option<&str> {
        self.job_yaml.get(job).map(String::as_str)
    }
}

/// The jobs read so far, and where they came from.
#[derive(Default)]
struct Jobs {
    configs: Vec<ScrapeConfig>,
    origins: BTreeMap<String, String>,
    yaml: BTreeMap<String, String>,
}

impl Jobs {
    fn add(&mut self, config: ScrapeConfig, node: &Node, origin: &str, findings: &mut Findings) {
        let job = config.job_name.clone();
        match self.origins.get(&job) {
            Some(first) if !job.is_empty() => {
                let at = node.get("job_name").unwrap_or(node);
                let what = format!("found multiple scrape configs with job name {job:?}, first found in {first}");
                findings.fault(at.fault(what));
            }
            _ => drop(self.origins.insert(job.clone(), origin.to_owned())),
        }
        let mut node = node.clone();
        targets::check(&config, &node, findings);
        set_missing(&mut node, written_out(&config));
        self.yaml.insert(job, render::render(&node, &SCRAPE));
        self.configs.push(config);
    }

    fn add_file(&mut self, path: &Path, global: &Global, findings: &mut Findings) {
        let from = findings.enter(path);
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let folder = path.parent().unwrap_or(Path::new(""));
                let root = document(&text, &SCRAPE_FILE, findings);
                let origin = format!("{:?}", path.display().to_string());
                for node in root.items_of("scrape_configs").iter().filter(|node| node.value != Value::Invalid) {
                    self.add(scrape_config(node, global, folder, findings), node, &origin, findings);
                }
            }
            Err(error) => findings.fault(Fault { place: Place::default(), what: error.to_string() }),
        }
        findings.leave(from);
    }
}

/// Reads `text` and holds it against `section`; what is wrong is taken out.
fn document(text: &str, section: &'static schema::Section, findings: &mut Findings) -> Node {
    match Node::parse(text) {
        Ok(mut root) => {
            check_section(&mut root, section, "", findings);
            root
        }
        Err(fault) => {
            findings.fault(fault);
            Node { place: Place::default(), value: Value::Invalid }
        }
    }
}

/// Only the last part of a path may have stars.
fn check_pattern(pattern: &Node, what: &str) -> Result<(), Fault> {
    let text = pattern.text();
    match text.find('*') {
        Some(star) if text[star..].contains('/') => Err(pattern.fault(format!("invalid {what} file path {text:?}"))),
        _ => Ok(()),
    }
}

/// The files that `pattern` names, sorted.
fn files(pattern: &Node, folder: &Path) -> Result<Vec<PathBuf>, Fault> {
    check_pattern(pattern, "scrape config")?;
    let text = pattern.text();
    scraper::matching_files(&within(folder, text))
        .map_err(|e| pattern.fault(format!("invalid scrape config file path {text:?}: {e}")))
}

/// `$name`, `${name}` → the value of the variable, `$$` → `$`; what is not set becomes nothing.
fn expand(text: &str, variable: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (name, after) = if let Some(braced) = rest.strip_prefix('{') {
            match braced.find('}') {
                Some(end) => (&braced[..end], &braced[end + 1..]),
                None => ("", rest),
            }
        } else if let Some(after) = rest.strip_prefix('$') {
            ("$", after)
        } else {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            rest.split_at(end)
        };
        match name {
            "" => {}
            "$" => out.push('$'),
            name => out.push_str(&variable(name).unwrap_or_default()),
        }
        rest = after;
    }
    out + rest
}

/// Writes the defaults that matter into the document.
fn fill_in(root: &mut Node, global: &Global, configs: &[ScrapeConfig]) {
    if matches!(root.value, Value::Null | Value::Invalid) {
        root.value = Value::Map(Vec::new());
    }
    let defaults = vec![
        ("scrape_interval", Node::text_node(format_duration(global.interval))),
        ("scrape_timeout", Node::text_node(format_duration(global.timeout))),
        ("evaluation_interval", Node::text_node(format_duration(global.evaluation_interval))),
    ];
    let Value::Map(entries) = &mut root.value else { return };
    if !entries.iter().any(|(key, _)| key.name == "global") {
        let node = Node { place: Place::default(), value: Value::Map(Vec::new()) };
        entries.insert(0, (Key { place: Place::default(), name: "global".to_owned() }, node));
    }
    for (key, node) in entries {
        match (key.name.as_str(), &mut node.value) {
            ("global", _) => set_missing(node, defaults.clone()),
            ("scrape_configs", Value::List(items)) => {
                for (item, config) in items.iter_mut().zip(configs) {
                    set_missing(item, written_out(config));
                }
            }
            _ => {}
        }
    }
}

/// Adds those of `defaults` that `node`, a map, does not have.
fn set_missing(node: &mut Node, defaults: Vec<(&'static str, Node)>) {
    if node.value == Value::Null {
        node.value = Value::Map(Vec::new());
    }
    for (name, value) in defaults {
        if node.get(name).is_none()
            && let Value::Map(entries) = &mut node.value
        {
            entries.retain(|(key, _)| key.name != name);
            entries.push((Key { place: Place::default(), name: name.to_owned() }, value));
        }
    }
}

#[cfg(test)]
mod tests;
