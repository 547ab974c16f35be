//! Targets from files and servers.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod common;

use std::time::Duration;

use common::{Reply, Server, job, manager, wait_for, wait_health};
use scraper::{Discovery, FileDiscovery, HttpDiscovery, HttpOptions, TargetHealth};

/// The addresses being scraped.
fn addresses(manager: &common::Manager) -> Vec<String> {
    manager.targets().active.iter().map(|t| t.spec.discovered.get("__address__").unwrap().to_owned()).collect()
}

async fn wait_addresses(manager: &common::Manager, wanted: &[&str]) {
    wait_for("the targets", || Some(()).filter(|()| addresses(manager) == wanted)).await;
}

#[tokio::test]
async fn changes_of_files_are_picked_up_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("a.json"), r#"[{"targets": ["x:1"], "labels": {"env": "t"}}]"#).unwrap();
    let (manager, _store) = manager();
    let mut config = job("a", &[]);
    // Nothing but watching can bring the changes in time.
    let refresh_interval = Duration::from_secs(3600);
    config.discovery =
        vec![Discovery::File(FileDiscovery { files: vec![path("*.json"), path("b.yml")], refresh_interval })];
    manager.apply(vec![config]).await.unwrap();
    wait_addresses(&manager, &["x:1"]).await;
    let target = manager.targets().active.remove(0);
    assert_eq!(target.spec.labels.get("env"), Some("t"));
    let meta = target.spec.discovered.get("__meta_filepath").unwrap().to_owned();
    assert_eq!(meta, path("a.json").display().to_string());
    std::fs::write(path("a.json"), r#"[{"targets": ["x:2"]}]"#).unwrap();
    wait_addresses(&manager, &["x:2"]).await;
    std::fs::write(path("b.yml"), "- targets: [x:3]\n").unwrap();
    wait_addresses(&manager, &["x:2", "x:3"]).await;
    std::fs::write(path("new.tmp"), r#"[{"targets": ["x:4"]}]"#).unwrap();
    std::fs::rename(path("new.tmp"), path("a.json")).unwrap();
    wait_addresses(&manager, &["x:3", "x:4"]).await;
    std::fs::remove_file(path("b.yml")).unwrap();
    wait_addresses(&manager, &["x:4"]).await;
    std::fs::write(path("a.json"), "[").unwrap();
    std::fs::write(path("c.json"), r#"[{"targets": ["x:5"]}]"#).unwrap();
    wait_addresses(&manager, &["x:4", "x:5"]).await;
    let mut page = String::new();
    manager.render_metrics(&mut page);
    manager.stop().await;
    assert!(!page.contains("prometheus_sd_file_read_errors_total 0\n"), "{page}");
    assert!(page.contains("prometheus_sd_discovered_targets{config=\"a\",name=\"scrape\"} 2\n"), "{page}");
}

#[tokio::test]
async fn servers_are_asked_again_and_again() {
    let target = Server::start(Reply::text("a 1\n")).await;
    let list = format!(r#"[{{"targets": ["{}"], "labels": {{"__metrics_path__": "/m"}}}}]"#, target.address);
    let server = Server::start(Reply::new("application/json", list.as_bytes())).await;
    let (manager, _store) = manager();
    let mut config = job("a", &[]);
    let url = format!("http://{}/sd?x=y", server.address);
    let refresh_interval = Duration::from_millis(50);
    config.discovery = vec![Discovery::Http(Box::new(HttpDiscovery {
        url: url.clone(),
        refresh_interval,
        http: HttpOptions::default(),
    }))];
    manager.apply(vec![config]).await.unwrap();
    let active = wait_health(&manager, TargetHealth::Up).await;
    assert_eq!(active.spec.discovered.get("__meta_url"), Some(url.as_str()));
    assert!(target.requests()[0].starts_with("GET /m "));
    let request = server.requests().remove(0);
    assert!(request.starts_with("GET /sd?x=y ") && request.contains("x-prometheus-refresh-interval-seconds: 0.05\r\n"));
    server.set(Reply::status(500));
    let seen = server.requests().len();
    wait_for("more requests", || Some(()).filter(|()| server.requests().len() > seen + 3)).await;
    assert_eq!(addresses(&manager), [target.address.as_str()], "a failure keeps the targets");
    server.set(Reply::new("application/json", br#"[]"#));
    wait_addresses(&manager, &[]).await;
    manager.stop().await;
}

fn asked(url: &str, refresh_interval: Duration) -> Discovery {
    Discovery::Http(Box::new(HttpDiscovery { url: url.to_owned(), refresh_interval, http: HttpOptions::default() }))
}

#[tokio::test]
async fn jobs_with_equal_sections_share_one_provider() {
    let server = Server::start(Reply::new("application/json", br#"[{"targets": ["x:1"]}]"#)).await;
    let (manager, _store) = manager();
    let url = format!("http://{}/sd", server.address);
    let jobs = ["a", "b", "c"].map(|name| {
        let mut config = job(name, &[]);
        config.discovery = vec![asked(&url, Duration::from_secs(3600)), asked(&url, Duration::from_secs(3600))];
        config
    });
    manager.apply(jobs.to_vec()).await.unwrap();
    wait_addresses(&manager, &["x:1", "x:1", "x:1"]).await;
    manager.apply(jobs.to_vec()).await.unwrap();
    wait_addresses(&manager, &["x:1", "x:1", "x:1"]).await;
    assert_eq!(server.requests().len(), 1, "asked once for all jobs, and not again by a reload");
    // Another interval is another section.
    let mut other = job("d", &[]);
    other.discovery = vec![asked(&url, Duration::from_secs(7200))];
    manager.apply(vec![other]).await.unwrap();
    wait_for("another request", || Some(()).filter(|()| server.requests().len() == 2)).await;
    manager.stop().await;
}

#[tokio::test]
async fn a_reload_during_an_outage_keeps_the_targets_of_unchanged_sections() {
    let server = Server::start(Reply::new("application/json", br#"[{"targets": ["x:1"]}]"#)).await;
    let (manager, _store) = manager();
    let url = format!("http://{}/sd", server.address);
    let mut config = job("old name", &[]);
    config.discovery = vec![asked(&url, Duration::from_millis(20))];
    manager.apply(vec![config.clone()]).await.unwrap();
    wait_addresses(&manager, &["x:1"]).await;
    assert!(manager.targets().discovery_failures.is_empty());
    server.set(Reply::status(500));
    let failures = || manager.targets().discovery_failures;
    wait_for("the failure", || Some(()).filter(|()| failures().contains_key("old name"))).await;
    // Renamed, beside another job with the same section, and beside another section of the same job.
    config.job_name = "new name".to_owned();
    config.discovery.insert(0, Discovery::Static(Vec::new()));
    let mut twin = job("twin", &[]);
    twin.discovery = vec![asked(&url, Duration::from_millis(20))];
    manager.apply(vec![config.clone(), twin]).await.unwrap();
    let jobs: Vec<String> = manager.targets().active.iter().map(|target| target.pool.clone()).collect();
    assert_eq!(jobs, ["new name", "twin"], "known at once, without an answer");
    assert_eq!(failures().into_keys().collect::<Vec<_>>(), ["new name", "twin"]);
    assert!(failures()["twin"][0].contains("500"), "{:?}", failures());
    server.set(Reply::new("application/json", br#"[{"targets": ["x:2"]}]"#));
    wait_addresses(&manager, &["x:2", "x:2"]).await;
    assert!(failures().is_empty());
    manager.stop().await;
}
