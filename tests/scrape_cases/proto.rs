//! Messages of `io.prometheus.client`, written by hand so that they may be wrong.

pub(crate) const COUNTER: u64 = 0;
pub(crate) const GAUGE: u64 = 1;
pub(crate) const SUMMARY: u64 = 2;
pub(crate) const UNTYPED: u64 = 3;
pub(crate) const HISTOGRAM: u64 = 4;
pub(crate) const GAUGE_HISTOGRAM: u64 = 5;

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend(value);
}

fn double(out: &mut Vec<u8>, field: u64, value: f64) {
    varint(out, field << 3 | 1);
    out.extend(value.to_le_bytes());
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

pub(crate) struct Family(Vec<u8>);

impl Family {
    pub(crate) fn new(name: &str, kind: u64) -> Self {
        Self::raw(name.as_bytes(), kind)
    }

    pub(crate) fn raw(name: &[u8], kind: u64) -> Self {
        let mut out = Vec::new();
        bytes(&mut out, 1, name);
        number(&mut out, 3, kind);
        Self(out)
    }

    pub(crate) fn help(self, help: &str) -> Self {
        self.raw_help(help.as_bytes())
    }

    pub(crate) fn raw_help(mut self, help: &[u8]) -> Self {
        bytes(&mut self.0, 2, help);
        self
    }

    pub(crate) fn unit(mut self, unit: &str) -> Self {
        bytes(&mut self.0, 5, unit.as_bytes());
        self
    }

    pub(crate) fn metric(self, metric: Metric) -> Self {
        self.raw_metric(&metric.whole())
    }

    pub(crate) fn raw_metric(mut self, metric: &[u8]) -> Self {
        bytes(&mut self.0, 4, metric);
        self
    }

    /// With its length before it.
    pub(crate) fn delimited(&self) -> Vec<u8> {
        let mut out = Vec::new();
        varint(&mut out, self.0.len() as u64);
        out.extend(&self.0);
        out
    }
}

pub(crate) struct Metric {
    out: Vec<u8>,
    histogram: Vec<u8>,
}

impl Metric {
    pub(crate) fn new(labels: &[(&str, &str)]) -> Self {
        let empty = Self { out: Vec::new(), histogram: Vec::new() };
        labels.iter().fold(empty, |metric, (name, value)| metric.raw_label(name.as_bytes(), value.as_bytes()))
    }

    fn whole(self) -> Vec<u8> {
        let mut out = self.out;
        if !self.histogram.is_empty() {
            bytes(&mut out, 7, &self.histogram);
        }
        out
    }

    pub(crate) fn raw_label(mut self, name: &[u8], value: &[u8]) -> Self {
        let mut pair = Vec::new();
        bytes(&mut pair, 1, name);
        bytes(&mut pair, 2, value);
        bytes(&mut self.out, 1, &pair);
        self
    }

    fn single(mut self, field: u64, value: f64) -> Self {
        let mut message = Vec::new();
        double(&mut message, 1, value);
        bytes(&mut self.out, field, &message);
        self
    }

    pub(crate) fn gauge(self, value: f64) -> Self {
        self.single(2, value)
    }

    pub(crate) fn counter(self, value: f64) -> Self {
        self.single(3, value)
    }

    pub(crate) fn untyped(self, value: f64) -> Self {
        self.single(5, value)
    }

    pub(crate) fn timestamp(mut self, ms: u64) -> Self {
        number(&mut self.out, 6, ms);
        self
    }

    pub(crate) fn unknown(mut self) -> Self {
        bytes(&mut self.out, 99, b"future");
        self
    }

    pub(crate) fn summary(mut self, sum: f64, count: u64, quantiles: &[(f64, f64)]) -> Self {
        let mut message = Vec::new();
        number(&mut message, 1, count);
        double(&mut message, 2, sum);
        for (quantile, value) in quantiles {
            let mut part = Vec::new();
            double(&mut part, 1, *quantile);
            double(&mut part, 2, *value);
            bytes(&mut message, 3, &part);
        }
        bytes(&mut self.out, 4, &message);
        self
    }

    pub(crate) fn histogram(mut self, sum: f64, count: u64, buckets: &[(f64, u64)]) -> Self {
        number(&mut self.histogram, 1, count);
        double(&mut self.histogram, 2, sum);
        self.classic(buckets)
    }

    pub(crate) fn classic(mut self, buckets: &[(f64, u64)]) -> Self {
        for (bound, count) in buckets {
            let mut bucket = Vec::new();
            number(&mut bucket, 1, *count);
            double(&mut bucket, 2, *bound);
            bytes(&mut self.histogram, 3, &bucket);
        }
        self
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of the message, in their order")]
    pub(crate) fn native(
        mut self,
        schema: i64,
        zero_threshold: f64,
        zero_count: u64,
        spans: &[(i64, u64)],
        deltas: &[i64],
        count: u64,
        sum: f64,
    ) -> Self {
        let out = &mut self.histogram;
        number(out, 1, count);
        double(out, 2, sum);
        number(out, 5, zigzag(schema));
        double(out, 6, zero_threshold);
        number(out, 7, zero_count);
        for (offset, length) in spans {
            let mut span = Vec::new();
            number(&mut span, 1, zigzag(*offset));
            number(&mut span, 2, *length);
            bytes(out, 12, &span);
        }
        let mut packed = Vec::new();
        for delta in deltas {
            varint(&mut packed, zigzag(*delta));
        }
        bytes(out, 13, &packed);
        self
    }
}
