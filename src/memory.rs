//! Memory that this process may use: the least of what the machine has, its control groups allow and its limits say.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::process::{Resource, getrlimit};

/// Bytes assumed where nothing says how many there are.
const UNKNOWN_BYTES: u64 = 4 << 30;

/// The memory that the process may use, and what sets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemoryLimit {
    pub(crate) bytes: u64,
    pub(crate) set_by: Rule,
}

/// What sets a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// The memory that the machine has.
    Machine,
    /// A file of a control group, the process' own or one above.
    Group(PathBuf),
    /// `ulimit -v`
    AddressSpace,
    /// `ulimit -d`
    DataSegment,
    /// Nothing that could be read.
    Unknown,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine => f.write_str("the machine"),
            Self::Group(file) => write!(f, "{}", file.display()),
            Self::AddressSpace => f.write_str("the limit of the address space (ulimit -v)"),
            Self::DataSegment => f.write_str("the limit of the data segment (ulimit -d)"),
            Self::Unknown => f.write_str("nothing known"),
        }
    }
}

/// Limits of the process itself, in bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Own {
    address_space: Option<u64>,
    data_segment: Option<u64>,
}

/// The limit of this process, read once.
pub(crate) fn limit() -> &'static MemoryLimit {
    static LIMIT: OnceLock<MemoryLimit> = OnceLock::new();
    LIMIT.get_or_init(|| {
        let own = |resource| getrlimit(resource).current;
        find(Path::new("/"), Own { address_space: own(Resource::As), data_segment: own(Resource::Data) })
    })
}

/// The least limit that the `/proc` and control groups below `root` and the process' `own` limits set.
fn find(root: &Path, own: Own) -> MemoryLimit {
    let mut all: Vec<(u64, Rule)> = Vec::new();
    all.extend(machine(root).map(|bytes| (bytes, Rule::Machine)));
    all.extend(groups(root).into_iter().map(|(bytes, file)| (bytes, Rule::Group(file))));
    all.extend(own.address_space.map(|bytes| (bytes, Rule::AddressSpace)));
    all.extend(own.data_segment.map(|bytes| (bytes, Rule::DataSegment)));
    // The first of equal ones: a group without a limit of its own counts as the machine.
    let least = all.into_iter().filter(|(bytes, _)| *bytes > 0).min_by_key(|(bytes, _)| *bytes);
    let (bytes, set_by) = least.unwrap_or((UNKNOWN_BYTES, Rule::Unknown));
    MemoryLimit { bytes, set_by }
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn machine(root: &Path) -> Option<u64> {
    let meminfo = read(&root.join("proc/meminfo"))?;
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    total.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// A mounted tree of control groups that may limit memory.
struct Hierarchy {
    /// Group that the mount point shows, as the kernel names it.
    shown: String,
    mount_point: String,
    version: Version,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// Limits of the process' control groups and all groups above them, with the files that set them.
fn groups(root: &Path) -> Vec<(u64, PathBuf)> {
    let own = read(&root.join("proc/self/cgroup")).unwrap_or_default();
    let mounts = read(&root.join("proc/self/mountinfo")).unwrap_or_default();
    let mut limits = Vec::new();
    for hierarchy in mounts.lines().filter_map(hierarchy) {
        let group = own.lines().find_map(|line| group_in(line, hierarchy.version)).unwrap_or("/");
        let top = below(root, &hierarchy.mount_point);
        // A group outside of what is mounted, as a container sees its own, is shown by the mount point itself.
        let inside = Path::new(group).strip_prefix(&hierarchy.shown).ok();
        let inside =
            inside.filter(|path| path.components().all(|part| matches!(part, std::path::Component::Normal(_))));
        let mut folder = top.join(inside.unwrap_or(Path::new("")));
        loop {
            limits.extend(limits_of(&folder, hierarchy.version).into_iter().map(|(bytes, file)| {
                let shown = file.strip_prefix(root).map_or(file.clone(), |file| Path::new("/").join(file));
                (bytes, shown)
            }));
            if folder == top || !folder.pop() {
                break;
            }
        }
    }
    limits
}

/// `path`, an absolute one, as seen from `root`.
fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// Limits that a group sets for itself, and, in version 1, the least of those above it, which may not be visible.
fn limits_of(folder: &Path, version: Version) -> Vec<(u64, PathBuf)> {
    let names: &[&str] = match version {
        Version::V2 => &["memory.max", "memory.high"],
        Version::V1 => &["memory.limit_in_bytes"],
    };
    let limit = |name: &&str| {
        let file = folder.join(name);
        // `max` is none.
        Some((read(&file)?.trim().parse().ok()?, file))
    };
    let mut limits: Vec<(u64, PathBuf)> = names.iter().filter_map(limit).collect();
    if version == Version::V1 {
        let file = folder.join("memory.stat");
        let stat = read(&file).unwrap_or_default();
        let least = stat.lines().find_map(|line| line.strip_prefix("hierarchical_memory_limit ")?.trim().parse().ok());
        limits.extend(least.map(|bytes| (bytes, file)));
    }
    limits
}

/// The group that a line of `/proc/self/cgroup` names, if it is of the tree that limits memory in `version`.
fn group_in(line: &str, version: Version) -> Option<&str> {
    let mut parts = line.splitn(3, ':');
    let (number, controllers, group) = (parts.next()?, parts.next()?, parts.next()?);
    let found = match version {
        Version::V1 => controllers.split(',').any(|controller| controller == "memory"),
        Version::V2 => number == "0" && controllers.is_empty(),
    };
    found.then_some(group)
}

/// Reads a line of `/proc/self/mountinfo`; proc(5) names the fields.
fn hierarchy(line: &str) -> Option<Hierarchy> {
    let (before, after) = line.split_once(" - ")?;
    let mut after = after.split(' ');
    let version = match after.next()? {
        "cgroup2" => Version::V2,
        "cgroup" if after.nth(1)?.split(',').any(|option| option == "memory") => Version::V1,
        _ => return None,
    };
    let mut before = before.split(' ').skip(3);
    Some(Hierarchy { shown: unescaped(before.next()?), mount_point: unescaped(before.next()?), version })
}

/// `text` with `\040` for a space, and likewise, read.
fn unescaped(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = (first == b'\\').then(|| std::str::from_utf8(after.get(..3)?).ok()).flatten();
        match code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &after[3..];
            }
            None => {
                out.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests;
