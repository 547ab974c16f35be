//! The network, from `/proc/net` and `/sys/class/net`.

use std::collections::BTreeMap;
use std::io;

use super::page::{Kind, Page};
use super::{Roots, odd};

/// Columns of `/proc/net/dev`, receiving then sending.
const COLUMNS: [&str; 16] = [
    "receive_bytes",
    "receive_packets",
    "receive_errs",
    "receive_drop",
    "receive_fifo",
    "receive_frame",
    "receive_compressed",
    "receive_multicast",
    "transmit_bytes",
    "transmit_packets",
    "transmit_errs",
    "transmit_drop",
    "transmit_fifo",
    "transmit_colls",
    "transmit_carrier",
    "transmit_compressed",
];

pub(super) fn netdev(roots: &Roots, page: &mut Page) -> io::Result<()> {
    let dev = roots.proc("net/dev")?;
    let mut devices: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for line in dev.lines().skip(2) {
        let (device, counts) = line.split_once(':').ok_or_else(|| odd("net/dev"))?;
        let counts: Result<Vec<f64>, _> = counts.split_ascii_whitespace().map(str::parse).collect();
        devices.insert(device.trim(), counts.map_err(|_| odd("net/dev"))?);
    }
    for (at, column) in COLUMNS.into_iter().enumerate() {
        let name = format!("node_network_{column}_total");
        page.head(&name, &format!("Network device statistic {column}."), Kind::Counter);
        for (device, counts) in &devices {
            page.line(&name, &[("device", device)], *counts.get(at).ok_or_else(|| odd("net/dev"))?);
        }
    }
    let name = "node_network_receive_nohandler_total";
    page.head(name, "Network device statistic receive_nohandler.", Kind::Counter);
    for device in devices.keys() {
        if let Some(count) = number(roots, device, "statistics/rx_nohandler") {
            page.line(name, &[("device", device)], count);
        }
    }
    Ok(())
}

/// File below the device's folder, family, type, factor.
const PROPERTIES: [(&str, &str, Kind, f64); 16] = [
    ("addr_assign_type", "address_assign_type", Kind::Gauge, 1.0),
    ("carrier", "carrier", Kind::Gauge, 1.0),
    ("carrier_changes", "carrier_changes_total", Kind::Counter, 1.0),
    ("carrier_up_count", "carrier_up_changes_total", Kind::Counter, 1.0),
    ("carrier_down_count", "carrier_down_changes_total", Kind::Counter, 1.0),
    ("dev_id", "device_id", Kind::Gauge, 1.0),
    ("dormant", "dormant", Kind::Gauge, 1.0),
    ("flags", "flags", Kind::Gauge, 1.0),
    ("ifindex", "iface_id", Kind::Gauge, 1.0),
    ("iflink", "iface_link", Kind::Gauge, 1.0),
    ("link_mode", "iface_link_mode", Kind::Gauge, 1.0),
    ("mtu", "mtu_bytes", Kind::Gauge, 1.0),
    ("name_assign_type", "name_assign_type", Kind::Gauge, 1.0),
    ("netdev_group", "net_dev_group", Kind::Gauge, 1.0),
    ("type", "protocol_type", Kind::Gauge, 1.0),
    ("tx_queue_len", "transmit_queue_length", Kind::Gauge, 1.0),
];

/// The kernel says megabits per second.
const SPEED_FACTOR: f64 = 1e6 / 8.0;

pub(super) fn netclass(roots: &Roots, page: &mut Page) -> io::Result<()> {
    let mut devices = Vec::new();
    for entry in std::fs::read_dir(roots.sys.join("class/net"))? {
        let entry = entry?;
        // Files here, such as that of the bonding driver, are no devices.
        if let Ok(device) = entry.file_name().into_string()
            && entry.path().is_dir()
        {
            devices.push(device);
        }
    }
    devices.sort_unstable();
    let mut family = |name: &str, kind: Kind, value: &dyn Fn(&str) -> Option<f64>| {
        let values: Vec<(&String, f64)> = devices.iter().filter_map(|d| value(d).map(|v| (d, v))).collect();
        if !values.is_empty() {
            let full = format!("node_network_{name}");
            page.head(&full, &format!("Network device property: {name}"), kind);
            for (device, value) in values {
                page.line(&full, &[("device", device)], value);
            }
        }
    };
    for (file, name, kind, factor) in PROPERTIES {
        family(name, kind, &|device| number(roots, device, file).map(|value| value * factor));
    }
    family("speed_bytes", Kind::Gauge, &|device| number(roots, device, "speed").map(|speed| speed * SPEED_FACTOR));
    let text = |device: &str, file: &str| {
        roots.sys(&format!("class/net/{device}/{file}")).map(|text| text.trim().to_owned()).unwrap_or_default()
    };
    let name = "node_network_up";
    page.head(name, "Value is 1 if operstate is 'up', 0 otherwise.", Kind::Gauge);
    for device in &devices {
        page.line(name, &[("device", device)], f64::from(u8::from(text(device, "operstate") == "up")));
    }
    let name = "node_network_info";
    page.head(name, "Non-numeric data from /sys/class/net/<iface>, value is always 1.", Kind::Gauge);
    for device in &devices {
        const UP: u64 = 1;
        let flags = number(roots, device, "flags").unwrap_or(0.0) as u64;
        let labels = [
            ("address", text(device, "address")),
            ("adminstate", if flags & UP == 0 { "down" } else { "up" }.to_owned()),
            ("broadcast", text(device, "broadcast")),
            ("device", device.clone()),
            ("duplex", text(device, "duplex")),
            ("ifalias", text(device, "ifalias")),
            ("operstate", text(device, "operstate")),
        ];
        page.line(name, &labels.each_ref().map(|(name, value)| (*name, value.as_str())), 1.0);
    }
    Ok(())
}

/// A number that `/sys` says of a device, decimal or hexadecimal. Some cannot be read while the device is down.
fn number(roots: &Roots, device: &str, file: &str) -> Option<f64> {
    let text = roots.sys(&format!("class/net/{device}/{file}")).ok()?;
    let text = text.trim();
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok().map(|number| number as f64),
        None => text.parse().ok(),
    }
}

pub(super) fn netstat(roots: &Roots, page: &mut Page) -> io::Result<()> {
    let mut counts: BTreeMap<(String, String), f64> = BTreeMap::new();
    for file in ["net/netstat", "net/snmp"] {
        let text = roots.proc(file)?;
        let lines: Vec<&str> = text.lines().collect();
        // Names in one line, numbers in the next.
        for pair in lines.chunks_exact(2) {
            let (protocol, names) = pair[0].split_once(": ").ok_or_else(|| odd(file))?;
            let (_, numbers) = pair[1].split_once(": ").ok_or_else(|| odd(file))?;
            for (name, number) in names.split(' ').zip(numbers.split(' ')) {
                counts.insert((protocol.to_owned(), name.to_owned()), number.parse().map_err(|_| odd(file))?);
            }
        }
    }
    // A kernel without IPv6 has no such file.
    for line in roots.proc("net/snmp6").unwrap_or_default().lines() {
        let (name, number) = line.split_once(|c: char| c.is_ascii_whitespace()).ok_or_else(|| odd("net/snmp6"))?;
        if let Some(six) = name.find('6') {
            let (protocol, name) = name.split_at(six + 1);
            let number = number.trim().parse().map_err(|_| odd("net/snmp6"))?;
            counts.insert((protocol.to_owned(), name.to_owned()), number);
        }
    }
    for ((protocol, name), value) in counts.iter().filter(|((protocol, name), _)| is_wanted(protocol, name)) {
        let help = format!("Statistic {protocol}{name}.");
        page.one(&format!("node_netstat_{protocol}_{name}"), &help, Kind::Untyped, *value);
    }
    Ok(())
}

/// The counts that node_exporter shows unless told otherwise.
fn is_wanted(protocol: &str, name: &str) -> bool {
    if matches!(name, "InErrors" | "InErrs") {
        return true;
    }
    match protocol {
        "Ip" => name == "Forwarding",
        "Ip6" | "IpExt" => matches!(name, "InOctets" | "OutOctets"),
        "Icmp" | "Icmp6" => matches!(name, "InMsgs" | "OutMsgs"),
        "Tcp" => matches!(
            name,
            "ActiveOpens" | "InSegs" | "OutSegs" | "OutRsts" | "PassiveOpens" | "RetransSegs" | "CurrEstab"
        ),
        "TcpExt" => {
            name.starts_with("Listen")
                || name.starts_with("Syncookies")
                || matches!(name, "TCPSynRetrans" | "TCPTimeouts" | "TCPOFOQueue" | "TCPRcvQDrop")
        }
        "Udp" | "Udp6" => {
            matches!(name, "InDatagrams" | "OutDatagrams" | "NoPorts" | "RcvbufErrors" | "SndbufErrors")
        }
        _ => false,
    }
}

pub(super) fn sockstat(roots: &Roots, page: &mut Page) -> io::Result<()> {
    let page_bytes = rustix::param::page_size() as f64;
    for file in ["net/sockstat", "net/sockstat6"] {
        let text = match roots.proc(file) {
            Err(_) if file.ends_with('6') => continue,
            text => text?,
        };
        for line in text.lines() {
            let (protocol, rest) = line.split_once(": ").ok_or_else(|| odd(file))?;
            let words: Vec<&str> = rest.split_ascii_whitespace().collect();
            for pair in words.chunks_exact(2) {
                let value: f64 = pair[1].parse().map_err(|_| odd(file))?;
                one_sockstat(page, protocol, pair[0], value);
                if pair[0] == "mem" {
                    one_sockstat(page, protocol, "mem_bytes", value * page_bytes);
                }
            }
        }
    }
    Ok(())
}

fn one_sockstat(page: &mut Page, protocol: &str, name: &str, value: f64) {
    let help = match (protocol, name) {
        ("sockets", "used") => "Number of IPv4 sockets in use.".to_owned(),
        _ => format!("Number of {protocol} sockets in state {name}."),
    };
    page.one(&format!("node_sockstat_{protocol}_{name}"), &help, Kind::Gauge, value);
}

pub(super) fn conntrack(roots: &Roots, page: &mut Page) -> io::Result<()> {
    for (name, file, help) in [
        (
            "node_nf_conntrack_entries",
            "sys/net/netfilter/nf_conntrack_count",
            "Number of currently allocated flow entries for connection tracking.",
        ),
        (
            "node_nf_conntrack_entries_limit",
            "sys/net/netfilter/nf_conntrack_max",
            "Maximum size of connection tracking table.",
        ),
    ] {
        // Not there unless connections are tracked.
        let Ok(text) = roots.proc(file) else { continue };
        page.one(name, help, Kind::Gauge, text.trim().parse().map_err(|_| odd(file))?);
    }
    Ok(())
}
