//! Check bodies for fuzzing (feature `testing`).

/// Takes `bytes` in as what a sender pushed, of either version, twice: whatever they are, nothing panics, every sample
/// that is acknowledged can be read, and none is stored a second time.
pub fn check_write(bytes: &[u8]) {
    crate::api::write::check_write(bytes);
}
