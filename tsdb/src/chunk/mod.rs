//! Samples of one series, packed: open while they come in, sealed once complete.

mod bits;
mod decimal;
mod gorilla;
mod histogram;
mod ints;
mod open;
mod sealed;
mod timestamps;
mod words;

pub(crate) use gorilla::MAX_STEP;
pub use histogram::HistogramValue;
pub(crate) use histogram::split;
pub(crate) use open::{ChunkWriter, Extent, OpenChunk, Times};
pub(crate) use sealed::{SealedChunk, Sealer};
pub(crate) use timestamps::Column;

/// Samples that a chunk of the head holds at the most.
pub(crate) const MAX_SAMPLES: usize = 120;
