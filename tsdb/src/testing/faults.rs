//! A file system in memory that can be stopped, and that can lose what was not synced.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::fs::{File, Fs};

/// A file system in memory. Clones are the same file system.
///
/// It knows what would survive a power cut: bytes synced since they were written, in files whose directory was synced
/// since they were made. It can be told to fail from the n-th write or sync on.
#[derive(Clone, Debug, Default)]
pub struct FaultFs(Arc<Mutex<Disk>>);

#[derive(Debug, Default)]
struct Disk {
    files: BTreeMap<PathBuf, Arc<Mutex<Content>>>,
    /// The files that a power cut leaves, as their directories were last synced.
    durable: BTreeMap<PathBuf, Arc<Mutex<Content>>>,
    locked: Vec<PathBuf>,
    operations: u64,
    fails_from: Option<u64>,
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

impl Disk {
    /// Counts a write or sync, and fails it if it is to fail.
    fn operate(&mut self) -> io::Result<()> {
        self.operations += 1;
        match self.fails_from {
            Some(n) if self.operations >= n => Err(io::Error::other("the disk was stopped")),
            _ => Ok(()),
        }
    }
}

impl FaultFs {
    /// Writes, syncs, creations and removals so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// Fails every write and sync from the `n`-th on, counted from the beginning.
    pub fn fail_from(&self, n: u64) {
        self.0.lock().fails_from = Some(n);
    }

    /// The disk after a power cut: what was not synced is gone. Its own operations count from 0 and do not fail.
    #[must_use]
    pub fn after_power_cut(&self) -> Self {
        let disk = self.0.lock();
        let files = disk.durable.iter().map(|(path, content)| {
            let bytes = content.lock().synced.clone();
            (path.clone(), Arc::new(Mutex::new(Content { synced: bytes.clone(), bytes })))
        });
        let files: BTreeMap<_, _> = files.collect();
        Self(Arc::new(Mutex::new(Disk { durable: files.clone(), files, ..Disk::default() })))
    }

    /// The disk after the process was killed: what was written is there.
    #[must_use]
    pub fn after_kill(&self) -> Self {
        let disk = self.0.lock();
        let files =
            disk.files.iter().map(|(path, content)| (path.clone(), Arc::new(Mutex::new(content.lock().clone()))));
        let files: BTreeMap<_, _> = files.collect();
        Self(Arc::new(Mutex::new(Disk { durable: files.clone(), files, ..Disk::default() })))
    }

    /// The bytes of a file.
    #[must_use]
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        self.0.lock().files.get(path).map(|content| content.lock().bytes.clone())
    }

    /// Replaces the bytes of a file.
    pub fn set_bytes(&self, path: &Path, bytes: Vec<u8>) {
        if let Some(content) = self.0.lock().files.get(path) {
            *content.lock() = Content { synced: bytes.clone(), bytes };
        }
    }

    /// All files, sorted.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.0.lock().files.keys().cloned().collect()
    }

    fn handle(&self, content: &Arc<Mutex<Content>>) -> Arc<dyn File> {
        Arc::new(FaultFile { disk: self.0.clone(), content: content.clone() })
    }
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Fs for FaultFs {
    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let disk = self.0.lock();
        let names = disk.files.keys().filter(|path| path.parent() == Some(dir)).filter_map(|path| path.file_name());
        Ok(names.map(|name| name.to_string_lossy().into_owned()).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut disk = self.0.lock();
        disk.operate()?;
        if disk.files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let content = Arc::default();
        disk.files.insert(path.to_owned(), content);
        let content = disk.files[path].clone();
        drop(disk);
        Ok(self.handle(&content))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let content = self.0.lock().files.get(path).cloned().ok_or_else(not_found)?;
        Ok(self.handle(&content))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.operate()?;
        disk.files.remove(path).map(drop).ok_or_else(not_found)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.operate()?;
        let Disk { files, durable, .. } = &mut *disk;
        durable.retain(|path, _| path.parent() != Some(dir));
        durable.extend(files.iter().filter(|(p, _)| p.parent() == Some(dir)).map(|(p, c)| (p.clone(), c.clone())));
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let mut disk = self.0.lock();
        if disk.locked.iter().any(|locked| locked == path) {
            return Ok(None);
        }
        disk.locked.push(path.to_owned());
        Ok(Some(Box::new(FaultLock { disk: self.0.clone(), path: path.to_owned() })))
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
