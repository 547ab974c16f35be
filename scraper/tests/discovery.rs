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
