//! Scraping over HTTP on loopback, from the configuration to the store.

mod common;

use std::time::Duration;

use common::{Reply, Server, job, manager, series, wait_for, wait_health, wait_samples, wait_stale};
use scraper::{
    Action, ApplyError, Auth, Header, Protocol, Relabel, SampleLimits, ScrapeConfig, SecretSource, TargetHealth,
};
use tsdb::{Metadata, MetricKind};

#[tokio::test]
async fn a_target_is_scraped_and_reported_on() {
    let server =
        Server::start(Reply::text("# HELP a_total x\n# TYPE a_total counter\na_total{l=\"v\"} 3\nb 4\n")).await;
    let (manager, store) = manager();
    manager.apply(vec![job("a", &[&server.address])]).await.unwrap();
    wait_samples(&store, &series("up", &server), 3).await;
    manager.stop().await;
    let instance = &server.address;
    let values = |series: &str| store.samples_of(series).into_iter().map(|(_, v)| v.unwrap()).collect::<Vec<_>>();
    assert_eq!(values(&format!("a_total{{instance=\"{instance}\", job=\"a\", l=\"v\"}}"))[0], 3.0);
    assert_eq!(values(&series("b", &server))[0], 4.0);
    assert_eq!(values(&series("up", &server))[0], 1.0);
    assert_eq!(values(&series("scrape_samples_scraped", &server))[0], 2.0);
    assert_eq!(values(&series("scrape_samples_post_metric_relabeling", &server))[0], 2.0);
    assert_eq!(values(&series("scrape_series_added", &server))[..2], [2.0, 0.0]);
    assert!(values(&series("scrape_duration_seconds", &server))[0] > 0.0);
    let recorded = store.recorded();
    let expected = Metadata { kind: MetricKind::Counter, help: "x".to_owned(), unit: String::new() };
    assert_eq!(recorded.families["a_total"], expected);
    assert_eq!(recorded.families["up"].kind, MetricKind::Gauge);
    assert!(recorded.samples.values().all(|s| s.values().all(|v| !tsdb::is_stale(*v))), "a stop marks nothing stale");
}

#[tokio::test]
async fn the_request_is_that_of_prometheus() {
    let server = Server::start(Reply::text("a 1\n")).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "from-file\n").unwrap();
    let (manager, _store) = manager();
    let mut config = job("a", &[&server.address]);
    config.params.insert("x".to_owned(), vec!["1 2".to_owned()]);
    config.http.auth =
        Some(Auth::Basic { username: SecretSource::value("u"), password: Some(SecretSource::value("p")) });
    let values = vec![SecretSource::value("one"), SecretSource::File(file)];
    config.http.headers = vec![Header { name: "X-Custom".to_owned(), values }];
    config.protocols = vec![Protocol::OpenMetrics100, Protocol::Text004];
    manager.apply(vec![config]).await.unwrap();
    wait_health(&manager, TargetHealth::Up).await;
    manager.stop().await;
    let request = server.requests().remove(0);
    for line in [
        "GET /metrics?x=1+2 HTTP/1.1\r\n",
        &format!("host: {}\r\n", server.address),
        concat!("user-agent: Silverback/", env!("CARGO_PKG_VERSION"), "\r\n"),
        "accept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.4\r\n",
        "accept-encoding: gzip\r\n",
        "x-prometheus-scrape-timeout-seconds: 0.2\r\n",
        "authorization: Basic dTpw\r\n",
        "x-custom: one\r\n",
        "x-custom: from-file\r\n",
    ] {
        assert!(request.contains(line), "{line:?} not in {request}");
    }
}

#[tokio::test]
async fn scrapes_lie_on_a_grid_and_share_a_connection() {
    let server = Server::start(Reply::text("a 1\n")).await;
    let (manager, store) = manager();
    let mut config = job("a", &[&server.address]);
    (config.interval, config.timeout) = (Duration::from_millis(500), Duration::from_millis(500));
    manager.apply(vec![config]).await.unwrap();
    let samples = wait_samples(&store, &series("a", &server), 8).await;
    manager.stop().await;
    assert_eq!(server.connections(), 1);
    // A loaded machine may be late now and then; most scrapes are near the grid, a whole interval from their like.
    let near = |other: i64| samples.iter().filter(|(at, _)| (at - other + 50).rem_euclid(500) <= 100).count();
    assert!(samples.iter().any(|(at, _)| near(*at) * 4 > samples.len() * 3), "{samples:?}");
    assert!(samples.windows(2).all(|pair| pair[0].0 < pair[1].0));
}

#[tokio::test]
async fn what_the_store_refuses_when_series_are_found_anew_is_counted() {
    let server = Server::start(Reply::text("a 1 5000\nb 1\n")).await;
    let (manager, store) = manager();
    store.recorded().forgetful = true;
    let mut config = job("a", &[&server.address]);
    config.honor_timestamps = true;
    manager.apply(vec![config]).await.unwrap();
    wait_samples(&store, &series("b", &server), 2).await;
    let duplicates = || {
        let mut page = String::new();
        manager.render_metrics(&mut page);
        let line = page.lines().find(|line| line.starts_with("prometheus_target_scrapes_sample_duplicate_timestamp"));
        line.unwrap().rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
    };
    assert_eq!(duplicates(), 0.0);
    server.set(Reply::text("a 2 5000\nb 1\n"));
    wait_for("another value at the same moment", || (duplicates() > 0.0).then_some(())).await;
    // Five series say how the scrape went; one more place is left.
    store.recorded().max_series = 6;
    let over = wait_for("a refused series", || manager.targets().active.remove(0).last.over_budget).await;
    assert_eq!((over.budget, over.refused, over.culprit.metric.as_str()), (0, 1, "b"));
    wait_health(&manager, TargetHealth::Up).await;
    manager.stop().await;
}

#[tokio::test]
async fn a_failed_scrape_says_why_and_ends_the_series() {
    let server = Server::start(Reply::text("a 1\n")).await;
    let (manager, store) = manager();
    manager.apply(vec![job("a", &[&server.address])]).await.unwrap();
    wait_health(&manager, TargetHealth::Up).await;
    for (reply, error) in [
        (Reply::status(503), "server returned HTTP status 503 Service Unavailable".to_owned()),
        (Reply::text("a 1\nb{\n"), "line 2: expected label name while parsing: \"b{\"".to_owned()),
        (
            Reply::new("text/html", b"<p>"),
            "received unsupported Content-Type \"text/html\" and no fallback_scrape_protocol specified for target"
                .to_owned(),
        ),
        (Reply::silent(), format!("Get \"http://{}/metrics\": context deadline exceeded", server.address)),
        (Reply::text("a 1\n").header("Content-Encoding", "gzip"), "gzip: unexpected end of file".to_owned()),
    ] {
        server.set(reply);
        let target = wait_health(&manager, TargetHealth::Down).await;
        assert_eq!(target.last.error, error);
        server.set(Reply::text("a 1\n"));
        wait_health(&manager, TargetHealth::Up).await;
    }
    manager.stop().await;
    let ups = store.samples_of(&series("up", &server));
    let downs = ups.windows(2).filter(|pair| pair[0].1 == Some(1.0) && pair[1].1 == Some(0.0)).count();
    let markers = store.samples_of(&series("a", &server)).iter().filter(|(_, v)| v.is_none()).count();
    assert_eq!((downs, markers), (5, 5));
}

#[tokio::test]
async fn nobody_listening_is_a_failed_scrape() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let (manager, _store) = manager();
    manager.apply(vec![job("a", &[&address])]).await.unwrap();
    let target = wait_health(&manager, TargetHealth::Down).await;
    manager.stop().await;
    let expected = format!("Get \"http://{address}/metrics\": dial tcp {address}: connect: connection refused");
    assert!(target.last.error.starts_with(&expected), "{}", target.last.error);
}

#[tokio::test]
async fn compressed_and_openmetrics_bodies_are_read() {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(b"# TYPE a counter\na_total 5 # {t=\"x\"} 1\na_created 1\n# EOF\n").unwrap();
    let body = encoder.finish().unwrap();
    let reply = Reply::new("application/openmetrics-text; version=1.0.0; charset=utf-8", &body);
    let server = Server::start(reply.header("Content-Encoding", "gzip")).await;
    let (manager, store) = manager();
    manager.apply(vec![job("a", &[&server.address])]).await.unwrap();
    wait_health(&manager, TargetHealth::Up).await;
    manager.stop().await;
    assert_eq!(store.samples_of(&series("a_total", &server))[0].1, Some(5.0));
    assert_eq!(store.samples_of(&series("a_created", &server))[0].1, Some(1.0));
}

#[tokio::test]
async fn an_empty_body_is_a_good_one_without_samples() {
    let server = Server::start(Reply::text("a 1\n")).await;
    let (manager, store) = manager();
    manager.apply(vec![job("a", &[&server.address])]).await.unwrap();
    wait_health(&manager, TargetHealth::Up).await;
    server.set(Reply::text(""));
    wait_stale(&store, &series("a", &server)).await;
    manager.stop().await;
    assert!(store.samples_of(&series("up", &server)).iter().all(|(_, v)| *v == Some(1.0)));
}

#[tokio::test]
async fn limits_fail_the_scrape() {
    let server = Server::start(Reply::text("a 1\nb{l=\"x\"} 2\nc 3\n")).await;
    let (manager, store) = manager();
    let limit = |limits: SampleLimits| {
        let mut config = job("a", &[&server.address]);
        config.limits = limits;
        config.extra_scrape_metrics = true;
        config
    };
    manager.apply(vec![limit(SampleLimits { samples: 2, ..SampleLimits::default() })]).await.unwrap();
    assert_eq!(wait_health(&manager, TargetHealth::Down).await.last.error, "sample limit exceeded");
    let at = store.samples_of(&series("scrape_samples_post_metric_relabeling", &server))[0].1;
    assert_eq!(at, Some(3.0), "all are counted");
    manager.apply(vec![limit(SampleLimits { samples: 3, ..SampleLimits::default() })]).await.unwrap();
    wait_health(&manager, TargetHealth::Up).await;
    manager.apply(vec![limit(SampleLimits { labels: 3, ..SampleLimits::default() })]).await.unwrap();
    let target = wait_health(&manager, TargetHealth::Down).await;
    assert_eq!(target.last.error, "label_limit exceeded (metric: b, number of labels: 4, limit: 3)");
    let mut config = limit(SampleLimits::default());
    config.body_size_limit = 10;
    manager.apply(vec![config]).await.unwrap();
    wait_for("the size error", || {
        Some(()).filter(|()| manager.targets().active[0].last.error == "body size limit exceeded")
    })
    .await;
    wait_for("the size report", || {
        store.samples_of(&series("scrape_body_size_bytes", &server)).last().filter(|(_, v)| *v == Some(-1.0)).copied()
    })
    .await;
    let mut page = String::new();
    manager.render_metrics(&mut page);
    manager.stop().await;
    assert!(!page.contains("prometheus_target_scrapes_exceeded_sample_limit_total 0"), "{page}");
    assert!(!page.contains("prometheus_target_scrapes_exceeded_body_size_limit_total 0"));
    assert!(!page.contains("prometheus_target_scrape_pool_exceeded_label_limits_total 0"));
}

#[tokio::test]
async fn too_many_targets_are_not_scraped_at_all() {
    let server = Server::start(Reply::text("a 1\n")).await;
    let (manager, _store) = manager();
    let port = server.address.rsplit_once(':').unwrap().1.to_owned();
    let mut config = job("a", &[&server.address, &format!("localhost:{port}")]);
    config.target_limit = 1;
    manager.apply(vec![config.clone()]).await.unwrap();
    wait_for("both to fail", || {
        let targets = manager.targets().active;
        let all = targets.len() == 2
            && targets.iter().all(|t| t.last.error == "target_limit exceeded (number of targets: 2, limit: 1)");
        all.then_some(())
    })
    .await;
    assert_eq!(server.requests().len(), 0);
    config.target_limit = 2;
    manager.apply(vec![config]).await.unwrap();
    wait_for("both to be up", || {
        Some(()).filter(|()| manager.targets().active.iter().all(|t| t.last.health == TargetHealth::Up))
    })
    .await;
    manager.stop().await;
}

#[tokio::test]
async fn redirects_are_followed_if_wanted() {
    let server = Server::start(Reply::text("a 1\n")).await;
    server.set_at("/metrics", Reply::status(302).header("Location", "/real"));
    let (manager, _store) = manager();
    let mut config = job("a", &[&server.address]);
    manager.apply(vec![config.clone()]).await.unwrap();
    wait_health(&manager, TargetHealth::Up).await;
    config.http.follow_redirects = false;
    manager.apply(vec![config.clone()]).await.unwrap();
    let target = wait_health(&manager, TargetHealth::Down).await;
    assert_eq!(target.last.error, "server returned HTTP status 302 Found");
    config.http.follow_redirects = true;
    server.set_at("/metrics", Reply::status(307).header("Location", "/metrics"));
    manager.apply(vec![config]).await.unwrap();
    wait_for("the loop to be noticed", || {
        Some(()).filter(|()| manager.targets().active[0].last.error.ends_with("stopped after 10 redirects"))
    })
    .await;
    manager.stop().await;
}

#[tokio::test]
async fn a_target_that_is_gone_gets_stale_markers_on_every_series() {
    let server = Server::start(Reply::text("a 1\n")).await;
    let (manager, store) = manager();
    let (interval, timeout) = (Duration::from_millis(500), Duration::from_millis(500));
    manager.apply(vec![ScrapeConfig { interval, timeout, ..job("a", &[&server.address]) }]).await.unwrap();
    wait_samples(&store, &series("a", &server), 2).await;
    manager.apply(vec![ScrapeConfig { interval, timeout, ..job("a", &[]) }]).await.unwrap();
    assert!(manager.targets().active.is_empty());
    for name in ["a", "up", "scrape_duration_seconds", "scrape_samples_scraped", "scrape_series_added"] {
        let samples = wait_stale(&store, &series(name, &server)).await;
        let [.., (before, Some(_)), (marker, None)] = samples[..] else { panic!("{samples:?}") };
        assert!((100..=600).contains(&(marker - before)), "the marker stands where the next scrape would have been");
    }
    manager.stop().await;
}

#[tokio::test]
async fn a_job_that_is_gone_gets_stale_markers_too() {
    let server = Server::start(Reply::text("a 1\n")).await;
    let (manager, store) = manager();
    manager.apply(vec![job("a", &[&server.address])]).await.unwrap();
    wait_samples(&store, &series("a", &server), 1).await;
    manager.apply(vec![]).await.unwrap();
    assert!(manager.jobs().is_empty());
    wait_stale(&store, &series("a", &server)).await;
    wait_stale(&store, &series("up", &server)).await;
    manager.stop().await;
}

#[tokio::test]
async fn a_target_that_comes_back_soon_goes_on_without_a_marker() {
    let server = Server::start(Reply::text("a 1\n")).await;
    let (manager, store) = manager();
    let mut config = job("a", &[&server.address]);
    (config.interval, config.timeout) = (Duration::from_millis(400), Duration::from_millis(400));
    manager.apply(vec![config.clone()]).await.unwrap();
    wait_samples(&store, &series("a", &server), 1).await;
    let gone = ScrapeConfig { discovery: vec![], ..config.clone() };
    manager.apply(vec![gone]).await.unwrap();
    manager.apply(vec![config]).await.unwrap();
    let samples = wait_samples(&store, &series("a", &server), 5).await;
    let added = store.samples_of(&series("scrape_series_added", &server));
    manager.stop().await;
    assert!(samples.iter().all(|(_, v)| v.is_some()), "{samples:?}");
    assert!(added[1..].iter().all(|(_, v)| *v == Some(0.0)), "the cache went on: {added:?}");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_reload_that_changes_nothing_disturbs_nothing() {
    let server = Server::start(Reply::text("a 1\n")).await;
    let (manager, store) = manager();
    for round in 1..=5 {
        manager.apply(vec![job("a", &[&server.address])]).await.unwrap();
        wait_samples(&store, &series("a", &server), round).await;
    }
    manager.stop().await;
    assert_eq!(server.connections(), 1);
    let added = store.samples_of(&series("scrape_series_added", &server));
    assert_eq!(added.iter().filter(|(_, v)| *v == Some(1.0)).count(), 1);
}

#[tokio::test]
async fn new_relabeling_rules_take_effect_at_the_next_scrape() {
    let server = Server::start(Reply::text("a 1\nb 1\n")).await;
    let (manager, store) = manager();
    let mut config = job("a", &[&server.address]);
    manager.apply(vec![config.clone()]).await.unwrap();
    wait_samples(&store, &series("a", &server), 1).await;
    config.metric_relabel = vec![Relabel {
        action: Action::Drop,
        source_labels: vec!["__name__".to_owned()],
        regex: model::Regex::pasted("a").unwrap(),
        ..Relabel::default()
    }];
    manager.apply(vec![config]).await.unwrap();
    wait_stale(&store, &series("a", &server)).await;
    manager.stop().await;
    assert!(store.samples_of(&series("b", &server)).iter().all(|(_, v)| v.is_some()));
}

#[tokio::test]
async fn a_bad_configuration_changes_nothing() {
    let server = Server::start(Reply::text("a 1\n")).await;
    let (manager, store) = manager();
    manager.apply(vec![job("a", &[&server.address])]).await.unwrap();
    wait_samples(&store, &series("a", &server), 1).await;
    let twice = manager.apply(vec![job("b", &[]), job("b", &[])]).await;
    assert_eq!(twice, Err(ApplyError::DuplicateJob("b".to_owned())));
    let mut config = job("b", &[]);
    config.http.tls.ca = Some(SecretSource::File("/nonexistent.pem".into()));
    let error = manager.apply(vec![config]).await.unwrap_err().to_string();
    assert!(error.starts_with("job \"b\": unable to read file /nonexistent.pem"), "{error}");
    assert_eq!(manager.jobs(), ["a"]);
    let count = store.samples_of(&series("a", &server)).len();
    wait_samples(&store, &series("a", &server), count + 2).await;
    manager.stop().await;
}

#[tokio::test]
async fn dropped_targets_are_counted_and_some_are_kept() {
    let (manager, _store) = manager();
    let mut config = job("a", &["x:1", "x:2", "x:3"]);
    config.keep_dropped_targets = 2;
    config.relabel = vec![Relabel {
        action: Action::Drop,
        source_labels: vec!["__address__".to_owned()],
        regex: model::Regex::pasted("x:.*").unwrap(),
        ..Relabel::default()
    }];
    manager.apply(vec![config]).await.unwrap();
    let targets = manager.targets();
    manager.stop().await;
    assert!(targets.active.is_empty());
    assert_eq!(targets.dropped_counts["a"], 3);
    assert_eq!(targets.dropped.len(), 2);
    assert_eq!(targets.dropped[0].1.get("__address__"), Some("x:1"));
}

#[tokio::test]
async fn series_that_the_store_has_let_go_of_are_stored_all_the_same() {
    let server = Server::start(Reply::text("a 1\n")).await;
    let (manager, store) = manager();
    manager.apply(vec![job("a", &[&server.address])]).await.unwrap();
    for round in 1..5 {
        wait_samples(&store, &series("a", &server), round).await;
        store.evict();
    }
    manager.stop().await;
    let (a, up) = (store.samples_of(&series("a", &server)), store.samples_of(&series("up", &server)));
    assert!(a.len() >= 4 && a.iter().map(|s| s.0).eq(up.iter().map(|s| s.0)), "{a:?}\n{up:?}");
}

#[tokio::test]
async fn any_number_of_header_lines_and_folded_ones_are_taken() {
    let lines = |count: usize| (0..count).map(|n| format!("x-{n}: y\r\n")).collect::<String>();
    let head = "HTTP/1.1 200 OK\r\n";
    let plain = "Content-Type: text/plain; version=0.0.4\r\nContent-Length: 4\r\n";
    for headers in [
        format!("{}{plain}", lines(150)),
        format!("{plain}{}", lines(60_000)),
        "X-A: b\r\n c\r\nContent-Type: text/plain;\r\n version=0.0.4\r\nContent-Length: 4\r\n".to_owned(),
        format!("{}Content-Type: text/plain;\r\n\tversion=0.0.4\r\n", lines(200)),
    ] {
        let address = common::raw_target(format!("{head}{headers}\r\na 1\n").into_bytes()).await;
        let (manager, store) = manager();
        let mut config = job("a", &[&address]);
        (config.interval, config.timeout) = (Duration::from_secs(2), Duration::from_secs(2));
        manager.apply(vec![config]).await.unwrap();
        wait_health(&manager, TargetHealth::Up).await;
        manager.stop().await;
        assert!(!store.samples_of(&format!("a{{instance=\"{address}\", job=\"a\"}}")).is_empty());
    }
}

#[tokio::test]
async fn a_body_that_repeats_itself_fails_its_scrape() {
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut encoder, bytes).unwrap();
        encoder.finish().unwrap()
    };
    let lines = gzip(&b"a 1\n".repeat(1 << 20));
    let packed = |body: &[u8]| Reply::new("text/plain", body).header("Content-Encoding", "gzip");
    for (reply, error) in [
        (packed(&lines), "the body has more than 100000 samples of series that it already had"),
        (Reply::text(&"a 1\n".repeat(1 << 20)), "the body has more than 100000 samples of series that it already had"),
    ] {
        let server = Server::start(reply).await;
        let (manager, store) = manager();
        let mut config = job("a", &[&server.address]);
        (config.interval, config.timeout) = (Duration::from_secs(5), Duration::from_secs(5));
        manager.apply(vec![config]).await.unwrap();
        let last = wait_health(&manager, TargetHealth::Down).await.last;
        manager.stop().await;
        assert_eq!(last.error, error);
        assert_eq!(store.samples_of(&series("up", &server))[0].1, Some(0.0));
    }
}
