//! Scraping into the real store.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{Reply, Server, job, wait_for};
use scraper::{Clock, ScrapeManager};
use tsdb::{Columns, Db, DiskFs, Fs, MatchOp, Matcher, Queryable, TimeRange, is_stale};

fn open(folder: &Path) -> Arc<Db> {
    let fs: Arc<dyn Fs> = Arc::new(DiskFs);
    Arc::new(Db::open(&fs, folder, &tsdb::Options::default(), |_, _| {}).unwrap())
}

/// Values of the series named `metric`, series by series.
fn values(db: &Db, metric: &str) -> Vec<(String, Vec<f64>)> {
    let matcher = Matcher::new(MatchOp::Equal, "__name__", metric).unwrap();
    let set = db.querier().unwrap().select(&[matcher], TimeRange::ALL).unwrap();
    (0..set.len())
        .map(|at| {
            let mut columns = Columns::default();
            set.read(at, TimeRange::ALL, &mut columns).unwrap();
            (set.labels(at).to_string(), columns.values)
        })
        .collect()
}

#[tokio::test]
async fn what_targets_expose_can_be_queried_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(Reply::text("# HELP a x\n# TYPE a gauge\na{l=\"1\"} 5\na{l=\"2\"} 6\ngone 1\n")).await;
    let db = open(folder.path());
    let manager = ScrapeManager::new(Arc::clone(&db), Clock::system(), 0);
    manager.apply(vec![job("a", &[&server.address])]).await.unwrap();
    wait_for("three scrapes", || values(&db, "up").pop().filter(|(_, values)| values.len() >= 3)).await;
    server.set(Reply::text("a{l=\"1\"} 7\na{l=\"2\"} 8\n"));
    wait_for("the marker", || {
        values(&db, "gone").pop().filter(|(_, values)| values.last().is_some_and(|v| is_stale(*v)))
    })
    .await;
    manager.stop().await;
    drop(manager);
    let (a, up) = (values(&db, "a"), values(&db, "up"));
    assert_eq!(a.len(), 2);
    assert_eq!(a[0].0, format!("a{{instance=\"{}\", job=\"a\", l=\"1\"}}", server.address));
    assert_eq!((a[0].1[0], a[1].1[0]), (5.0, 6.0));
    assert_eq!((a[0].1.last(), a[1].1.last()), (Some(&7.0), Some(&8.0)));
    assert_eq!(a[0].1.len(), up[0].1.len());
    assert!(up[0].1.iter().all(|v| *v == 1.0));
    assert_eq!(db.metadata()["a"].help, "x");
    drop(db);
    let db = open(folder.path());
    assert_eq!((values(&db, "a"), values(&db, "up")), (a, up));
}
