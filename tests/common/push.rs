//! Remote write requests, written by hand.

#![allow(dead_code, unreachable_pub, reason = "every test file uses a part of this")]

/// One time series: labels, samples as `(milliseconds, value)`.
pub type Series<'a> = (&'a [(&'a str, &'a str)], &'a [(i64, f64)]);

/// An exemplar that leads to a trace: milliseconds, value, trace.
pub type Traced = (i64, f64, String);

/// A request of version 1.0, compressed.
pub fn request(series: &[Series<'_>]) -> Vec<u8> {
    request_with(series, |_| Vec::new())
}

/// The same with exemplars, by the series' place in `series`.
pub fn request_with(series: &[Series<'_>], exemplars: impl Fn(usize) -> Vec<Traced>) -> Vec<u8> {
    let mut message = Vec::new();
    for (place, (labels, samples)) in series.iter().enumerate() {
        let mut one = Vec::new();
        labels.iter().for_each(|(name, value)| label(&mut one, name, value));
        for (at, value) in *samples {
            let mut sample = Vec::new();
            double(&mut sample, 1, *value);
            number(&mut sample, 2, *at as u64);
            bytes(&mut one, 2, &sample);
        }
        for (at, value, trace) in exemplars(place) {
            let mut exemplar = Vec::new();
            label(&mut exemplar, "trace_id", &trace);
            double(&mut exemplar, 2, value);
            number(&mut exemplar, 3, at as u64);
            bytes(&mut one, 3, &exemplar);
        }
        bytes(&mut message, 1, &one);
    }
    compress(&message)
}

/// A label of version 1.0.
fn label(out: &mut Vec<u8>, name: &str, value: &str) {
    let mut label = Vec::new();
    bytes(&mut label, 1, name.as_bytes());
    bytes(&mut label, 2, value.as_bytes());
    bytes(out, 1, &label);
}

pub fn compress(message: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(message).expect("a message in memory can be compressed")
}

/// A field of bytes.
pub fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// A field of a whole number.
pub fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

/// A field of a signed number in zigzag coding.
pub fn signed(out: &mut Vec<u8>, field: u64, value: i64) {
    number(out, field, (value << 1 ^ value >> 63) as u64);
}

/// A field of a float.
pub fn double(out: &mut Vec<u8>, field: u64, value: f64) {
    varint(out, field << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A request of version 2.0 in the making: texts are numbered as they come.
#[derive(Default)]
pub struct RequestV2 {
    symbols: Vec<String>,
    series: Vec<u8>,
}

impl RequestV2 {
    /// The number of a text.
    pub fn symbol(&mut self, text: &str) -> u64 {
        if self.symbols.is_empty() {
            self.symbols.push(String::new());
        }
        let at = self.symbols.iter().position(|known| known == text).unwrap_or_else(|| {
            self.symbols.push(text.to_owned());
            self.symbols.len() - 1
        });
        at as u64
    }

    /// Adds a series: its labels, then the fields that `rest` writes.
    pub fn series(&mut self, labels: &[(&str, &str)], rest: impl FnOnce(&mut Self, &mut Vec<u8>)) -> &mut Self {
        let mut refs = Vec::new();
        for (name, value) in labels {
            varint(&mut refs, self.symbol(name));
            varint(&mut refs, self.symbol(value));
        }
        let mut one = Vec::new();
        bytes(&mut one, 1, &refs);
        rest(self, &mut one);
        bytes(&mut self.series, 5, &one);
        self
    }

    /// The message, compressed.
    pub fn finish(&self) -> Vec<u8> {
        let mut message = Vec::new();
        self.symbols.iter().for_each(|text| bytes(&mut message, 4, text.as_bytes()));
        message.extend_from_slice(&self.series);
        compress(&message)
    }
}

/// The field of a sample, in either version.
pub fn sample(out: &mut Vec<u8>, at: i64, value: f64) {
    let mut sample = Vec::new();
    double(&mut sample, 1, value);
    number(&mut sample, 2, at as u64);
    bytes(out, 2, &sample);
}
