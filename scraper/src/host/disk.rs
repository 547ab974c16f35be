//! Block devices, from `/proc/diskstats`.

use std::io;

use super::page::{Kind, Page};
use super::{Roots, odd};

const SECTOR_BYTES: f64 = 512.0;
const MILLISECOND: f64 = 0.001;

/// Column after the device's name, family, help, factor, in the order of the kernel's documentation
/// (`Documentation/admin-guide/iostats.rst`).
const COLUMNS: [(&str, &str, Kind, f64); 17] = [
    ("node_disk_reads_completed_total", "The total number of reads completed successfully.", Kind::Counter, 1.0),
    ("node_disk_reads_merged_total", "The total number of reads merged.", Kind::Counter, 1.0),
    ("node_disk_read_bytes_total", "The total number of bytes read successfully.", Kind::Counter, SECTOR_BYTES),
    (
        "node_disk_read_time_seconds_total",
        "The total number of seconds spent by all reads.",
        Kind::Counter,
        MILLISECOND,
    ),
    ("node_disk_writes_completed_total", "The total number of writes completed successfully.", Kind::Counter, 1.0),
    ("node_disk_writes_merged_total", "The number of writes merged.", Kind::Counter, 1.0),
    ("node_disk_written_bytes_total", "The total number of bytes written successfully.", Kind::Counter, SECTOR_BYTES),
    (
        "node_disk_write_time_seconds_total",
        "This is the total number of seconds spent by all writes.",
        Kind::Counter,
        MILLISECOND,
    ),
    ("node_disk_io_now", "The number of I/Os currently in progress.", Kind::Gauge, 1.0),
    ("node_disk_io_time_seconds_total", "Total seconds spent doing I/Os.", Kind::Counter, MILLISECOND),
    (
        "node_disk_io_time_weighted_seconds_total",
        "The weighted # of seconds spent doing I/Os.",
        Kind::Counter,
        MILLISECOND,
    ),
    ("node_disk_discards_completed_total", "The total number of discards completed successfully.", Kind::Counter, 1.0),
    ("node_disk_discards_merged_total", "The total number of discards merged.", Kind::Counter, 1.0),
    ("node_disk_discarded_sectors_total", "The total number of sectors discarded successfully.", Kind::Counter, 1.0),
    (
        "node_disk_discard_time_seconds_total",
        "This is the total number of seconds spent by all discards.",
        Kind::Counter,
        MILLISECOND,
    ),
    ("node_disk_flush_requests_total", "The total number of flush requests completed successfully", Kind::Counter, 1.0),
    (
        "node_disk_flush_requests_time_seconds_total",
        "This is the total number of seconds spent by all flush requests.",
        Kind::Counter,
        MILLISECOND,
    ),
];

/// Device and columns.
type Disk<'a> = (&'a str, Vec<f64>);

pub(super) fn write(roots: &Roots, page: &mut Page) -> io::Result<()> {
    let diskstats = roots.proc("diskstats")?;
    let disks: Result<Vec<Disk<'_>>, io::Error> =
        diskstats.lines().filter_map(disk).filter(|disk| !disk.as_ref().is_ok_and(|(name, _)| is_part(name))).collect();
    let disks = disks?;
    for (at, (name, help, kind, factor)) in COLUMNS.into_iter().enumerate() {
        // Older kernels have fewer columns.
        if disks.iter().any(|(_, columns)| columns.len() > at) {
            page.head(name, help, kind);
        }
        for (device, columns) in &disks {
            if let Some(value) = columns.get(at) {
                page.line(name, &[("device", device)], value * factor);
            }
        }
    }
    Ok(())
}

fn disk(line: &str) -> Option<io::Result<Disk<'_>>> {
    let mut words = line.split_ascii_whitespace().skip(2);
    let device = words.next()?;
    let columns: Result<Vec<f64>, _> = words.map(str::parse).collect();
    Some(columns.map(|columns| (device, columns)).map_err(|_| odd("diskstats")))
}

/// Whether the device is a partition, or none that one cares about: `sda1`, `nvme0n1p1`, `loop0`, `ram0`, `zram0`.
fn is_part(device: &str) -> bool {
    let stem = device.trim_end_matches(|c: char| c.is_ascii_digit());
    if stem == device {
        return false;
    }
    let letter =
        |prefix: &str| stem.strip_prefix(prefix).is_some_and(|l| l.len() == 1 && l.as_bytes()[0].is_ascii_lowercase());
    let nvme = stem.starts_with("nvme") && stem.ends_with('p') && stem.contains('n');
    matches!(stem, "ram" | "zram" | "loop" | "fd") || ["hd", "sd", "vd", "xvd"].into_iter().any(letter) || nvme
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_and_memory_disks_are_left_out() {
        for (device, left_out) in [
            ("sda", false),
            ("sda1", true),
            ("xvdb2", true),
            ("nvme0n1", false),
            ("nvme0n1p2", true),
            ("loop3", true),
            ("zram0", true),
            ("dm-0", false),
            ("md127", false),
            ("mmcblk0", false),
            ("sr0", false),
        ] {
            assert_eq!(is_part(device), left_out, "{device}");
        }
    }
}
