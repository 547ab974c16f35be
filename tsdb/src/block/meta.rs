//! What a block says of itself: `meta.json`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::codec::crc32c;
use crate::error::Error;
use crate::sample::{TimeRange, Timestamp};

/// The name of a block: a ULID, 48 bits of time and 80 of chance, so that names sort by when blocks were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(u128);

/// Digits of a ULID in text: Crockford's base 32.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Digits that 128 bits take.
const TEXT_LEN: usize = 26;

impl BlockId {
    /// The name of a block made at `at`; of `entropy` the lower 80 bits count.
    #[must_use]
    pub fn new(at: Timestamp, entropy: u128) -> Self {
        let ms = at.millis().clamp(0, (1 << 48) - 1) as u128;
        Self(ms << 80 | entropy & ((1 << 80) - 1))
    }

    /// When the block was made.
    #[must_use]
    pub fn timestamp(self) -> Timestamp {
        Timestamp::from_millis((self.0 >> 80) as i64)
    }
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digit = |i: usize| char::from(DIGITS[(self.0 >> (5 * (TEXT_LEN - 1 - i)) & 31) as usize]);
        f.pad(&(0..TEXT_LEN).map(digit).collect::<String>())
    }
}

/// Text that is not a ULID as [`BlockId`] writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a block's name")]
pub struct BadBlockId;

impl FromStr for BlockId {
    type Err = BadBlockId;

    fn from_str(text: &str) -> Result<Self, BadBlockId> {
        // The first digit stands for the upper three bits.
        if text.len() != TEXT_LEN || text.as_bytes()[0] > b'7' {
            return Err(BadBlockId);
        }
        text.bytes().try_fold(Self(0), |id, byte| {
            let digit = DIGITS.iter().position(|&digit| digit == byte).ok_or(BadBlockId)?;
            Ok(Self(id.0 << 5 | digit as u128))
        })
    }
}

impl Serialize for BlockId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BlockId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A span of time, closed at its start and open at its end, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockRange {
    /// The first moment in it.
    pub start_ms: i64,
    /// The first moment behind it.
    pub end_ms: i64,
}

impl BlockRange {
    /// The range of length `width_ms` that holds `at_ms`; ranges of one width begin at multiples of it.
    #[must_use]
    pub const fn aligned(at_ms: i64, width_ms: i64) -> Self {
        let start_ms = at_ms.div_euclid(width_ms).saturating_mul(width_ms);
        Self { start_ms, end_ms: start_ms.saturating_add(width_ms) }
    }

    /// Whether `ms` lies in it.
    #[must_use]
    pub const fn contains(&self, ms: i64) -> bool {
        self.start_ms <= ms && ms < self.end_ms
    }

    /// Whether the two have a moment in common.
    #[must_use]
    pub const fn overlaps(&self, other: &Self) -> bool {
        self.start_ms < other.end_ms && other.start_ms < self.end_ms
    }

    /// Whether it has a moment of `range`.
    #[must_use]
    pub const fn touches(&self, range: TimeRange) -> bool {
        self.start_ms <= range.end.millis() && range.start.millis() < self.end_ms
    }

    /// The shortest range that holds both.
    #[must_use]
    pub fn hull(&self, other: &Self) -> Self {
        Self { start_ms: self.start_ms.min(other.start_ms), end_ms: self.end_ms.max(other.end_ms) }
    }

    /// Its length in milliseconds.
    #[must_use]
    pub const fn width_ms(&self) -> i64 {
        self.end_ms.saturating_sub(self.start_ms)
    }

    /// The same span closed at both ends.
    #[must_use]
    pub const fn closed(&self) -> TimeRange {
        TimeRange::from_millis(self.start_ms, self.end_ms.saturating_sub(1))
    }
}

/// What a block holds, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockStats {
    /// Floats and histograms.
    pub num_samples: u64,
    /// Floats, stale markers among them.
    pub num_float_samples: u64,
    /// Native histograms.
    pub num_histogram_samples: u64,
    /// Series.
    pub num_series: u64,
    /// Chunks.
    pub num_chunks: u64,
    /// Exemplars.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub num_exemplars: u64,
    /// Bytes of the index, of the chunks and of the exemplars.
    pub bytes: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as the derived code calls it")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A block that another was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Its name.
    pub ulid: BlockId,
    /// Its range.
    #[serde(flatten)]
    pub range: BlockRange,
}

/// Where a block comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compaction {
    /// 1 for a block cut from the head, one more for each time that it went through a compaction.
    pub level: u32,
    /// The blocks cut from the head whose samples are in it, sorted; for such a block itself.
    pub sources: Vec<BlockId>,
    /// The blocks it was made from; none for a block cut from the head.
    pub parents: Vec<Parent>,
}

/// What a block says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockMeta {
    version: u32,
    /// The name of the block and of its directory.
    pub ulid: BlockId,
    /// All samples lie in it.
    #[serde(flatten)]
    pub range: BlockRange,
    /// What it holds.
    pub stats: BlockStats,
    /// Where it comes from.
    pub compaction: Compaction,
    /// Labels of the server that made it.
    pub labels: BTreeMap<String, String>,
    /// Which of several equal servers made it; empty for the only one.
    pub replica: String,
}

impl Serialize for BlockRange {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RangeFields { min_time: self.start_ms, max_time: self.end_ms }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for BlockRange {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let RangeFields { min_time, max_time } = RangeFields::deserialize(deserializer)?;
        Ok(Self { start_ms: min_time, end_ms: max_time })
    }
}

/// A range as `meta.json` has it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RangeFields {
    min_time: i64,
    max_time: i64,
}

const VERSION: u32 = 1;

/// What comes before the checksum, which is the last thing in the file.
const CHECKSUM_FIELD: &str = ",\n  \"checksum\": \"";
const CHECKSUM_END: &str = "\"\n}\n";

impl BlockMeta {
    pub(crate) fn new(ulid: BlockId, range: BlockRange, stats: BlockStats, compaction: Compaction) -> Self {
        Self { version: VERSION, ulid, range, stats, compaction, labels: BTreeMap::new(), replica: String::new() }
    }

    /// The text of `meta.json`: JSON whose last field is a CRC-32C of all that comes before it.
    pub(crate) fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("texts and numbers make JSON");
        text.truncate(text.len() - "\n}".len());
        text.push_str(CHECKSUM_FIELD);
        let checksum = crc32c(text.as_bytes());
        text.push_str(&format!("{checksum:08x}{CHECKSUM_END}"));
        text
    }

    /// Reads the text of the `meta.json` at `path`.
    pub(crate) fn from_json(bytes: &[u8], path: &Path) -> Result<Self, Error> {
        let corrupt = |offset: usize, what| Error::Corrupt { path: path.to_owned(), offset: offset as u64, what };
        let text = std::str::from_utf8(bytes).map_err(|e| corrupt(e.valid_up_to(), "text is not UTF-8"))?;
        let rest = text.strip_suffix(CHECKSUM_END).ok_or_else(|| corrupt(text.len(), "ends too early"))?;
        let at = rest.len().saturating_sub(8);
        let (covered, checksum) = rest.split_at_checked(at).ok_or_else(|| corrupt(at, "no checksum"))?;
        if !covered.ends_with(CHECKSUM_FIELD) || checksum != format!("{:08x}", crc32c(covered.as_bytes())) {
            return Err(corrupt(0, "checksum does not match"));
        }
        let meta: Self = serde_json::from_str(text).map_err(|_| corrupt(0, "not the description of a block"))?;
        if meta.version != VERSION {
            return Err(corrupt(0, "unknown version"));
        }
        Ok(meta)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn meta() -> BlockMeta {
        let ulid = BlockId::new(Timestamp::from_millis(1_790_000_000_123), 77);
        let range = BlockRange { start_ms: -7_200_000, end_ms: 0 };
        let stats =
            BlockStats { num_samples: 3, num_float_samples: 3, num_series: 1, num_chunks: 1, ..BlockStats::default() };
        let parents = vec![Parent { ulid: BlockId::new(Timestamp::from_millis(5), 1), range }];
        let mut meta = BlockMeta::new(ulid, range, stats, Compaction { level: 2, sources: vec![ulid], parents });
        meta.labels.insert("region".into(), "eu \"west\"".into());
        meta.replica = "a".into();
        meta
    }

    #[test]
    fn names_are_ulids_and_sort_by_time() {
        // The example of the ULID specification.
        let id: BlockId = "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap();
        assert_eq!(
            (id.to_string().as_str(), id.timestamp().millis()),
            ("01ARZ3NDEKTSV4RRFFQ69G5FAV", 1_469_922_850_259)
        );
        for bad in [
            "",
            "01ARZ3NDEKTSV4RRFFQ69G5FA",
            "81ARZ3NDEKTSV4RRFFQ69G5FAV",
            "01arz3ndektsv4rrffq69g5fav",
            "01ARZ3NDEKTSV4RRFFQ69G5FAU",
        ] {
            assert!(bad.parse::<BlockId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ranges_of_one_width_begin_at_its_multiples() {
        assert_eq!(BlockRange::aligned(-1, 10), BlockRange { start_ms: -10, end_ms: 0 });
        assert_eq!(BlockRange::aligned(10, 10), BlockRange { start_ms: 10, end_ms: 20 });
        assert!(!BlockRange::aligned(0, 10).touches(TimeRange::from_millis(10, 20)));
        assert!(BlockRange::aligned(0, 10).touches(TimeRange::from_millis(9, 20)));
    }

    #[test]
    fn every_changed_byte_of_the_description_is_found() {
        let text = meta().to_json();
        assert_eq!(BlockMeta::from_json(text.as_bytes(), Path::new("m")).unwrap(), meta());
        for at in 0..text.len() {
            for change in [1, 0x20, 0xff] {
                let mut changed = text.clone().into_bytes();
                changed[at] ^= change;
                let error = BlockMeta::from_json(&changed, Path::new("m")).unwrap_err();
                assert!(matches!(error, Error::Corrupt { .. }), "{error}");
            }
            assert!(BlockMeta::from_json(&text.as_bytes()[..at], Path::new("m")).is_err());
        }
    }

    proptest! {
        #[test]
        fn names_come_back_from_their_text(ms in 0i64..1 << 48, entropy: u128) {
            let id = BlockId::new(Timestamp::from_millis(ms), entropy);
            prop_assert_eq!(id.to_string().parse::<BlockId>().unwrap(), id);
            prop_assert_eq!(id.timestamp().millis(), ms);
        }
    }
}
