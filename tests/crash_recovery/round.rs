//! What goes on between a start and a kill.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use parking_lot::Mutex;

use crate::common::{Answer, Server, agent, answer, encode, fetch, now};
use crate::model::{DELETABLE, Deletion, HOUR_MS, Model, Rng, STEADY, scraped};
use crate::moment::Moment;

/// What must have happened for the run to prove something.
pub(crate) const MUST_COUNT: [&str; 3] =
    ["silverback_blocks_cut_total", "prometheus_tsdb_compactions_total", "prometheus_tsdb_checkpoint_creations_total"];
/// What happens a pass after a block was cut, if the server lives so long.
const MAY_COUNT: &str = "prometheus_tsdb_head_series_removed_total";
/// What may not.
const FAILURES: &str = "prometheus_tsdb_compactions_failed_total";

/// What was seen until the kill.
pub(crate) struct Seen {
    pub(crate) counters: BTreeMap<&'static str, u64>,
    pub(crate) deletions: usize,
    pub(crate) late: usize,
    /// Whether the moment came.
    pub(crate) met: bool,
}

/// Sends, deletes and reads until `moment`, then kills.
pub(crate) fn run(
    server: &mut Server,
    dir: &Path,
    model: &Mutex<Model>,
    moment: Moment,
    scraping: bool,
    rng: &mut Rng,
) -> Seen {
    let (stop, deleting) = (AtomicBool::new(false), AtomicBool::new(false));
    let (deletions, late) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let counters = Mutex::new(BTreeMap::new());
    let url = server.url.clone();
    let running = || !stop.load(SeqCst);
    let [mut late_rng, mut delete_rng, mut read_rng] = [(); 3].map(|()| Rng(rng.below(u64::MAX)));
    let met = std::thread::scope(|scope| {
        scope.spawn(|| {
            while running() {
                let now_ms = (now() * 1000.0) as i64;
                let until_ms = if scraping { now_ms + 9 * 60_000 } else { now_ms - 2 * HOUR_MS };
                let Some(body) = model.lock().send_steps(until_ms) else { return };
                let answer = post(&url, "/api/v1/write", &body);
                if answer.status == 0 {
                    return;
                }
                assert_eq!(answer.status, 204, "{}", answer.text());
                model.lock().steps_acknowledged();
                std::thread::sleep(Duration::from_millis(8));
            }
        });
        scope.spawn(|| {
            while running() {
                let body = model.lock().send_late(&mut late_rng);
                if let Some(body) = body {
                    match post(&url, "/api/v1/write", &body).status {
                        0 => return,
                        204 => {
                            model.lock().late_acknowledged();
                            late.fetch_add(1, SeqCst);
                        }
                        status => {
                            assert_eq!(status, 400);
                            model.lock().late_refused();
                        }
                    }
                }
                std::thread::sleep(Duration::from_millis(13));
            }
        });
        scope.spawn(|| {
            let mut n = 0;
            while running() {
                n += 1;
                std::thread::sleep(Duration::from_millis(60));
                let Some(deletion) = model.lock().send_deletion(&mut delete_rng) else { continue };
                deleting.store(true, SeqCst);
                let done = delete(&url, deletion);
                deleting.store(false, SeqCst);
                if !done {
                    return;
                }
                model.lock().deletion_acknowledged();
                deletions.fetch_add(1, SeqCst);
                if n % 4 == 0 && post(&url, "/api/v1/admin/tsdb/clean_tombstones", b"").status == 0 {
                    return;
                }
            }
        });
        scope.spawn(|| {
            while running() {
                let acknowledged = model.lock().acknowledged();
                let i = DELETABLE + read_rng.below((STEADY - DELETABLE) as u64) as usize;
                Model::check_running(&acknowledged, &url, i);
                if let Some(points) = scraped(&url).filter(|_| scraping) {
                    model.lock().scraped = points;
                }
                let page = fetch(&format!("{url}/metrics")).text();
                let mut counters = counters.lock();
                for name in MUST_COUNT.into_iter().chain([MAY_COUNT]) {
                    counters.extend(count(&page, name).map(|count| (name, count)));
                }
                assert_eq!(count(&page, FAILURES).unwrap_or(0), 0, "maintenance failed");
                drop(counters);
                std::thread::sleep(Duration::from_millis(30));
            }
        });
        let met = moment.wait(dir, rng, &|| deleting.load(SeqCst));
        server.kill();
        stop.store(true, SeqCst);
        met
    });
    Seen { counters: counters.into_inner(), deletions: deletions.into_inner(), late: late.into_inner(), met }
}

/// Deletes what may have been deleted in part when the server was killed.
pub(crate) fn finish_deletion(url: &str, model: &Mutex<Model>) {
    let under_way = model.lock().deletion_sent;
    if let Some(deletion) = under_way {
        assert!(delete(url, deletion), "the server runs");
        model.lock().deletion_acknowledged();
    }
}

/// Deletes, and sees that it is gone. Answers whether it was acknowledged: else the server is gone.
fn delete(url: &str, Deletion { series, from_ms, to_ms }: Deletion) -> bool {
    let seconds = |ms: i64| (ms as f64 / 1000.0).to_string();
    let selector = format!("steady{{i=\"{series}\"}}");
    let pairs = [("match[]", selector.as_str()), ("start", &seconds(from_ms)), ("end", &seconds(to_ms))];
    let answer = post(url, &format!("/api/v1/admin/tsdb/delete_series?{}", encode(&pairs)), b"");
    if answer.status == 0 {
        return false;
    }
    assert_eq!(answer.status, 204, "{}", answer.text());
    let query = format!("{selector}[{}ms]", to_ms - from_ms + 1);
    let answer = fetch(&format!("{url}/api/v1/query?{}", encode(&[("query", &query), ("time", &seconds(to_ms))])));
    if answer.status != 0 {
        assert_eq!(answer.json()["data"]["result"], serde_json::json!([]), "deleted: {query} at {to_ms}");
    }
    true
}

/// Posts; status 0 if the server is gone.
fn post(url: &str, path: &str, body: &[u8]) -> Answer {
    answer(agent().post(format!("{url}{path}")).header("Content-Type", "application/x-protobuf").send(body))
}

/// The value of a metric of the server's own.
fn count(page: &str, name: &str) -> Option<u64> {
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.parse::<f64>().ok().map(|value| value as u64)
}
