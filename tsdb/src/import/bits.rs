//! Bits as Prometheus' chunks have them: highest first.

use crate::codec::{Malformed, unzigzag};

/// Takes bits off a buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    /// The next bit.
    at: usize,
}

/// Widths of the numbers that follow one, two, … set bits and a zero; after eight set bits there are 64.
const WIDTHS: [u32; 9] = [0, 3, 6, 9, 12, 18, 25, 56, 64];

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { offset: self.at / 8, what }
    }

    /// The next `n` bits, at most 64.
    #[inline]
    pub(super) fn take(&mut self, n: u32) -> Result<u64, Malformed> {
        if n == 0 {
            return Ok(0);
        }
        let (byte, shift) = (self.at / 8, self.at as u32 % 8);
        let last = (self.at + n as usize).div_ceil(8);
        let bytes = self.bytes.get(byte..last).ok_or(self.malformed("ends too early"))?;
        let word = bytes.iter().fold(0u128, |word, &byte| word << 8 | u128::from(byte));
        let word = (word >> (bytes.len() as u32 * 8 - shift - n)) as u64;
        self.at += n as usize;
        Ok(if n == 64 { word } else { word & ((1 << n) - 1) })
    }

    pub(super) fn bit(&mut self) -> Result<bool, Malformed> {
        Ok(self.take(1)? != 0)
    }

    pub(super) fn float(&mut self) -> Result<f64, Malformed> {
        self.take(64).map(f64::from_bits)
    }

    /// LEB128, each byte eight bits.
    pub(super) fn uvarint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(8)?;
            value |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.malformed("varint over 64 bits"))
    }

    pub(super) fn varint(&mut self) -> Result<i64, Malformed> {
        self.uvarint().map(unzigzag)
    }

    /// How many set bits come before the next zero, which is taken too; at most `most`, after which there is no zero.
    pub(super) fn ones(&mut self, most: u32) -> Result<u32, Malformed> {
        let mut n = 0;
        while n < most && self.bit()? {
            n += 1;
        }
        Ok(n)
    }

    /// A number of `width` bits in which a set highest bit alone is positive and all above it are negative.
    pub(super) fn signed(&mut self, width: u32) -> Result<i64, Malformed> {
        let bits = self.take(width)?;
        if width == 0 || width == 64 || bits <= 1 << (width - 1) {
            return Ok(bits as i64);
        }
        Ok(bits as i64 - (1i64 << width))
    }

    /// A "varbit" integer.
    pub(super) fn varbit_int(&mut self) -> Result<i64, Malformed> {
        let width = WIDTHS[self.ones(8)? as usize];
        self.signed(width)
    }

    /// A "varbit" unsigned integer.
    pub(super) fn varbit_uint(&mut self) -> Result<u64, Malformed> {
        let width = WIDTHS[self.ones(8)? as usize];
        self.take(width)
    }
}

/// Floats, each as XOR with the one before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Xor {
    bits: u64,
    leading: u32,
    trailing: u32,
}

impl Xor {
    pub(super) fn new(first: f64) -> Self {
        Self { bits: first.to_bits(), leading: 0, trailing: 0 }
    }

    pub(super) fn value(&self) -> f64 {
        f64::from_bits(self.bits)
    }

    pub(super) fn next(&mut self, input: &mut BitReader<'_>) -> Result<f64, Malformed> {
        if !input.bit()? {
            return Ok(self.value());
        }
        if input.bit()? {
            self.leading = input.take(5)? as u32;
            let meaningful = match input.take(6)? as u32 {
                0 => 64,
                n => n,
            };
            let taken = self.leading + meaningful;
            self.trailing = 64u32.checked_sub(taken).ok_or(input.malformed("more than 64 bits of a float"))?;
        }
        let meaningful = 64 - self.leading - self.trailing;
        self.bits ^= input.take(meaningful)? << self.trailing;
        Ok(self.value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_each_width_are_read() {
        // 0; 10 100: 4; 10 101: -3; 110 100001: -31; then 11111111 and 64 bits.
        let text = "0 10100 10101 110100001 11111111".replace(' ', "") + &"1".repeat(64) + "000";
        let bytes: Vec<u8> = text
            .as_bytes()
            .chunks(8)
            .map(|byte| {
                let digits: String = byte.iter().map(|&b| char::from(b)).collect();
                u8::from_str_radix(&format!("{digits:0<8}"), 2).unwrap()
            })
            .collect();
        let mut input = BitReader::new(&bytes);
        let numbers: Vec<i64> = (0..5).map(|_| input.varbit_int().unwrap()).collect();
        assert_eq!(numbers, [0, 4, -3, -31, -1]);
        assert!(input.take(64).is_err());
    }
}
