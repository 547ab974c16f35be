//! Bytes that go to disk: varints, fixed-width integers and CRC-32C. Every read is bounds-checked.
//!
//! Varints are LEB128; signed ones are zigzag-coded first. Fixed widths are little-endian.

use crate::error::Error;
use std::path::Path;

/// CRC-32C (Castagnoli) of `bytes`.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// Maps small magnitudes of either sign to small numbers.
pub(crate) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Undoes [`zigzag`].
pub(crate) const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Appends values to a buffer.
pub(crate) trait Encoder {
    fn put_u8(&mut self, value: u8);
    fn put_u32(&mut self, value: u32);
    fn put_u64(&mut self, value: u64);
    fn put_f64(&mut self, value: f64) {
        self.put_u64(value.to_bits());
    }
    fn put_uvarint(&mut self, value: u64);
    fn put_varint(&mut self, value: i64) {
        self.put_uvarint(zigzag(value));
    }
    /// A length, then the bytes.
    fn put_bytes(&mut self, bytes: &[u8]);
}

impl Encoder for Vec<u8> {
    #[inline]
    fn put_u8(&mut self, value: u8) {
        self.push(value);
    }

    fn put_u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    #[inline]
    fn put_uvarint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.push(value as u8);
    }

    fn put_bytes(&mut self, bytes: &[u8]) {
        self.put_uvarint(bytes.len() as u64);
        self.extend_from_slice(bytes);
    }
}

/// Bytes that are not what they should be: what, and how far into the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) offset: usize,
    pub(crate) what: &'static str,
}

impl Malformed {
    /// The error for a buffer that starts at `base` of the file `path`.
    pub(crate) fn at(self, path: &Path, base: u64) -> Error {
        Error::Corrupt { path: path.to_owned(), offset: base + self.offset as u64, what: self.what }
    }
}

/// Takes values off a buffer, from the front.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    /// What lies between here and `later`, a copy that has taken more off.
    pub(crate) fn until(&self, later: &Self) -> &'a [u8] {
        &self.bytes[self.at..later.at]
    }

    pub(crate) fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { offset: self.at, what }
    }

    /// The next `n` bytes.
    #[inline]
    pub(crate) fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let taken = self.bytes[self.at..].get(..n).ok_or(self.malformed("ends too early"))?;
        self.at += n;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        Ok(self.take(N)?.try_into().expect("take gives as many bytes as asked for"))
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        let byte = *self.bytes.get(self.at).ok_or(self.malformed("ends too early"))?;
        self.at += 1;
        Ok(byte)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn f64(&mut self) -> Result<f64, Malformed> {
        Ok(f64::from_bits(self.u64()?))
    }

    /// A number of which only the first `n` bytes are there, at most 8, the most significant first; the others are zero.
    #[inline]
    pub(crate) fn leading(&mut self, n: usize) -> Result<u64, Malformed> {
        debug_assert!(n <= 8);
        match self.bytes[self.at..].first_chunk() {
            Some(eight) => {
                self.at += n;
                Ok(u64::from_be_bytes(*eight) & !u64::MAX.checked_shr(8 * n as u32).unwrap_or(0))
            }
            None => {
                let mut bytes = [0; 8];
                bytes[..n].copy_from_slice(self.take(n)?);
                Ok(u64::from_be_bytes(bytes))
            }
        }
    }

    #[inline]
    pub(crate) fn uvarint(&mut self) -> Result<u64, Malformed> {
        let first = self.u8()?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        let mut value = u64::from(first & 0x7f);
        let mut shift = 7;
        loop {
            let byte = self.u8()?;
            if shift == 63 && byte > 1 {
                return Err(self.malformed("varint over 64 bits"));
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
            shift += 7;
        }
    }

    pub(crate) fn varint(&mut self) -> Result<i64, Malformed> {
        self.uvarint().map(unzigzag)
    }

    /// A varint that must fit `T`.
    pub(crate) fn uvarint_as<T: TryFrom<u64>>(&mut self) -> Result<T, Malformed> {
        let at = *self;
        T::try_from(self.uvarint()?).map_err(|_| at.malformed("number too large"))
    }

    /// A count of things that take at least `min_bytes` each: never more than the buffer can hold.
    pub(crate) fn count(&mut self, min_bytes: usize) -> Result<usize, Malformed> {
        let at = *self;
        let n: usize = self.uvarint_as()?;
        if n.checked_mul(min_bytes).is_none_or(|bytes| bytes > self.remaining()) {
            return Err(at.malformed("count exceeds the bytes that follow"));
        }
        Ok(n)
    }

    /// A length, then the bytes.
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let n = self.count(1)?;
        self.take(n)
    }

    /// A length, then UTF-8.
    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        let at = *self;
        std::str::from_utf8(self.bytes()?).map_err(|_| at.malformed("text is not UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn crc32c_has_the_check_value_of_its_standard() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283); // RFC 3720, appendix B.4
    }

    #[test]
    fn a_varint_over_64_bits_is_refused() {
        let mut bytes = vec![0xff; 9];
        bytes.push(1);
        assert_eq!(Decoder::new(&bytes).uvarint(), Ok(u64::MAX));
        bytes[9] = 2;
        assert!(Decoder::new(&bytes).uvarint().is_err());
        assert!(Decoder::new(&[0x80; 20]).uvarint().is_err());
    }

    proptest! {
        #[test]
        fn what_is_put_is_taken(a: u64, b: i64, c: f64, d: u32, text: String) {
            let mut out = Vec::new();
            out.put_uvarint(a);
            out.put_varint(b);
            out.put_f64(c);
            out.put_u32(d);
            out.put_bytes(text.as_bytes());
            let mut decoder = Decoder::new(&out);
            prop_assert_eq!(decoder.uvarint().unwrap(), a);
            prop_assert_eq!(decoder.varint().unwrap(), b);
            prop_assert_eq!(decoder.f64().unwrap().to_bits(), c.to_bits());
            prop_assert_eq!(decoder.u32().unwrap(), d);
            prop_assert_eq!(decoder.text().unwrap(), text);
            prop_assert!(decoder.is_empty());
        }

        #[test]
        fn leading_bytes_are_the_upper_ones(number: u64, n in 0usize..=8, more in 0usize..10) {
            let bytes = [&number.to_be_bytes()[..n], &vec![0xff; more]].concat();
            let mut decoder = Decoder::new(&bytes);
            let kept = number.to_be_bytes().into_iter().take(n).chain([0; 8]).take(8);
            prop_assert_eq!(decoder.leading(n).unwrap(), kept.fold(0, |all, byte| all << 8 | u64::from(byte)));
            prop_assert_eq!(decoder.remaining(), more);
            prop_assert!(Decoder::new(&bytes[..n.saturating_sub(1)]).leading(n).is_err() || n == 0);
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>) {
            let mut decoder = Decoder::new(&bytes);
            while decoder.uvarint().is_ok() && decoder.text().is_ok() && decoder.u32().is_ok() {}
        }
    }
}
