//! The wire format of protocol buffers: fields one after the other, read in place.

/// A message that is not one: what, and at which byte of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    pub(super) offset: usize,
    pub(super) what: &'static str,
}

/// The value of a field, by its wire type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Message(Message<'a>),
}

/// A message, a text or a packed list within the body.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Message<'a> {
    pub(super) bytes: &'a [u8],
    /// Where it begins in the body.
    pub(super) base: usize,
}

const TOO_MANY: &str = "too many bucket counts in a histogram";

/// Walks the fields of a message.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    message: Message<'a>,
    at: usize,
}

impl<'a> Message<'a> {
    pub(super) const fn fields(self) -> Fields<'a> {
        Fields { message: self, at: 0 }
    }

    pub(super) fn text(self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes)
            .map_err(|e| Malformed { offset: self.base + e.valid_up_to(), what: "text is not valid UTF-8" })
    }
}

impl<'a> Fields<'a> {
    fn fault<T>(&self, what: &'static str) -> Result<T, Malformed> {
        Err(Malformed { offset: self.message.base + self.at, what })
    }

    /// The number and value of the next field; `None` at the end.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<(u64, Field<'a>)>, Malformed> {
        let rest = &self.message.bytes[self.at..];
        // What nearly every field is: a low number, and a text or message of less than 128 bytes.
        if let [key @ 0..0x80, length @ 0..0x80, rest @ ..] = rest
            && key & 7 == 2
            && let Some(bytes) = rest.get(..usize::from(*length))
        {
            let base = self.message.base + self.at + 2;
            self.at += 2 + bytes.len();
            return Ok(Some((u64::from(key >> 3), Field::Message(Message { bytes, base }))));
        }
        self.next_slowly()
    }

    fn next_slowly(&mut self) -> Result<Option<(u64, Field<'a>)>, Malformed> {
        if self.at == self.message.bytes.len() {
            return Ok(None);
        }
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => Field::Message(self.delimited()?),
            5 => {
                self.array::<4>()?;
                Field::Fixed32
            }
            _ => return self.fault("unknown wire type"),
        };
        Ok(Some((key >> 3, value)))
    }

    /// A message with its length before it; `None` at the end.
    pub(super) fn next_delimited(&mut self) -> Result<Option<Message<'a>>, Malformed> {
        if self.at == self.message.bytes.len() { Ok(None) } else { self.delimited().map(Some) }
    }

    fn delimited(&mut self) -> Result<Message<'a>, Malformed> {
        let length = self.varint()?;
        let rest = &self.message.bytes[self.at..];
        match usize::try_from(length).ok().and_then(|length| rest.get(..length)) {
            Some(bytes) => {
                let base = self.message.base + self.at;
                self.at += bytes.len();
                Ok(Message { bytes, base })
            }
            None => self.fault("field reaches beyond its message"),
        }
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let Some(&byte) = self.message.bytes.get(self.at) else { return self.fault("ends too early") };
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        self.fault("varint of more than 64 bits")
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let Some(bytes) = self.message.bytes[self.at..].first_chunk() else { return self.fault("ends too early") };
        self.at += N;
        Ok(*bytes)
    }
}

impl Field<'_> {
    /// The varints of a packed field, or the one of an unpacked; at most `most`.
    pub(super) fn varints(self, most: usize, mut each: impl FnMut(u64)) -> Result<(), Malformed> {
        match self {
            Field::Varint(value) if most > 0 => each(value),
            Field::Varint(_) => return Err(Malformed { offset: 0, what: TOO_MANY }),
            Field::Message(message) => {
                let mut packed = message.fields();
                for count in 0.. {
                    if packed.at == message.bytes.len() {
                        break;
                    }
                    if count == most {
                        return packed.fault(TOO_MANY);
                    }
                    each(packed.varint()?);
                }
            }
            Field::Fixed64(_) | Field::Fixed32 => {}
        }
        Ok(())
    }

    /// The doubles of a packed field, or the one of an unpacked; at most `most`.
    pub(super) fn doubles(self, most: usize, mut each: impl FnMut(f64)) -> Result<(), Malformed> {
        match self {
            Field::Fixed64(bits) if most > 0 => each(f64::from_bits(bits)),
            Field::Fixed64(_) => return Err(Malformed { offset: 0, what: TOO_MANY }),
            Field::Message(message) => {
                let mut packed = message.fields();
                if message.bytes.len() / 8 > most {
                    return packed.fault(TOO_MANY);
                }
                while packed.at < message.bytes.len() {
                    each(f64::from_le_bytes(packed.array()?));
                }
            }
            Field::Varint(_) | Field::Fixed32 => {}
        }
        Ok(())
    }
}

/// The number of a signed field in zigzag coding.
pub(super) const fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
