//! Functions that slide over samples give what looking at each window by itself gives.

#![cfg(feature = "testing")]

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use query::{Engine, Options, Request, Steps, StopFlag, Value, is_absent, parse};
use tsdb::testing::{ModelStore, ModelValue};
use tsdb::{Labels, STALE_NAN, Timestamp};

/// What the values look like.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    /// Any size and sign.
    Gauge,
    /// Rises, at times from zero anew.
    Counter,
    /// Infinities and NaN among them.
    Odd,
}

#[derive(Clone, Debug)]
struct Case {
    shape: Shape,
    samples: Vec<(i64, f64)>,
    start_ms: i64,
    step_ms: i64,
    steps: i64,
    range_ms: i64,
}

fn case() -> impl Strategy<Value = Case> {
    let shape = prop::sample::select(vec![Shape::Gauge, Shape::Counter, Shape::Odd]);
    let gaps = prop_oneof![Just(15_000i64), 1..40_000i64, Just(400_000)];
    let raw = prop::collection::vec((gaps, -1e6..1e6f64, 0..40u8), 0..120);
    (shape, raw, -100_000..500_000i64, 1_000..120_000i64, 1..60i64, 1_000..700_000i64).prop_map(
        |(shape, raw, start_ms, step_ms, steps, range_ms)| {
            let (mut at, mut counter) = (0, 0.0);
            let sample = |(gap, value, pick): (i64, f64, u8)| {
                at += gap;
                counter = if pick == 1 { 0.0 } else { counter + f64::abs(value) };
                let value = match (shape, pick) {
                    (_, 0) => STALE_NAN,
                    (Shape::Counter, _) => counter,
                    (Shape::Odd, 1..=3) => f64::NAN,
                    (Shape::Odd, 4..=6) => f64::INFINITY,
                    (Shape::Odd, 7) => f64::NEG_INFINITY,
                    (_, 8..=15) => value.round(),
                    (_, 16..=17) => 1e300,
                    _ => value,
                };
                (at, value)
            };
            Case { shape, samples: raw.into_iter().map(sample).collect(), start_ms, step_ms, steps, range_ms }
        },
    )
}

impl Case {
    fn store(&self) -> ModelStore {
        let store = ModelStore::default();
        let labels = Labels::from_pairs([("__name__", "m_total")]);
        for (at, value) in &self.samples {
            store.append(&labels, Timestamp::from_millis(*at), ModelValue::Float(*value), 0);
        }
        store
    }

    /// The values of the steps; `None` where there is none.
    fn run(&self, store: &ModelStore, query: &str) -> Vec<Option<f64>> {
        let engine = Engine::new(Options { threads: 1, ..Options::default() }, || Duration::ZERO);
        let steps = Steps::Range {
            start: Timestamp::from_millis(self.start_ms),
            end: Timestamp::from_millis(self.start_ms + self.step_ms * (self.steps - 1)),
            step: Duration::from_millis(self.step_ms as u64),
        };
        let expr = parse(query).expect("the query is PromQL");
        let request = Request { expr: &expr, steps, lookback: None, count_all: false, stop: StopFlag::default() };
        let Value::Matrix(series) = engine.run(store, &request).expect("the query has an answer").value else {
            panic!("no matrix")
        };
        assert!(series.len() <= 1);
        match series.first() {
            Some(series) => series.values.iter().map(|v| (!is_absent(*v)).then_some(*v)).collect(),
            None => vec![None; self.steps as usize],
        }
    }

    fn windows(&self) -> impl Iterator<Item = (i64, Vec<(i64, f64)>)> + '_ {
        (0..self.steps).map(|k| {
            let end = self.start_ms + k * self.step_ms;
            let within = |s: &&(i64, f64)| s.0 > end - self.range_ms && s.0 <= end && !is_absent(s.1);
            (end, self.samples.iter().filter(within).copied().collect())
        })
    }

    fn rate(&self, end: i64, window: &[(i64, f64)]) -> Option<f64> {
        let (first, last) = (window.first()?, window.last()?);
        if window.len() < 2 {
            return None;
        }
        let drops: f64 = window.windows(2).filter(|w| w[1].1 < w[0].1).map(|w| w[0].1).sum();
        let difference = last.1 - first.1 + drops;
        let covered = (last.0 - first.0) as f64;
        let mean_gap = covered / (window.len() - 1) as f64;
        let edge = |gap: f64| if gap >= mean_gap * 1.1 { mean_gap / 2.0 } else { gap };
        let mut before = edge((first.0 - (end - self.range_ms)) as f64);
        if difference > 0.0 && first.1 >= 0.0 {
            before = before.min(covered * (first.1 / difference));
        }
        let after = edge((end - last.0) as f64);
        Some(difference * (covered + before + after) / covered / (self.range_ms as f64 / 1000.0))
    }
}

/// The same to 1e-12 of `scale`, the size of what was added up; odd values exactly.
fn close(got: Option<f64>, wanted: Option<f64>, scale: f64) -> bool {
    match (got, wanted) {
        (None, None) => true,
        (Some(a), Some(b)) if a.is_finite() && b.is_finite() => (a - b).abs() <= 1e-12 * scale.max(b.abs()),
        // Sums past the largest float depend on the order: any answer that is not finite will do.
        (Some(a), Some(b)) => a == b || (!a.is_finite() && !b.is_finite()),
        _ => false,
    }
}

fn size(window: &[(i64, f64)]) -> f64 {
    window.iter().map(|s| s.1.abs()).sum()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300, failure_persistence: None, rng_seed: RngSeed::Fixed(2), ..ProptestConfig::default()
    })]

    #[test]
    fn sliding_functions_equal_a_scan_of_each_window(case in case()) {
        let store = case.store();
        let exact = |window: &[(i64, f64)], of: &dyn Fn(&[f64]) -> f64| {
            let values: Vec<f64> = window.iter().map(|s| s.1).collect();
            (!values.is_empty()).then(|| of(&values))
        };
        let pick = |better: fn(f64, f64) -> bool| move |values: &[f64]| {
            values.iter().copied().reduce(|a, b| if better(b, a) || a.is_nan() { b } else { a }).unwrap()
        };
        type Naive<'a> = (&'a str, &'a dyn Fn(&[f64]) -> f64);
        let functions: [Naive<'_>; 8] = [
            ("count_over_time", &|values| values.len() as f64),
            ("present_over_time", &|_| 1.0),
            ("last_over_time", &|values| values[values.len() - 1]),
            ("first_over_time", &|values| values[0]),
            ("max_over_time", &pick(|a, b| a > b)),
            ("min_over_time", &pick(|a, b| a < b)),
            ("changes", &|values| {
                values.windows(2).filter(|w| w[0] != w[1] && !(w[0].is_nan() && w[1].is_nan())).count() as f64
            }),
            ("resets", &|values| values.windows(2).filter(|w| w[1] < w[0]).count() as f64),
        ];
        for (name, naive) in functions {
            let got = case.run(&store, &format!("{name}(m_total[{}ms])", case.range_ms));
            for ((end, window), got) in case.windows().zip(got) {
                let wanted = exact(&window, naive);
                let same = got.map(f64::to_bits) == wanted.map(f64::to_bits)
                    || got.zip(wanted).is_some_and(|(a, b)| a == b || (a.is_nan() && b.is_nan()));
                prop_assert!(same, "{} at {}: {:?}, not {:?}\n{:?}", name, end, got, wanted, window);
            }
        }
    }

    #[test]
    fn sums_and_means_equal_a_compensated_scan(case in case()) {
        let store = case.store();
        for (name, mean) in [("sum_over_time", false), ("avg_over_time", true)] {
            let got = case.run(&store, &format!("{name}(m_total[{}ms])", case.range_ms));
            for ((end, window), got) in case.windows().zip(got) {
                let mut values: Vec<f64> = window.iter().map(|s| s.1).collect();
                // Small ones first, so that what cancels does not take them along.
                values.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
                let (mut sum, mut lost) = (0.0f64, 0.0);
                for value in &values {
                    let next = sum + value;
                    lost += if sum.abs() >= value.abs() { (sum - next) + value } else { (value - next) + sum };
                    sum = next;
                }
                let total = if sum.is_finite() { sum + lost } else { sum };
                let wanted = (!values.is_empty()).then(|| if mean { total / values.len() as f64 } else { total });
                let scale = if mean { size(&window) / window.len() as f64 } else { size(&window) };
                prop_assert!(close(got, wanted, scale * 10.0), "{} at {}: {:?}, not {:?}\n{:?}", name, end, got, wanted, window);
            }
        }
    }

    #[test]
    fn deviations_equal_those_of_each_window(case in case()) {
        let store = case.store();
        let got = case.run(&store, &format!("stdvar_over_time(m_total[{}ms])", case.range_ms));
        for ((end, window), got) in case.windows().zip(got) {
            let count = window.len() as f64;
            let mean = window.iter().map(|s| s.1 / count).sum::<f64>();
            let wanted = (count > 0.0).then(|| window.iter().map(|s| (s.1 - mean) * (s.1 - mean) / count).sum());
            let scale = window.iter().map(|s| s.1 * s.1).fold(0.0, f64::max);
            prop_assert!(close(got, wanted, scale), "at {}: {:?}, not {:?}\n{:?}", end, got, wanted, window);
            let same = window.iter().all(|s| s.1 == window[0].1 && s.1.is_finite());
            prop_assert!(!same || got.is_none_or(|variance| variance == 0.0), "{:?} of equal values", got);
        }
    }

    #[test]
    fn lines_equal_those_of_each_window(case in case()) {
        let store = case.store();
        let slopes = case.run(&store, &format!("deriv(m_total[{}ms])", case.range_ms));
        let ahead = case.run(&store, &format!("predict_linear(m_total[{}ms], 60)", case.range_ms));
        for (((end, window), slope), ahead) in case.windows().zip(slopes).zip(ahead) {
            if window.len() < 2 {
                prop_assert!(slope.is_none() && ahead.is_none());
                continue;
            }
            // Around the means, where nothing cancels.
            let count = window.len() as f64;
            let at = |sample: &(i64, f64)| (sample.0 - end) as f64 / 1000.0;
            let (x, y) = (window.iter().map(at).sum::<f64>() / count, window.iter().map(|s| s.1 / count).sum::<f64>());
            let products: f64 = window.iter().map(|s| (at(s) - x) * (s.1 - y)).sum();
            let squares: f64 = window.iter().map(|s| (at(s) - x) * (at(s) - x)).sum();
            let constant = window.iter().all(|s| s.1 == window[0].1 && s.1.is_finite());
            let wanted = if constant { 0.0 } else { products / squares };
            let span = (window[window.len() - 1].0 - window[0].0) as f64 / 1000.0;
            let scale = size(&window) / span;
            let far = 1.0 + (case.range_ms as f64 / 1000.0) / span;
            prop_assert!(close(slope, Some(wanted), scale * 1e3 * far * far), "deriv at {}: {:?}, not {}\n{:?}", end, slope, wanted, window);
            let wanted = y + wanted * (60.0 - x);
            prop_assert!(close(ahead, Some(wanted), size(&window) * 1e3 * far.powi(3) * (1.0 + 60.0 / span)), "predict at {}: {:?}, not {}\n{:?}", end, ahead, wanted, window);
        }
    }

    #[test]
    fn rates_equal_those_of_each_window(case in case()) {
        prop_assume!(case.shape == Shape::Counter);
        let store = case.store();
        let got = case.run(&store, &format!("rate(m_total[{}ms])", case.range_ms));
        for ((end, window), got) in case.windows().zip(got) {
            let wanted = case.rate(end, &window);
            prop_assert!(close(got, wanted, size(&window)), "at {}: {:?}, not {:?}\n{:?}", end, got, wanted, window);
        }
    }

    #[test]
    fn a_subquery_gives_what_a_query_per_step_gives(case in case()) {
        // The samples of the subquery are the selector's values at multiples of its step.
        let store = case.store();
        let got = case.run(&store, &format!("sum_over_time(m_total[{}ms:7s])", case.range_ms));
        let at = |t: i64| {
            let newest = case.samples.iter().rev().find(|s| s.0 <= t && s.0 > t - 300_000)?;
            (!is_absent(newest.1)).then_some((t, newest.1))
        };
        for (k, got) in got.into_iter().enumerate() {
            let end = case.start_ms + k as i64 * case.step_ms;
            let first = (end - case.range_ms).div_euclid(7_000) + 1;
            let window: Vec<_> = (first..=end.div_euclid(7_000)).filter_map(|i| at(i * 7_000)).collect();
            let wanted = (!window.is_empty()).then(|| window.iter().map(|s| s.1).sum());
            prop_assert!(close(got, wanted, size(&window) * 10.0), "at {}: {:?}, not {:?}\n{:?}", end, got, wanted, window);
        }
    }
}
