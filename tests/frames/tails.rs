//! Messages with a shared tail: in memory once, compressed once, and one text message for each peer.

use weir::protocol::SharedTail;
use weir::protocol::deflate::Offer;
use weir::protocol::handshake::ClientRequest;
use weir::reactor::settings::{DeflateMode, RouteSettings, Settings, SlowPolicy};
use weir::reactor::{Connect, SendOutcome};

use super::{LONG, NARROW, Stage, WIDE, json};
use crate::support::{COMPRESSED, TEXT};

/// A tail of this length.
fn text(len: usize) -> Vec<u8> {
    let mut text: Vec<u8> = (0..=len / 900).flat_map(json).collect();
    text.truncate(len);
    text
}

#[test]
fn a_tail_in_many_outboxes_is_counted_once() {
    const CLIENTS: usize = 50;
    const LEN: usize = 60_000;
    let mut stage = Stage::new(Settings::default(), RouteSettings::default());
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| stage.plain()).collect();
    let tail = SharedTail::new(text(LEN));
    for (index, (_, id)) in clients.iter().enumerate() {
        let head = format!("head {index} ");
        assert_eq!(stage.cx().send_joined(*id, head.as_bytes(), &tail), SendOutcome::Queued);
    }
    let held = stage.cx().metrics().buffered_now as usize;
    assert!((LEN..LEN + CLIENTS * 1024).contains(&held), "{held} bytes held");
    let traffic = stage.cx().record(clients[0].1).unwrap().traffic;
    assert_eq!((traffic.messages_out, traffic.bytes_out), (1, (LEN + 7) as u64));
    stage.write_all();
    for (index, (client, _)) in clients.iter_mut().enumerate() {
        client.expect(TEXT, &[format!("head {index} ").as_bytes(), tail.as_bytes()].concat());
    }
    let metrics = stage.stop(clients);
    assert_eq!(metrics.messages_out, CLIENTS as u64);
}

#[test]
fn heads_and_tails_of_any_length_are_one_message() {
    let mut stage = Stage::compressing(DeflateMode::Shared);
    let (mut plain, plain_id) = stage.plain();
    let (mut peer, peer_id) = stage.peer(WIDE);
    let lens = [0, 1, 511, 512, 513, 4000, 65_535, 65_536, 100_000];
    let lens: Vec<_> =
        lens.iter().flat_map(|&head| lens.iter().map(move |&tail| (head, tail))).collect();
    for &(head, tail) in &lens {
        let (head, tail) = (text(head), SharedTail::new(text(tail)));
        for id in [plain_id, peer_id] {
            assert!(stage.cx().send_joined(id, &head, &tail).is_queued());
        }
        let whole = [&head[..], tail.as_bytes()].concat();
        stage.write_all();
        plain.expect(TEXT, &whole);
        peer.inflate.reset(false);
        let (_, compressed) = peer.receive(&whole);
        // The length of a stored head has two bytes, and the largest window 32,768.
        let (head, tail) = (head.len(), tail.as_bytes().len());
        let is_possible = head <= 65_535 && tail <= 1 << 15;
        assert_eq!(compressed, is_possible && tail >= 511, "{head} and {tail} bytes");
    }
    stage.stop((plain, peer));
}

#[test]
fn a_tail_is_compressed_once_behind_stored_heads() {
    let mut stage = Stage::compressing(DeflateMode::Shared);
    let peers: Vec<_> = (0..10).map(|_| stage.peer(WIDE)).collect();
    let tail = SharedTail::new(text(4000));
    for (index, (_, id)) in peers.iter().enumerate() {
        let head = format!("head {index} ");
        assert_eq!(stage.cx().send_joined(*id, head.as_bytes(), &tail), SendOutcome::Queued);
    }
    stage.write_all();
    let mut forms = Vec::new();
    for (index, (mut peer, _)) in peers.into_iter().enumerate() {
        let frame = peer.client.frame();
        assert!(frame.fin && frame.compressed && frame.opcode | COMPRESSED == TEXT | COMPRESSED);
        let head = format!("head {index} ");
        let (start, rest) = frame.payload.split_at(5 + head.len());
        let len = head.len() as u8;
        assert_eq!(start, [&[0, len, 0, !len, 0xFF], head.as_bytes()].concat());
        assert!(rest.len() < 2000, "{} bytes", rest.len());
        forms.push(rest.to_vec());
    }
    forms.dedup();
    assert_eq!(forms.len(), 1, "the tail has one compressed form");
    let metrics = stage.stop(());
    assert_eq!((metrics.messages_deflated, metrics.messages_out), (10, 10));
    assert_eq!(metrics.bytes_deflated_from, 10 * 4007);
    assert_eq!(metrics.bytes_deflated_to, 10 * (forms[0].len() + 12) as u64);
}

#[test]
fn a_tail_longer_than_the_peers_window_is_sent_uncompressed() {
    let mut stage = Stage::compressing(DeflateMode::Shared);
    let (mut wide, wide_id) = stage.peer(WIDE);
    let (mut narrow, narrow_id) = stage.peer(NARROW);
    for (len, suits) in [(512, true), (513, false)] {
        let tail = SharedTail::new(text(len));
        for id in [wide_id, narrow_id] {
            assert_eq!(stage.cx().send_joined(id, b"head ", &tail), SendOutcome::Queued);
        }
        stage.write_all();
        let whole = [b"head ", tail.as_bytes()].concat();
        wide.inflate.reset(false);
        narrow.inflate = zlib_rs::Inflate::new(false, 9);
        assert!(wide.receive(&whole).1);
        assert_eq!(narrow.receive(&whole).1, suits, "a tail of {len} bytes");
    }
    stage.stop((wide, narrow));
}

#[test]
fn context_takeover_compresses_head_and_tail_through_the_window() {
    let mut stage = Stage::compressing(DeflateMode::Dedicated);
    let (mut peer, id) = stage.peer(WIDE);
    let tail = SharedTail::new(text(1000));
    let mut sizes = Vec::new();
    for index in 0..3 {
        let head = format!("head {index} ");
        assert_eq!(stage.cx().send_joined(id, head.as_bytes(), &tail), SendOutcome::Queued);
        stage.write_all();
        let (len, compressed) = peer.receive(&[head.as_bytes(), tail.as_bytes()].concat());
        assert!(compressed);
        sizes.push(len);
    }
    assert!(sizes[1] < sizes[0] / 4 && sizes[2] < sizes[0] / 4, "{sizes:?}");
    stage.stop(peer);
}

#[test]
fn a_joined_message_is_refused_at_the_limits_of_any_message() {
    let route = RouteSettings::default()
        .message_bytes_max(1000)
        .outbox_low_bytes(1000)
        .outbox_soft_bytes(2_000)
        .outbox_hard_bytes(4_000)
        .outbox_grace(LONG)
        .slow_policy(SlowPolicy::Drop);
    let mut stage = Stage::new(Settings::default(), route);
    let (mut client, id) = stage.plain();
    let mut cx = stage.cx();
    let mut send = |head: usize, tail: usize| {
        cx.send_joined(id, &vec![b'h'; head], &SharedTail::new(vec![b't'; tail]))
    };
    assert_eq!(send(10, 4000), SendOutcome::TooLarge);
    assert_eq!(send(10, 1500), SendOutcome::Queued);
    assert_eq!(send(10, 1500), SendOutcome::Congested);
    assert_eq!(send(10, 1500), SendOutcome::Full);
    let metrics = cx.metrics();
    assert_eq!((metrics.messages_out, metrics.messages_refused), (2, 2));
    stage.write_all();
    let message = [&[b'h'; 10][..], &[b't'; 1500]].concat();
    (0..2).for_each(|_| client.expect(TEXT, &message));
    stage.stop(client);
}

#[test]
fn an_outbound_connection_sends_a_joined_message_masked() {
    let mut stage = Stage::compressing(DeflateMode::Shared);
    let request = ClientRequest::new("localhost", "/").unwrap();
    let (address, route) = (stage.server.address, stage.route);
    let outbound = stage.cx().connect(Connect::to(address), route, &request).unwrap();
    stage.server.turn_until("both ends are open", |metrics| metrics.opened >= 2);
    let tail = SharedTail::new(text(2000));
    let outcome = stage.cx().send_joined(outbound, b"head ", &tail);
    assert_eq!(outcome, SendOutcome::Queued);
    // The server end fails the connection on an unmasked frame or invalid text.
    stage.server.turn_until("the message arrives", |metrics| metrics.messages_in == 1);
    assert_eq!(stage.cx().metrics().messages_sized.sum(), 2005);
    stage.cx().abort(outbound);
    stage.stop(());
}

#[test]
fn weir_itself_inflates_a_joined_message() {
    let mut stage = Stage::compressing(DeflateMode::Shared);
    let request = ClientRequest::new("localhost", "/").unwrap().deflate(Offer { takeover: false });
    let (address, route) = (stage.server.address, stage.route);
    let outbound = stage.cx().connect(Connect::to(address), route, &request).unwrap();
    stage.server.turn_until("both ends are open", |metrics| metrics.opened >= 2);
    let inbound = stage.cx().connections().find(|&id| id != outbound).unwrap();
    let tail = SharedTail::new(text(20_000));
    assert_eq!(stage.cx().send_joined(inbound, b"head ", &tail), SendOutcome::Queued);
    stage.server.turn_until("the message arrives", |metrics| metrics.messages_inflated == 1);
    assert_eq!(stage.cx().metrics().messages_sized.sum(), 20_005);
    stage.cx().abort(outbound);
    stage.stop(());
}
