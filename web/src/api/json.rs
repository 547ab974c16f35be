//! The JSON of the API, written by hand: results have millions of numbers, all of one shape.

use tsdb::FloatHistogram;

use super::number::put_float;

/// Appends `text` as a JSON string.
pub(crate) fn put_str(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = special(rest) {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => out.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Where the first byte is that a JSON string must escape.
#[inline]
fn special(bytes: &[u8]) -> Option<usize> {
    // Eight bytes at a time, without a branch for each: the usual text has none.
    const ONES: u64 = u64::MAX / 255;
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let any = |piece: &[u8]| {
        let word = u64::from_le_bytes(piece.try_into().expect("pieces of eight bytes"));
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let marks = zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\')));
        (control | marks) & (ONES * 0x80) != 0
    };
    let is_special = |b: &u8| *b < 0x20 || *b == b'"' || *b == b'\\';
    let pieces = bytes.chunks_exact(8);
    let tail = bytes.len() - pieces.remainder().len();
    let from = pieces.enumerate().find(|(_, piece)| any(piece)).map_or(tail, |(piece, _)| piece * 8);
    bytes[from..].iter().position(is_special).map(|at| from + at)
}

/// Appends a list of strings.
pub(crate) fn put_strings<T: AsRef<str>>(out: &mut Vec<u8>, texts: impl IntoIterator<Item = T>) {
    out.push(b'[');
    for (i, text) in texts.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        put_str(out, text.as_ref());
    }
    out.push(b']');
}

/// Appends a moment as seconds, with the decimals that it has.
pub(crate) fn put_time(out: &mut Vec<u8>, ms: i64) {
    let mut digits = itoa::Buffer::new();
    if ms < 0 {
        out.push(b'-');
    }
    let ms = ms.unsigned_abs();
    out.extend_from_slice(digits.format(ms / 1000).as_bytes());
    let part = ms % 1000;
    if part > 0 {
        let decimals = [b'0' + (part / 100) as u8, b'0' + (part / 10 % 10) as u8, b'0' + (part % 10) as u8];
        let len = 3 - decimals.iter().rev().take_while(|&&d| d == b'0').count();
        out.push(b'.');
        out.extend_from_slice(&decimals[..len]);
    }
}

/// Appends a sample value: a number within quotation marks.
pub(crate) fn put_value(out: &mut Vec<u8>, value: f64) {
    out.push(b'"');
    put_float(out, value);
    out.push(b'"');
}

/// Appends labels as an object.
pub(crate) fn put_labels<'a>(out: &mut Vec<u8>, labels: impl IntoIterator<Item = (&'a str, &'a str)>) {
    out.push(b'{');
    for (i, (name, value)) in labels.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        put_str(out, name);
        out.push(b':');
        put_str(out, value);
    }
    out.push(b'}');
}

pub(super) fn put_point(out: &mut Vec<u8>, ms: i64, value: f64) {
    out.push(b'[');
    put_time(out, ms);
    out.push(b',');
    put_value(out, value);
    out.push(b']');
}

pub(super) fn put_histogram_point(out: &mut Vec<u8>, ms: i64, histogram: &FloatHistogram) {
    out.push(b'[');
    put_time(out, ms);
    out.extend_from_slice(b",{\"count\":");
    put_value(out, histogram.count);
    out.extend_from_slice(b",\"sum\":");
    put_value(out, histogram.sum);
    let mut buckets = histogram.clipped_buckets();
    // As in Prometheus, the bucket around zero may not have a negative count, others may.
    buckets.retain(|bucket| bucket.count > 0.0 || (bucket.count != 0.0 && bucket.side != tsdb::BucketSide::Zero));
    if !buckets.is_empty() {
        out.extend_from_slice(b",\"buckets\":[");
        for (i, bucket) in buckets.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            // 0 open on the left, 1 open on the right, 2 open on both sides, 3 closed on both.
            let boundaries = match (bucket.lower_inclusive, bucket.upper_inclusive) {
                (false, true) => b'0',
                (true, false) => b'1',
                (false, false) => b'2',
                (true, true) => b'3',
            };
            out.extend_from_slice(&[b'[', boundaries, b',']);
            put_value(out, bucket.lower);
            out.push(b',');
            put_value(out, bucket.upper);
            out.push(b',');
            put_value(out, bucket.count);
            out.push(b']');
        }
        out.push(b']');
    }
    out.extend_from_slice(b"}]");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(put: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        put(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn strings_are_escaped_as_json_wants_it() {
        for original in ["", "plain", "\"\\\n\r\t\u{0}\u{1f}", "läuft </script> \u{2028} 🦍"] {
            let written = text(|out| put_str(out, original));
            assert_eq!(serde_json::from_str::<String>(&written).unwrap(), original);
        }
    }

    #[test]
    fn times_have_the_decimals_they_need() {
        for (ms, written) in [(0, "0"), (1500, "1.5"), (-1, "-0.001"), (1_790_000_000_000, "1790000000"), (10, "0.01")]
        {
            assert_eq!(text(|out| put_time(out, ms)), written);
        }
    }

    #[test]
    fn buckets_that_reach_into_the_zero_bucket_begin_at_its_edge() {
        let histogram = FloatHistogram {
            count: 15.0,
            sum: 2.5,
            zero_threshold: 0.75,
            zero_count: 4.0,
            positive_spans: vec![tsdb::Span { offset: 0, length: 2 }],
            positive_buckets: vec![1.0, 2.0],
            negative_spans: vec![tsdb::Span { offset: 0, length: 2 }],
            negative_buckets: vec![3.0, 5.0],
            ..FloatHistogram::default()
        };
        let written = text(|out| put_histogram_point(out, 1000, &histogram));
        let buckets =
            r#"[1,"-2","-1","5"],[1,"-1","-0.75","3"],[3,"-0.75","0.75","4"],[0,"0.75","1","1"],[0,"1","2","2"]"#;
        assert_eq!(written, format!(r#"[1,{{"count":"15","sum":"2.5","buckets":[{buckets}]}}]"#));
    }
}
