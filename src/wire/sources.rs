//! What is scraped without a configuration: this server and this machine.

use std::net::SocketAddr;
use std::time::Duration;

use scraper::{Discovery, ScrapeConfig, TargetGroup};

/// How often.
const INTERVAL: Duration = Duration::from_secs(5);

/// The configuration, as one would write it down.
pub(super) const YAML: &str = "# No configuration file: this server and this machine are scraped.\n\
    global:\n  scrape_interval: 5s\nscrape_configs:\n- job_name: silverback\n- job_name: node\n";

/// The two jobs; `own` is where this server listens.
pub(super) fn built_in(own: Option<SocketAddr>, path: &str) -> Vec<ScrapeConfig> {
    let job = |name: &str, discovery| ScrapeConfig {
        job_name: name.into(),
        interval: INTERVAL,
        timeout: INTERVAL,
        discovery: vec![discovery],
        ..ScrapeConfig::default()
    };
    let mut jobs = vec![job("node", Discovery::Host)];
    if let Some(own) = own {
        let host = if own.ip().is_unspecified() { "localhost".to_owned() } else { own.ip().to_string() };
        let group = TargetGroup {
            source: "built in".into(),
            targets: vec![format!("{host}:{}", own.port())],
            ..TargetGroup::default()
        };
        let own = job("silverback", Discovery::Static(vec![group]));
        jobs.push(ScrapeConfig { metrics_path: path.to_owned(), ..own });
    }
    jobs
}
