//! A body being unpacked, step by step.

use std::io::{self, Cursor, Read};

use flate2::bufread::GzDecoder;
use tokio::time::Instant;

use super::{BodyMemory, FetchError, effective_limit, make_room};

/// Bytes unpacked between two looks at the clock.
const STEP_BYTES: usize = 256 << 10;

/// How many times larger a page mostly gets when it is unpacked.
const LIKELY_RATIO: usize = 8;

/// The least that a member of a compressed body has, on average beyond the first [`FREE_MEMBERS`]: each costs the same
/// time to begin, however little is in it.
const MIN_MEMBER_BYTES: usize = 1 << 10;
const FREE_MEMBERS: usize = 64;

/// A compressed body and the place that unpacking has come to.
///
/// Counts as it unpacks: nothing that the body claims about its size is believed.
pub(crate) struct Gunzip {
    decoder: GzDecoder<Cursor<Vec<u8>>>,
    compressed_bytes: usize,
    limit: usize,
    members: usize,
}

/// The place that a step of unpacking has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unpacked {
    /// The end.
    All,
    /// There is more.
    Part,
}

impl Gunzip {
    /// Begins; a body of `limit` bytes (0: the default) or more will be refused.
    pub(crate) fn new(compressed: Vec<u8>, limit: u64) -> Self {
        let compressed_bytes = compressed.len();
        let decoder = GzDecoder::new(Cursor::new(compressed));
        Self { decoder, compressed_bytes, limit: effective_limit(limit), members: 1 }
    }

    /// Unpacks until `body` has `until` bytes, or all of them.
    ///
    /// # Errors
    /// If the body is no gzip, reaches the limit, finds no room in `memory`, or is not unpacked by `deadline`.
    pub(crate) fn run(
        &mut self,
        until: usize,
        body: &mut Vec<u8>,
        memory: &impl BodyMemory,
        deadline: Option<Instant>,
    ) -> Result<Unpacked, FetchError> {
        let failed = |error: io::Error| FetchError::Gzip(error.to_string());
        loop {
            if body.len() >= until {
                return Ok(Unpacked::Part);
            }
            let step = STEP_BYTES.min(until - body.len()).min(self.limit - body.len());
            make_room(body, step.min(body.len().max(4096)), self.limit, memory)?;
            let step = step.min(body.capacity() - body.len());
            let read = self.decoder.by_ref().take(step as u64).read_to_end(body).map_err(failed)?;
            if body.len() >= self.limit {
                return Err(FetchError::BodySize);
            }
            if read < step && !self.next_member().map_err(failed)? {
                return Ok(Unpacked::All);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(FetchError::Unpacking);
            }
        }
    }

    /// Goes on with the member that follows; `false` if none does.
    fn next_member(&mut self) -> io::Result<bool> {
        let input = self.decoder.get_ref();
        if input.position() as usize >= self.compressed_bytes {
            return Ok(false);
        }
        self.members += 1;
        if self.members > FREE_MEMBERS + self.compressed_bytes / MIN_MEMBER_BYTES {
            return Err(io::Error::other("too many members"));
        }
        let input = std::mem::take(self.decoder.get_mut());
        self.decoder.reset(input);
        Ok(true)
    }

    /// Bytes of memory that the packed body takes.
    pub(crate) fn packed_bytes(&self) -> usize {
        self.decoder.get_ref().get_ref().capacity()
    }

    /// Bytes that a body of this packed size may have, if it is small.
    pub(crate) fn likely_bytes(&self) -> usize {
        (self.compressed_bytes * LIKELY_RATIO).min(STEP_BYTES)
    }

    /// The packed body, to use its memory again.
    pub(crate) fn into_packed(self) -> Vec<u8> {
        self.decoder.into_inner().into_inner()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn unpack(compressed: Vec<u8>, limit: u64) -> Result<Vec<u8>, FetchError> {
        let mut body = Vec::new();
        let mut gunzip = Gunzip::new(compressed, limit);
        let any = |_: Option<usize>| Vec::new();
        while gunzip.run(body.len() + 1000, &mut body, &any, None)? == Unpacked::Part {}
        Ok(body)
    }

    #[test]
    fn members_are_unpacked_one_after_the_other_but_not_without_end() {
        let two = [gzip(b"a 1\n"), gzip(b"b 2\n")].concat();
        assert_eq!(unpack(two, 0).unwrap(), b"a 1\nb 2\n");
        assert_eq!(unpack(gzip(b""), 0).unwrap(), b"");
        let many = gzip(b"").repeat(10_000);
        assert_eq!(unpack(many, 0), Err(FetchError::Gzip("too many members".to_owned())));
        let garbage = [gzip(b"a 1\n"), b"garbage".to_vec()].concat();
        assert!(matches!(unpack(garbage, 0), Err(FetchError::Gzip(_))));
    }

    #[test]
    fn unpacking_ends_at_the_limit_at_the_deadline_and_where_there_is_no_room() {
        let bomb = gzip(&vec![b'a'; 10 << 20]);
        assert_eq!(unpack(bomb.clone(), 1 << 20), Err(FetchError::BodySize));
        let mut body = Vec::new();
        let any = |_: Option<usize>| Vec::new();
        let late = Some(Instant::now());
        let result = Gunzip::new(bomb.clone(), 0).run(usize::MAX, &mut body, &any, late);
        assert_eq!(result, Err(FetchError::Unpacking));
        assert!(body.len() <= STEP_BYTES);
        struct Small;
        impl BodyMemory for Small {
            fn lend(&self, _: Option<usize>) -> Vec<u8> {
                Vec::new()
            }
            fn grow(&self, bytes: usize) -> bool {
                bytes <= 1 << 20
            }
        }
        let mut body = Vec::new();
        let result = Gunzip::new(bomb, 0).run(usize::MAX, &mut body, &Small, None);
        assert!(matches!(result, Err(FetchError::Memory(_))), "{result:?}");
        assert!(body.capacity() <= 1 << 20);
    }
}
