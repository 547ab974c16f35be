//! Samples of one series, packed: open while they come in, sealed once complete.

mod bits;
mod classes;
pub(crate) mod decimal;
pub(crate) mod floats;
mod gorilla;
pub(crate) mod histogram;
pub(crate) mod ints;
mod newest;
mod open;
mod sealed;
mod timestamps;
mod unpack;
mod words;

pub(crate) use gorilla::MAX_STEP;
pub use histogram::HistogramValue;
pub(crate) use histogram::{Layout, Row, split};
pub(crate) use open::{Body, ChunkWriter, Extent, Histograms, OpenChunk, Starts, Times, note_start};
pub(crate) use sealed::{SealedChunk, Sealer, TimesOfColumn, decode as decode_chunk, decode_column, encode_column};
pub(crate) use timestamps::Column;
pub(crate) use words::Words;

/// Samples that a chunk of the head holds at the most.
pub(crate) const MAX_SAMPLES: usize = 120;
