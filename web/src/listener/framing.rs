//! The end of a request's body: by its length, or chunked.

/// How the body of a request is framed, and the part of it that is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes.
    Length(u64),
    /// Chunks, each with its size before it.
    Chunked(Place),
}

/// A place in a chunked body (RFC 9112, 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the hexadecimal size of a chunk, of which so many digits are read.
    Size { size: u64, digits: u8 },
    /// In what follows a size on its line.
    Extension { size: u64 },
    /// Before the end of the line of a size.
    SizeEnd { size: u64 },
    /// In the bytes of a chunk.
    Data { left: u64 },
    /// Before the first, then the second byte of the line end behind a chunk.
    DataEnd { byte: u8 },
    /// At the begin of a line behind the last chunk.
    Trailer,
    /// Within such a line.
    InTrailer,
    /// Before the end of such a line; an empty one ends the body.
    TrailerEnd { is_empty: bool },
    /// Behind the body.
    Done,
}

/// A chunked body that cannot be read: where it ends cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl Framing {
    /// Framing of a chunked body, at its begin.
    pub(super) const CHUNKED: Self = Self::Chunked(Place::Size { size: 0, digits: 0 });

    pub(super) fn is_done(self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Place::Done))
    }

    /// Goes over bytes; gives how many of them belong to the body.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        match self {
            Self::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= taken as u64;
                Ok(taken)
            }
            Self::Chunked(place) => {
                let mut at = 0;
                while at < bytes.len() && *place != Place::Done {
                    if let Place::Data { left } = place {
                        let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len() - at);
                        *left -= taken as u64;
                        at += taken;
                        if *left == 0 {
                            *place = Place::DataEnd { byte: b'\r' };
                        }
                    } else {
                        *place = place.step(bytes[at])?;
                        at += 1;
                    }
                }
                Ok(at)
            }
        }
    }
}

impl Place {
    /// The place behind a byte that is not of a chunk's data.
    fn step(self, byte: u8) -> Result<Self, Malformed> {
        let behind_size = |size| if size == 0 { Self::Trailer } else { Self::Data { left: size } };
        match (self, byte) {
            (Self::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16).ok_or(Malformed)?;
                let size = size.checked_mul(16).and_then(|size| size.checked_add(u64::from(digit))).ok_or(Malformed)?;
                Ok(Self::Size { size, digits: digits.saturating_add(1) })
            }
            (Self::Size { digits: 0, .. }, _) => Err(Malformed),
            (Self::Size { size, .. } | Self::Extension { size }, b'\r') => Ok(Self::SizeEnd { size }),
            (Self::Size { size, .. }, b' ' | b'\t' | b';') => Ok(Self::Extension { size }),
            (Self::Extension { size }, _) if byte != b'\n' => Ok(Self::Extension { size }),
            (Self::SizeEnd { size }, b'\n') => Ok(behind_size(size)),
            (Self::DataEnd { byte: b'\r' }, b'\r') => Ok(Self::DataEnd { byte: b'\n' }),
            (Self::DataEnd { byte: b'\n' }, b'\n') => Ok(Self::Size { size: 0, digits: 0 }),
            (Self::Trailer, b'\r') => Ok(Self::TrailerEnd { is_empty: true }),
            (Self::InTrailer, b'\r') => Ok(Self::TrailerEnd { is_empty: false }),
            (Self::Trailer | Self::InTrailer, _) if byte != b'\n' => Ok(Self::InTrailer),
            (Self::TrailerEnd { is_empty: true }, b'\n') => Ok(Self::Done),
            (Self::TrailerEnd { is_empty: false }, b'\n') => Ok(Self::Trailer),
            _ => Err(Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of the body, read in pieces of `size`.
    fn length(text: &[u8], size: usize) -> Result<usize, Malformed> {
        let (mut framing, mut all) = (Framing::CHUNKED, 0);
        for piece in text.chunks(size) {
            let taken = framing.pass(piece)?;
            all += taken;
            if framing.is_done() {
                return Ok(all);
            }
            assert_eq!(taken, piece.len());
        }
        Ok(usize::MAX)
    }

    #[test]
    fn chunked_bodies_end_where_they_end() {
        let whole = [
            &b"0\r\n\r\n"[..],
            b"5\r\nhello\r\n0\r\n\r\n",
            b"A;name=value\r\n0\r\n\r\n67890\r\n000\r\nTrailer: x\r\nOther: y\r\n\r\n",
        ];
        for body in whole {
            let text = [body, b"GET / HTTP/1.1\r\n\r\n"].concat();
            for size in 1..text.len() {
                assert_eq!(length(&text, size), Ok(body.len()), "{size} {}", String::from_utf8_lossy(body));
            }
        }
        for bad in [
            &b"\r\n"[..],
            b"x\r\n",
            b"5\nhello",
            b"5\r\nhello!\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"10000000000000000\r\n",
            b"5;\nhello",
            b"0\r\nTrailer\n\r\n",
            b"-5\r\n",
            b"0\r\r\n",
        ] {
            assert_eq!(length(bad, 3), Err(Malformed), "{}", String::from_utf8_lossy(bad));
        }
    }
}
