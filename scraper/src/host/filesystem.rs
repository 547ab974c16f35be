//! File systems, from `/proc/1/mountinfo` and `statvfs`.

use std::collections::HashSet;
use std::io;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{StatVfs, statvfs};

use super::page::{Kind, Page};
use super::{Roots, odd};

/// Types that hold no files of anybody's.
const IGNORED_TYPES: [&str; 26] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "erofs",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nsfs",
    "overlay",
    "proc",
    "procfs",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "sysfs",
    "tracefs",
    "fuse.lxcfs",
];

/// Longest wait for one file system, whatever the patience.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// The mounts that do not answer, with the thread that waits for each.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    stuck: Arc<Mutex<HashSet<String>>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    device: String,
    major: String,
    minor: String,
    point: String,
    kind: String,
    readonly: bool,
}

/// What is known of a mount, or why nothing is.
type Answer = Result<StatVfs, String>;

impl Mounts {
    pub(super) fn write(&self, roots: &Roots, page: &mut Page, patience: Duration) -> io::Result<()> {
        // The mounts of the first process are those of the host, if we may see them.
        let mountinfo = roots.proc("1/mountinfo").or_else(|_| roots.proc("self/mountinfo"))?;
        let mut mounts: Vec<Mount> = Vec::new();
        for line in mountinfo.lines() {
            let mount = mount(line).ok_or_else(|| odd("mountinfo"))?;
            let known = mounts.iter().any(|m| (&m.device, &m.point) == (&mount.device, &mount.point));
            if !known && !is_ignored(&mount) {
                mounts.push(mount);
            }
        }
        let answers = self.ask(&mounts, patience.min(MAX_WAIT), |point| statvfs(point).map_err(|e| e.to_string()));
        write_families(page, &mounts, &answers);
        Ok(())
    }

    /// Asks for each mount in turn, on a thread of its own. One that does not answer in time is given up on, together
    /// with its thread, which nothing can end; it is not asked again until that thread has come back.
    fn ask(&self, mounts: &[Mount], patience: Duration, stat: fn(&str) -> Answer) -> Vec<Answer> {
        let mut answers: Vec<Answer> = Vec::with_capacity(mounts.len());
        while answers.len() < mounts.len() {
            let rest: Vec<String> = mounts[answers.len()..].iter().map(|mount| mount.point.clone()).collect();
            let (sender, receiver) = sync_channel::<Answer>(rest.len());
            let stuck = Arc::clone(&self.stuck);
            let started = std::thread::Builder::new().name("host-statvfs".to_owned()).spawn(move || {
                for point in rest {
                    let is_stuck = lock(&stuck).contains(&point);
                    let answer = if is_stuck { Err("mountpoint timeout".to_owned()) } else { stat(&point) };
                    if sender.send(answer).is_err() {
                        // Nobody has waited: this was the one.
                        lock(&stuck).remove(&point);
                        return;
                    }
                }
            });
            if started.is_err() {
                answers.resize_with(mounts.len(), || Err("no thread".to_owned()));
                return answers;
            }
            loop {
                match receiver.recv_timeout(patience) {
                    Ok(answer) => answers.push(answer),
                    Err(RecvTimeoutError::Disconnected) => break,
                    Err(RecvTimeoutError::Timeout) => {
                        let mount = &mounts[answers.len()];
                        tracing::warn!(mountpoint = mount.point, "file system does not answer, left out until it does");
                        lock(&self.stuck).insert(mount.point.clone());
                        answers.push(Err("mountpoint timeout".to_owned()));
                        break;
                    }
                }
            }
        }
        answers
    }
}

fn lock(stuck: &Mutex<HashSet<String>>) -> std::sync::MutexGuard<'_, HashSet<String>> {
    stuck.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Family, help, what `statvfs` says of it.
type Size = (&'static str, &'static str, fn(&StatVfs) -> f64);

fn write_families(page: &mut Page, mounts: &[Mount], answers: &[Answer]) {
    let sizes: [Size; 6] = [
        ("node_filesystem_size_bytes", "Filesystem size in bytes.", |s| (s.f_blocks * s.f_frsize) as f64),
        ("node_filesystem_free_bytes", "Filesystem free space in bytes.", |s| (s.f_bfree * s.f_frsize) as f64),
        ("node_filesystem_avail_bytes", "Filesystem space available to non-root users in bytes.", |s| {
            (s.f_bavail * s.f_frsize) as f64
        }),
        ("node_filesystem_files", "Filesystem total file nodes.", |s| s.f_files as f64),
        ("node_filesystem_files_free", "Filesystem total free file nodes.", |s| s.f_ffree as f64),
        (
            "node_filesystem_purgeable_bytes",
            "Filesystem space available including purgeable space (MacOS specific).",
            |_| 0.0,
        ),
    ];
    let both = || mounts.iter().zip(answers);
    for (name, help, value) in sizes {
        page.head(name, help, Kind::Gauge);
        for (mount, answer) in both() {
            if let Ok(stat) = answer {
                page.line(name, &labels(mount, ""), value(stat));
            }
        }
    }
    let name = "node_filesystem_readonly";
    page.head(name, "Filesystem read-only status.", Kind::Gauge);
    for (mount, _) in both().filter(|(_, answer)| answer.is_ok()) {
        page.line(name, &labels(mount, ""), f64::from(u8::from(mount.readonly)));
    }
    let name = "node_filesystem_device_error";
    page.head(name, "Whether an error occurred while getting statistics for the given device.", Kind::Gauge);
    for (mount, answer) in both() {
        let error = answer.as_ref().err().map(String::as_str).unwrap_or_default();
        page.line(name, &labels(mount, error), f64::from(u8::from(answer.is_err())));
    }
    let name = "node_filesystem_mount_info";
    page.head(name, "Filesystem mount information.", Kind::Gauge);
    for (mount, _) in both() {
        let Mount { device, major, minor, point, .. } = mount;
        page.line(name, &[("device", device), ("major", major), ("minor", minor), ("mountpoint", point)], 1.0);
    }
}

fn labels<'m>(mount: &'m Mount, error: &'m str) -> [(&'static str, &'m str); 4] {
    [("device", &mount.device), ("device_error", error), ("fstype", &mount.kind), ("mountpoint", &mount.point)]
}

/// Reads `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`.
fn mount(line: &str) -> Option<Mount> {
    let mut words = line.split(' ');
    let (major, minor) = words.nth(2)?.split_once(':')?;
    let point = unescaped(words.nth(1)?);
    let options = words.next()?;
    let mut after = words.skip_while(|word| *word != "-").skip(1);
    let (kind, device, super_options) = (after.next()?, unescaped(after.next()?), after.next().unwrap_or_default());
    let readonly = options.split(',').chain(super_options.split(',')).any(|option| option == "ro");
    let (major, minor, kind) = (major.to_owned(), minor.to_owned(), kind.to_owned());
    Some(Mount { device, major, minor, point, kind, readonly })
}

/// Resolves `\040` and its like.
fn unescaped(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let code = after.get(..3).filter(|_| *byte == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(code) => {
                out.push(code);
                rest = &after[3..];
            }
            None => {
                out.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn is_ignored(mount: &Mount) -> bool {
    let within =
        |folder: &str| mount.point.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let below =
        |folder: &str| mount.point.strip_prefix(folder).is_some_and(|rest| rest.len() > 1 && rest.starts_with('/'));
    IGNORED_TYPES.contains(&mount.kind.as_str())
        || ["/dev", "/proc", "/sys"].into_iter().any(within)
        || ["/run/credentials", "/var/lib/docker", "/var/lib/containers/storage"].into_iter().any(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_with_their_escapes() {
        let line = r"36 35 98:1 / /mnt/a\040b ro,noatime master:1 shared:2 - ext4 /dev/x\134y rw,errors=continue";
        let mount = mount(line).unwrap();
        assert_eq!(
            (mount.point.as_str(), mount.device.as_str(), mount.kind.as_str()),
            ("/mnt/a b", r"/dev/x\y", "ext4")
        );
        assert_eq!((mount.major.as_str(), mount.minor.as_str(), mount.readonly), ("98", "1", true));
        assert!(super::mount("36 35 98:1 / /mnt rw - ext4").is_none());
    }

    #[test]
    fn system_mounts_are_left_out() {
        let mount = |point: &str, kind: &str| Mount {
            device: "d".to_owned(),
            major: String::new(),
            minor: String::new(),
            point: point.to_owned(),
            kind: kind.to_owned(),
            readonly: false,
        };
        for (point, kind, ignored) in [
            ("/", "ext4", false),
            ("/dev/shm", "tmpfs", true),
            ("/devices", "tmpfs", false),
            ("/run", "tmpfs", false),
            ("/run/credentials/x", "tmpfs", true),
            ("/var/lib/docker", "ext4", false),
            ("/var/lib/docker/overlay2/x", "ext4", true),
            ("/x", "overlay", true),
        ] {
            assert_eq!(is_ignored(&mount(point, kind)), ignored, "{point}");
        }
    }

    #[test]
    fn a_mount_that_hangs_is_waited_for_once() {
        use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
        use std::sync::{Condvar, Mutex as StdMutex};
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        static FREE: (StdMutex<bool>, Condvar) = (StdMutex::new(false), Condvar::new());
        fn stat(point: &str) -> Answer {
            if point == "/hangs" {
                ASKED.fetch_add(1, SeqCst);
                let free = FREE.1.wait_while(FREE.0.lock().unwrap(), |free| !*free).unwrap();
                drop(free);
            }
            statvfs("/").map_err(|e| e.to_string())
        }
        let mount = |point: &str| Mount {
            device: point.to_owned(),
            major: String::new(),
            minor: String::new(),
            point: point.to_owned(),
            kind: String::new(),
            readonly: false,
        };
        let all = [mount("/a"), mount("/hangs"), mount("/b")];
        let mounts = Mounts::default();
        for _ in 0..3 {
            let answers = mounts.ask(&all, Duration::from_millis(200), stat);
            let good: Vec<bool> = answers.iter().map(Result::is_ok).collect();
            assert_eq!(good, [true, false, true]);
            assert_eq!(answers[1].as_ref().err().map(String::as_str), Some("mountpoint timeout"));
        }
        assert_eq!(ASKED.load(SeqCst), 1);
        *FREE.0.lock().unwrap() = true;
        FREE.1.notify_all();
        while lock(&mounts.stuck).contains("/hangs") {
            std::thread::yield_now();
        }
        assert!(mounts.ask(&all, Duration::from_secs(20), stat).iter().all(Result::is_ok));
    }
}
