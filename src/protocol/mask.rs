//! Masking: RFC 6455, 5.3. The same function masks and unmasks.
//!
//! Works in blocks that compilers turn into a few vector instructions each; no `unsafe`. Long
//! payloads use 32-byte vectors if the CPU has them. 64-byte vectors were measured, too: a server
//! that uses them only occasionally becomes slower.

/// From this size on, detecting the CPU's vectors pays off.
const WIDE_BYTES_MIN: usize = 512;
/// Block size for long payloads: a few of the widest vectors.
const WIDE_BLOCK_BYTES: usize = 256;
/// Alignment of long payloads: a vector that crosses a cache line costs twice.
const CACHE_LINE_BYTES: usize = 64;

/// XORs `payload` with `key` (5.3), where `payload` begins `offset` bytes into the payload of its frame.
/// Masking a payload in parts equals masking it whole.
#[inline(always)]
pub fn apply(key: [u8; 4], offset: usize, payload: &mut [u8]) {
    let key = turn(u32::from_ne_bytes(key), offset);
    if payload.len() < WIDE_BYTES_MIN {
        let (blocks, tail) = payload.as_chunks_mut::<64>();
        blocks.iter_mut().for_each(|block| apply_block(key, block));
        apply_tail(key, tail);
    } else {
        apply_long(key, payload);
    }
}

/// As [`apply`], for payloads so long that aligning to a cache line pays off.
#[inline(never)]
fn apply_long(key: u32, payload: &mut [u8]) {
    let before = payload.as_ptr().align_offset(CACHE_LINE_BYTES).min(payload.len());
    let (head, rest) = payload.split_at_mut(before);
    let (blocks, tail) = rest.as_chunks_mut::<WIDE_BLOCK_BYTES>();
    apply_tail(key, head);
    let key = turn(key, before);
    apply_blocks(key, blocks);
    apply_tail(key, tail);
}

#[cfg(target_arch = "x86_64")]
fn apply_blocks(key: u32, blocks: &mut [[u8; WIDE_BLOCK_BYTES]]) {
    use fearless_simd::{Level, Simd};

    match Level::new().as_avx2() {
        Some(avx2) => avx2.vectorize(
            #[inline(always)]
            || blocks.iter_mut().for_each(|block| apply_block(key, block)),
        ),
        None => blocks.iter_mut().for_each(|block| apply_block(key, block)),
    }
}

/// Other CPUs use the vectors of the compilation target.
#[cfg(not(target_arch = "x86_64"))]
fn apply_blocks(key: u32, blocks: &mut [[u8; WIDE_BLOCK_BYTES]]) {
    blocks.iter_mut().for_each(|block| apply_block(key, block));
}

/// The key rotated to apply `offset` bytes further on.
#[inline(always)]
fn turn(key: u32, offset: usize) -> u32 {
    let bits = (offset % 4) as u32 * 8;
    if cfg!(target_endian = "little") { key.rotate_right(bits) } else { key.rotate_left(bits) }
}

#[inline(always)]
fn apply_block<const BYTES: usize>(key: u32, block: &mut [u8; BYTES]) {
    const { assert!(BYTES.is_multiple_of(8)) };
    let key = u64::from(key) << 32 | u64::from(key);
    for word in block.as_chunks_mut::<8>().0 {
        *word = (u64::from_ne_bytes(*word) ^ key).to_ne_bytes();
    }
}

/// Masks the rest of a payload, which is shorter than a block.
#[inline]
fn apply_tail(key: u32, tail: &mut [u8]) {
    let (words, tail) = tail.as_chunks_mut::<8>();
    words.iter_mut().for_each(|word| apply_block(key, word));
    let (halves, tail) = tail.as_chunks_mut::<4>();
    for half in halves {
        *half = (u32::from_ne_bytes(*half) ^ key).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(key.to_ne_bytes()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_definition_at_every_length_and_offset() {
        // 5.3: transformed-octet-i = original-octet-i XOR masking-key-octet-(i MOD 4).
        let key = [0x37, 0xFA, 0x21, 0x3D];
        for len in (0..150).chain(WIDE_BYTES_MIN - 2..WIDE_BYTES_MIN + 300) {
            let plain: Vec<u8> = (0..len).map(|i| i as u8 ^ 0x5A).collect();
            let expected: Vec<u8> = plain.iter().enumerate().map(|(i, b)| b ^ key[i % 4]).collect();
            for split in 0..=len {
                let mut masked = plain.clone();
                let (head, tail) = masked.split_at_mut(split);
                apply(key, 0, head);
                apply(key, split, tail);
                assert_eq!(masked, expected, "length {len}, split at {split}");
            }
        }
    }
}
