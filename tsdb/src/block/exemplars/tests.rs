use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::testing::FaultFs;

const PATH: &str = "/exemplars";

/// By series: time, bits of the value, labels.
type All = BTreeMap<Labels, Vec<(i64, u64, Labels)>>;

fn arb_labels() -> impl Strategy<Value = Labels> {
    let name = prop_oneof![4 => "[a-c_]{1,3}", 1 => Just(METRIC_NAME.to_owned()), 1 => "[Aé\u{1F980}]{0,2}"];
    prop::collection::vec((name, "[x-zé\u{1F980}]{0,90}"), 0..4).prop_map(Labels::from_pairs)
}

fn arb_exemplars() -> impl Strategy<Value = Vec<(i64, u64, Labels)>> {
    let time = prop_oneof![3 => -1000i64..1000, 1 => any::<i64>()];
    let value = prop_oneof![any::<u64>(), Just(f64::NAN.to_bits()), Just(crate::sample::STALE_NAN.to_bits())];
    prop::collection::btree_map(time, (value, arb_labels()), 1..12)
        .prop_map(|all| all.into_iter().map(|(at, (value, labels))| (at, value, labels)).collect())
}

fn write(fs: &FaultFs, all: &All) -> Result<(u64, u64), Error> {
    let mut writer = ExemplarsWriter::create(fs, PATH.into())?;
    for (labels, exemplars) in all {
        let exemplars = exemplars.iter().map(|(at, bits, labels)| Exemplar {
            labels: labels.clone(),
            value: f64::from_bits(*bits),
            timestamp: Timestamp::from_millis(*at),
        });
        writer.add(labels, &exemplars.collect::<Vec<_>>())?;
    }
    writer.finish()
}

fn read(fs: &FaultFs, mut wanted: impl FnMut(Timestamp) -> bool) -> Result<All, Error> {
    let file = ExemplarsFile::open(fs, PATH.into())?;
    let (mut series, mut pairs, mut all) = (file.series(), Vec::new(), All::new());
    while let Some(one) = series.next()? {
        one.labels(&mut pairs)?;
        let exemplars = all.entry(Labels::from_sorted(pairs.iter().copied())).or_default();
        one.read(&mut wanted, |e| exemplars.push((e.timestamp.millis(), e.value.to_bits(), e.labels)))?;
    }
    Ok(all)
}

fn small() -> All {
    let labels = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied());
    All::from([
        (
            labels(&[(METRIC_NAME, "a"), ("é", "\u{1F980}")]),
            vec![(-5, 1, labels(&[("trace_id", "x")])), (7, 2, labels(&[]))],
        ),
        (labels(&[(METRIC_NAME, "b")]), vec![(i64::MIN, u64::MAX, labels(&[])), (i64::MAX, 0, labels(&[("b", "y")]))]),
    ])
}

#[test]
fn every_changed_byte_and_every_cut_of_a_file_is_found() {
    let fs = FaultFs::default();
    write(&fs, &small()).unwrap();
    let path = Path::new(PATH);
    let bytes = fs.bytes(path).unwrap();
    for at in 0..bytes.len() {
        for change in [1, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at] ^= change;
            fs.set_bytes(path, changed);
            let error = read(&fs, |_| true).unwrap_err();
            assert!(matches!(&error, Error::Corrupt { path: named, .. } if named == path), "byte {at}: {error}");
        }
        fs.set_bytes(path, bytes[..at].to_vec());
        assert!(matches!(read(&fs, |_| true), Err(Error::Corrupt { .. })), "cut at {at}");
    }
    fs.set_bytes(path, bytes);
    assert_eq!(read(&fs, |_| true).unwrap(), small());
}

#[test]
fn what_is_out_of_order_is_refused() {
    let mut writer = ExemplarsWriter::create(&FaultFs::default(), PATH.into()).unwrap();
    let exemplar = |ms| Exemplar { labels: Labels::empty(), value: 1.0, timestamp: Timestamp::from_millis(ms) };
    let (a, b) = (Labels::from_pairs([("s", "a")]), Labels::from_pairs([("s", "b")]));
    assert!(writer.add(&b, &[exemplar(2), exemplar(2)]).is_err());
    writer.add(&b, &[exemplar(2), exemplar(3)]).unwrap();
    assert!(writer.add(&b, &[exemplar(4)]).is_err() && writer.add(&a, &[exemplar(4)]).is_err());
}

#[test]
fn a_search_ends_behind_the_last_metric_that_is_named() {
    let metric = |name: &str| vec![Matcher::equal(METRIC_NAME, name), Matcher::equal("x", "")];
    let of = |selectors: &[Vec<Matcher>], labels: &[(&str, &str)]| {
        let wanted = Wanted::new(selectors);
        (wanted.takes(labels), wanted.is_over(labels))
    };
    let two = [metric("b"), metric("d")];
    assert_eq!(of(&two, &[(METRIC_NAME, "a")]), (false, false));
    assert_eq!(of(&two, &[("A", "1"), (METRIC_NAME, "b")]), (true, false));
    assert_eq!(of(&two, &[(METRIC_NAME, "d"), ("x", "1")]), (false, false));
    assert_eq!(of(&two, &[(METRIC_NAME, "d"), ("y", "1")]), (true, false));
    assert_eq!(of(&two, &[(METRIC_NAME, "e")]), (false, true));
    assert_eq!(of(&two, &[("x", "1")]), (false, true));
    let any = [metric("b"), vec![Matcher::equal(METRIC_NAME, "")]];
    assert_eq!(of(&any, &[("y", "1")]), (true, false));
    assert_eq!(of(&[], &[("y", "1")]), (false, false));
}

proptest! {
    #[test]
    fn exemplars_come_back_bit_by_bit(all in prop::collection::btree_map(arb_labels(), arb_exemplars(), 0..8)) {
        let fs = FaultFs::default();
        let (count, bytes) = write(&fs, &all).unwrap();
        prop_assert_eq!(count as usize, all.values().map(Vec::len).sum::<usize>());
        prop_assert_eq!(bytes as usize, fs.bytes(Path::new(PATH)).unwrap().len());
        prop_assert_eq!(&read(&fs, |_| true).unwrap(), &all);
        let even = read(&fs, |at| at.millis() % 2 == 0).unwrap();
        let mut wanted = all.clone();
        wanted.values_mut().for_each(|exemplars| exemplars.retain(|(at, ..)| at % 2 == 0));
        prop_assert_eq!(even, wanted);
    }

    #[test]
    fn a_search_finds_what_passes(
        all in prop::collection::btree_map(arb_labels(), arb_exemplars(), 0..12),
        metrics in prop::collection::vec("[x-z]{0,2}", 1..3),
    ) {
        let fs = FaultFs::default();
        write(&fs, &all).unwrap();
        let selectors: Vec<_> = metrics.iter().map(|metric| vec![Matcher::equal(METRIC_NAME, metric)]).collect();
        let passing = all.keys().filter(|labels| metrics.iter().any(|m| m == labels.metric_name().unwrap_or_default()));
        let file = ExemplarsFile::open(&fs, PATH.into()).unwrap();
        let (wanted, mut series, mut pairs) = (Wanted::new(&selectors), file.series(), Vec::new());
        let mut found = BTreeSet::new();
        while let Some(one) = series.next().unwrap() {
            one.labels(&mut pairs).unwrap();
            if wanted.is_over(&pairs) {
                break;
            }
            if wanted.takes(&pairs) {
                found.insert(Labels::from_sorted(pairs.iter().copied()));
            }
        }
        prop_assert_eq!(found, passing.cloned().collect::<BTreeSet<_>>());
    }

    #[test]
    fn no_bytes_make_reading_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), small in any::<bool>()) {
        let fs = FaultFs::default();
        let mut out = PageWriter::create(&fs, PATH.into(), EXEMPLARS_KIND).unwrap();
        // Lengths are mostly small, and so are counts.
        out.body().extend(bytes.iter().map(|&byte| if small { byte % 24 } else { byte }));
        out.finish().unwrap();
        let _ = read(&fs, |_| true);
    }
}
