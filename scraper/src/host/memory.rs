//! Memory, from `/proc/meminfo` and `/proc/vmstat`.

use std::io;

use super::page::{Kind, Page};
use super::{Roots, odd};

pub(super) fn meminfo(roots: &Roots, page: &mut Page) -> io::Result<()> {
    for line in roots.proc("meminfo")?.lines() {
        let (field, rest) = line.split_once(':').ok_or_else(|| odd("meminfo"))?;
        let mut parts = rest.split_ascii_whitespace();
        let value: f64 = parts.next().and_then(|text| text.parse().ok()).ok_or_else(|| odd("meminfo"))?;
        let field = field.replace('(', "_").replace(')', "");
        let (field, value) = match parts.next() {
            Some("kB") => (field + "_bytes", value * 1024.0),
            _ => (field, value),
        };
        page.one(&format!("node_memory_{field}"), &format!("Memory information field {field}."), Kind::Gauge, value);
    }
    Ok(())
}

pub(super) fn vmstat(roots: &Roots, page: &mut Page) -> io::Result<()> {
    for line in roots.proc("vmstat")?.lines() {
        let (field, value) = line.split_once(' ').ok_or_else(|| odd("vmstat"))?;
        let fault = field.starts_with("pg") && field.contains("fault");
        if !fault && !["oom_kill", "pgpg", "pswp"].iter().any(|prefix| field.starts_with(prefix)) {
            continue;
        }
        let value = value.parse().map_err(|_| odd("vmstat"))?;
        let help = format!("/proc/vmstat information field {field}.");
        page.one(&format!("node_vmstat_{field}"), &help, Kind::Untyped, value);
    }
    Ok(())
}
