use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::parse::{Entry, Format, Parser};

/// Samples by series, and type and help by family.
fn read_page(page: &[u8]) -> (BTreeMap<String, f64>, BTreeMap<String, String>) {
    let mut parser = Parser::new(page, Format::Text);
    let (mut samples, mut families) = (BTreeMap::new(), BTreeMap::new());
    while let Some(entry) = parser.entry().unwrap() {
        match entry {
            Entry::Sample(sample) => {
                let labels: tsdb::Labels = parser.labels().collect();
                assert!(samples.insert(labels.to_string(), sample.value).is_none(), "{labels} twice");
            }
            Entry::Help { family, help } => {
                assert!(families.insert(family.to_string(), help.to_string()).is_none(), "{family} twice");
            }
            _ => {}
        }
    }
    (samples, families)
}

/// Lays out files below `root`.
fn lay(root: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

fn collect(collector: &mut Collector) -> BTreeMap<String, f64> {
    let mut out = Vec::new();
    collector.collect(1.5, Duration::from_secs(1), &mut out);
    read_page(&out).0
}

fn collector(root: &Path) -> Collector {
    Collector::new(Roots { proc: root.join("proc"), sys: root.join("sys"), etc: root.join("etc") })
}

const FILES: &[(&str, &str)] = &[
    (
        "proc/stat",
        "cpu  1 1 1 1 1 1 1 1 1 1\ncpu0 100 200 300 400 50 6 7 8 9 10\nintr 77 1 2\nctxt 88\nbtime 1700000000\n\
         processes 99\nprocs_running 3\nprocs_blocked 0\n",
    ),
    ("proc/loadavg", "0.10 0.20 0.30 1/100 1\n"),
    ("proc/meminfo", "MemTotal:       1000 kB\nActive(anon):     2 kB\nHugePages_Total:       5\n"),
    ("proc/vmstat", "nr_free 1\npgpgin 2\npgmajfault 3\noom_kill 4\npgfree 5\n"),
    ("proc/diskstats", " 8 0 sda 1 2 3 4000 5 6 7 8 9 1000 11 12 13 14 15 16 17\n 8 1 sda1 1 2 3 4 5 6 7 8 9 10 11\n"),
    ("proc/sys/fs/file-nr", "10\t0\t100\n"),
    ("proc/sys/kernel/random/entropy_avail", "256\n"),
    ("proc/sys/kernel/random/poolsize", "256\n"),
    ("proc/pressure/cpu", "some avg10=0.00 avg60=0.00 avg300=0.00 total=2500000\n"),
    ("proc/net/dev", "Inter-|\n face |\n  eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n"),
    ("proc/net/netstat", "TcpExt: SyncookiesSent Foo\nTcpExt: 1 2\n"),
    ("proc/net/snmp", "Tcp: InSegs RtoMin\nTcp: 5 6\nUdp: InErrors\nUdp: 7\n"),
    ("proc/net/snmp6", "Udp6InDatagrams \t 9\n"),
    ("proc/net/sockstat", "sockets: used 4\nTCP: inuse 1 mem 2\n"),
    ("proc/self/mountinfo", "1 0 8:1 / / ro,noatime - ext4 /dev/sda1 rw\n2 1 0:1 / /proc rw - proc proc rw\n"),
    ("sys/class/net/eth0/flags", "0x1003\n"),
    ("sys/class/net/eth0/speed", "1000\n"),
    ("sys/class/net/eth0/operstate", "up\n"),
    ("sys/class/net/eth0/address", "02:00:00:00:00:01\n"),
    ("etc/os-release", "ID=debian\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\n"),
];

#[test]
fn what_the_kernel_says_comes_under_the_names_of_node_exporter() {
    let root = tempfile::tempdir().unwrap();
    lay(root.path(), FILES);
    let samples = collect(&mut collector(root.path()));
    for (series, value) in [
        (r#"node_cpu_seconds_total{cpu="0", mode="iowait"}"#, 0.5),
        (r#"node_cpu_guest_seconds_total{cpu="0", mode="nice"}"#, 0.1),
        ("node_intr_total", 77.0),
        ("node_boot_time_seconds", 1_700_000_000.0),
        ("node_load15", 0.3),
        ("node_memory_MemTotal_bytes", 1_024_000.0),
        ("node_memory_Active_anon_bytes", 2048.0),
        ("node_memory_HugePages_Total", 5.0),
        ("node_vmstat_pgmajfault", 3.0),
        (r#"node_disk_read_bytes_total{device="sda"}"#, 1536.0),
        (r#"node_disk_read_time_seconds_total{device="sda"}"#, 4.0),
        (r#"node_disk_flush_requests_time_seconds_total{device="sda"}"#, 0.017),
        ("node_filefd_maximum", 100.0),
        ("node_pressure_cpu_waiting_seconds_total", 2.5),
        (r#"node_network_transmit_bytes_total{device="eth0"}"#, 9.0),
        (r#"node_network_flags{device="eth0"}"#, 4099.0),
        (r#"node_network_speed_bytes{device="eth0"}"#, 125e6),
        (r#"node_network_info{address="02:00:00:00:00:01", adminstate="up", device="eth0", operstate="up"}"#, 1.0),
        ("node_netstat_TcpExt_SyncookiesSent", 1.0),
        ("node_netstat_Udp6_InDatagrams", 9.0),
        ("node_sockstat_sockets_used", 4.0),
        (r#"node_filesystem_readonly{device="/dev/sda1", fstype="ext4", mountpoint="/"}"#, 1.0),
        (r#"node_os_version{id="debian", name="Debian GNU/Linux"}"#, 12.0),
        ("node_time_seconds", 1.5),
        (r#"node_scrape_collector_success{collector="diskstats"}"#, 1.0),
    ] {
        assert_eq!(samples.get(series), Some(&value), "{series} in {samples:#?}");
    }
    for absent in [r#"node_disk_io_now{device="sda1"}"#, "node_netstat_TcpExt_Foo", "node_vmstat_pgfree"] {
        assert!(!samples.contains_key(absent), "{absent}");
    }
}

#[test]
fn a_part_that_cannot_be_read_is_said_to_have_failed() {
    let root = tempfile::tempdir().unwrap();
    lay(root.path(), FILES);
    lay(root.path(), &[("proc/diskstats", "8 0 sda one two\n"), ("proc/meminfo", "nonsense\n")]);
    std::fs::remove_file(root.path().join("proc/loadavg")).unwrap();
    let samples = collect(&mut collector(root.path()));
    for (part, good) in [("diskstats", 0.0), ("meminfo", 0.0), ("loadavg", 0.0), ("stat", 1.0)] {
        assert_eq!(samples[&format!("node_scrape_collector_success{{collector=\"{part}\"}}")], good, "{part}");
    }
}

#[test]
fn counters_of_a_processor_do_not_go_back_by_accident() {
    let root = tempfile::tempdir().unwrap();
    lay(root.path(), FILES);
    let mut collector = collector(root.path());
    let mut iowait = |idle: u32, iowait: u32| {
        lay(root.path(), &[("proc/stat", &format!("cpu0 0 0 0 {idle} {iowait} 0 0 0 0 0\n"))]);
        collect(&mut collector)[r#"node_cpu_seconds_total{cpu="0", mode="iowait"}"#]
    };
    assert_eq!(iowait(1000, 50), 0.5);
    assert_eq!(iowait(1001, 49), 0.5);
    assert_eq!(iowait(1002, 51), 0.51);
    assert_eq!(iowait(2, 1), 0.01, "the processor was given back");
}

#[test]
fn this_host_can_be_read() {
    let mut out = Vec::new();
    Collector::default().collect(0.0, Duration::from_secs(5), &mut out);
    let (samples, families) = read_page(&out);
    assert!(samples["node_memory_MemTotal_bytes"] > 0.0);
    assert!(samples.len() > 100 && families.len() > 80, "{} {}", samples.len(), families.len());
}
