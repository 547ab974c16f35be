//! A file system in memory that can be stopped, and that can lose what was not synced.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::fs::{File, Fs, Map};

/// A file system in memory. Clones are the same file system.
///
/// It knows what would survive a power cut: bytes synced since they were written, in files whose directory was synced
/// since they were made or renamed; a directory that is renamed takes along what is durable in it. It can be told to fail
/// from the n-th write or sync on.
///
/// Directories above a file that is made are made with it.
#[derive(Clone, Debug, Default)]
pub struct FaultFs(Arc<Mutex<Disk>>);

#[derive(Debug, Default)]
struct Disk {
    root: Dir,
    locked: Vec<PathBuf>,
    operations: u64,
    fails_from: Option<u64>,
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
    fn left(&self, power_cut: bool) -> Self {
        match self {
            Self::File(content) => {
                let mut content = content.lock().clone();
                if power_cut {
                    content.bytes.clone_from(&content.synced);
                }
                Self::File(Arc::new(Mutex::new(content)))
            }
            Self::Dir(dir) => Self::Dir(Arc::new(Mutex::new(dir.lock().left(power_cut)))),
        }
    }
}

impl Dir {
    fn left(&self, power_cut: bool) -> Self {
        let entries = if power_cut { &self.durable } else { &self.entries };
        let entries: Entries = entries.iter().map(|(name, node)| (name.clone(), node.left(power_cut))).collect();
        Self { durable: entries.clone(), entries }
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
        match self.fails_from {
            Some(n) if self.operations >= n => Err(io::Error::other("the disk was stopped")),
            _ => Ok(()),
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
        self.beside(path, |entries, name| entries.remove(&name).map(drop).ok_or_else(not_found))
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
        self.0.lock().fails_from = Some(n);
    }

    /// Lets all operations succeed again.
    pub fn heal(&self) {
        self.0.lock().fails_from = None;
    }

    /// The disk after a power cut: what was not synced is gone. Its own operations count from 0 and do not fail.
    #[must_use]
    pub fn after_power_cut(&self) -> Self {
        self.left(true)
    }

    /// The disk after the process was killed: what was written is there.
    #[must_use]
    pub fn after_kill(&self) -> Self {
        self.left(false)
    }

    fn left(&self, power_cut: bool) -> Self {
        let root = self.0.lock().root.left(power_cut);
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
            *content.lock() = Content { synced: bytes.clone(), bytes };
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
        self.0.lock().in_dir(dir, |dir| Ok(dir.entries.keys().cloned().collect()))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut disk = self.0.lock();
        if let Some(parent) = path.parent() {
            disk.make_dirs(parent)?;
        }
        disk.operate()?;
        let content = disk.beside(path, |entries, name| {
            if entries.contains_key(&name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let content = Arc::<Mutex<Content>>::default();
            entries.insert(name, Node::File(content.clone()));
            Ok(content)
        })?;
        drop(disk);
        Ok(self.handle(content))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.handle(self.content(path)?))
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.open(path)
    }

    /// A copy: what is written later does not show in it.
    fn map(&self, path: &Path, len: u64) -> io::Result<Map> {
        let content = self.content(path)?;
        let content = content.lock();
        Ok(Map::copied(content.bytes.get(..len as usize).ok_or(io::ErrorKind::UnexpectedEof)?))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.operate()?;
        let node = disk.node(from)?;
        disk.beside(to, |entries, name| Ok(entries.insert(name, node))).map(drop)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.operate()?;
        disk.node(path)?.file()?;
        disk.beside(path, |entries, name| entries.remove(&name).map(drop).ok_or_else(not_found))
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
        disk.beside(to, |entries, name| Ok(entries.insert(name, node)))?;
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

    /// As much as can be asked for.
    fn available_bytes(&self, _dir: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
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

impl File for FaultFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
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
        let mut content = self.content.lock();
        let end = offset as usize + bytes.len();
        if content.bytes.len() < end {
            content.bytes.resize(end, 0);
        }
        content.bytes[offset as usize..end].copy_from_slice(bytes);
        failed
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.lock().operate()?;
        let mut content = self.content.lock();
        content.synced = content.bytes.clone();
        Ok(())
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        self.disk.lock().operate()?;
        let mut content = self.content.lock();
        if content.bytes.len() < len as usize {
            content.bytes.resize(len as usize, 0);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.lock().operate()?;
        self.content.lock().bytes.resize(len as usize, 0);
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.content.lock().bytes.len() as u64)
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
