//! Memory that scrapes lend each other.

use std::sync::{Mutex, PoisonError};

use crate::cache::Scratch;

/// Buffers kept for later; what comes back beyond that is freed. A scrape needs one from the moment its answer begins
/// to the moment it is stored, so that few are in use at a time, however many targets there are.
const MAX_KEPT: usize = 8;
/// Larger bodies are freed: what a target has sent once is not kept for it.
const MAX_KEPT_BYTES: usize = 2 << 20;
/// Larger scratch space is freed.
const MAX_KEPT_SCRATCH_BYTES: usize = 4 << 20;

/// Bodies and scratch space between scrapes.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    bodies: Mutex<Vec<Vec<u8>>>,
    scratches: Mutex<Vec<Scratch>>,
}

impl Buffers {
    /// A buffer for a body of about `bytes`: the smallest that fits, or a new one.
    pub(crate) fn body(&self, bytes: usize) -> Vec<u8> {
        let mut bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = bodies.iter().enumerate().filter(|(_, body)| body.capacity() >= bytes);
        match fits.min_by_key(|(_, body)| body.capacity()).map(|(at, _)| at) {
            Some(at) => bodies.swap_remove(at),
            None => Vec::with_capacity(bytes),
        }
    }

    pub(crate) fn return_body(&self, mut body: Vec<u8>) {
        let mut bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        if bodies.len() < MAX_KEPT && (1..=MAX_KEPT_BYTES).contains(&body.capacity()) {
            body.clear();
            bodies.push(body);
        }
    }

    pub(crate) fn scratch(&self) -> Scratch {
        self.scratches.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    pub(crate) fn return_scratch(&self, scratch: Scratch) {
        let mut scratches = self.scratches.lock().unwrap_or_else(PoisonError::into_inner);
        if scratches.len() < MAX_KEPT && scratch.memory_bytes() <= MAX_KEPT_SCRATCH_BYTES {
            scratches.push(scratch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_buffer_that_fits_is_lent() {
        let buffers = Buffers::default();
        for bytes in [100, 1000, 10] {
            buffers.return_body(Vec::with_capacity(bytes));
        }
        assert_eq!(buffers.body(50).capacity(), 100);
        assert_eq!(buffers.body(50).capacity(), 1000);
        assert_eq!(buffers.body(50).capacity(), 50);
        assert_eq!(buffers.body(5).capacity(), 10);
    }

    #[test]
    fn large_buffers_are_not_kept() {
        let buffers = Buffers::default();
        buffers.return_body(Vec::with_capacity(60 << 20));
        assert_eq!(buffers.body(5).capacity(), 5);
    }
}
