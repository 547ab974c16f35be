//! The server is killed again and again, at moments that are found while it takes samples in, cuts blocks, compacts them,
//! writes checkpoints, moves chunks to files, deletes or recovers. What it had acknowledged is there afterwards, value by
//! value, exemplars included; what it had deleted stays deleted; of each request all is there or nothing.
//!
//! Twenty kills take under a minute. The long run, about six minutes:
//!
//! ```text
//! SILVERBACK_KILLS=200 cargo test --test crash_recovery -- --nocapture
//! ```
//!
//! `SILVERBACK_SEED` chooses other moments and other deletions; the seed is printed.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod common;
#[path = "crash_recovery/model.rs"]
mod model;
#[path = "crash_recovery/moment.rs"]
mod moment;
#[path = "common/push.rs"]
mod push;
#[path = "crash_recovery/round.rs"]
mod round;

use std::collections::BTreeMap;
use std::io::Write;

use common::{Server, free_port, now, wait_for};
use model::{FEW_EXEMPLARS, HOUR_MS, Model, Rng};
use moment::Moment;
use parking_lot::Mutex;

/// After so many kills a new store is begun, so that all of it can be looked at after each kill.
const KILLS_PER_STORE: usize = 10;
/// Of these the first so many with samples that run ahead of the time, days in the past, so that there are blocks to cut
/// and to compact; the others in the present, with scrapes.
const KILLS_IN_THE_PAST: usize = 7;

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

/// What happened in all rounds.
#[derive(Debug, Default)]
struct Totals {
    counters: BTreeMap<&'static str, u64>,
    moments: BTreeMap<&'static str, usize>,
    verified: usize,
    /// Exemplars that were found in blocks alone, about.
    in_blocks: usize,
    deletions: usize,
    late: usize,
}

#[test]
fn kills_at_any_moment_lose_nothing_that_was_acknowledged_and_bring_nothing_back() {
    let (kills, seed) = (from_env("SILVERBACK_KILLS", 20) as usize, from_env("SILVERBACK_SEED", 1));
    let say = |text: &str| std::io::stderr().write_all(text.as_bytes()).unwrap();
    say(&format!("{kills} kills, SILVERBACK_SEED={seed}\n"));
    let mut rng = Rng(seed);
    let mut totals = Totals::default();
    let mut deck = Deck::default();
    let mut done = 0;
    while done < kills {
        let rounds = KILLS_PER_STORE.min(kills - done);
        store(rounds, &mut rng, &mut deck, &mut totals);
        done += rounds;
        say(&format!("{done} kills: {totals:?}\n"));
    }
    for counter in round::MUST_COUNT {
        assert!(totals.counters.get(counter).is_some_and(|&count| count > 0), "{counter}: {totals:?}");
    }
    for moment in moment::ALL {
        assert!(totals.moments.contains_key(moment.name()), "never killed {}: {totals:?}", moment.name());
    }
    assert!(totals.deletions > 0 && totals.late > 0 && totals.in_blocks > 0, "{totals:?}");
}

/// Kills a server on one store `rounds` times, and looks at the store after each.
fn store(rounds: usize, rng: &mut Rng, deck: &mut Deck, totals: &mut Totals) {
    let dir = tempfile::tempdir().unwrap();
    let present_ms = (now() * 1000.0) as i64;
    let model = Mutex::new(Model::begin(present_ms - 84 * HOUR_MS));
    for round in 0..=rounds {
        let scraping = round >= KILLS_IN_THE_PAST;
        let mut server = start(dir.path(), scraping, 100_000);
        let moment = if round < rounds { deck.draw(rng) } else { Moment::Any };
        if moment == Moment::Starting {
            moment.wait(dir.path(), rng, &|| false);
            server.kill();
            *totals.moments.entry(moment.name()).or_default() += 1;
            continue;
        }
        wait_for("the server to answer", || server.get("/-/ready").status == 200);
        // Part of this may be answered before the log has been replayed.
        totals.verified += model.lock().verify(&server, round);
        wait_for("the server to recover", || server.read_log().contains("store opened"));
        // A commit that was under way is cut off the end of the log: no damage.
        let amiss = |line: &&str| line.contains("the store was damaged");
        assert_eq!(server.read_log().lines().find(amiss), None);
        round::finish_deletion(&server.url, &model);
        if round == rounds {
            let until_ms = model::blocks_end(&server.url);
            assert_eq!(server.stop(), Some(0), "{}", server.log);
            let server = start(dir.path(), false, FEW_EXEMPLARS);
            wait_for("the server to recover", || server.get("/-/ready").status == 200);
            totals.in_blocks += model.lock().verify_exemplars_in_blocks(&server.url, until_ms);
            break;
        }
        if scraping {
            // The past is over: the newest sample is one of now from here on.
            model.lock().skip_to(present_ms - HOUR_MS / 6);
        }
        let seen = round::run(&mut server, dir.path(), &model, moment, scraping, rng);
        for (name, count) in seen.counters {
            *totals.counters.entry(name).or_default() += count;
        }
        totals.deletions += seen.deletions;
        totals.late += seen.late;
        if seen.met {
            *totals.moments.entry(moment.name()).or_default() += 1;
        } else {
            deck.0.insert(0, moment);
        }
    }
}

/// Moments in some order, each as often as the others. One that has not come is tried again.
#[derive(Default)]
struct Deck(Vec<Moment>);

impl Deck {
    fn draw(&mut self, rng: &mut Rng) -> Moment {
        if self.0.is_empty() {
            self.0 = moment::ALL.to_vec();
            self.0.sort_by_cached_key(|_| rng.below(u64::MAX));
        }
        self.0.pop().expect("there are moments")
    }
}

/// A server that spills, checkpoints and cuts blocks as often as one with a thousand times the samples would.
fn start(dir: &std::path::Path, scraping: bool, max_exemplars: usize) -> Server {
    let port = free_port();
    let mut config = format!("storage: {{exemplars: {{max_exemplars: {max_exemplars}}}}}\n");
    config.push_str("global: {scrape_interval: 100ms, scrape_timeout: 100ms}\nscrape_configs:\n");
    if scraping {
        config.push_str(&format!(
            "- job_name: self\n  static_configs: [{{targets: ['127.0.0.1:{port}'], labels: {{instance: self}}}}]\n"
        ));
    }
    std::fs::write(dir.join("prometheus.yml"), config).unwrap();
    let listen = format!("--web.listen-address=127.0.0.1:{port}");
    let flags = [
        "--config.file=prometheus.yml",
        "--web.enable-remote-write-receiver",
        "--web.enable-admin-api",
        "--storage.chunk-memory=16KB",
        "--storage.replay-samples=4000",
        "--storage.tsdb.wal-segment-size=256KB",
        &listen,
    ];
    Server::spawn(dir, &flags)
}
