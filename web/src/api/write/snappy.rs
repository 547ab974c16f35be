//! Unpacked size of a snappy block, proved before memory is taken for it.
//!
//! Format: <https://github.com/google/snappy/blob/main/format_description.txt>

use super::admission::Rejection;

/// The greatest expansion: a copy of 64 bytes takes three.
const MAX_RATIO: usize = 22;

/// Claims up to this are believed if the ratio allows them. Beyond, the block's elements are added up first, at the cost
/// of a pass over their tags.
const MAX_BELIEVED: usize = 1 << 20;

/// The size that `block` unpacks to, at most `limit`. No more than [`MAX_BELIEVED`] is ever claimed without the bytes
/// for it.
pub(super) fn unpacked_size(block: &[u8], limit: usize) -> Result<usize, Rejection> {
    let size = snap::raw::decompress_len(block).map_err(|_| Rejection::Encoding("block has no valid length"))?;
    if size > limit {
        return Err(Rejection::TooLarge { bytes: size, limit });
    }
    if size / MAX_RATIO > block.len() {
        return Err(Rejection::Encoding("block claims to unpack to more than its bytes can hold"));
    }
    if size > MAX_BELIEVED && sum(block) != Some(size) {
        return Err(Rejection::Encoding("block does not unpack to the size that it claims"));
    }
    Ok(size)
}

/// The sum of what the elements of a block make; `None` if one is cut short.
fn sum(block: &[u8]) -> Option<usize> {
    let length_bytes = block.iter().position(|byte| *byte < 0x80)? + 1;
    let (mut rest, mut total) = (&block[length_bytes..], 0usize);
    while let [tag, after @ ..] = rest {
        let (made, skipped) = match tag & 3 {
            // A literal; a length from 60 on says how many bytes hold it.
            0 => {
                let short = usize::from(tag >> 2);
                let wide = short.saturating_sub(59);
                let bytes = after.get(..wide)?;
                let length = if wide == 0 {
                    short
                } else {
                    bytes.iter().rev().fold(0, |length, byte| length << 8 | usize::from(*byte))
                };
                (length + 1, wide.checked_add(length)?.checked_add(1)?)
            }
            1 => (4 + usize::from(tag >> 2 & 7), 1),
            2 => (1 + usize::from(tag >> 2), 2),
            _ => (1 + usize::from(tag >> 2), 4),
        };
        rest = after.get(skipped..)?;
        total = total.checked_add(made)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_can_be_unpacked_has_the_size_that_its_elements_make(
            part in prop::collection::vec(any::<u8>(), 1..300),
            times in 1usize..400,
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut block = snap::raw::Encoder::new().compress_vec(&part.repeat(times)).unwrap();
            prop_assert_eq!(sum(&block), Some(part.len() * times));
            let at = at.index(block.len());
            block[at] = byte;
            if let Ok(message) = snap::raw::Decoder::new().decompress_vec(&block) {
                prop_assert_eq!(sum(&block), Some(message.len()));
                prop_assert_eq!(unpacked_size(&block, LIMIT), Ok(message.len()));
            }
        }
    }

    const LIMIT: usize = 256 << 20;

    fn claim(mut size: usize, rest: &[u8]) -> Vec<u8> {
        let mut block = Vec::new();
        while size >= 0x80 {
            block.push(size as u8 | 0x80);
            size >>= 7;
        }
        block.push(size as u8);
        block.extend_from_slice(rest);
        block
    }

    #[test]
    fn a_claim_beyond_what_the_bytes_can_hold_is_refused_before_memory_is_taken() {
        for block in [
            claim((256 << 20) - 1, &[0]),
            claim(32 << 20, &[0; 1000]),
            // The ratio allows it, the elements do not.
            claim(32 << 20, &vec![0; 2 << 20]),
            claim(2 << 20, &vec![0xff; 2 << 20]),
        ] {
            assert!(matches!(unpacked_size(&block, LIMIT), Err(Rejection::Encoding(_))), "{:?}", &block[..6]);
        }
        let above = unpacked_size(&claim(LIMIT + 1, &[0; 8]), LIMIT);
        assert_eq!(above, Err(Rejection::TooLarge { bytes: LIMIT + 1, limit: LIMIT }));
        assert!(matches!(unpacked_size(&[0xff; 12], LIMIT), Err(Rejection::Encoding(_))));
    }

    #[test]
    fn sound_blocks_have_the_size_that_they_claim() {
        let mut random = 1u32;
        let noise: Vec<u8> = (0..3 << 20)
            .map(|_| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (random >> 24) as u8
            })
            .collect();
        let zeros = vec![0; 16 << 20];
        let mixed: Vec<u8> = noise[..1 << 20].iter().flat_map(|byte| [0, 1, 2, *byte]).collect();
        for message in [&noise[..], &zeros, &mixed, &noise[..100], &[]] {
            let block = snap::raw::Encoder::new().compress_vec(message).unwrap();
            assert_eq!(unpacked_size(&block, LIMIT), Ok(message.len()));
            if !message.is_empty() {
                assert_eq!(sum(&block), Some(message.len()));
            }
        }
    }
}
