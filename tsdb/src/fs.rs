//! The one door to the disk.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::Error;

mod mmap;

pub use mmap::Map;

/// A file system. [`DiskFs`] is the real one; tests use one in memory that can lose what was not synced.
pub trait Fs: fmt::Debug + Send + Sync {
    /// Makes `dir` and what is missing above it. What it makes survives a power cut.
    ///
    /// # Errors
    /// As the system says; the same holds for all functions of this trait.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Names of the files and directories in `dir`, sorted.
    ///
    /// # Errors
    /// As the system says.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes a new file; it is an error if it is there already.
    ///
    /// # Errors
    /// As the system says.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// As the system says.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Opens an existing file for reading only: works without the permission to write.
    ///
    /// # Errors
    /// As the system says.
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Maps the first `len` bytes of a file for reading.
    ///
    /// # Errors
    /// As the system says, and if the file is shorter.
    fn map(&self, path: &Path, len: u64) -> io::Result<Map>;

    /// Gives a file that is never written to again a second name.
    ///
    /// # Errors
    /// As the system says.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// As the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes `dir` with all that is in it. It is no error if there is no such directory.
    ///
    /// # Errors
    /// As the system says. Part of what is in `dir` may then be gone.
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Gives a file or directory another name, in one step; a file that had that name is replaced.
    ///
    /// # Errors
    /// As the system says, also if `to` is a directory that is not empty.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes creations, removals and renamings in `dir` survive a power cut.
    ///
    /// # Errors
    /// As the system says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the lock file `path` until the answer is dropped; `None` if another process has it.
    ///
    /// # Errors
    /// As the system says.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>>;

    /// Identity of what has the name `path` now.
    ///
    /// # Errors
    /// As the system says.
    fn id(&self, path: &Path) -> io::Result<FileId>;

    /// Bytes that can still be written below `dir`.
    ///
    /// # Errors
    /// As the system says.
    fn available_bytes(&self, dir: &Path) -> io::Result<u64>;
}

/// An open file. Reads and writes name their offset, so one handle serves many threads.
pub trait File: fmt::Debug + Send + Sync {
    /// Fills as much of `buffer` as the file has from `offset` on; answers how much that is.
    ///
    /// # Errors
    /// As the system says; the same holds for all functions of this trait.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// As the system says. Part of `bytes` may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes what has been written survive a power cut.
    ///
    /// # Errors
    /// As the system says. What was written before may then be lost, also if a later call succeeds.
    fn sync(&self) -> io::Result<()>;

    /// Reserves disk space up to `len`; the file reads as zeros there.
    ///
    /// # Errors
    /// As the system says, for want of space above all.
    fn reserve(&self, len: u64) -> io::Result<()>;

    /// Cuts the file or extends it with zeros.
    ///
    /// # Errors
    /// As the system says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Bytes in the file.
    ///
    /// # Errors
    /// As the system says.
    fn size(&self) -> io::Result<u64>;

    /// Identity of the file. Cost: one system call that does not touch the disk.
    ///
    /// # Errors
    /// As the system says.
    fn id(&self) -> io::Result<FileId>;
}

/// Identity of a file, whatever its names are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    /// The file system.
    pub device: u64,
    /// The file on it.
    pub inode: u64,
    /// Names that the file has; 0 once it has been deleted.
    pub links: u64,
}

impl FileId {
    /// Whether both are the same file.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// Names the path in an error.
pub(crate) trait AtPath<T> {
    fn at(self, path: &Path) -> Result<T, Error>;
}

impl<T> AtPath<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T, Error> {
        self.map_err(|source| Error::Io { path: path.to_owned(), source })
    }
}

/// The number that a file of a store is named by, in the form in which names are written: at least eight digits.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    name.parse().ok().filter(|number: &u64| format!("{number:08}") == name)
}

/// The names in `dir`, sorted; none if there is no such directory.
pub(crate) fn names_in(fs: &dyn Fs, dir: &Path) -> Result<Vec<String>, Error> {
    match fs.list(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.at(dir),
    }
}

/// The file system of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskFs;

#[expect(clippy::disallowed_types, reason = "this is the door")]
mod disk {
    use std::fs::{self, DirBuilder, OpenOptions};
    use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};

    use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock, fstat, statvfs};

    use super::{Arc, DiskFs, File, FileId, Fs, Map, Path, PathBuf, io};

    /// Permissions of files, less what the umask takes: others than owner and group do not read samples.
    const FILE_MODE: u32 = 0o640;
    /// Permissions of directories, less what the umask takes.
    const DIR_MODE: u32 = 0o750;

    #[derive(Debug)]
    struct DiskFile(fs::File);

    impl Fs for DiskFs {
        fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
            let missing: Vec<&Path> =
                dir.ancestors().take_while(|d| !d.as_os_str().is_empty() && !d.is_dir()).collect();
            DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir)?;
            for made in missing {
                let parent = made.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
                self.sync_dir(parent)?;
            }
            Ok(())
        }

        fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
            let mut names: Vec<String> = fs::read_dir(dir)?
                .map(|entry| Ok(PathBuf::from(entry?.file_name()).to_string_lossy().into_owned()))
                .collect::<io::Result<_>>()?;
            names.sort_unstable();
            Ok(names)
        }

        fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
            let file = OpenOptions::new().read(true).write(true).create_new(true).mode(FILE_MODE).open(path)?;
            Ok(Arc::new(DiskFile(file)))
        }

        fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
            Ok(Arc::new(DiskFile(OpenOptions::new().read(true).write(true).open(path)?)))
        }

        fn open_read(&self, path: &Path) -> io::Result<Arc<dyn File>> {
            Ok(Arc::new(DiskFile(fs::File::open(path)?)))
        }

        fn map(&self, path: &Path, len: u64) -> io::Result<Map> {
            Map::of_file(fs::File::open(path)?, len)
        }

        fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
            fs::hard_link(from, to)
        }

        fn remove(&self, path: &Path) -> io::Result<()> {
            fs::remove_file(path)
        }

        fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
            match fs::remove_dir_all(dir) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other,
            }
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            fs::rename(from, to)
        }

        fn sync_dir(&self, dir: &Path) -> io::Result<()> {
            fs::File::open(dir)?.sync_all()
        }

        fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
            let file = OpenOptions::new().write(true).create(true).truncate(false).mode(FILE_MODE).open(path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => Ok(Some(Box::new(file))),
                Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
                Err(e) => Err(e.into()),
            }
        }

        fn id(&self, path: &Path) -> io::Result<FileId> {
            Ok(id_of(&fs::metadata(path)?))
        }

        fn available_bytes(&self, dir: &Path) -> io::Result<u64> {
            let stat = statvfs(dir)?;
            Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
        }
    }

    fn id_of(metadata: &fs::Metadata) -> FileId {
        FileId { device: metadata.dev(), inode: metadata.ino(), links: metadata.nlink() }
    }

    impl File for DiskFile {
        fn id(&self) -> io::Result<FileId> {
            let stat = fstat(&self.0)?;
            Ok(FileId { device: stat.st_dev, inode: stat.st_ino, links: stat.st_nlink as u64 })
        }

        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
            let mut filled = 0;
            while filled < buffer.len() {
                match self.0.read_at(&mut buffer[filled..], offset + filled as u64) {
                    Ok(0) => break,
                    Ok(n) => filled += n,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(e),
                }
            }
            Ok(filled)
        }

        fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
            self.0.write_all_at(bytes, offset)
        }

        fn sync(&self) -> io::Result<()> {
            self.0.sync_data()
        }

        fn reserve(&self, len: u64) -> io::Result<()> {
            match fallocate(&self.0, FallocateFlags::empty(), 0, len) {
                // Some file systems cannot reserve; the file then grows as it is written.
                Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
                other => Ok(other?),
            }
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.0.set_len(len)
        }

        fn size(&self) -> io::Result<u64> {
            Ok(self.0.metadata()?.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_than_owner_and_group_may_not_read_what_is_made() {
        use std::os::unix::fs::PermissionsExt;

        let temp = tempfile::tempdir().unwrap();
        let (fs, dir) = (DiskFs, temp.path().join("a/b"));
        fs.create_dir_all(&dir).unwrap();
        fs.create(&dir.join("file")).unwrap();
        let _lock = fs.lock(&dir.join("lock")).unwrap();
        let allowed = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        // Made with 0777, less the umask.
        std::fs::create_dir(temp.path().join("plain")).unwrap();
        let left = allowed(&temp.path().join("plain"));
        for (path, mode) in [("a", 0o750), ("a/b", 0o750), ("a/b/file", 0o640), ("a/b/lock", 0o640)] {
            assert_eq!(allowed(&temp.path().join(path)), mode & left, "{path}");
        }
    }

    #[test]
    fn the_disk_maps_renames_and_removes() {
        let temp = tempfile::tempdir().unwrap();
        let (fs, dir) = (DiskFs, temp.path().join("a/b"));
        fs.create_dir_all(&dir).unwrap();
        let path = dir.join("file");
        let file = fs.create(&path).unwrap();
        file.write_at(0, b"hello").unwrap();
        file.set_len(1 << 16).unwrap();
        let map = fs.map(&path, 1 << 16).unwrap();
        assert_eq!(&map[..6], b"hello\0");
        file.write_at(5, b", world").unwrap();
        assert_eq!(&map[..12], b"hello, world", "a write shows in the map");
        assert_eq!(fs.map(&path, 0).unwrap().len(), 0);
        assert_eq!(fs.map(&path, 1 << 17).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        fs.rename(&dir, &temp.path().join("c")).unwrap();
        assert_eq!(fs.list(temp.path()).unwrap(), ["a", "c"]);
        let read = fs.open_read(&temp.path().join("c/file")).unwrap();
        assert!(read.write_at(0, b"x").is_err(), "opened for reading only");
        fs.remove_dir_all(&temp.path().join("c")).unwrap();
        fs.remove_dir_all(&temp.path().join("c")).unwrap();
        assert_eq!(fs.list(temp.path()).unwrap(), ["a"]);
        assert_eq!(map[0], b'h', "what is mapped stays readable");
        assert!(fs.available_bytes(temp.path()).unwrap() > 0);
    }
}
