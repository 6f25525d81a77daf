//! Deflating messages with each window size, level and memory level.

use weir::protocol::deflate::Deflater;
use zlib_rs::{Inflate, InflateFlush};

use super::*;

/// JSON with repeated text, a little different for each index.
fn sample(index: usize) -> Vec<u8> {
    format!("{{\"id\":{index},\"says\":\"{}\"}}", "the same as ever, ".repeat(1 + index % 40))
        .into()
}

#[test]
fn a_peer_inflates_messages_of_each_window() {
    for bits in 9..=15 {
        let mut deflater = Deflater::new(6, 8);
        let mut window = Window::new(bits);
        // Like other libraries: one stream for the whole connection.
        let mut peer = Inflate::new(false, bits);
        let mut sizes = (0, 0);
        for index in 0..200 {
            let message = sample(index);
            let alone = deflater.deflate(&message, bits, &[]).map_or(message.len(), <[u8]>::len);
            let Some(payload) = deflater.deflate(&message, bits, window.as_bytes()) else {
                continue;
            };
            sizes = (sizes.0 + alone, sizes.1 + payload.len());
            let wire = [payload, &[0, 0, 0xFF, 0xFF]].concat();
            let mut out = vec![0; message.len() + 1];
            let before = peer.total_out();
            peer.decompress(&wire, &mut out, InflateFlush::SyncFlush).unwrap();
            assert_eq!(&out[..(peer.total_out() - before) as usize], message, "{bits} bits");
            window.push(&message);
        }
        assert!(sizes.1 < sizes.0, "a window of {bits} bits saves nothing: {sizes:?}");
    }
}

#[test]
fn each_window_inflates_messages_of_a_peer() {
    for bits in 9..=15 {
        let mut peer = Deflate::new(6, false, bits);
        let mut window = Window::new(bits);
        for index in 0..200 {
            let message = sample(index);
            let payload = by(&mut peer, &message);
            let inflated = inflate(TEXT, &payload, Some(&mut window), LIMIT);
            assert_eq!(inflated.as_deref(), Ok(&message[..]), "{bits} bits, message {index}");
            assert!(window.held_bytes() <= 1 << bits);
        }
    }
}

#[test]
fn a_message_that_does_not_shrink_is_not_compressed() {
    let mut deflater = Deflater::new(1, 8);
    assert_eq!(deflater.deflate(&noise(1000), 15, &[]), None);
    assert_eq!(deflater.deflate(b"", 15, &[]), None);
    assert_eq!(deflater.deflate(b"abc", 15, &[]), None);
    // The next messages are not affected, however often that has happened.
    for _ in 0..2000 {
        assert_eq!(deflater.deflate(&noise(300), 15, &[]), None);
    }
    let message = [b'a'; 1000];
    let payload = deflater.deflate(&message, 15, &[]).unwrap().to_vec();
    assert_eq!(inflate(BINARY, &payload, None, 1000).as_deref(), Ok(&message[..]));
    // A copy of the message in the window takes two bytes and the end.
    let message = noise(1000);
    assert!(deflater.deflate(&message, 15, &message).unwrap().len() < 30);
}

#[test]
fn every_level_and_memory_level_inflates_to_the_same() {
    let mixed: Vec<u8> = (0..100).flat_map(|i| [sample(i), noise(100 * i)].concat()).collect();
    for level in 1..=9 {
        for mem_level in 1..=9 {
            let mut deflater = Deflater::new(level, mem_level);
            for message in [&mixed[..], &mixed[..50_000], &sample(3)] {
                let payload = deflater.deflate(message, 15, &[]).unwrap().to_vec();
                let inflated = inflate(BINARY, &payload, None, LIMIT);
                assert!(inflated.as_deref() == Ok(message), "level {level}, memory {mem_level}");
            }
        }
    }
}

/// At the lowest memory level, a short message becomes as small as at the highest: text, and bytes that
/// hardly repeat.
#[test]
fn short_messages_need_little_memory() {
    let text: Vec<u8> = (0..400).flat_map(sample).collect();
    // Bytes of half the possible values: no match, but shorter codes.
    let bytes: Vec<u8> = noise(5000).iter().map(|byte| byte & 0x0F).collect();
    for len in [256, 1024, 3000, 4000, 4094, 4095, 4096, 5000] {
        for message in [&text[..len], &bytes[..len]] {
            let mut stream = Deflate::new_with_config(zlib_rs::DeflateConfig {
                level: 6,
                window_bits: -15,
                mem_level: 9,
                ..Default::default()
            });
            let least = by(&mut stream, message).len();
            let payload = Deflater::new(6, 9).deflate(message, 15, &[]).map(<[u8]>::len);
            assert_eq!(payload, Some(least), "{len} bytes");
        }
    }
}
