//! The bodies of the fuzz targets on bytes from fixed seeds, so that every test run has them.

use proptest::prelude::*;
use tsdb::testing::{check_checkpoint, check_chunk, check_files, check_manifest, check_wal};

/// Bytes that look like records: small numbers are the most frequent.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![4 => 0u8..10, 1 => any::<u8>()], 0..300)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_a_chunk_panic(bytes in bytes()) {
        check_chunk(&bytes);
    }

    #[test]
    fn no_commits_make_recovery_panic(bytes in bytes()) {
        check_wal(&bytes);
    }

    #[test]
    fn no_checkpoint_makes_recovery_panic(bytes in bytes()) {
        check_checkpoint(&bytes);
    }

    #[test]
    fn no_manifest_makes_opening_panic(bytes in bytes()) {
        check_manifest(&bytes);
    }

    #[test]
    fn no_files_make_opening_panic(bytes in bytes()) {
        check_files(&bytes);
    }
}
