//! Blocks from outside, for tests and benches: write, open, select and read one.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use super::FaultFs;
use crate::block::{
    Block, BlockId, BlockMeta, BlockRange, BlockSpec, BlockWriter, CHUNKS_FILE, CHUNKS_KIND, EXEMPLARS_FILE,
    EXEMPLARS_KIND, INDEX_FILE,
};
use crate::error::Error;
use crate::exemplar::Exemplar;
use crate::fs::{DiskFs, Fs};
use crate::histogram::FloatHistogram;
use crate::index::FILE_KIND;
use crate::labels::Labels;
use crate::matcher::{MatchOp, Matcher};
use crate::pages::{FileKind, PageWriter, Pages};
use crate::querier::{Columns, SeriesSet};
use crate::sample::{HistogramSample, TimeRange, Timestamp};

/// A block that is open.
#[derive(Clone, Debug)]
pub struct OpenedBlock(Arc<Block>);

/// A block that is being written.
#[derive(Debug)]
pub struct WritingBlock(BlockWriter);

impl WritingBlock {
    /// Begins the block of `range` below `blocks_dir`; `entropy` tells it from others.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn begin(fs: &Arc<dyn Fs>, blocks_dir: &Path, range: BlockRange, entropy: u128) -> Result<Self, Error> {
        let id = BlockId::new(Timestamp::from_millis(range.end_ms), entropy);
        BlockWriter::begin(fs, blocks_dir, BlockSpec::new(id, range)).map(Self)
    }

    /// Adds a series, in the order of labels.
    ///
    /// # Errors
    /// If the disk refuses or series are out of order.
    pub fn add(&mut self, labels: &Labels, columns: &Columns) -> Result<(), Error> {
        self.0.add(labels, columns)
    }

    /// Adds the exemplars of a series, in the order of labels, ascending in time.
    ///
    /// # Errors
    /// If the disk refuses, or if something is out of order.
    pub fn add_exemplars(&mut self, labels: &Labels, exemplars: &[Exemplar]) -> Result<(), Error> {
        self.0.add_exemplars(labels, exemplars)
    }

    /// Puts the block in its place; `None` if it would be empty.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn finish(self) -> Result<Option<BlockMeta>, Error> {
        self.0.finish()
    }
}

/// Changes a small block as `changes` says, makes its checksums right again, and reads all of it in every way: whatever it
/// says then, it must not panic, hang, or take much memory. Each change is four bytes: file and place, place, place, value.
/// The highest bit is of the exemplars; without it the lowest tells index from chunks.
pub fn check_block(changes: &[u8]) {
    static SOUND: LazyLock<(BlockId, Files)> = LazyLock::new(sound_block);
    let fault = FaultFs::default();
    let (id, files) = &*SOUND;
    let blocks_dir = Path::new(BLOCKS_DIR);
    for (path, bytes) in files {
        let Some((kind, file)) = file_kind(path) else {
            put_file(&fault, path, bytes);
            continue;
        };
        let mut body = bytes.clone();
        let file_of = |change: &[u8]| if change[0] & EXEMPLARS != 0 { EXEMPLARS } else { change[0] & 1 };
        for change in changes.chunks_exact(4).filter(|change| file_of(change) == file) {
            let place = u32::from_be_bytes([0, (change[0] & !EXEMPLARS) >> 1, change[1], change[2]]) as usize;
            let len = body.len();
            body[place % len] = change[3];
        }
        let mut out = PageWriter::create(&fault, path.clone(), kind).expect("memory does not refuse");
        out.body().extend_from_slice(&body);
        out.finish().expect("memory does not refuse");
    }
    let fs: Arc<dyn Fs> = Arc::new(fault);
    let Ok(block) = OpenedBlock::open(&fs, blocks_dir, *id) else { return };
    let _ = block.verify();
    let matchers = [
        vec![],
        vec![Matcher::equal("a", "07")],
        [(MatchOp::Regex, "a", "0.*"), (MatchOp::NotEqual, "b", "x")].map(matcher).to_vec(),
        [(MatchOp::Regex, "a", ".*[13]"), (MatchOp::Regex, "c", ".+")].map(matcher).to_vec(),
    ];
    for matchers in &matchers {
        let part = TimeRange::from_millis(20_000, 50_000);
        let _ = block.0.label_names(matchers, part, |_| ());
        let _ = block.0.label_values("a", matchers, part, 10, |_| ());
        let _ = block.0.delete(matchers, part, true);
        let _ = block.0.find_exemplars(&[vec![], matchers.clone()], part, &|| false, |_, _| ());
        let Ok(set) = block.select(matchers, part) else { continue };
        for i in 0..set.len() {
            let (mut columns, _) = (Columns::default(), set.labels(i));
            let _ = set.read(i, part, &mut columns);
        }
    }
}

const BLOCKS_DIR: &str = "/blocks";

/// Bit of a change that is of the file of exemplars.
const EXEMPLARS: u8 = 0x80;

type Files = Vec<(PathBuf, Vec<u8>)>;

/// A small block: its files, of those in pages the bodies.
fn sound_block() -> (BlockId, Files) {
    let fault = FaultFs::default();
    let fs: Arc<dyn Fs> = Arc::new(fault.clone());
    let (blocks_dir, range) = (Path::new(BLOCKS_DIR), BlockRange { start_ms: 0, end_ms: 1 << 30 });
    let mut writer = WritingBlock::begin(&fs, blocks_dir, range, 1).expect("memory does not refuse");
    for i in 0..70 {
        let mut columns = Columns::default();
        for t in 0..100i64 {
            let jitter = if i % 7 == 0 { t * t % 11 } else { 0 };
            columns.push(t * 1000 + jitter, (i * t % 9 * t) as f64 / 4.0, i % 2);
        }
        if i % 9 == 0 {
            let histogram = FloatHistogram { count: i as f64, sum: 1.5, ..FloatHistogram::default() };
            let sample =
                HistogramSample { timestamp: Timestamp::from_millis(i), start: None, histogram: histogram.into() };
            columns.histograms.push(sample);
        }
        let labels = [("a", format!("{i:02}")), (["b", "c"][i as usize % 2], "x".to_owned())];
        writer.add(&Labels::from_pairs(labels), &columns).expect("series are sorted");
    }
    for i in (0..70).step_by(3) {
        let labels = [("a", format!("{i:02}")), (["b", "c"][i as usize % 2], "x".to_owned())];
        let one = |n: i64| Exemplar {
            labels: Labels::from_pairs([("trace_id", format!("{i:x}{n:x}")), ("ü", "y".repeat(n as usize % 3))]),
            value: n as f64 / 3.0,
            timestamp: Timestamp::from_millis(n * n * 1000),
        };
        let exemplars: Vec<Exemplar> = (1..5 + i % 4).map(one).collect();
        writer.add_exemplars(&Labels::from_pairs(labels), &exemplars).expect("series are sorted");
    }
    let id = writer.finish().expect("memory does not refuse").expect("there are samples").ulid;
    let files = fault.files().into_iter().map(|path| {
        let bytes = match file_kind(&path) {
            Some((kind, _)) => {
                let pages = Pages::open(&fault, path.clone(), kind).expect("just written");
                pages.bytes(0, pages.len() as usize).expect("just written").to_vec()
            }
            None => fault.bytes(&path).expect("just written"),
        };
        (path, bytes)
    });
    (id, files.collect())
}

fn put_file(fs: &FaultFs, path: &Path, bytes: &[u8]) {
    fs.create_dir_all(path.parent().expect("it is below the directory")).expect("memory does not refuse");
    fs.create(path).and_then(|file| file.write_at(0, bytes)).expect("memory does not refuse");
}

fn matcher((op, name, value): (MatchOp, &str, &str)) -> Matcher {
    Matcher::new(op, name, value).expect("a good pattern")
}

fn file_kind(path: &Path) -> Option<(FileKind, u8)> {
    match path.file_name()?.to_str()? {
        INDEX_FILE => Some((FILE_KIND, 0)),
        CHUNKS_FILE => Some((CHUNKS_KIND, 1)),
        EXEMPLARS_FILE => Some((EXEMPLARS_KIND, EXEMPLARS)),
        _ => None,
    }
}

/// The text of a file of the machine.
///
/// # Errors
/// As the system says.
pub fn read_text(path: &Path) -> std::io::Result<String> {
    let file = DiskFs.open_read(path)?;
    let mut bytes = vec![0; file.size()? as usize];
    let n = file.read_at(0, &mut bytes)?;
    bytes.truncate(n);
    String::from_utf8(bytes).map_err(std::io::Error::other)
}

impl OpenedBlock {
    /// Opens a block.
    ///
    /// # Errors
    /// If it is missing or damaged.
    pub fn open(fs: &Arc<dyn Fs>, blocks_dir: &Path, id: BlockId) -> Result<Self, Error> {
        Block::open(fs, blocks_dir, id).map(|block| Self(Arc::new(block)))
    }

    /// The series that pass all `matchers`.
    ///
    /// # Errors
    /// If the block is damaged.
    pub fn select(&self, matchers: &[Matcher], range: TimeRange) -> Result<Arc<dyn SeriesSet>, Error> {
        self.0.select(matchers, range)
    }

    /// Bytes of the index and of the chunks.
    #[must_use]
    pub fn size_bytes(&self) -> (u64, u64) {
        (self.0.index_bytes(), self.0.size_bytes() - self.0.index_bytes())
    }

    /// The exemplars of the series that pass all `matchers`, by series in the order of labels.
    ///
    /// # Errors
    /// If the block is damaged.
    pub fn exemplars(&self, matchers: &[Matcher]) -> Result<Vec<(Labels, Exemplar)>, Error> {
        let mut all = Vec::new();
        let each = |labels: &Labels, exemplar| all.push((labels.clone(), exemplar));
        self.0.find_exemplars(&[matchers.to_vec()], TimeRange::ALL, &|| false, each)?;
        Ok(all)
    }

    /// The first fault of the block.
    ///
    /// # Errors
    /// That fault.
    pub fn verify(&self) -> Result<(), Error> {
        let mut first = Ok(());
        self.0.verify(|e| {
            if first.is_ok() {
                first = Err(e);
            }
        });
        first
    }
}
