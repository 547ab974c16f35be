//! Shared by the benches of all crates: time per sample, which is what our figures are in.

use std::time::{Duration, Instant};

use criterion::Throughput;
use criterion::measurement::{Measurement, ValueFormatter};

/// Wall time, told as nanoseconds for each element of the throughput.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PerSample;

impl Measurement for PerSample {
    type Intermediate = Instant;
    type Value = Duration;

    #[expect(clippy::disallowed_methods, reason = "a bench measures time")]
    fn start(&self) -> Instant {
        Instant::now()
    }

    fn end(&self, begun: Instant) -> Duration {
        begun.elapsed()
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        &Nanoseconds
    }
}

/// Values are nanoseconds of one iteration.
struct Nanoseconds;

impl ValueFormatter for Nanoseconds {
    fn scale_values(&self, typical: f64, values: &mut [f64]) -> &'static str {
        let (unit, factor) = match typical {
            ..1e3 => ("ns", 1.0),
            ..1e6 => ("µs", 1e-3),
            ..1e9 => ("ms", 1e-6),
            _ => ("s", 1e-9),
        };
        values.iter_mut().for_each(|value| *value *= factor);
        unit
    }

    fn scale_throughputs(&self, _typical: f64, throughput: &Throughput, values: &mut [f64]) -> &'static str {
        let (each, unit) = match *throughput {
            Throughput::Elements(n) | Throughput::ElementsAndBytes { elements: n, .. } => (n, "ns per sample"),
            Throughput::Bytes(n) | Throughput::BytesDecimal(n) => (n, "ns per byte"),
            Throughput::Bits(n) => (n, "ns per bit"),
        };
        values.iter_mut().for_each(|value| *value /= each as f64);
        unit
    }

    fn scale_for_machines(&self, _values: &mut [f64]) -> &'static str {
        "ns"
    }
}
