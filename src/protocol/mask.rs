//! Masking: RFC 6455, 5.3. The same function masks and unmasks.
//!
//! Works in blocks that compilers turn into a few vector instructions each; no `unsafe`.

/// XORs `payload` with `key`, where `payload` begins `offset` bytes into the masked payload.
#[inline]
pub fn apply(key: [u8; 4], offset: usize, payload: &mut [u8]) {
    let key = u32::from_ne_bytes(key);
    let turn = (offset % 4) as u32 * 8;
    let key =
        if cfg!(target_endian = "little") { key.rotate_right(turn) } else { key.rotate_left(turn) };
    let wide = u64::from(key) << 32 | u64::from(key);

    let (blocks, tail) = payload.as_chunks_mut::<64>();
    for block in blocks {
        for word in block.as_chunks_mut::<8>().0 {
            *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
        }
    }
    let (words, tail) = tail.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
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
    use super::apply;

    #[test]
    fn equals_the_definition_at_every_length_and_offset() {
        // 5.3: transformed-octet-i = original-octet-i XOR masking-key-octet-(i MOD 4).
        let key = [0x37, 0xFA, 0x21, 0x3D];
        for len in 0..150 {
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
