//! Protocol buffers, as far as remote write needs them: fields one after the other, in place.

/// A message that is not one: what, and at which byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("protobuf message is malformed at byte {offset}: {what}")]
pub(crate) struct Malformed {
    pub(crate) offset: usize,
    pub(crate) what: &'static str,
}

/// The value of a field, by its wire type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    /// The bytes, and where they begin in the whole message.
    Bytes(&'a [u8], usize),
}

/// Walks the fields of a message.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the message begins in the outermost one.
    base: usize,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8], base: usize) -> Self {
        Self { bytes, at: 0, base }
    }

    /// Where the next field begins, in this message.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { offset: self.base + self.at, what }
    }

    /// The number and value of the next field; `None` at the end.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Field<'a>)>, Malformed> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let len = self.varint()?;
                let len = usize::try_from(len).ok().filter(|&len| len <= self.bytes.len() - self.at);
                let len = len.ok_or(self.malformed("field reaches beyond its message"))?;
                let start = self.at;
                self.at += len;
                Field::Bytes(&self.bytes[start..self.at], self.base + start)
            }
            5 => Field::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(self.malformed("unknown wire type")),
        };
        Ok(Some((key >> 3, value)))
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at).ok_or(self.malformed("ends too early"))?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.malformed("varint over 64 bits"))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let bytes = self.bytes[self.at..].first_chunk().ok_or(self.malformed("ends too early"))?;
        self.at += N;
        Ok(*bytes)
    }
}

/// The varints of a packed field, or the one of an unpacked.
pub(crate) fn varints(field: Field<'_>, mut each: impl FnMut(u64)) -> Result<(), Malformed> {
    match field {
        Field::Varint(value) => each(value),
        Field::Bytes(bytes, base) => {
            let mut packed = Fields::new(bytes, base);
            while packed.at < bytes.len() {
                each(packed.varint()?);
            }
        }
        Field::Fixed64(_) | Field::Fixed32(_) => return Err(Malformed { offset: 0, what: "number of the wrong type" }),
    }
    Ok(())
}

/// The doubles of a packed field, or the one of an unpacked.
pub(crate) fn doubles(field: Field<'_>, mut each: impl FnMut(f64)) -> Result<(), Malformed> {
    match field {
        Field::Fixed64(bits) => each(f64::from_bits(bits)),
        Field::Bytes(bytes, base) => {
            let mut packed = Fields::new(bytes, base);
            while packed.at < bytes.len() {
                each(f64::from_le_bytes(packed.array()?));
            }
        }
        Field::Varint(_) | Field::Fixed32(_) => return Err(Malformed { offset: 0, what: "number of the wrong type" }),
    }
    Ok(())
}

/// The number of a signed field in zigzag coding.
pub(crate) const fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
