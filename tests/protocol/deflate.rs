//! RFC 7692: inflating and deflating messages.

use weir::protocol::deflate::{Inflater, PIECE_BYTES_MAX, Unfinished, Window};
use weir::protocol::{Decoder, Event, Message, ProtocolError, Role, Spares};
use zlib_rs::{Deflate, DeflateFlush};

use super::reader::{Found, Reader};

mod pieces;
mod windows;

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const RSV1: u8 = 0x40;
const LIMIT: usize = 1 << 20;

/// A server's frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..126 => bytes.push(len as u8),
        len @ 126..0x1_0000 => {
            bytes.push(126);
            bytes.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            bytes.push(127);
            bytes.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    bytes
}

/// Inflates one compressed message.
fn inflate(
    first: u8,
    payload: &[u8],
    window: Option<&mut Window>,
    limit: usize,
) -> Result<Vec<u8>, ProtocolError> {
    let mut receiver = Receiver::new(window.as_deref().cloned(), limit);
    let found = receiver.read(&frame(first | RSV1, payload))?;
    if let (Some(window), Some(after)) = (window, receiver.window) {
        *window = after;
    }
    let [message] = &found[..] else { panic!("{} messages", found.len()) };
    Ok(message.clone())
}

fn text(payload: &[u8]) -> Result<String, ProtocolError> {
    inflate(TEXT, payload, None, LIMIT).map(|bytes| String::from_utf8(bytes).unwrap())
}

fn binary(payload: &[u8], limit: usize) -> Result<usize, ProtocolError> {
    inflate(BINARY, payload, None, limit).map(|bytes| bytes.len())
}

/// A message compressed by zlib at the highest level, with a new stream.
fn deflated(message: &[u8]) -> Vec<u8> {
    let mut stream = Deflate::new(9, false, 15);
    by(&mut stream, message)
}

/// A part of a message, compressed so that another part can follow.
fn flushed(part: &[u8]) -> Vec<u8> {
    [&deflated(part)[..], &[0, 0, 0xFF, 0xFF]].concat()
}

fn by(stream: &mut Deflate, message: &[u8]) -> Vec<u8> {
    let mut out = vec![0; message.len() * 2 + 1024];
    let before = stream.total_out();
    stream.compress(message, &mut out, DeflateFlush::SyncFlush).unwrap();
    out.truncate((stream.total_out() - before) as usize);
    assert!(out.ends_with(&[0, 0, 0xFF, 0xFF]));
    out.truncate(out.len() - 4);
    out
}

/// Decodes and inflates the frames of one connection.
struct Receiver {
    decoder: Decoder,
    inflater: Inflater,
    unfinished: Option<Unfinished>,
    window: Option<Window>,
    limit: usize,
}

impl Receiver {
    fn new(window: Option<Window>, limit: usize) -> Receiver {
        let decoder = Decoder::new(Role::Client).with_deflate();
        Receiver { decoder, inflater: Inflater::default(), unfinished: None, window, limit }
    }

    /// Reads these bytes; returns the messages that they complete.
    fn read(&mut self, wire: &[u8]) -> Result<Vec<Vec<u8>>, ProtocolError> {
        let mut found = Vec::new();
        let mut wire = wire.to_vec();
        let mut rest = &mut wire[..];
        while !rest.is_empty() {
            let step = self.decoder.decode(rest, self.limit, &mut Spares::default())?;
            let consumed = step.consumed;
            if let Some(Event::Compressed(piece)) = step.event {
                let window = self.window.as_mut();
                let whole =
                    self.inflater.inflate(piece, &mut self.unfinished, window, self.limit)?;
                found.extend(whole.map(|message| message.as_bytes().to_vec()));
            }
            rest = &mut rest[consumed..];
        }
        Ok(found)
    }

    /// Reads byte by byte until the connection fails; returns the number of bytes read, and the error.
    fn fails_at(mut self, wire: &[u8]) -> (usize, ProtocolError) {
        for (at, byte) in wire.chunks(1).enumerate() {
            if let Err(error) = self.read(byte) {
                return (at + 1, error);
            }
        }
        panic!("no error");
    }
}

#[test]
fn section_7_2_3_the_examples() {
    // One block, in one frame and in two (7.2.3.1).
    let hello = [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];
    assert_eq!(text(&hello).as_deref(), Ok("Hello"));
    let mut reader = Reader::with_deflate(Role::Client, LIMIT);
    reader.read(&[&[0x41, 3, 0xF2, 0x48, 0xCD][..], &[0x80, 4, 0xC9, 0xC9, 0x07, 0x00]].concat());
    assert_eq!((&reader.found[..], reader.error), (&[Found::Compressed(hello.into())][..], None));
    // Sharing the window (7.2.3.2).
    let mut window = Window::new(15);
    let first = inflate(TEXT, &hello, Some(&mut window), LIMIT);
    let again = [0xF2, 0x00, 0x11, 0x00, 0x00];
    assert_eq!(first.as_deref(), Ok(&b"Hello"[..]));
    assert_eq!(inflate(TEXT, &again, Some(&mut window), LIMIT).as_deref(), Ok(&b"Hello"[..]));
    assert_eq!(text(&again), Err(ProtocolError::InvalidDeflate), "without takeover");
    // No compression (7.2.3.3), a last block (7.2.3.4), two blocks (7.2.3.5), nothing (7.2.3.6).
    let stored = [0x00, 0x05, 0x00, 0xFA, 0xFF, 0x48, 0x65, 0x6C, 0x6C, 0x6F, 0x00];
    assert_eq!(text(&stored).as_deref(), Ok("Hello"));
    let last = [0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x00];
    assert_eq!(text(&last).as_deref(), Ok("Hello"));
    let two = [0xF2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xCA, 0xC9, 0xC9, 0x07, 0x00];
    assert_eq!(text(&two).as_deref(), Ok("Hello"));
    assert_eq!(text(&[0x00]).as_deref(), Ok(""));
}

#[test]
fn section_6_rsv1_is_allowed_only_in_the_first_frame_of_a_message() {
    let reserved = |deflate: bool, bytes: &[u8]| {
        let mut reader = if deflate {
            Reader::with_deflate(Role::Client, LIMIT)
        } else {
            Reader::new(Role::Client, LIMIT)
        };
        reader.read(bytes);
        reader.error
    };
    let broken = Some(ProtocolError::ReservedBits);
    for first in [0x41, 0x42, 0xC1, 0xC2] {
        assert_eq!(reserved(false, &[first]), broken, "{first:#x} without deflate");
        assert_eq!(reserved(true, &[first]), None, "{first:#x}");
    }
    for first in [0xC8, 0xC9, 0xCA, 0x40, 0xC0, 0x61, 0x51, 0xA1, 0x91, 0xF1, 0xC3, 0xCB] {
        assert_eq!(reserved(true, &[first]), broken, "{first:#x}");
    }
    // Also within a message, compressed or not.
    for begin in [0x01, 0x41] {
        assert_eq!(reserved(true, &[begin, 0, 0xC0]), broken);
        assert_eq!(reserved(true, &[begin, 0, 0xC9]), broken);
        assert_eq!(reserved(true, &[begin, 0, 0x89, 0, 0x80, 0]), None);
    }
}

#[test]
fn data_after_a_final_block_may_refer_to_data_before_it() {
    let mut window = Window::new(15);
    let last = [0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x00];
    let again = [0xF2, 0x00, 0x11, 0x00, 0x00];
    // In the same message, and in the next (7.2.3.4).
    let both = [&last[..7], &again[..]].concat();
    assert_eq!(text(&both).as_deref(), Ok("HelloHello"));
    assert!(inflate(TEXT, &last, Some(&mut window), LIMIT).is_ok());
    assert_eq!(inflate(TEXT, &again, Some(&mut window), LIMIT).as_deref(), Ok(&b"Hello"[..]));
}

#[test]
fn the_message_limit_is_exact() {
    for limit in [125, 16 * 1024 - 1, 16 * 1024, 16 * 1024 + 1, 100_000] {
        for message in [vec![b'a'; limit], noise(limit)] {
            let payload = deflated(&message);
            assert_eq!(binary(&payload, limit), Ok(limit));
            assert_eq!(binary(&payload, limit - 1), Err(ProtocolError::MessageTooBig));
        }
    }
    assert_eq!(binary(&deflated(b""), 0), Ok(0));
    assert_eq!(binary(&deflated(b"a"), 0), Err(ProtocolError::MessageTooBig));
}

#[test]
fn the_limit_holds_over_fragments_and_messages() {
    let message = vec![b'a'; 60_000];
    let payload = deflated(&message);
    // The message exceeds the limit with its second fragment, which is below the limit itself.
    for cut in [1, payload.len() / 2, payload.len() - 1] {
        let (first, second) = payload.split_at(cut);
        let wire = [frame(0x42, first), frame(0x80, second)].concat();
        let mut reader = Reader::with_deflate(Role::Client, 50_000);
        reader.read(&wire);
        let [Found::Compressed(whole)] = &reader.found[..] else { panic!("{:?}", reader.found) };
        assert_eq!(binary(whole, 50_000), Err(ProtocolError::MessageTooBig));
    }
    // With context takeover, each message has the whole limit.
    let mut stream = Deflate::new(9, false, 15);
    let mut window = Window::new(15);
    for _ in 0..3 {
        let payload = by(&mut stream, &message);
        assert!(inflate(BINARY, &payload, Some(&mut window), 60_000).is_ok());
    }
    let payload = by(&mut stream, &message);
    let outcome = inflate(BINARY, &payload, Some(&mut window), 59_999);
    assert_eq!(outcome, Err(ProtocolError::MessageTooBig));
}

/// The compressed form of an incompressible message at the limit exceeds the limit, and is accepted.
#[test]
fn incompressible_messages_are_accepted_up_to_the_limit() {
    let message = noise(70_000);
    let payload = deflated(&message);
    assert!(payload.len() > message.len());
    assert_eq!(binary(&payload, message.len()), Ok(message.len()));
    // A frame that announces more is refused at once.
    let mut reader = Reader::with_deflate(Role::Client, 70_000);
    reader.read(&frame(0xC2, &vec![0; 90_000])[..10]);
    assert_eq!(reader.error, Some(ProtocolError::MessageTooBig));
}

#[test]
fn a_decompression_bomb_allocates_no_more_than_the_limit() {
    let bomb = deflated(&vec![0; 10_000_000]);
    assert!(bomb.len() < 12_000, "{} bytes", bomb.len());
    let mut receiver = Receiver::new(None, LIMIT);
    let outcome = receiver.read(&frame(BINARY | RSV1, &bomb));
    assert_eq!(outcome, Err(ProtocolError::MessageTooBig));
    let held = receiver.inflater.held_bytes();
    assert!(held <= LIMIT + 1 + 48 * 1024, "{held} bytes held");
    // Memory that the next message does not need is freed.
    receiver.decoder = Decoder::new(Role::Client).with_deflate();
    assert_eq!(receiver.read(&frame(TEXT | RSV1, &[0x00])), Ok(vec![vec![]]));
    assert!(receiver.inflater.held_bytes() <= (256 + 48) * 1024);
}

#[test]
fn empty_blocks_are_bounded() {
    // 200,000 stored blocks, 800,000 coded ones, and the maximum number of final blocks.
    assert_eq!(
        text(&[0x00, 0x00, 0x00, 0xFF, 0xFF].repeat(200_000)[..1_000_000 - 4]).as_deref(),
        Ok("")
    );
    let coded = [0x02, 0x08, 0x20, 0x80, 0x00].repeat(200_000);
    assert_eq!(text(&[&coded[..], &[0x00]].concat()).as_deref(), Ok(""));
    let last = |count: usize| [&[0x03, 0x00].repeat(count)[..], &[0x00]].concat();
    assert_eq!(text(&last(1024)).as_deref(), Ok(""));
    assert_eq!(text(&last(1025)), Err(ProtocolError::InvalidDeflate));
}

#[test]
fn text_is_validated_while_it_is_inflated() {
    assert_eq!(text(&deflated("Grüße \u{1F600}".as_bytes())).as_deref(), Ok("Grüße \u{1F600}"));
    for bad in [&b"\xFF"[..], b"\xED\xA0\x80", b"cut \xE2\x82"] {
        assert_eq!(text(&deflated(bad)), Err(ProtocolError::InvalidUtf8));
        assert!(inflate(BINARY, &deflated(bad), None, LIMIT).is_ok());
    }
    // A character that straddles two chunks.
    let long = format!("{}\u{1F600}", "x".repeat(16 * 1024 - 2)).repeat(3);
    assert_eq!(text(&deflated(long.as_bytes())).as_deref(), Ok(&*long));
    // Data after the invalid chunk, which is not DEFLATE, is not inflated any more.
    let mut early = deflated(&[b"\xFF", &[b'x'; 40_000][..]].concat());
    early.extend_from_slice(&[0x07; 10]);
    assert_eq!(text(&early), Err(ProtocolError::InvalidUtf8));
}

#[test]
fn data_that_is_not_deflate_is_refused() {
    let hello = deflated(b"Hello, hello, hello, hello!");
    for cut in 1..hello.len() {
        assert_eq!(text(&hello[..cut]), Err(ProtocolError::InvalidDeflate), "cut at {cut}");
    }
    for bytes in [&[0xFF][..], &[0x07], &[0x01, 0x01, 0x00, 0x00, 0x00], &[0xF2, 0x00, 0x11, 0x00]]
    {
        assert_eq!(text(bytes), Err(ProtocolError::InvalidDeflate), "{bytes:x?}");
    }
    let behind = [&hello[..], &[0xFF]].concat();
    assert_eq!(text(&behind), Err(ProtocolError::InvalidDeflate), "garbage behind the end");
    // An empty payload is an empty message.
    assert_eq!(text(&[]).as_deref(), Ok(""));
}

/// Incompressible bytes.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}
