//! Targets from files and servers.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod common;

use std::time::Duration;

use common::{Reply, Server, job, manager, wait_for, wait_health};
use scraper::{Auth, Discovery, FileDiscovery, Header, HttpDiscovery, HttpOptions, SecretSource, TargetHealth};

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

/// Requests of a provider to `server` once there is one.
async fn first_request(server: &Server) -> String {
    wait_for("a request", || server.requests().into_iter().next()).await
}

#[tokio::test]
async fn user_and_password_of_a_discovery_url_are_sent_as_basic_authentication_and_shown_nowhere() {
    let server = Server::start(Reply::new("application/json", br#"[{"targets": ["x:1"]}]"#)).await;
    let (manager, _store) = manager();
    let mut config = job("a", &[]);
    config.discovery =
        vec![asked(&format!("http://scout:hunt%40er2@{}/sd", server.address), Duration::from_millis(20))];
    manager.apply(vec![config]).await.unwrap();
    wait_addresses(&manager, &["x:1"]).await;
    let request = first_request(&server).await;
    // printf 'scout:hunt@er2' | base64
    assert!(request.contains("authorization: Basic c2NvdXQ6aHVudEBlcjI=\r\n"), "{request}");
    assert!(request.contains(&format!("host: {}\r\n", server.address)), "{request}");
    let meta = manager.targets().active[0].spec.discovered.get("__meta_url").unwrap().to_owned();
    assert_eq!(meta, format!("http://{}/sd", server.address));
    server.set(Reply::new("text/plain", b"no"));
    let failure = wait_for("a failure", || manager.targets().discovery_failures.remove("a")).await;
    assert!(!failure[0].contains("hunt"), "{failure:?}");
    manager.stop().await;
}

#[tokio::test]
async fn credentials_stay_with_the_scheme_host_and_port_that_they_are_meant_for() {
    let other = Server::start(Reply::text("a 1\n")).await;
    let server = Server::start(Reply::text("a 1\n")).await;
    server.set_at("/metrics", Reply::status(302).header("Location", &format!("http://{}/other", other.address)));
    server.set_at("/same", Reply::status(302).header("Location", "/here"));
    let (manager, _store) = manager();
    let mut config = job("a", &[&server.address]);
    config.http.auth = Some(Auth::Other { scheme: "Bearer".into(), credentials: Some(SecretSource::value("hunter2")) });
    config.http.headers = vec![Header { name: "X-Key".into(), values: vec![SecretSource::value("hunter3")] }];
    manager.apply(vec![config.clone()]).await.unwrap();
    let request = first_request(&other).await;
    assert!(request.starts_with("GET /other ") && !request.contains("hunter"), "{request}");
    assert!(first_request(&server).await.contains("hunter2"));
    config.metrics_path = "/same".to_owned();
    manager.apply(vec![config]).await.unwrap();
    let here = || server.requests().into_iter().find(|request| request.starts_with("GET /here "));
    let request = wait_for("the page", here).await;
    assert!(request.contains("hunter2") && request.contains("hunter3"), "{request}");
    manager.stop().await;
}

#[tokio::test]
async fn an_address_with_a_password_a_query_or_a_fragment_is_down_and_asks_nobody() {
    let server = Server::start(Reply::text("a 1\n")).await;
    let (manager, _store) = manager();
    let addresses =
        [format!("user:pw@{}", server.address), format!("{}?x=y", server.address), format!("{}#f", server.address)];
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    manager.apply(vec![job("a", &addresses)]).await.unwrap();
    let all_down = || {
        let targets = manager.targets().active;
        Some(targets).filter(|all| all.iter().all(|target| target.last.health == TargetHealth::Down))
    };
    let targets = wait_for("all to be down", all_down).await;
    assert_eq!(targets.len(), 3);
    assert!(targets.iter().all(|target| target.last.error.contains("invalid")), "{targets:?}");
    assert_eq!(server.requests(), [""; 0]);
    manager.stop().await;
}

#[tokio::test]
async fn an_address_with_a_zone_is_scraped() {
    let Ok(server) = Server::start_on("[::1]:0", Reply::text("a 1\n"), None).await else {
        eprintln!("skipped: this machine has no IPv6");
        return;
    };
    let port = server.address.rsplit_once(':').unwrap().1;
    let (manager, _store) = manager();
    manager.apply(vec![job("a", &[&format!("[::1%lo]:{port}")])]).await.unwrap();
    let target = wait_health(&manager, TargetHealth::Up).await;
    assert_eq!(target.spec.url, format!("http://[::1%25lo]:{port}/metrics"));
    assert!(first_request(&server).await.contains(&format!("host: [::1]:{port}\r\n")));
    manager.stop().await;
}
