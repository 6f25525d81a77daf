//! Masking: RFC 6455, 5.3. The same function masks and unmasks.
//!
//! Works in blocks that compilers turn into a few vector instructions each; no `unsafe`. Long payloads
//! get the vectors of 32 bytes where the CPU has them. Those of 64 bytes were measured, too: a server
//! that uses them now and then is slower for it.

/// Payloads from this size on are worth asking which vectors the CPU has.
const WIDE_BYTES_MIN: usize = 512;
/// Bytes of a block of a long payload: a few of the widest vectors.
const WIDE_BLOCK_BYTES: usize = 256;
/// A vector that crosses a line of the cache costs twice.
const CACHE_LINE_BYTES: usize = 64;

/// XORs `payload` with `key`, where `payload` begins `offset` bytes into the masked payload.
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

/// The same, for so much that it pays to begin where no vector crosses a line of the cache.
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

/// The vectors of other CPUs are those that everything is compiled for.
#[cfg(not(target_arch = "x86_64"))]
fn apply_blocks(key: u32, blocks: &mut [[u8; WIDE_BLOCK_BYTES]]) {
    blocks.iter_mut().for_each(|block| apply_block(key, block));
}

/// The key for what begins `offset` bytes behind where `key` is for.
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

/// What is left over of a payload, less than a block.
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
