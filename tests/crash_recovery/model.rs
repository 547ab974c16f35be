//! What the store must hold.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::common::{Server, encode};
use crate::push;

pub(crate) const HOUR_MS: i64 = 3_600_000;
/// Series that every pushed step has.
pub(crate) const STEADY: usize = 40;
/// Series that every pushed step has beside them: others each hour.
const CHURNING: usize = 3;
/// Series that samples of are deleted: the first so many.
pub(crate) const DELETABLE: usize = 8;
/// Series that get late samples only.
pub(crate) const LATE: usize = 5;
/// Series with an exemplar at the last step of each request; of some of them samples are deleted.
const TRACED: [usize; 3] = [0, 3, DELETABLE + 5];
/// Exemplars that a server keeps in memory, so that blocks must have the others: those of a series and a day.
pub(crate) const FEW_EXEMPLARS: usize = 300;
/// Time between two steps, in the past and in the present.
const STEP_MS: i64 = 30_000;
const PRESENT_STEP_MS: i64 = 500;
/// Steps of one request.
const STEPS: i64 = 10;

/// Numbers by splitmix64.
pub(crate) struct Rng(pub u64);

impl Rng {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0) % bound
    }
}

fn mixed(mut z: u64) -> u64 {
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// What a series has at a moment: counters, decimals, constants, and values of full precision.
pub(crate) fn value(series: &str, i: usize, at_ms: i64) -> f64 {
    let seed = mixed((i as u64 + series.len() as u64 * 1000) ^ at_ms as u64);
    match i % 4 {
        0 => (at_ms / 500 * (i as i64 + 1)) as f64,
        1 => seed as f64 / 7.3e15,
        2 => (seed % 100_000) as f64 / 100.0,
        _ => (at_ms / (2 * HOUR_MS)) as f64,
    }
}

/// A range of time of one of the steady series, both ends included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deletion {
    pub(crate) series: usize,
    pub(crate) from_ms: i64,
    pub(crate) to_ms: i64,
}

impl Deletion {
    fn hits(&self, series: usize, at_ms: i64) -> bool {
        self.series == series && (self.from_ms..=self.to_ms).contains(&at_ms)
    }
}

/// What was acknowledged, and what was under way when the server was killed.
pub(crate) struct Model {
    /// Steps that were acknowledged, ascending.
    steps: Vec<i64>,
    /// Those of them that were the last of their request.
    traced: BTreeSet<i64>,
    /// Steps of the request that is under way.
    sent: Vec<i64>,
    next_ms: i64,
    step_ms: i64,
    late: BTreeSet<(usize, i64)>,
    late_sent: Vec<(usize, i64)>,
    /// Those of requests that were refused, of which a part may be there.
    late_refused: BTreeSet<(usize, i64)>,
    deleted: Vec<Deletion>,
    pub(crate) deletion_sent: Option<Deletion>,
    /// Scraped samples that a query has shown.
    pub(crate) scraped: Vec<(i64, f64)>,
}

/// A series of a request: labels, samples.
type Pushed = (Vec<(&'static str, String)>, Vec<(i64, f64)>);

/// The samples of a series, by its number: `STEADY + …` for those that come and go.
type Samples = BTreeMap<(usize, i64), Vec<(i64, f64)>>;

impl Model {
    pub(crate) fn begin(at_ms: i64) -> Self {
        let next_ms = at_ms - at_ms % STEP_MS;
        Self {
            steps: Vec::new(),
            traced: BTreeSet::new(),
            sent: Vec::new(),
            next_ms,
            step_ms: STEP_MS,
            late: BTreeSet::new(),
            late_sent: Vec::new(),
            late_refused: BTreeSet::new(),
            deleted: Vec::new(),
            deletion_sent: None,
            scraped: Vec::new(),
        }
    }

    /// Goes on in the present.
    pub(crate) fn skip_to(&mut self, at_ms: i64) {
        self.next_ms = self.next_ms.max(at_ms - at_ms % PRESENT_STEP_MS);
        self.step_ms = PRESENT_STEP_MS;
    }

    /// The next request, unless its samples would be newer than `until_ms`.
    pub(crate) fn send_steps(&mut self, until_ms: i64) -> Option<Vec<u8>> {
        let steps: Vec<i64> = (0..STEPS).map(|n| self.next_ms + n * self.step_ms).collect();
        if *steps.last()? > until_ms {
            return None;
        }
        let mut owned: Vec<Pushed> = Vec::new();
        for i in 0..STEADY {
            let samples = steps.iter().map(|&at| (at, value("steady", i, at))).collect();
            owned.push((vec![("__name__", "steady".into()), ("i", i.to_string())], samples));
        }
        for hour in steps.iter().map(|at| at / HOUR_MS).collect::<BTreeSet<_>>() {
            for i in 0..CHURNING {
                let within = steps.iter().filter(|&&at| at / HOUR_MS == hour);
                let samples = within.map(|&at| (at, value("churning", i, at))).collect();
                let labels = vec![("__name__", "churning".into()), ("hour", hour.to_string()), ("i", i.to_string())];
                owned.push((labels, samples));
            }
        }
        self.sent = steps;
        let at = *self.sent.last()?;
        Some(body(&owned, |series| {
            let one = |i| (at, value("steady", i, at), format!("{at:x}"));
            TRACED.into_iter().find(|&i| i == series).map(one).into_iter().collect()
        }))
    }

    /// The request of [`send_steps`](Self::send_steps) was acknowledged.
    pub(crate) fn steps_acknowledged(&mut self) {
        let last = *self.sent.last().unwrap();
        self.next_ms = last + self.step_ms;
        self.traced.insert(last);
        self.steps.append(&mut self.sent);
    }

    /// A request with samples that are older than others that were acknowledged.
    pub(crate) fn send_late(&mut self, rng: &mut Rng) -> Option<Vec<u8>> {
        let newest = *self.steps.last()?;
        let mut owned: Vec<Pushed> = Vec::new();
        for i in 0..LATE {
            let at = newest - 60_000 - rng.below(11 * 60_000) as i64;
            if !self.late.contains(&(i, at)) {
                self.late_sent.push((i, at));
                let labels = vec![("__name__", "late".into()), ("i", i.to_string())];
                owned.push((labels, vec![(at, value("late", i, at))]));
            }
        }
        Some(body(&owned, |_| Vec::new()))
    }

    /// The request of [`send_late`](Self::send_late) was acknowledged.
    pub(crate) fn late_acknowledged(&mut self) {
        self.late.extend(self.late_sent.drain(..));
    }

    /// Others were faster, and a part of the request's samples were too old.
    pub(crate) fn late_refused(&mut self) {
        self.late_refused.extend(self.late_sent.drain(..));
    }

    /// Something to delete.
    pub(crate) fn send_deletion(&mut self, rng: &mut Rng) -> Option<Deletion> {
        let count = self.steps.len() as u64;
        if count < 10 {
            return None;
        }
        let (a, b) = (rng.below(count), rng.below(count));
        // Now and then all there is, more often a part.
        let (first, last) =
            if rng.below(6) == 0 { (0, count - 1) } else { (a.min(b), a.min(b) + (a.max(b) - a.min(b)) / 6) };
        let (from_ms, to_ms) = (self.steps[first as usize], self.steps[last as usize]);
        self.deletion_sent = Some(Deletion { series: rng.below(DELETABLE as u64) as usize, from_ms, to_ms });
        self.deletion_sent
    }

    pub(crate) fn deletion_acknowledged(&mut self) {
        self.deleted.extend(self.deletion_sent.take());
    }

    /// The steps that are acknowledged by now.
    pub(crate) fn acknowledged(&self) -> Vec<i64> {
        self.steps.clone()
    }

    /// Compares with what the server has after a kill, and takes over what became of what was under way then. Answers how
    /// many samples were compared.
    pub(crate) fn verify(&mut self, server: &Server, round: usize) -> usize {
        let mut found = samples(&server.url, "steady");
        found.extend(samples(&server.url, "churning").into_iter().map(|((i, hour), v)| ((STEADY + i, hour), v)));
        let mut compared = 0;
        let mut of_sent: BTreeMap<i64, usize> = BTreeMap::new();
        let mut hours: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for &at in &self.steps {
            hours.entry(at / HOUR_MS).or_default().push(at);
        }
        for i in 0..STEADY {
            let points = found.remove(&(i, -1)).unwrap_or_default();
            let what = format!("round {round}, steady {i}");
            compared += self.compare(&what, "steady", i, &self.steps, &points, &mut of_sent);
        }
        let sent_hours: BTreeSet<i64> = self.sent.iter().map(|at| at / HOUR_MS).collect();
        for hour in hours.keys().copied().chain(sent_hours).collect::<BTreeSet<_>>() {
            let steps = hours.get(&hour).map_or(&[][..], Vec::as_slice);
            for i in 0..CHURNING {
                let points = found.remove(&(STEADY + i, hour)).unwrap_or_default();
                let what = format!("round {round}, churning {i} of hour {hour}");
                compared += self.compare(&what, "churning", usize::MAX - 3 + i, steps, &points, &mut of_sent);
            }
        }
        assert!(found.is_empty(), "round {round}: series that were never sent: {:?}", found.keys());
        // Of the request that was under way all is there, or nothing.
        if !of_sent.is_empty() {
            let whole = self.sent.iter().all(|at| of_sent.get(at) == Some(&(STEADY + CHURNING)));
            assert!(whole, "round {round}: a part of a request: {of_sent:?} of {:?}", self.sent);
            self.steps_acknowledged();
        }
        self.sent.clear();
        let url = &server.url;
        compared + self.verify_exemplars(url, round) + self.verify_late(url, round) + self.verify_scraped(url, round)
    }

    /// Compares the exemplars, which are there as the samples of their requests are.
    fn verify_exemplars(&self, url: &str, round: usize) -> usize {
        let compare =
            |i| self.compare_exemplars(&format!("round {round}"), i, &exemplars(url, i, 0, i64::MAX), i64::MAX);
        TRACED.into_iter().map(compare).sum()
    }

    /// Looks for the exemplars before `until_ms` on a server that keeps [`FEW_EXEMPLARS`] in memory. Answers how many were
    /// found.
    pub(crate) fn verify_exemplars_in_blocks(&self, url: &str, until_ms: i64) -> usize {
        let days: BTreeSet<i64> = self.traced.iter().map(|at| at / (24 * HOUR_MS)).collect();
        let mut compared = 0;
        for i in TRACED {
            let day = |day| exemplars(url, i, day * 24 * HOUR_MS, (day + 1) * 24 * HOUR_MS - 1);
            let found = days.iter().copied().filter(|day| day * 24 * HOUR_MS < until_ms).flat_map(day).collect();
            compared += self.compare_exemplars("blocks", i, &found, until_ms);
        }
        compared
    }

    /// Compares what was found of the exemplars of a series; all those before `until_ms` must be there.
    fn compare_exemplars(&self, what: &str, i: usize, found: &Traces, until_ms: i64) -> usize {
        for &at in &self.traced {
            let is_there = found.contains_key(&at);
            if self.deleted.iter().any(|deletion| deletion.hits(i, at)) {
                assert!(!is_there, "{what}, exemplar of {i} at {at}: deleted, and there again");
            } else if at < until_ms && !self.deletion_sent.is_some_and(|deletion| deletion.hits(i, at)) {
                assert!(is_there, "{what}, exemplar of {i} at {at}: lost");
            }
        }
        for (at, found) in found {
            let expected = (value("steady", i, *at), format!("{at:x}"));
            assert!(self.traced.contains(at), "{what}: an exemplar of {i} at {at} was never sent");
            assert_eq!(*found, expected, "{what}, exemplar of {i} at {at}");
        }
        found.len()
    }

    /// Compares one series with the steps it must have. Counts samples of what was under way in `of_sent`.
    fn compare(
        &self,
        what: &str,
        kind: &str,
        i: usize,
        steps: &[i64],
        points: &[(i64, f64)],
        of_sent: &mut BTreeMap<i64, usize>,
    ) -> usize {
        let number = if i < STEADY { i } else { i - (usize::MAX - 3) };
        let mut rest = points.iter().peekable();
        for &at in steps {
            let there = rest.next_if(|point| point.0 == at);
            if self.deleted.iter().any(|deletion| deletion.hits(i, at)) {
                assert_eq!(there, None, "{what}: deleted, and there again");
            } else if there.is_none() && self.deletion_sent.is_some_and(|deletion| deletion.hits(i, at)) {
                continue;
            } else {
                let expected = (at, value(kind, number, at));
                assert_eq!(there, Some(&expected), "{what}: lost or changed; step {:?}", steps.binary_search(&at));
            }
        }
        for &(at, found) in rest {
            assert!(self.sent.contains(&at), "{what}: {at} was never sent, or deleted");
            assert_eq!(found, value(kind, number, at), "{what}: another value at {at}");
            *of_sent.entry(at).or_default() += 1;
        }
        points.len()
    }

    fn verify_late(&mut self, url: &str, round: usize) -> usize {
        let found: BTreeSet<(usize, i64)> = samples(url, "late")
            .into_iter()
            .flat_map(|((i, _), points)| {
                points.into_iter().map(move |(at, found)| {
                    assert_eq!(found, value("late", i, at), "round {round}, late {i}: another value at {at}");
                    (i, at)
                })
            })
            .collect();
        let lost: Vec<_> = self.late.difference(&found).collect();
        assert!(lost.is_empty(), "round {round}: late samples lost: {lost:?}");
        for sample in &found {
            let sent = self.late_sent.contains(sample) || self.late_refused.contains(sample);
            assert!(sent || self.late.contains(sample), "round {round}: never sent {sample:?}");
        }
        self.late_sent.clear();
        self.late_refused.clear();
        self.late = found;
        self.late.len()
    }

    fn verify_scraped(&self, url: &str, round: usize) -> usize {
        let found = scraped(url).unwrap_or_default();
        let lost: Vec<_> = self.scraped.iter().filter(|point| !found.contains(point)).collect();
        assert!(lost.is_empty(), "round {round}: scraped samples that could be read before are gone: {lost:?}");
        self.scraped.len()
    }

    /// Compares one series with the steps in `acknowledged` while the server works.
    pub(crate) fn check_running(acknowledged: &[i64], url: &str, i: usize) {
        let Some(found) = read(url, &format!("steady{{i=\"{i}\"}}[10d]")) else { return };
        let points: BTreeMap<i64, f64> = found.into_values().flatten().collect();
        for &at in acknowledged {
            assert_eq!(points.get(&at), Some(&value("steady", i, at)), "steady {i} at {at}, while the server works");
        }
    }
}

fn body(series: &[Pushed], exemplars: impl Fn(usize) -> Vec<push::Traced>) -> Vec<u8> {
    let labels: Vec<Vec<(&str, &str)>> =
        series.iter().map(|(labels, _)| labels.iter().map(|(n, v)| (*n, v.as_str())).collect()).collect();
    let series: Vec<push::Series<'_>> = labels.iter().zip(series).map(|(l, (_, s))| (&l[..], &s[..])).collect();
    push::request_with(&series, exemplars)
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    result: Vec<Series<'a>>,
}

#[derive(Deserialize)]
struct Series<'a> {
    #[serde(borrow)]
    metric: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    #[serde(borrow)]
    values: Vec<(f64, Cow<'a, str>)>,
}

/// What a matrix selector finds, an hour ahead of now; `None` if the server is gone.
fn read(url: &str, selector: &str) -> Option<Samples> {
    let at = (crate::common::now() + 3600.0).to_string();
    let query = encode(&[("query", selector), ("time", &at)]);
    let answer = crate::common::fetch(&format!("{url}/api/v1/query?{query}"));
    if answer.status == 0 {
        return None;
    }
    assert_eq!(answer.status, 200, "{}", answer.text());
    let parsed: Answer<'_> = serde_json::from_slice(&answer.body).unwrap_or_else(|e| panic!("{e}: {}", answer.text()));
    let series = parsed.data.result.into_iter().map(|series| {
        let label = |name: &str| series.metric.get(name).map_or(-1, |text| text.parse().unwrap());
        let points = series.values.iter().map(|(at, text)| ((at * 1000.0).round() as i64, text.parse().unwrap()));
        ((label("i").max(0) as usize, label("hour")), points.collect())
    });
    Some(series.collect())
}

fn samples(url: &str, metric: &str) -> Samples {
    read(url, &format!("{metric}[10d]")).expect("the server runs")
}

/// Value and trace of exemplars by time.
type Traces = BTreeMap<i64, (f64, String)>;

/// The exemplars of a steady series between two moments.
fn exemplars(url: &str, i: usize, from_ms: i64, to_ms: i64) -> Traces {
    let (selector, [from, to]) =
        (format!("steady{{i=\"{i}\"}}"), [from_ms, to_ms.min(1 << 42)].map(|ms| ms as f64 / 1e3));
    let query = encode(&[("query", &selector), ("start", &from.to_string()), ("end", &to.to_string())]);
    let answer = crate::common::fetch(&format!("{url}/api/v1/query_exemplars?{query}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json = answer.json();
    assert!(json.get("warnings").is_none(), "{json}");
    let all = json["data"].as_array().unwrap().iter().flat_map(|series| series["exemplars"].as_array().unwrap());
    let one = |exemplar: &serde_json::Value| {
        let (value, trace) = (exemplar["value"].as_str().unwrap(), exemplar["labels"]["trace_id"].as_str().unwrap());
        let at = (exemplar["timestamp"].as_f64().unwrap() * 1000.0).round() as i64;
        (at, (value.parse().unwrap(), trace.to_owned()))
    };
    all.map(one).collect()
}

/// Up to where blocks hold all there is.
pub(crate) fn blocks_end(url: &str) -> i64 {
    let blocks = crate::common::fetch(&format!("{url}/api/v1/status/tsdb/blocks")).json();
    let ends = blocks["data"]["blocks"].as_array().unwrap().iter().map(|block| block["maxTime"].as_i64().unwrap());
    ends.max().unwrap_or(i64::MIN)
}

/// The samples of a metric that is scraped, of the last hour.
pub(crate) fn scraped(url: &str) -> Option<Vec<(i64, f64)>> {
    // `read` asks at a moment an hour ahead.
    let found = read(url, "process_start_time_seconds[2h]");
    Some(found?.into_values().flatten().collect())
}
