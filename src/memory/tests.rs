use super::*;

const V1_MOUNT: &str = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
const V2_MOUNT: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";
/// What version 1 says where nothing is limited.
const NONE_V1: &str = "9223372036854771712\n";

struct Tree(tempfile::TempDir);

impl Tree {
    /// A machine of 8 GiB.
    fn new(cgroup: &str, mountinfo: &str) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        tree.file("proc/meminfo", "MemTotal:        8388608 kB\nMemFree:  1 kB\n");
        tree.file("proc/self/cgroup", cgroup);
        tree.file("proc/self/mountinfo", &format!("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n{mountinfo}"));
        tree
    }

    fn file(&self, path: &str, content: &str) -> &Self {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    /// Mebibytes, and what sets them.
    fn limit(&self) -> (u64, String) {
        self.limit_with(Own::default())
    }

    fn limit_with(&self, own: Own) -> (u64, String) {
        let found = find(self.0.path(), own);
        (found.bytes >> 20, found.set_by.to_string())
    }
}

fn mebibytes(count: u64) -> String {
    format!("{}\n", count << 20)
}

#[test]
fn the_least_of_all_levels_of_nested_groups_counts() {
    let tree = Tree::new("0::/a.slice/b.service/c\n", V2_MOUNT);
    assert_eq!(tree.limit(), (8192, "the machine".to_owned()));
    tree.file("sys/fs/cgroup/a.slice/b.service/c/memory.max", "max\n");
    tree.file("sys/fs/cgroup/a.slice/b.service/memory.max", &mebibytes(900));
    assert_eq!(tree.limit(), (900, "/sys/fs/cgroup/a.slice/b.service/memory.max".to_owned()));
    tree.file("sys/fs/cgroup/a.slice/memory.max", &mebibytes(600));
    assert_eq!(tree.limit(), (600, "/sys/fs/cgroup/a.slice/memory.max".to_owned()));
    tree.file("sys/fs/cgroup/a.slice/b.service/memory.high", &mebibytes(500));
    assert_eq!(tree.limit(), (500, "/sys/fs/cgroup/a.slice/b.service/memory.high".to_owned()));
    tree.file("sys/fs/cgroup/memory.max", &mebibytes(400));
    assert_eq!(tree.limit().0, 400);
    tree.file("sys/fs/cgroup/other/memory.max", &mebibytes(1));
    assert_eq!(tree.limit().0, 400, "a group beside is none of ours");
}

#[test]
fn groups_of_version_1_are_found_where_they_are_mounted() {
    let cgroup = "9:name=systemd:/x\n4:cpu,memory:/pods/p1/app\n0::/\n";
    let tree = Tree::new(cgroup, &format!("{V1_MOUNT}41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"));
    tree.file("sys/fs/cgroup/memory/pods/p1/app/memory.limit_in_bytes", NONE_V1);
    tree.file("sys/fs/cgroup/memory/memory.limit_in_bytes", NONE_V1);
    assert_eq!(tree.limit(), (8192, "the machine".to_owned()));
    tree.file("sys/fs/cgroup/memory/pods/memory.limit_in_bytes", &mebibytes(600));
    assert_eq!(tree.limit(), (600, "/sys/fs/cgroup/memory/pods/memory.limit_in_bytes".to_owned()));
    let stat = format!("cache 0\nhierarchical_memory_limit {}", mebibytes(300));
    tree.file("sys/fs/cgroup/memory/pods/p1/app/memory.stat", &stat);
    assert_eq!(tree.limit().0, 300, "of groups above the mount point only the least limit can be seen");
}

#[test]
fn a_container_finds_its_group_at_the_mount_point() {
    // The group is mounted under the name that it has outside.
    let tree = Tree::new(
        "4:memory:/docker/abc\n",
        "35 31 0:32 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
    );
    tree.file("sys/fs/cgroup/memory/memory.limit_in_bytes", &mebibytes(600));
    assert_eq!(tree.limit().0, 600);
    // The name leads out of what is mounted.
    let tree = Tree::new("0::/../../other\n", V2_MOUNT);
    tree.file("sys/fs/cgroup/memory.max", &mebibytes(500)).file("other/memory.max", &mebibytes(1));
    assert_eq!(tree.limit().0, 500);
    // A mount point with a space in it.
    let tree = Tree::new("0::/a\n", "30 23 0:26 / /my\\040groups rw - cgroup2 none rw\n");
    tree.file("my groups/a/memory.max", &mebibytes(400));
    assert_eq!(tree.limit(), (400, "/my groups/a/memory.max".to_owned()));
}

#[test]
fn limits_of_the_process_count_where_they_are_least() {
    let tree = Tree::new("0::/a\n", V2_MOUNT);
    tree.file("sys/fs/cgroup/a/memory.max", &mebibytes(600));
    let own = |address_space: Option<u64>, data: Option<u64>| Own {
        address_space: address_space.map(|mebibytes| mebibytes << 20),
        data_segment: data.map(|mebibytes| mebibytes << 20),
    };
    assert_eq!(tree.limit_with(own(Some(700), None)).0, 600);
    assert_eq!(tree.limit_with(own(Some(500), None)), (500, "the limit of the address space (ulimit -v)".to_owned()));
    assert_eq!(
        tree.limit_with(own(Some(500), Some(300))),
        (300, "the limit of the data segment (ulimit -d)".to_owned())
    );
}

#[test]
fn what_cannot_be_read_is_no_limit() {
    let nothing = tempfile::tempdir().unwrap();
    assert_eq!(find(nothing.path(), Own::default()), MemoryLimit { bytes: UNKNOWN_BYTES, set_by: Rule::Unknown });
    let tree = Tree::new("nonsense\n::\n0:\n", "1 2\n - cgroup2\n- - -\n30 23 0:26 / /a\\4 rw - cgroup2 x\n");
    tree.file("a\\4/memory.max", "many\n");
    assert_eq!(tree.limit(), (8192, "the machine".to_owned()));
}
