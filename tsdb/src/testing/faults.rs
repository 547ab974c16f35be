//! A file system in memory that can be stopped, and that can lose what was not synced.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::fs::{File, FileId, Fs, Map};

/// A file system in memory. Clones are the same file system.
///
/// It knows what would survive a power cut: bytes synced since they were written, in files whose directory was synced
/// since they were made or renamed; a directory that is renamed takes along what is durable in it. It can be told to fail
/// from the n-th write or sync on or for some of them, to fail reads and lists, and to be full.
///
/// Directories above a file that is made are made with it.
#[derive(Clone, Debug, Default)]
pub struct FaultFs(Arc<Mutex<Disk>>);

#[derive(Debug, Default)]
struct Disk {
    root: Dir,
    locked: Vec<PathBuf>,
    operations: u64,
    /// Operations that fail.
    fails: Range<u64>,
    reads: u64,
    /// Reads that fail.
    read_fails: Range<u64>,
    /// Bytes that fit; no limit if none.
    capacity: Option<u64>,
    /// Bytes of all files.
    used: u64,
}

/// A directory: its entries now, and those that a power cut leaves.
#[derive(Debug, Default)]
struct Dir {
    entries: Entries,
    durable: Entries,
}

type Entries = BTreeMap<String, Node>;

#[derive(Clone, Debug)]
enum Node {
    File(Arc<Mutex<Content>>),
    Dir(Arc<Mutex<Dir>>),
}

#[derive(Clone, Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    synced: Vec<u8>,
    /// Names that the file has.
    links: u64,
}

#[derive(Debug)]
struct FaultFile {
    disk: Arc<Mutex<Disk>>,
    content: Arc<Mutex<Content>>,
}

impl Node {
    fn file(&self) -> io::Result<&Arc<Mutex<Content>>> {
        match self {
            Self::File(content) => Ok(content),
            Self::Dir(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    /// What is left of it: after a power cut what is durable, else what is there. All of it is durable then.
    fn left(&self, end: &mut End) -> Self {
        match self {
            Self::File(content) => {
                let content = content.lock();
                let bytes = match end {
                    End::Kill => content.bytes.clone(),
                    End::PowerCut => content.synced.clone(),
                    End::Torn(chance) => content.torn(chance),
                };
                // What is there now may be what was not synced before: it is lost with the next power cut all the same.
                let synced = if *end == End::Kill { content.synced.clone() } else { bytes.clone() };
                Self::File(Arc::new(Mutex::new(Content { bytes, synced, links: 1 })))
            }
            Self::Dir(dir) => Self::Dir(Arc::new(Mutex::new(dir.lock().left(end)))),
        }
    }

    /// Counts `change` names more or less, of a file.
    fn linked(&self, change: i64) {
        if let Self::File(content) = self {
            let links = &mut content.lock().links;
            *links = links.saturating_add_signed(change);
        }
    }
}

/// How a disk comes to be looked at anew.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// What was written is there.
    Kill,
    /// Nothing is there that was not synced.
    PowerCut,
    /// Of what was not synced some is there, by this generator of chance.
    Torn(u64),
}

/// Bytes that a disk writes at once.
const SECTOR_BYTES: usize = 512;

impl Content {
    /// The bytes after a power cut that came while sectors were being written, in any order: each that was not synced is as it
    /// was or as it is, and the length likewise.
    fn torn(&self, chance: &mut u64) -> Vec<u8> {
        let mut next = || {
            // xorshift64*
            *chance ^= *chance >> 12;
            *chance ^= *chance << 25;
            *chance ^= *chance >> 27;
            chance.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 63 == 1
        };
        let longer = self.bytes.len().max(self.synced.len());
        let mut torn = self.synced.clone();
        torn.resize(longer, 0);
        for from in (0..self.bytes.len()).step_by(SECTOR_BYTES) {
            let sector = from..(from + SECTOR_BYTES).min(self.bytes.len());
            if torn[sector.clone()] != self.bytes[sector.clone()] && next() {
                torn[sector.clone()].copy_from_slice(&self.bytes[sector]);
            }
        }
        torn.truncate(if next() { self.bytes.len() } else { self.synced.len() });
        torn
    }
}

impl Dir {
    fn left(&self, end: &mut End) -> Self {
        let entries = if *end == End::Kill { &self.entries } else { &self.durable };
        let entries: Entries = entries.iter().map(|(name, node)| (name.clone(), node.left(end))).collect();
        Self { durable: entries.clone(), entries }
    }

    /// Bytes of all files.
    fn used(&self) -> u64 {
        let of = |node: &Node| match node {
            Node::File(content) => content.lock().bytes.len() as u64,
            Node::Dir(dir) => dir.lock().used(),
        };
        self.entries.values().map(of).sum()
    }

    /// Adds the paths of all files to `out`.
    fn files(&self, path: &Path, out: &mut Vec<PathBuf>) {
        for (name, node) in &self.entries {
            let path = path.join(name);
            match node {
                Node::File(_) => out.push(path),
                Node::Dir(dir) => dir.lock().files(&path, out),
            }
        }
    }
}

/// The names on the way to `path`.
fn names(path: &Path) -> impl Iterator<Item = String> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    })
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk {
    /// Counts a write or sync, and fails it if it is to fail.
    fn operate(&mut self) -> io::Result<()> {
        self.operations += 1;
        if self.fails.contains(&self.operations) { Err(io::Error::other("the disk was stopped")) } else { Ok(()) }
    }

    /// Counts a read or list, and fails it if it is to fail.
    fn read(&mut self) -> io::Result<()> {
        self.reads += 1;
        if self.read_fails.contains(&self.reads) { Err(io::Error::other("the disk cannot be read")) } else { Ok(()) }
    }

    /// Makes room for `bytes` more, of which at least one must fit. Answers how many fit.
    fn take(&mut self, bytes: u64) -> io::Result<u64> {
        let fit = self.capacity.map_or(bytes, |capacity| bytes.min(capacity.saturating_sub(self.used)));
        if fit == 0 && bytes > 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.used += fit;
        Ok(fit)
    }

    /// Gives the room of a file free that has no name any more.
    fn give_back(&mut self, gone: Option<Node>) {
        if let Some(node) = gone {
            node.linked(-1);
            if let Node::File(content) = node {
                let content = content.lock();
                if content.links == 0 {
                    self.used = self.used.saturating_sub(content.bytes.len() as u64);
                }
            }
        }
    }

    /// Does `work` in the directory `path`.
    fn in_dir<T>(&mut self, path: &Path, work: impl FnOnce(&mut Dir) -> io::Result<T>) -> io::Result<T> {
        let mut dir: Option<Arc<Mutex<Dir>>> = None;
        for name in names(path) {
            let node = match &dir {
                None => self.root.entries.get(&name).cloned(),
                Some(dir) => dir.lock().entries.get(&name).cloned(),
            };
            match node {
                Some(Node::Dir(next)) => dir = Some(next),
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => return Err(not_found()),
            }
        }
        match dir {
            None => work(&mut self.root),
            Some(dir) => work(&mut dir.lock()),
        }
    }

    /// Does `work` with the entries that `path` is or would be one of, and its name.
    fn beside<T>(&mut self, path: &Path, work: impl FnOnce(&mut Entries, String) -> io::Result<T>) -> io::Result<T> {
        let name = names(path).last().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = path.parent().unwrap_or(Path::new(""));
        self.in_dir(parent, |dir| work(&mut dir.entries, name))
    }

    fn node(&mut self, path: &Path) -> io::Result<Node> {
        self.beside(path, |entries, name| entries.get(&name).cloned().ok_or_else(not_found))
    }

    fn make_dirs(&mut self, path: &Path) -> io::Result<()> {
        let mut above = PathBuf::new();
        for name in names(path) {
            if self.in_dir(&above.join(&name), |_| Ok(())).is_err() {
                self.operate()?;
                self.in_dir(&above, |dir| {
                    if dir.entries.contains_key(&name) {
                        return Err(io::ErrorKind::NotADirectory.into());
                    }
                    let made = Node::Dir(Arc::default());
                    dir.durable.insert(name.clone(), made.clone());
                    dir.entries.insert(name.clone(), made);
                    Ok(())
                })?;
            }
            above.push(name);
        }
        Ok(())
    }

    /// Removes what is in `dir`, then `dir`, one by one.
    fn remove_all(&mut self, path: &Path) -> io::Result<()> {
        if let Node::Dir(dir) = self.node(path)? {
            let names: Vec<String> = dir.lock().entries.keys().cloned().collect();
            for name in names {
                self.remove_all(&path.join(name))?;
            }
        }
        self.operate()?;
        let gone = self.beside(path, |entries, name| entries.remove(&name).ok_or_else(not_found))?;
        self.give_back(Some(gone));
        Ok(())
    }
}

impl FaultFs {
    /// Writes, syncs, creations, renamings and removals so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// Fails every write and sync from the `n`-th on, counted from the beginning.
    pub fn fail_from(&self, n: u64) {
        self.fail_within(n..u64::MAX);
    }

    /// Fails these writes and syncs, counted from the beginning: a disk that heals by itself.
    pub fn fail_within(&self, operations: Range<u64>) {
        self.0.lock().fails = operations;
    }

    /// Reads of files, openings, maps and lists so far.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.0.lock().reads
    }

    /// Fails these reads, counted from the beginning.
    pub fn fail_reads_within(&self, reads: Range<u64>) {
        self.0.lock().read_fails = reads;
    }

    /// Lets only so many bytes fit, those there are included; without a number, any.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        let mut disk = self.0.lock();
        disk.used = disk.root.used();
        disk.capacity = bytes;
    }

    /// Bytes of all files.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.0.lock().root.used()
    }

    /// Lets all operations succeed again.
    pub fn heal(&self) {
        let mut disk = self.0.lock();
        (disk.fails, disk.read_fails, disk.capacity) = (0..0, 0..0, None);
    }

    /// The disk after a power cut: what was not synced is gone. Its own operations count from 0 and do not fail.
    #[must_use]
    pub fn after_power_cut(&self) -> Self {
        self.left(End::PowerCut)
    }

    /// The disk after a power cut that came while it wrote: each sector that was not synced is there or not, in any order, and so
    /// is the length of a file. Names are as after [`after_power_cut`](Self::after_power_cut).
    #[must_use]
    pub fn after_torn_power_cut(&self, seed: u64) -> Self {
        self.left(End::Torn(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1))
    }

    /// The disk after the process was killed: what was written is there.
    #[must_use]
    pub fn after_kill(&self) -> Self {
        self.left(End::Kill)
    }

    fn left(&self, mut end: End) -> Self {
        let root = self.0.lock().root.left(&mut end);
        Self(Arc::new(Mutex::new(Disk { root, ..Disk::default() })))
    }

    fn content(&self, path: &Path) -> io::Result<Arc<Mutex<Content>>> {
        self.0.lock().node(path)?.file().cloned()
    }

    /// The bytes of a file.
    #[must_use]
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        self.content(path).ok().map(|content| content.lock().bytes.clone())
    }

    /// Replaces the bytes of a file.
    pub fn set_bytes(&self, path: &Path, bytes: Vec<u8>) {
        if let Ok(content) = self.content(path) {
            let mut content = content.lock();
            (content.synced, content.bytes) = (bytes.clone(), bytes);
        }
    }

    /// All files, sorted.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        self.0.lock().root.files(Path::new("/"), &mut files);
        files.sort_unstable();
        files
    }

    fn handle(&self, content: Arc<Mutex<Content>>) -> Arc<dyn File> {
        Arc::new(FaultFile { disk: self.0.clone(), content })
    }
}

impl Fs for FaultFs {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.0.lock().make_dirs(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut disk = self.0.lock();
        disk.read()?;
        disk.in_dir(dir, |dir| Ok(dir.entries.keys().cloned().collect()))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut disk = self.0.lock();
        if let Some(parent) = path.parent() {
            disk.make_dirs(parent)?;
        }
        disk.operate()?;
        if disk.capacity.is_some_and(|capacity| disk.used >= capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let content = disk.beside(path, |entries, name| {
            if entries.contains_key(&name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let content = Arc::new(Mutex::new(Content { links: 1, ..Content::default() }));
            entries.insert(name, Node::File(content.clone()));
            Ok(content)
        })?;
        drop(disk);
        Ok(self.handle(content))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.0.lock().read()?;
        Ok(self.handle(self.content(path)?))
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.open(path)
    }

    /// A copy: what is written later does not show in it.
    fn map(&self, path: &Path, len: u64) -> io::Result<Map> {
        self.0.lock().read()?;
        let content = self.content(path)?;
        let content = content.lock();
        Ok(Map::copied(content.bytes.get(..len as usize).ok_or(io::ErrorKind::UnexpectedEof)?))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.operate()?;
        let node = disk.node(from)?;
        node.linked(1);
        let gone = disk.beside(to, |entries, name| Ok(entries.insert(name, node)))?;
        disk.give_back(gone);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.operate()?;
        disk.node(path)?.file()?;
        let gone = disk.beside(path, |entries, name| entries.remove(&name).ok_or_else(not_found))?;
        disk.give_back(Some(gone));
        Ok(())
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        match self.0.lock().remove_all(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.operate()?;
        let node = disk.node(from)?;
        match (&node, disk.node(to)) {
            (Node::Dir(_), Ok(Node::Dir(dir))) if !dir.lock().entries.is_empty() => {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            (Node::Dir(_), Ok(Node::File(_))) => return Err(io::ErrorKind::NotADirectory.into()),
            (Node::File(_), Ok(Node::Dir(_))) => return Err(io::ErrorKind::IsADirectory.into()),
            _ => {}
        }
        // The new name first: if it cannot be had, the old one stays.
        let gone = disk.beside(to, |entries, name| Ok(entries.insert(name, node)))?;
        disk.give_back(gone);
        disk.beside(from, |entries, name| Ok(entries.remove(&name))).map(drop)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.operate()?;
        disk.in_dir(dir, |dir| {
            dir.durable.clone_from(&dir.entries);
            Ok(())
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let mut disk = self.0.lock();
        if disk.locked.iter().any(|locked| locked == path) {
            return Ok(None);
        }
        disk.locked.push(path.to_owned());
        Ok(Some(Box::new(FaultLock { disk: self.0.clone(), path: path.to_owned() })))
    }

    fn id(&self, path: &Path) -> io::Result<FileId> {
        self.handle(self.content(path)?).id()
    }

    fn available_bytes(&self, _dir: &Path) -> io::Result<u64> {
        let disk = self.0.lock();
        Ok(disk.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(disk.used)))
    }
}

struct FaultLock {
    disk: Arc<Mutex<Disk>>,
    path: PathBuf,
}

impl Drop for FaultLock {
    fn drop(&mut self) {
        self.disk.lock().locked.retain(|locked| *locked != self.path);
    }
}

impl FaultFile {
    /// Makes the file at least `end` bytes long, as far as there is room. Answers how long it is.
    fn grow(&self, end: u64) -> (u64, io::Result<()>) {
        let mut disk = self.disk.lock();
        let mut content = self.content.lock();
        let len = content.bytes.len() as u64;
        let (fit, result) = match disk.take(end.saturating_sub(len)) {
            Ok(fit) if len + fit < end => (fit, Err(io::ErrorKind::StorageFull.into())),
            Ok(fit) => (fit, Ok(())),
            Err(full) => (0, Err(full)),
        };
        content.bytes.resize((len + fit) as usize, 0);
        (len + fit, result)
    }
}

impl File for FaultFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.disk.lock().read()?;
        let content = self.content.lock();
        let rest = content.bytes.get(offset as usize..).unwrap_or_default();
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let failed = self.disk.lock().operate();
        // A write that fails may have got half way.
        let bytes = if failed.is_err() { &bytes[..bytes.len() / 2] } else { bytes };
        let (len, grown) = self.grow(offset + bytes.len() as u64);
        let mut content = self.content.lock();
        let end = (offset as usize + bytes.len()).min(len as usize);
        if let Some(fits) = end.checked_sub(offset as usize) {
            content.bytes[offset as usize..end].copy_from_slice(&bytes[..fits]);
        }
        failed.and(grown)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.lock().operate()?;
        let mut content = self.content.lock();
        content.synced = content.bytes.clone();
        Ok(())
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        self.disk.lock().operate()?;
        let before = self.content.lock().bytes.len();
        let (_, grown) = self.grow(len);
        if grown.is_err() {
            let mut disk = self.disk.lock();
            let mut content = self.content.lock();
            disk.used = disk.used.saturating_sub((content.bytes.len() - before) as u64);
            content.bytes.truncate(before);
        }
        grown
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.lock().operate()?;
        let mut disk = self.disk.lock();
        let mut content = self.content.lock();
        disk.used = disk.used.saturating_add(len).saturating_sub(content.bytes.len() as u64);
        content.bytes.resize(len as usize, 0);
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.content.lock().bytes.len() as u64)
    }

    fn id(&self) -> io::Result<FileId> {
        let links = self.content.lock().links;
        Ok(FileId { device: 0, inode: Arc::as_ptr(&self.content) as u64, links })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(fs: &FaultFs, path: &str, bytes: &[u8]) {
        let file = fs.create(Path::new(path)).unwrap();
        file.write_at(0, bytes).unwrap();
        file.sync().unwrap();
    }

    #[test]
    fn a_renamed_directory_is_durable_once_its_parent_is_synced() {
        let fs = FaultFs::default();
        fs.create_dir_all(Path::new("/data/new.tmp")).unwrap();
        written(&fs, "/data/new.tmp/a", b"1");
        fs.sync_dir(Path::new("/data/new.tmp")).unwrap();
        written(&fs, "/data/new.tmp/late", b"2");
        fs.rename(Path::new("/data/new.tmp"), Path::new("/data/new")).unwrap();
        assert_eq!(fs.list(Path::new("/data")).unwrap(), ["new"]);
        assert_eq!(fs.after_power_cut().files(), [Path::new("/data/new.tmp/a")]);
        assert_eq!(fs.after_kill().files(), [Path::new("/data/new/a"), Path::new("/data/new/late")]);
        fs.sync_dir(Path::new("/data")).unwrap();
        assert_eq!(fs.after_power_cut().files(), [Path::new("/data/new/a")]);
        fs.remove_dir_all(Path::new("/data/new")).unwrap();
        assert!(fs.files().is_empty());
        assert_eq!(fs.after_power_cut().files(), [Path::new("/data/new/a")], "a removal that was not synced");
        fs.remove_dir_all(Path::new("/data/new")).unwrap();
    }

    #[test]
    fn a_torn_power_cut_leaves_each_unsynced_sector_as_it_was_or_as_it_is() {
        let fs = FaultFs::default();
        written(&fs, "/d/a", &[1; 4 * SECTOR_BYTES]);
        fs.sync_dir(Path::new("/d")).unwrap();
        fs.open(Path::new("/d/a")).unwrap().write_at(SECTOR_BYTES as u64, &[2; 5 * SECTOR_BYTES]).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let left = fs.after_torn_power_cut(seed).bytes(Path::new("/d/a")).unwrap();
            assert!([4, 6].contains(&(left.len() / SECTOR_BYTES)) && left[..SECTOR_BYTES] == [1; SECTOR_BYTES]);
            for (n, sector) in left.chunks(SECTOR_BYTES).enumerate() {
                let before = if n < 4 { 1 } else { 0 };
                assert!(sector.iter().all(|&b| b == sector[0]) && [before, 2].contains(&sector[0]), "sector {n}");
            }
            seen.insert(left);
        }
        assert!(seen.len() > 20, "{} outcomes", seen.len());
    }

    #[test]
    fn a_full_disk_takes_what_fits_and_more_once_there_is_room() {
        let fs = FaultFs::default();
        written(&fs, "/d/ballast", &[1; 1000]);
        fs.set_capacity(Some(1500));
        let file = fs.create(Path::new("/d/a")).unwrap();
        file.write_at(0, &[2; 400]).unwrap();
        let full = |result: io::Result<()>| assert_eq!(result.unwrap_err().kind(), io::ErrorKind::StorageFull);
        full(file.write_at(400, &[3; 200]));
        assert_eq!(fs.bytes(Path::new("/d/a")).unwrap().len(), 500, "a part of it fits");
        full(file.reserve(600));
        full(fs.create(Path::new("/d/b")).map(drop));
        fs.remove(Path::new("/d/ballast")).unwrap();
        file.write_at(400, &[3; 200]).unwrap();
        assert_eq!((fs.used(), fs.available_bytes(Path::new("/")).unwrap()), (600, 900));
    }

    #[test]
    fn faults_heal_and_reads_and_lists_fail_when_they_are_told_to() {
        let fs = FaultFs::default();
        written(&fs, "/d/a", b"1");
        fs.fail_within(fs.operations() + 1..fs.operations() + 3);
        let file = fs.open(Path::new("/d/a")).unwrap();
        assert!(file.sync().is_err() && file.sync().is_err() && file.sync().is_ok());
        fs.fail_reads_within(fs.reads() + 1..fs.reads() + 3);
        assert!(fs.list(Path::new("/d")).is_err() && file.read_at(0, &mut [0]).is_err());
        assert_eq!(fs.list(Path::new("/d")).unwrap(), ["a"]);
        assert_eq!(file.id().unwrap().links, 1);
        fs.remove(Path::new("/d/a")).unwrap();
        assert_eq!(file.id().unwrap().links, 0);
    }

    #[test]
    fn a_renamed_file_replaces_another() {
        let fs = FaultFs::default();
        written(&fs, "/d/a", b"old");
        written(&fs, "/d/a.tmp", b"new");
        fs.sync_dir(Path::new("/d")).unwrap();
        fs.rename(Path::new("/d/a.tmp"), Path::new("/d/a")).unwrap();
        assert_eq!(fs.bytes(Path::new("/d/a")).unwrap(), b"new");
        assert_eq!(fs.after_power_cut().bytes(Path::new("/d/a")).unwrap(), b"old");
        fs.sync_dir(Path::new("/d")).unwrap();
        assert_eq!(fs.after_power_cut().bytes(Path::new("/d/a")).unwrap(), b"new");
    }
}
