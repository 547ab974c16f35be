//! The worked examples of the format documents.

use super::*;

/// The bytes of the example of `file` in a format document: hexadecimal digits, a bar, and words.
fn worked_example(document: &str, file: &str) -> Vec<u8> {
    let example = document.split(&format!("\n## {file}, byte by byte\n")).nth(1).unwrap();
    let block = example.split("```text\n").nth(1).unwrap().split("```").next().unwrap();
    let digits = block.lines().flat_map(|line| line.split('|').next().unwrap().split_whitespace());
    digits.map(|digits| u8::from_str_radix(digits, 16).unwrap()).collect()
}

/// Two series of two samples, at 0 and 15 s.
fn example() -> Store {
    let mut store = Store::new();
    for (job, values) in [("a", [1.0, 1.0]), ("b", [2.5, 4.0])] {
        let mut columns = Columns::default();
        values.into_iter().zip([0, 15_000]).for_each(|(value, at)| columns.push(at, value, 0));
        store.insert(Labels::from_pairs([("__name__", "up"), ("job", job)]), columns);
    }
    store
}

/// Of the first series, one that a trace leads to and one that nothing does.
fn example_exemplars() -> Exemplars {
    let exemplar = |value, ms, labels| Exemplar { labels, value, timestamp: Timestamp::from_millis(ms) };
    let trace = Labels::from_pairs([("trace_id", "ab")]);
    let exemplars = vec![exemplar(0.5, 1000, trace), exemplar(2.0, 1200, Labels::empty())];
    Exemplars::from([(example().into_keys().next().unwrap(), exemplars)])
}

#[test]
fn the_worked_examples_of_the_format_documents() {
    let fault = FaultFs::default();
    let fs: Arc<dyn Fs> = Arc::new(fault.clone());
    write_with(&fs, RANGE, &example(), &example_exemplars()).unwrap();
    let dir = block_dir(Path::new(DIR), spec(RANGE).id);
    for (file, document) in [
        (CHUNKS_FILE, include_str!("../../../docs/format/block.md")),
        (EXEMPLARS_FILE, include_str!("../../../docs/format/block.md")),
        (INDEX_FILE, include_str!("../../../docs/format/index.md")),
    ] {
        let (written, documented) = (fault.bytes(&dir.join(file)).unwrap(), worked_example(document, file));
        assert_eq!(documented, written, "{file}: the document shows other bytes; these are written: {written:02x?}");
        fault.set_bytes(&dir.join(file), documented);
    }
    let block = open(&fs, RANGE).unwrap();
    block.verify(|e| panic!("{e}"));
    assert_eq!(
        read_all(&*block.select(&[], TimeRange::ALL).unwrap(), TimeRange::ALL),
        expected(&example(), TimeRange::ALL, &[])
    );
    assert_eq!(exemplars_of(&block, TimeRange::ALL).unwrap(), example_exemplars());
}
