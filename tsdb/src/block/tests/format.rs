//! The worked examples of the format documents.

use super::*;

/// The bytes of the last block of a format document: hexadecimal digits, a bar, and words.
fn worked_example(document: &str) -> Vec<u8> {
    let block = document.rsplit("```text\n").next().unwrap().split("```").next().unwrap();
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

#[test]
fn the_worked_examples_of_the_format_documents() {
    let fault = FaultFs::default();
    let fs: Arc<dyn Fs> = Arc::new(fault.clone());
    write(&fs, RANGE, &example()).unwrap();
    let dir = block_dir(Path::new(DIR), spec(RANGE).id);
    for (file, document) in [
        (CHUNKS_FILE, include_str!("../../../docs/format/block.md")),
        (INDEX_FILE, include_str!("../../../docs/format/index.md")),
    ] {
        let (written, documented) = (fault.bytes(&dir.join(file)).unwrap(), worked_example(document));
        assert_eq!(documented, written, "{file}: the document shows other bytes; these are written: {written:02x?}");
        fault.set_bytes(&dir.join(file), documented);
    }
    let block = open(&fs, RANGE).unwrap();
    block.verify(|e| panic!("{e}"));
    assert_eq!(
        read_all(&*block.select(&[], TimeRange::ALL).unwrap(), TimeRange::ALL),
        expected(&example(), TimeRange::ALL, &[])
    );
}
