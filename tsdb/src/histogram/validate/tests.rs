use super::*;
use crate::sample::STALE_NAN;

/// Schema 0 with zero bucket, positive and negative side: 12 observations.
fn sound() -> Histogram {
    Histogram {
        schema: 0,
        zero_threshold: 0.001,
        zero_count: 2,
        count: 12,
        sum: 18.4,
        positive_spans: vec![Span { offset: -2, length: 1 }, Span { offset: 1, length: 2 }],
        positive_buckets: vec![1, 1, -1],
        negative_spans: vec![Span { offset: 0, length: 2 }],
        negative_buckets: vec![2, 2],
        ..Histogram::default()
    }
}

/// Bounds 1 and 2, buckets up to +Inf: 6 observations.
fn custom() -> Histogram {
    Histogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        count: 6,
        sum: 9.0,
        positive_spans: vec![Span { offset: 0, length: 3 }],
        positive_buckets: vec![1, 1, 1],
        custom_values: vec![1.0, 2.0],
        ..Histogram::default()
    }
}

fn reason(value: HistogramValue) -> String {
    value.validated().map_or_else(|reason| reason.to_string(), |_| "is taken".into())
}

#[test]
fn histograms_that_contradict_themselves_are_refused_with_the_reason() {
    let spans = |all: &[(i32, u32)]| all.iter().map(|&(offset, length)| Span { offset, length }).collect::<Vec<_>>();
    let with = |change: &dyn Fn(&mut Histogram)| {
        let mut histogram = sound();
        change(&mut histogram);
        HistogramValue::Integer(histogram)
    };
    let with_custom = |change: &dyn Fn(&mut Histogram)| {
        let mut histogram = custom();
        change(&mut histogram);
        HistogramValue::Integer(histogram)
    };
    for (value, why) in [
        (with(&|h| h.count = 13), "12 observations found in buckets, but the Count field is 13"),
        (with(&|h| h.count = 11), "should equal the number of observations"),
        (with(&|h| (h.sum, h.count) = (f64::NAN, 11)), "should be at least the number of observations"),
        (with(&|h| h.zero_count = u64::MAX), "should equal"),
        (with(&|h| h.positive_buckets = vec![1, -2, 1]), "positive side: bucket number 2 has observation count of -1"),
        (with(&|h| h.negative_buckets = vec![-1, 2]), "negative side: bucket number 1 has observation count of -1"),
        (with(&|h| h.positive_buckets = vec![i64::MAX, 1, 0]), "observation count is negative"),
        (with(&|h| h.positive_spans = spans(&[(0, 1), (-1, 2)])), "positive side: span number 2 with offset -1"),
        (with(&|h| h.negative_spans = spans(&[(5, 1), (-9, 1)])), "negative side: span number 2 with offset -9"),
        (with(&|h| h.positive_spans = spans(&[(0, 2)])), "positive side: spans need 2 buckets, have 3 buckets"),
        (with(&|h| h.negative_spans = spans(&[(0, 3)])), "negative side: spans need 3 buckets, have 2 buckets"),
        (with(&|h| h.positive_spans = spans(&[(0, u32::MAX), (0, u32::MAX)])), "spans need 8589934590 buckets"),
        (with(&|h| h.positive_spans = spans(&[(i32::MAX, 1), (i32::MAX, 2)])), "beyond the last bucket index"),
        (with(&|h| h.custom_values = vec![1.0]), "exponential schema must not have custom bounds"),
        (with(&|h| h.schema = -5), "got schema -5"),
        (with(&|h| h.schema = 53), "got schema 53"),
        (with(&|h| h.schema = i32::MIN), "invalid schema"),
        (with_custom(&|h| h.custom_values = vec![2.0, 1.0]), "previous bound is 2 and current is 1"),
        (with_custom(&|h| h.custom_values = vec![1.0, 1.0]), "strictly increasing order"),
        (with_custom(&|h| h.custom_values = vec![1.0, f64::NAN]), "must not be NaN"),
        (with_custom(&|h| h.custom_values = vec![1.0, f64::INFINITY]), "must be finite"),
        (with_custom(&|h| h.custom_values = vec![f64::NEG_INFINITY, 2.0]), "must be finite"),
        (with_custom(&|h| h.custom_values = vec![1.0]), "only 1 custom bounds defined"),
        (with_custom(&|h| h.custom_values = Vec::new()), "custom bounds are too few"),
        (with_custom(&|h| h.positive_spans = spans(&[(1, 3)])), "total span length of 4"),
        (with_custom(&|h| h.positive_spans = spans(&[(-1, 3)])), "custom buckets: span number 1 with offset -1"),
        (with_custom(&|h| h.positive_spans = spans(&[(0, 2)])), "custom buckets: spans need 2 buckets"),
        (with_custom(&|h| h.zero_count = 1), "must have zero count of 0"),
        (with_custom(&|h| h.zero_threshold = 0.1), "must have zero threshold of 0"),
        (with_custom(&|h| h.zero_threshold = f64::NAN), "must have zero threshold of 0"),
        (with_custom(&|h| h.negative_spans = spans(&[(0, 1)])), "must not have negative spans"),
        (with_custom(&|h| h.negative_buckets = vec![1]), "must not have negative buckets"),
        (with_custom(&|h| h.positive_buckets = vec![1, -2, 1]), "bucket number 2 has observation count of -1"),
        (with_custom(&|h| h.count = 5), "should equal"),
    ] {
        let told = reason(value.clone());
        assert!(told.contains(why), "{value:?}: {told}");
    }
}

#[test]
fn float_histograms_that_contradict_themselves_are_refused_with_the_reason() {
    let with = |histogram: Histogram, change: &dyn Fn(&mut FloatHistogram)| {
        let mut histogram = histogram.to_float();
        change(&mut histogram);
        HistogramValue::Float(histogram)
    };
    for (value, why) in [
        (
            with(sound(), &|h| h.positive_buckets[1] = -1.0),
            "positive side: bucket number 2 has observation count of -1",
        ),
        (with(sound(), &|h| h.negative_buckets[0] = -0.5), "negative side: bucket number 1"),
        (with(sound(), &|h| h.positive_buckets[0] = f64::NEG_INFINITY), "observation count is negative"),
        (with(sound(), &|h| h.count = -1.0), "observation count is negative"),
        (with(sound(), &|h| h.zero_count = -1.0), "observation count is negative"),
        (with(sound(), &|h| h.positive_buckets.push(1.0)), "spans need 3 buckets, have 4 buckets"),
        (with(sound(), &|h| h.positive_spans[1].offset = -1), "span number 2 with offset -1"),
        (with(sound(), &|h| h.custom_values = vec![1.0]), "must not have custom bounds"),
        (with(sound(), &|h| h.schema = -54), "got schema -54"),
        (with(custom(), &|h| h.custom_values[1] = 0.5), "strictly increasing"),
        (with(custom(), &|h| h.custom_values[0] = f64::NAN), "must not be NaN"),
        (with(custom(), &|h| h.custom_values.truncate(1)), "too few"),
        (with(custom(), &|h| h.zero_count = 1.0), "zero count of 0"),
        (with(custom(), &|h| h.zero_count = f64::NAN), "zero count of 0"),
        (with(custom(), &|h| h.zero_threshold = -1.0), "zero threshold of 0"),
        (with(custom(), &|h| h.negative_spans = h.positive_spans.clone()), "must not have negative spans"),
    ] {
        let told = reason(value.clone());
        assert!(told.contains(why), "{value:?}: {told}");
    }
}

#[test]
fn sound_histograms_are_taken_as_they_are() {
    let with_nan = Histogram { sum: f64::NAN, count: 14, ..sound() };
    let stale = Histogram { sum: STALE_NAN, ..Histogram::default() };
    let stale_custom = Histogram { schema: CUSTOM_BUCKETS_SCHEMA, ..stale.clone() };
    for histogram in [sound(), custom(), with_nan, stale, stale_custom, Histogram::default()] {
        for value in [HistogramValue::Float(histogram.to_float()), HistogramValue::Integer(histogram)] {
            // Debug, since NaN differs from itself.
            assert_eq!(format!("{:?}", value.clone().validated()), format!("{:?}", Ok::<_, ()>(value)));
        }
    }
    for schema in -4..=8 {
        assert!(Histogram { schema, ..sound() }.validated().is_ok(), "{schema}");
    }
    assert!(HistogramValue::stale().validated().is_ok());
}

#[test]
fn finer_schemas_are_reduced_to_the_finest_that_is_kept() {
    for schema in [9, 20, 52] {
        let histogram = Histogram { schema, ..sound() }.validated().unwrap();
        assert_eq!((histogram.schema, histogram.count), (8, 12));
        let float = Histogram { schema, ..sound() }.to_float().validated().unwrap();
        assert_eq!(float, histogram.to_float(), "both kinds alike");
        assert_eq!(float.positive_buckets.iter().chain(&float.negative_buckets).sum::<f64>(), 10.0);
    }
    let bad = Histogram { schema: 52, count: 13, ..sound() };
    assert!(bad.validated().is_err(), "what is reduced is checked, too");
}
