//! Targets under relabeling, the files that list them, and rule files: looked at by `check config` only.

use std::path::Path;

use scraper::{Discovery, ScrapeConfig, TargetGroup, matching_files, read_target_file};

use super::findings::{Depth, Findings};
use super::render::without_password;
use super::tree::Node;
use super::values::within;

/// Looks for targets of the job `config`, which `node` describes, that cannot be scraped, and for files of targets that
/// cannot be read.
pub(super) fn check(config: &ScrapeConfig, node: &Node, findings: &mut Findings) {
    if findings.depth != Depth::Targets || node.is_flawed() {
        return;
    }
    let mut files = node.items_of("file_sd_configs").iter();
    for discovery in &config.discovery {
        match discovery {
            Discovery::Static(groups) => {
                for (group, node) in groups.iter().zip(node.items_of("static_configs")) {
                    check_group(config, group, node, findings);
                }
            }
            Discovery::File(file) => {
                let named = files.next().map(|node| node.items_of("files")).unwrap_or_default();
                for (pattern, node) in file.files.iter().zip(named) {
                    check_files(config, pattern, node, findings);
                }
            }
            Discovery::Host | Discovery::Http(_) => {}
        }
    }
}

fn check_group(config: &ScrapeConfig, group: &TargetGroup, node: &Node, findings: &mut Findings) {
    let targets = node.items_of("targets");
    for (at, fault) in config.target_faults(group) {
        let node = targets.get(at).unwrap_or(node);
        // The text of the fault may quote the address.
        findings.doubt(node.fault(format!("target {at} cannot be scraped: {}", without_password(&fault))));
    }
}

fn check_files(config: &ScrapeConfig, pattern: &Path, node: &Node, findings: &mut Findings) {
    let files = match matching_files(pattern) {
        Ok(files) => files,
        Err(error) => return findings.doubt(node.fault(error.to_string())),
    };
    if files.is_empty() {
        let what = format!("file {:?} for file_sd in scrape job {:?} does not exist", node.text(), config.job_name);
        findings.warn(node.fault(what));
    }
    for path in files {
        match read_target_file(&path) {
            Err(error) => findings.doubt(node.fault(format!("{}: {error}", path.display()))),
            Ok(groups) => {
                for (group, (at, fault)) in groups
                    .iter()
                    .flat_map(|group| config.target_faults(group).into_iter().map(move |fault| (group, fault)))
                {
                    let fault = without_password(&fault);
                    findings.doubt(node.fault(format!("{}: target {at} cannot be scraped: {fault}", group.source)));
                }
            }
        }
    }
}

/// Looks for the rule files that `node` names. A name without a star must be that of a file.
pub(super) fn check_rule_file(node: &Node, folder: &Path, findings: &mut Findings) {
    let files = match matching_files(&within(folder, node.text())) {
        Ok(files) => files,
        Err(error) => return findings.fault(node.fault(format!("invalid rule file path: {error}"))),
    };
    if findings.depth != Depth::Targets {
        return;
    }
    if files.is_empty() && !node.text().contains('*') {
        findings.doubt(node.fault(format!("{:?} does not point to an existing file", node.text())));
    }
    for path in files.iter().filter(|path| path.is_dir()) {
        findings.doubt(node.fault(format!("{} is a directory", path.display())));
    }
}
