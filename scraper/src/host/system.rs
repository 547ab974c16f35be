//! The system as a whole.

use std::collections::BTreeMap;
use std::io;

use super::page::{Kind, Page};
use super::{Roots, odd};

pub(super) fn stat(roots: &Roots, page: &mut Page) -> io::Result<()> {
    for line in roots.proc("stat")?.lines() {
        let Some((word, rest)) = line.split_once(' ') else { continue };
        let (name, help, kind) = match word {
            "intr" => ("node_intr_total", "Total number of interrupts serviced.", Kind::Counter),
            "ctxt" => ("node_context_switches_total", "Total number of context switches.", Kind::Counter),
            "processes" => ("node_forks_total", "Total number of forks.", Kind::Counter),
            "btime" => ("node_boot_time_seconds", "Node boot time, in unixtime.", Kind::Gauge),
            "procs_running" => ("node_procs_running", "Number of processes in runnable state.", Kind::Gauge),
            "procs_blocked" => {
                ("node_procs_blocked", "Number of processes blocked waiting for I/O to complete.", Kind::Gauge)
            }
            _ => continue,
        };
        let value = rest.split(' ').next().and_then(|text| text.parse().ok()).ok_or_else(|| odd("stat"))?;
        page.one(name, help, kind, value);
    }
    Ok(())
}

pub(super) fn loadavg(roots: &Roots, page: &mut Page) -> io::Result<()> {
    let loadavg = roots.proc("loadavg")?;
    let mut loads = loadavg.split(' ');
    for minutes in [1, 5, 15] {
        let load = loads.next().and_then(|text| text.parse().ok()).ok_or_else(|| odd("loadavg"))?;
        page.one(&format!("node_load{minutes}"), &format!("{minutes}m load average."), Kind::Gauge, load);
    }
    Ok(())
}

pub(super) fn filefd(roots: &Roots, page: &mut Page) -> io::Result<()> {
    let file = "sys/fs/file-nr";
    let text = roots.proc(file)?;
    let numbers: Vec<f64> = text.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [allocated, _, maximum] = numbers[..] else { return Err(odd(file)) };
    page.one("node_filefd_allocated", "File descriptor statistics: allocated.", Kind::Gauge, allocated);
    page.one("node_filefd_maximum", "File descriptor statistics: maximum.", Kind::Gauge, maximum);
    Ok(())
}

pub(super) fn entropy(roots: &Roots, page: &mut Page) -> io::Result<()> {
    for (name, file, help) in [
        ("node_entropy_available_bits", "sys/kernel/random/entropy_avail", "Bits of available entropy."),
        ("node_entropy_pool_size_bits", "sys/kernel/random/poolsize", "Bits of entropy pool."),
    ] {
        page.one(name, help, Kind::Gauge, roots.proc(file)?.trim().parse().map_err(|_| odd(file))?);
    }
    Ok(())
}

/// File, whether all processes were held up or some, family, help.
const PRESSURES: [(&str, &str, &str, &str); 6] = [
    ("cpu", "some", "cpu_waiting", "Total time in seconds that processes have waited for CPU time"),
    ("io", "some", "io_waiting", "Total time in seconds that processes have waited due to IO congestion"),
    ("io", "full", "io_stalled", "Total time in seconds no process could make progress due to IO congestion"),
    ("memory", "some", "memory_waiting", "Total time in seconds that processes have waited for memory"),
    (
        "memory",
        "full",
        "memory_stalled",
        "Total time in seconds no process could make progress due to memory congestion",
    ),
    ("irq", "full", "irq_stalled", "Total time in seconds no process could make progress due to IRQ congestion"),
];

pub(super) fn pressure(roots: &Roots, page: &mut Page) -> io::Result<()> {
    for (file, who, name, help) in PRESSURES {
        // A kernel need not have all of them, nor any.
        let Ok(text) = roots.proc(&format!("pressure/{file}")) else { continue };
        let line = text.lines().find_map(|line| line.strip_prefix(who));
        let total = line.and_then(|line| line.split("total=").nth(1)).and_then(|text| text.trim().parse::<f64>().ok());
        let microseconds = total.ok_or_else(|| odd("pressure"))?;
        page.one(&format!("node_pressure_{name}_seconds_total"), help, Kind::Counter, microseconds / 1e6);
    }
    Ok(())
}

pub(super) fn uname(page: &mut Page) -> io::Result<()> {
    let uname = rustix::system::uname();
    let texts = [
        ("domainname", uname.domainname()),
        ("machine", uname.machine()),
        ("nodename", uname.nodename()),
        ("release", uname.release()),
        ("sysname", uname.sysname()),
        ("version", uname.version()),
    ]
    .map(|(name, text)| (name, text.to_string_lossy()));
    let name = "node_uname_info";
    page.head(name, "Labeled system information as provided by the uname system call.", Kind::Gauge);
    page.line(name, &texts.each_ref().map(|(name, text)| (*name, &**text)), 1.0);
    Ok(())
}

/// The labels of `node_os_info` and what `/etc/os-release` calls them.
const OS_LABELS: [(&str, &str); 12] = [
    ("build_id", "BUILD_ID"),
    ("id", "ID"),
    ("id_like", "ID_LIKE"),
    ("image_id", "IMAGE_ID"),
    ("image_version", "IMAGE_VERSION"),
    ("name", "NAME"),
    ("pretty_name", "PRETTY_NAME"),
    ("variant", "VARIANT"),
    ("variant_id", "VARIANT_ID"),
    ("version", "VERSION"),
    ("version_codename", "VERSION_CODENAME"),
    ("version_id", "VERSION_ID"),
];

pub(super) fn os(roots: &Roots, page: &mut Page) -> io::Result<()> {
    let text = super::read(&roots.etc.join("os-release"))?;
    let says: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim(), value.trim().trim_matches(['"', '\''])))
        .collect();
    let get = |key: &str| says.get(key).copied().unwrap_or_default();
    let name = "node_os_info";
    page.head(
        name,
        "A metric with a constant '1' value labeled by build_id, id, id_like, image_id, image_version, name, \
         pretty_name, variant, variant_id, version, version_codename, version_id.",
        Kind::Gauge,
    );
    page.line(name, &OS_LABELS.map(|(label, key)| (label, get(key))), 1.0);
    let version: String = get("VERSION_ID").split('.').take(2).collect::<Vec<_>>().join(".");
    if let Ok(version) = version.parse() {
        let name = "node_os_version";
        page.head(name, "Metric containing the major.minor part of the OS version.", Kind::Gauge);
        page.line(name, &[("id", get("ID")), ("id_like", get("ID_LIKE")), ("name", get("NAME"))], version);
    }
    Ok(())
}
