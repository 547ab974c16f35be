//! The one door to the disk.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::Error;

/// A file system. [`DiskFs`] is the real one; tests use one in memory that can lose what was not synced.
pub trait Fs: fmt::Debug + Send + Sync {
    /// Makes `dir` and what is missing above it.
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

    /// Removes a file.
    ///
    /// # Errors
    /// As the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes creations and removals in `dir` survive a power cut.
    ///
    /// # Errors
    /// As the system says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the lock file `path` until the answer is dropped; `None` if another process has it.
    ///
    /// # Errors
    /// As the system says.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>>;
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

/// The file system of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskFs;

#[expect(clippy::disallowed_types, reason = "this is the door")]
mod disk {
    use std::fs::{self, OpenOptions};
    use std::os::unix::fs::FileExt;

    use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};

    use super::{Arc, DiskFs, File, Fs, Path, PathBuf, io};

    #[derive(Debug)]
    struct DiskFile(fs::File);

    impl Fs for DiskFs {
        fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
            fs::create_dir_all(dir)
        }

        fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
            let mut names: Vec<String> = fs::read_dir(dir)?
                .map(|entry| Ok(PathBuf::from(entry?.file_name()).to_string_lossy().into_owned()))
                .collect::<io::Result<_>>()?;
            names.sort_unstable();
            Ok(names)
        }

        fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
            let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
            Ok(Arc::new(DiskFile(file)))
        }

        fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
            Ok(Arc::new(DiskFile(OpenOptions::new().read(true).write(true).open(path)?)))
        }

        fn remove(&self, path: &Path) -> io::Result<()> {
            fs::remove_file(path)
        }

        fn sync_dir(&self, dir: &Path) -> io::Result<()> {
            fs::File::open(dir)?.sync_all()
        }

        fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => Ok(Some(Box::new(file))),
                Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
                Err(e) => Err(e.into()),
            }
        }
    }

    impl File for DiskFile {
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
