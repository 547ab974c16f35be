//! Jobs that can never be scraped beside one that can: the server starts, and each says why it is down.

mod common;

use common::{Server, free_port, wait_for};

#[test]
fn a_scheme_in_upper_case_is_scraped_and_what_can_never_be_asked_is_down_with_its_reason() {
    let port = free_port();
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n\
         - {{job_name: upper, scheme: HTTP, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}\n\
         - {{job_name: ftp, scheme: ftp, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}\n\
         - {{job_name: tls, scheme: https, tls_config: {{min_version: TLS13, max_version: TLS12}}, \
         static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}\n"
    );
    let server = Server::with_config(&config, &[&format!("--web.listen-address=127.0.0.1:{port}")]);
    let state = |job: &str| {
        let targets = server.api("/targets", &[("state", "active")]);
        let targets = targets["activeTargets"].as_array().unwrap().clone();
        let target = targets.into_iter().find(|target| target["scrapePool"] == job)?;
        Some((target["health"].as_str()?.to_owned(), target["lastError"].as_str()?.to_owned()))
    };
    for (job, health, error) in [
        ("upper", "up", ""),
        ("ftp", "down", "unsupported protocol scheme"),
        ("tls", "down", "max_version is below min_version"),
    ] {
        wait_for(&format!("{job} to be {health}: {error}"), || {
            state(job).is_some_and(|(found, why)| found == health && why.contains(error))
        });
    }
}
