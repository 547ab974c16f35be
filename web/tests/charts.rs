//! Any numbers, names, sizes and bounds become pictures that an XML parser reads.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::sync::Arc;

use proptest::prelude::*;
use query::{ABSENT, Series};
use quick_xml::events::{BytesStart, Event};
use tsdb::{Labels, TimeRange};
use web::chart::{ChartOptions, Kind, Line, Theme, Unit, draw, draw_error, draw_message, gauge, geometry, sparkline};

/// Numbers at the ends of what a float can hold, and at its corners.
const ODD: [f64; 22] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    f64::MAX,
    f64::MIN,
    f64::MAX / 2.0,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
    ABSENT,
    5e-324,
    -5e-324,
    1e-320,
    2e-320,
    f64::MIN_POSITIVE,
    1e-300,
    1e300,
    1.0 + f64::EPSILON,
    9_007_199_254_740_993.0,
    1.7e9,
    1e-7,
];

const UNITS: [Unit; 8] = [
    Unit::Number,
    Unit::Bytes,
    Unit::BytesPerSecond,
    Unit::BitsPerSecond,
    Unit::Seconds,
    Unit::Percent,
    Unit::Ratio,
    Unit::PerSecond,
];

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![3 => prop::sample::select(&ODD[..]), 1 => any::<u64>().prop_map(f64::from_bits), 1 => -1e3..1e3]
}

fn bound() -> impl Strategy<Value = Option<f64>> {
    prop::option::weighted(0.3, number().prop_filter("bounds are finite", |bound| bound.is_finite()))
}

fn span() -> impl Strategy<Value = (i64, i64)> {
    let start = prop_oneof![4 => Just(1_790_000_000_000), 1 => Just(i64::MIN), 1 => Just(i64::MAX), 1 => any::<i64>()];
    let length = prop_oneof![Just(0), Just(1), 1..4_000_000_000_000_i64, Just(i64::MAX)];
    (start, length).prop_map(|(start, length): (i64, i64)| (start, start.saturating_add(length)))
}

fn lines(names: &[String], rows: &[Vec<f64>], (start, end): (i64, i64)) -> Vec<Line> {
    let steps = rows.iter().map(Vec::len).max().unwrap_or(0);
    let step = end.saturating_sub(start) / (steps.max(2) as i64 - 1);
    let timestamps_ms: Arc<[i64]> = (0..steps as i64).map(|k| start.saturating_add(k.saturating_mul(step))).collect();
    let line = |(name, row): (&String, &Vec<f64>)| {
        let mut values = row.clone();
        values.resize(steps, ABSENT);
        let series =
            Series { labels: Labels::empty(), timestamps_ms: timestamps_ms.clone(), values, histograms: Vec::new() };
        Line { name: name.clone(), series }
    };
    names.iter().zip(rows).map(line).collect()
}

fn check_attributes(tag: &BytesStart<'_>) {
    for attribute in tag.attributes() {
        let attribute = attribute.unwrap();
        let value = attribute.unescape_value().unwrap();
        let is_text = attribute.key.as_ref() == b"aria-label";
        assert!(is_text || !value.contains("NaN") && !value.contains("inf"), "{attribute:?}");
    }
}

/// The picture is a whole document, and every number in an attribute is one.
fn check(svg: &str) {
    assert!(!svg.contains(['\u{fffe}', '\u{ffff}', '\u{0}']));
    let mut reader = quick_xml::Reader::from_str(svg);
    reader.config_mut().check_end_names = true;
    let mut depth = 0;
    loop {
        match reader.read_event().unwrap_or_else(|why| panic!("{why}: {svg}")) {
            Event::Start(tag) => {
                depth += 1;
                check_attributes(&tag);
            }
            Event::Empty(tag) => check_attributes(&tag),
            Event::End(_) => depth -= 1,
            Event::Eof => break,
            _ => {}
        }
    }
    assert_eq!(depth, 0, "{svg}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_numbers_and_names_make_a_picture(
        rows in prop::collection::vec(prop::collection::vec(number(), 0..12), 0..5),
        names in prop::collection::vec(".{0,40}|[\u{fffe}\u{ffff}\u{0}<&\"]{1,5}", 5),
        span in span(),
        kind in prop::sample::select(&[Kind::Lines, Kind::Stacked, Kind::Bars][..]),
        unit in prop::sample::select(&UNITS[..]),
        size in prop::sample::select(&[(120, 60), (121, 90), (340, 240), (800, 300), (4000, 3000)][..]),
        bounds in (bound(), bound()),
        zone in prop::sample::select(&["UTC", "Europe/Berlin", "America/Santiago", "Australia/Lord_Howe"][..]),
        left_out in prop::sample::select(&[0, 1, 100_000][..]),
    ) {
        let options = ChartOptions {
            width: size.0,
            height: size.1,
            kind,
            unit,
            min: bounds.0,
            max: bounds.1,
            title: names[4].clone(),
            theme: Theme::Dark,
            zone: jiff::tz::TimeZone::get(zone).unwrap(),
            max_series: 3,
            left_out,
            ..ChartOptions::default()
        };
        let lines = lines(&names, &rows, span);
        check(&draw(&lines, TimeRange::from_millis(span.0, span.1), &options));
        let values = geometry(&lines, &options).values;
        prop_assert!(values[0].is_finite() && values[1].is_finite(), "{values:?}");
        check(&draw_message(&names[0], &options));
        check(&draw_error(&names[1], &options));
        for row in &rows {
            check(&sparkline(row, &options));
            let value = row.first().copied().unwrap_or(f64::NAN);
            check(&gauge(value, (value, 1.0), &options));
        }
    }
}

/// The least and the largest ordinate of the lines drawn in a colour, in units of the view box.
fn ordinates(svg: &str) -> Vec<f64> {
    let points = svg.split("points=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    let point = |point: &str| point.split_once(',').unwrap().1.parse().unwrap();
    points.flat_map(|points| points.split_whitespace().map(point).collect::<Vec<f64>>()).collect()
}

#[test]
fn values_beyond_the_bounds_of_a_chart_are_cut_not_moved_to_its_edge() {
    let span = (1_790_000_000_000, 1_790_000_600_000);
    let draw_with = |row: &[f64], min, max, kind| {
        let options = ChartOptions { min, max, kind, legend: false, ..ChartOptions::default() };
        draw(&lines(&["a".into()], &[row.to_vec()], span), TimeRange::from_millis(span.0, span.1), &options)
    };
    for kind in [Kind::Lines, Kind::Stacked] {
        // Beyond the plot all the time: nothing is drawn.
        let svg = draw_with(&[100.0, 200.0, 150.0], None, Some(50.0), kind);
        let drawn = ordinates(&svg);
        assert!(kind == Kind::Stacked || svg.matches("<polyline").count() == 0, "{drawn:?} in {svg}");
        // A peak is cut where it leaves the plot: the part beyond is missing, not level with the edge.
        let svg = draw_with(&[0.0, 100.0, 0.0], None, Some(50.0), kind);
        assert_eq!(svg.matches("<polyline").count(), 2, "{svg}");
    }
    let svg = draw_with(&[100.0], None, Some(50.0), Kind::Lines);
    assert!(!svg.contains("<circle"), "{svg}");
}

#[test]
fn spans_of_subnormal_numbers_are_drawn_over_the_whole_plot() {
    let span = (1_790_000_000_000, 1_790_000_600_000);
    let svg = draw(
        &lines(&["a".into()], &[vec![1e-320, 2e-320, 1e-320]], span),
        TimeRange::from_millis(span.0, span.1),
        &ChartOptions { legend: false, ..ChartOptions::default() },
    );
    let drawn = ordinates(&svg);
    let (low, high) = drawn.iter().fold((f64::MAX, f64::MIN), |(low, high), &y| (low.min(y), high.max(y)));
    assert!(high - low > 800.0, "{drawn:?}");
    assert!(svg.contains("1e-320") && svg.contains("2e-320"), "{svg}");
}

/// Texts of a picture with their places: left, right and middle in units of the view box, as their anchors have it.
fn texts(svg: &str) -> Vec<(f64, f64, f64, String)> {
    let mut found = Vec::new();
    for part in svg.split("<text ").skip(1) {
        let (head, rest) = part.split_once('>').unwrap();
        let text = rest.split_once("</text>").unwrap().0.trim().replace("&quot;", "\"");
        let attribute =
            |name: &str| head.split_once(&format!("{name}=\"")).map(|(_, rest)| rest.split_once('"').unwrap().0);
        let number = |name: &str| attribute(name).unwrap().parse::<f64>().unwrap();
        let size = attribute("font-size").unwrap().trim_end_matches("px").parse::<f64>().unwrap();
        let wide = text.chars().count() as f64 * size * 0.5;
        let left = match attribute("text-anchor").unwrap() {
            "start" => number("x"),
            "middle" => number("x") - wide / 2.0,
            _ => number("x") - wide,
        };
        found.push((left, left + wide, number("y"), text));
    }
    found
}

#[test]
fn texts_of_small_and_narrow_pictures_stay_apart_and_inside() {
    let many: Vec<String> = (0..60).map(|i| format!("{{instance=\"host-{i}\", job=\"node\"}}")).collect();
    let rows: Vec<Vec<f64>> = (0..60).map(|i| vec![f64::from(i), 99.0]).collect();
    let span = (1_790_000_000_000, 1_790_003_600_000);
    for (width, height) in [(120, 60), (200, 100), (340, 240), (340, 300), (800, 300)] {
        for zone in ["UTC", "Asia/Kathmandu"] {
            let zone = jiff::tz::TimeZone::get(zone).unwrap();
            let options = ChartOptions { width, height, zone, max_series: 7, ..ChartOptions::default() };
            let svg = draw(&lines(&many, &rows, span), TimeRange::from_millis(span.0, span.1), &options);
            let texts = texts(&svg);
            for (i, (left, right, y, text)) in texts.iter().enumerate() {
                assert!(*left >= 0.0 && *right <= f64::from(width) * 10.0, "{text:?} leaves {width}x{height}");
                for (other_left, other_right, other_y, other) in &texts[..i] {
                    let apart = (y - other_y).abs() >= 90.0 || right < other_left || left > other_right;
                    assert!(apart, "{text:?} meets {other:?} at {width}x{height}: {texts:?}");
                }
            }
            assert!(height < 240 || texts.iter().any(|(.., text)| text == "53 more series not drawn"), "{texts:?}");
        }
    }
}
