//! Memory for unpacked requests, used again and again.

use std::sync::{Mutex, PoisonError};

/// Buffers that are kept.
const MAX_KEPT: usize = 8;
/// Bytes of a buffer that is kept; a larger one is rare and goes.
const MAX_KEPT_BYTES: usize = 4 << 20;

/// Buffers that wait for the next request.
#[derive(Debug, Default)]
pub(crate) struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    /// A buffer with anything in it.
    pub(crate) fn take(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    pub(crate) fn give_back(&self, buffer: Vec<u8>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < MAX_KEPT && buffer.capacity() <= MAX_KEPT_BYTES {
            kept.push(buffer);
        }
    }
}
