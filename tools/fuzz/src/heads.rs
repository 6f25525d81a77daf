//! HTTP heads from a target's input: valid ones of both roles, altered at random.

use crate::bytes::Bytes;

/// The nonce of the key in the RFC's example (1.3), which the heads below contain.
pub(crate) const NONCE: &[u8; 16] = b"the sample nonce";

const HEADS: [&str; 5] = [
    "GET /chat?a=b%20c HTTP/1.1\r\nHost: localhost:9001\r\nConnection: keep-alive, Upgrade\r\n\
     Origin: http://localhost\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
     Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
     Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n",
    "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: WebSocket\r\n\
     sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n",
    "\r\nGET http://a/?a=%0D%0AX:%20y HTTP/1.1\r\nHost: a\r\nUser-Agent: x\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
     Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    "HTTP/1.1 101 \r\nconnection: keep-alive, upgrade\r\nupgrade: WebSocket\r\nServer: a\r\n\
     sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nsec-websocket-protocol: superchat\r\n\r\n",
];

/// Maximum number of alterations: a head altered more often would be refused for its first fault.
const STEPS_MAX: usize = 7;
/// Insertions: lines, and bytes that make or break a line.
const PARTS: [&str; 32] = [
    "\r\n",
    "\n",
    "\r",
    "\0",
    " ",
    "\t",
    ":",
    ",",
    ";",
    "=",
    "\u{e9}",
    "\r\n ",
    "\r\n\r\n",
    "%0d%0a",
    "&a=",
    "A",
    "x: y\r\n",
    "Content-Length: 0\r\n",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Sec-WebSocket-Version: 13\r\n",
    "Sec-WebSocket-Version: 8\r\n",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAB==\r\n",
    "Sec-WebSocket-Protocol: superchat\r\n",
    "Sec-WebSocket-Protocol: a, ,b\r\n",
    "Sec-WebSocket-Extensions: a; b=\"\\c\r\n",
    "Upgrade: h2c\r\n",
    "Connection: close, UPGRADE\r\n",
    "Host: a\r\n",
    "POST",
    "HTTP/1.0",
];

/// A head after a few alterations.
pub(crate) fn build(input: &mut Bytes<'_>) -> Option<Vec<u8>> {
    let mut head = HEADS[input.below(HEADS.len())?].as_bytes().to_vec();
    for _ in 0..input.below(STEPS_MAX + 1)? {
        alter(&mut head, input)?;
    }
    Some(head)
}

fn alter(head: &mut Vec<u8>, input: &mut Bytes<'_>) -> Option<()> {
    let step = input.below(8)?;
    let at = usize::from(input.u16()?) % (head.len() + 1);
    let line = line_start(head, at);
    match step {
        0 => insert(head, at, &[input.u8()?]),
        1 => insert(head, at, part(input)?),
        2..=3 => insert(head, line, part(input)?),
        4 => {
            let end = head.len().min(at + input.below(8)?);
            head.drain(at..end);
        }
        5 => {
            let end = head.len().min(line_end(head, at));
            head.drain(line..end);
        }
        6 => {
            let again = head[line..line_end(head, at)].to_vec();
            let to = usize::from(input.u16()?) % (head.len() + 1);
            let to = line_start(head, to);
            insert(head, to, &again);
        }
        _ => {
            if let Some(byte) = head.get_mut(at) {
                *byte ^= 1 << input.below(8)?;
            }
        }
    }
    Some(())
}

fn part(input: &mut Bytes<'_>) -> Option<&'static [u8]> {
    Some(PARTS[input.below(PARTS.len())?].as_bytes())
}

fn insert(head: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    head.splice(at..at, bytes.iter().copied());
}

/// The start of the line that contains `at`.
fn line_start(head: &[u8], at: usize) -> usize {
    head[..at].iter().rposition(|&byte| byte == b'\n').map_or(0, |lf| lf + 1)
}

/// The start of the next line after the one that contains `at`.
fn line_end(head: &[u8], at: usize) -> usize {
    let rest = &head[at..];
    at + rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |lf| lf + 1)
}
