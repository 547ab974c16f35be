//! Time that processors spent, from `/proc/stat`.

use std::collections::BTreeMap;
use std::io;

use super::page::{Kind, Page};
use super::{Roots, odd};

/// Ticks per second in which the kernel counts for us, on every platform that Linux runs on.
const USER_HZ: f64 = 100.0;

/// The columns of a processor's line.
const MODES: [&str; 10] =
    ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice"];
const IDLE: usize = 3;
const GUEST: usize = 8;

/// A processor whose idle time jumps back by more has been taken away and given back: it counts anew.
const IDLE_RESET_SECONDS: f64 = 3.0;

/// Counters that never go back by accident. The kernel's do, by a little: its idle and iowait times are estimates.
#[derive(Debug, Default)]
pub(super) struct CpuCounters(BTreeMap<u32, [f64; MODES.len()]>);

impl CpuCounters {
    pub(super) fn write(&mut self, roots: &Roots, page: &mut Page) -> io::Result<()> {
        let stat = roots.proc("stat")?;
        let mut seen = Vec::new();
        for line in stat.lines() {
            let Some((cpu, times)) = line.strip_prefix("cpu").and_then(|rest| rest.split_once(' ')) else { continue };
            let Ok(cpu) = cpu.parse::<u32>() else { continue };
            let mut now = [0.0; MODES.len()];
            for (seconds, text) in now.iter_mut().zip(times.split_ascii_whitespace()) {
                *seconds = text.parse::<f64>().map_err(|_| odd("stat"))? / USER_HZ;
            }
            let last = self.0.entry(cpu).or_insert(now);
            if last[IDLE] - now[IDLE] >= IDLE_RESET_SECONDS {
                *last = now;
            }
            for (last, now) in last.iter_mut().zip(now) {
                *last = last.max(now);
            }
            seen.push(cpu);
        }
        self.0.retain(|cpu, _| seen.contains(cpu));
        let name = "node_cpu_guest_seconds_total";
        page.head(name, "Seconds the CPUs spent in guests (VMs) for each mode.", Kind::Counter);
        for (cpu, times) in &self.0 {
            for (mode, seconds) in ["user", "nice"].into_iter().zip(&times[GUEST..]) {
                page.line(name, &[("cpu", &cpu.to_string()), ("mode", mode)], *seconds);
            }
        }
        let name = "node_cpu_seconds_total";
        page.head(name, "Seconds the CPUs spent in each mode.", Kind::Counter);
        for (cpu, times) in &self.0 {
            for (mode, seconds) in MODES[..GUEST].iter().zip(times) {
                page.line(name, &[("cpu", &cpu.to_string()), ("mode", mode)], *seconds);
            }
        }
        Ok(())
    }
}
