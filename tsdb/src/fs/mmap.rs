//! Files mapped into memory: the one home of `unsafe`.
//!
//! A mapped page raises SIGBUS when it is touched and its file has become shorter meanwhile, or the disk cannot read it. The
//! handler here puts zeros in its place and marks the mapping, so that the thread goes on and the reader finds the mark with
//! [`Map::is_whole`]. Why not other ways: ARCHITECTURE.md.

use std::fmt;
use std::io;
use std::ops::Deref;
use std::sync::Arc;

use memmap2::{Mmap, MmapOptions};

/// The first bytes of a file, mapped for reading. Clones are the same mapping; it stays when the file is removed.
///
/// A mapping may reach beyond what has been written so far: what is written there later shows in it.
#[derive(Clone)]
pub struct Map(Inner);

#[derive(Clone)]
enum Inner {
    Mapped(Arc<Mapping>),
    Copied(Arc<[u8]>),
}

impl Map {
    /// Maps the first `len` bytes of `file`.
    #[expect(clippy::disallowed_types, reason = "what is to be mapped is a file")]
    #[expect(unsafe_code, reason = "a mapping is only as good as what is done to its file")]
    pub(super) fn of_file(file: std::fs::File, len: u64) -> io::Result<Self> {
        if file.metadata()?.len() < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if len == 0 {
            return Ok(Self::copied(&[]));
        }
        let len = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        bus::install()?;
        // SAFETY: the store that holds the directory locked, this one or one that is read from beside it, never makes a
        // file shorter once it can be mapped, and writes each byte of it once: files of blocks before they have their
        // name, growing files of the head only behind the length that has been published to readers. Where somebody else
        // makes a file shorter, the handler of SIGBUS keeps the mapping readable, and its reader asks `is_whole`.
        let map = unsafe { MmapOptions::new().len(len).map(&file)? };
        let pages = bus::watch(map.as_ptr() as usize, len);
        let mut mapping = Mapping { map, pages, end: [0; END_BYTES], file: None };
        mapping.end = mapping.read_end();
        // Where the last byte is not zero, it tells of every cut by itself.
        mapping.file = (mapping.end[END_BYTES - 1] == 0).then_some(file);
        Ok(Self(Inner::Mapped(Arc::new(mapping))))
    }

    /// Bytes that look like a mapping.
    #[must_use]
    pub fn copied(bytes: &[u8]) -> Self {
        Self(Inner::Copied(bytes.into()))
    }

    /// Whether the file is still as long as it was when it was mapped, and all that has been touched of it could be read.
    /// Readers ask after they have read: what they have is good if the answer is yes. A file that somebody has made shorter
    /// stays broken also if it grows again.
    ///
    /// Cost: a few loads of mapped memory; one system call where the file ends with a zero.
    #[inline]
    #[must_use]
    pub fn is_whole(&self) -> bool {
        match &self.0 {
            Inner::Mapped(mapping) => mapping.is_whole(),
            Inner::Copied(_) => true,
        }
    }
}

impl Deref for Map {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Inner::Mapped(mapping) => &mapping.map,
            Inner::Copied(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Map({} bytes)", self.len())
    }
}

/// Last bytes of a file that are remembered.
const END_BYTES: usize = 8;

#[expect(clippy::disallowed_types, reason = "the file of the mapping")]
struct Mapping {
    map: Mmap,
    pages: &'static bus::Watched,
    /// The last bytes when the file was mapped, zeros before them where it is shorter.
    end: [u8; END_BYTES],
    file: Option<std::fs::File>,
}

impl Mapping {
    #[inline]
    fn is_whole(&self) -> bool {
        // The end first: touching it may be what raises the mark.
        self.read_end() == self.end
            && !self.pages.has_faults()
            && self.file.as_ref().is_none_or(|file| file.metadata().is_ok_and(|now| now.len() >= self.map.len() as u64))
    }

    /// The last bytes as they are now.
    #[inline]
    #[expect(unsafe_code, reason = "the compiler may not keep what it read before")]
    fn read_end(&self) -> [u8; END_BYTES] {
        let mut end = [0; END_BYTES];
        let n = self.map.len().min(END_BYTES);
        for (to, from) in end[END_BYTES - n..].iter_mut().zip(&self.map[self.map.len() - n..]) {
            // SAFETY: a reference to a byte of a live mapping, which `self` holds.
            *to = unsafe { std::ptr::read_volatile(from) };
        }
        end
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.pages.release();
    }
}

/// The handler of SIGBUS.
mod bus {
    use std::io;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

    use parking_lot::Mutex;

    /// A span of addresses that is watched. Never freed, used again: the handler may look at it at any time.
    #[derive(Debug)]
    pub(super) struct Watched {
        start: AtomicUsize,
        /// 0 while nothing is watched.
        end: AtomicUsize,
        faults: AtomicBool,
        /// The one that was made before this.
        before: Option<&'static Watched>,
    }

    impl Watched {
        #[inline]
        pub(super) fn has_faults(&self) -> bool {
            self.faults.load(Ordering::SeqCst)
        }

        /// Ends the watch. The caller holds the mapping until this returns.
        pub(super) fn release(&'static self) {
            self.end.store(0, Ordering::SeqCst);
            FREE.lock().push(self);
        }
    }

    /// The one that was made last: the handler goes through all from here.
    static LAST: AtomicPtr<Watched> = AtomicPtr::new(std::ptr::null_mut());
    static FREE: Mutex<Vec<&'static Watched>> = Mutex::new(Vec::new());
    static PAGE_BYTES: AtomicUsize = AtomicUsize::new(0);
    /// Answer to SIGBUS before ours: for addresses that nobody here has mapped.
    static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

    /// Watches `len` bytes at `start`.
    #[expect(unsafe_code, reason = "the list is read by the handler")]
    pub(super) fn watch(start: usize, len: usize) -> &'static Watched {
        let mut free = FREE.lock();
        let watched = free.pop().unwrap_or_else(|| {
            // SAFETY: what `LAST` points at is leaked a few lines below and never freed. The lock is held.
            let before = unsafe { LAST.load(Ordering::SeqCst).as_ref() };
            let (start, end, faults) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
            let made = Box::leak(Box::new(Watched { start, end, faults, before }));
            LAST.store(made, Ordering::SeqCst);
            made
        });
        watched.faults.store(false, Ordering::SeqCst);
        watched.start.store(start, Ordering::SeqCst);
        watched.end.store(start + len, Ordering::SeqCst);
        watched
    }

    /// Takes over SIGBUS, once per process.
    #[expect(unsafe_code, reason = "signal handlers are installed by the C library")]
    pub(super) fn install() -> io::Result<()> {
        static INSTALLED: Mutex<bool> = Mutex::new(false);
        let mut installed = INSTALLED.lock();
        if *installed {
            return Ok(());
        }
        // SAFETY: a question about the system.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        PAGE_BYTES.store(usize::try_from(page).unwrap_or(4096), Ordering::SeqCst);
        // SAFETY: both structs are plain data for which zeros are a value; the handler has the signature that SA_SIGINFO
        // asks for and does only what a handler may: loads, stores, and system calls.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            let mut before: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(libc::SIGBUS, std::ptr::null(), &mut before) != 0 {
                return Err(io::Error::last_os_error());
            }
            BEFORE.get_or_init(|| before);
            action.sa_sigaction = on_fault as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
            libc::sigemptyset(&mut action.sa_mask);
            if libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        *installed = true;
        Ok(())
    }

    /// Puts zeros in the place of the page that was touched and of those behind it in its mapping, and marks the mapping. For
    /// an address that nobody here has mapped, whoever answered before is asked.
    #[expect(unsafe_code, reason = "what a signal says is behind a pointer")]
    extern "C" fn on_fault(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: the system calls this with a valid `info`; `errno` is that of the thread which is interrupted, and is put
        // back. The pages that are replaced are those of a mapping that is watched, so its owner holds it: it ends the watch
        // before it unmaps.
        unsafe {
            let errno = *libc::__errno_location();
            let at = (*info).si_addr() as usize;
            let mut next = LAST.load(Ordering::SeqCst).as_ref();
            while let Some(watched) = next {
                let (start, end) = (watched.start.load(Ordering::SeqCst), watched.end.load(Ordering::SeqCst));
                if start <= at && at < end {
                    let page = PAGE_BYTES.load(Ordering::SeqCst);
                    let from = at / page * page;
                    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
                    watched.faults.store(true, Ordering::SeqCst);
                    let zeros = libc::mmap(from as *mut libc::c_void, end - from, libc::PROT_READ, flags, -1, 0);
                    *libc::__errno_location() = errno;
                    if zeros != libc::MAP_FAILED {
                        return;
                    }
                    break;
                }
                next = watched.before;
            }
            // The instruction is tried again, and then it is theirs.
            if let Some(before) = BEFORE.get() {
                libc::sigaction(libc::SIGBUS, before, std::ptr::null_mut());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn written(path: &Path, bytes: &[u8]) -> Map {
        std::fs::write(path, bytes).unwrap();
        map(path, bytes.len())
    }

    #[expect(clippy::disallowed_types, reason = "what is mapped is a file")]
    fn map(path: &Path, len: usize) -> Map {
        Map::of_file(std::fs::File::open(path).unwrap(), len as u64).unwrap()
    }

    #[expect(clippy::disallowed_types, reason = "what is cut is a file")]
    fn set_len(path: &Path, len: u64) {
        std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
    }

    #[test]
    fn a_file_cut_anywhere_reads_as_zeros_and_is_no_longer_whole() {
        let temp = tempfile::tempdir().unwrap();
        const LEN: usize = 100_000;
        for last in [7, 0] {
            for cut in [0, 1, 4095, 4096, 5000, 50_000, 98_304, LEN - 1] {
                let path = temp.path().join("file");
                let mut bytes = vec![7; LEN];
                bytes[LEN - 1] = last;
                let file = written(&path, &bytes);
                let copy = file.clone();
                assert!(file.is_whole() && file.iter().map(|&byte| u64::from(byte)).sum::<u64>() > 0);
                set_len(&path, cut as u64);
                let read: Vec<u8> = file.to_vec();
                assert!(read[..cut].iter().zip(&bytes).all(|(a, b)| a == b || *a == 0), "cut at {cut}");
                assert!(read[cut..].iter().all(|&byte| byte == 0), "cut at {cut}");
                assert!(!file.is_whole() && !copy.is_whole(), "cut at {cut}, last {last}");
            }
        }
    }

    #[test]
    fn a_file_that_was_cut_and_grew_again_is_not_whole() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        let file = written(&path, &[7; 20_000]);
        set_len(&path, 0);
        set_len(&path, 20_000);
        assert_eq!(file[10_000], 0);
        assert!(!file.is_whole());
        assert!(map(&path, 20_000).is_whole(), "mapped anew it is what it is");
    }

    #[test]
    fn a_cut_file_does_not_touch_other_mappings() {
        let temp = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..40).map(|n| temp.path().join(n.to_string())).collect();
        let files: Vec<Map> = paths.iter().map(|path| written(path, &[9; 10_000])).collect();
        std::thread::scope(|scope| {
            for (file, path) in files.iter().zip(&paths).step_by(2) {
                scope.spawn(move || {
                    set_len(path, 0);
                    assert_eq!(file.iter().map(|&byte| usize::from(byte)).sum::<usize>(), 0);
                });
            }
        });
        for (n, file) in files.iter().enumerate() {
            assert_eq!(file.is_whole(), n % 2 == 1, "file {n}");
            assert_eq!(file[5000], if n % 2 == 1 { 9 } else { 0 }, "file {n}");
        }
    }
}
