//! Batches of frames: sent whole or not at all, compressed by another thread, and counted like
//! messages that are sent one by one.

use std::io::Read;
use std::thread;
use std::time::Duration;

use weir::protocol::handshake::ClientRequest;
use weir::protocol::{BatchDeflater, CloseCode, DeflateTerms, FrameBatch, Message, Opcode};
use weir::reactor::settings::{DeflateMode, RouteSettings, Settings, SlowPolicy};
use weir::reactor::{Connect, SendOutcome};

use super::{LONG, NARROW, Stage, WIDE, json};
use crate::support::TEXT;

/// Makes a batch on a thread of its own.
fn made(terms: Option<DeflateTerms>, messages: Vec<Vec<u8>>) -> FrameBatch {
    let make = move || {
        let mut deflater = BatchDeflater::default();
        let mut batch = FrameBatch::new(terms);
        messages.iter().for_each(|message| batch.push(message, &mut deflater));
        batch
    };
    thread::spawn(make).join().unwrap()
}

#[test]
fn the_messages_of_a_batch_arrive_in_order_among_others() {
    let mut stage = Stage::new(Settings::default(), RouteSettings::default());
    let (mut client, id) = stage.plain();
    // Of one byte, of many frames, and of more than one chunk.
    let lens = [vec![1], vec![3; 50], vec![0, 200, 70_000, 5]];
    let batch = |lens: &[usize]| lens.iter().map(|&len| vec![b'a'; len]).collect::<Vec<_>>();
    let mut cx = stage.cx();
    for lens in &lens {
        assert_eq!(cx.send(id, "before"), SendOutcome::Queued);
        let made = made(None, batch(lens));
        assert_eq!((made.messages(), made.is_empty()), (lens.len(), false));
        assert_eq!(cx.send_batch(id, made), SendOutcome::Queued);
    }
    assert_eq!(cx.send_batch(id, FrameBatch::new(None)), SendOutcome::Queued);
    let traffic = cx.record(id).unwrap().traffic;
    let bytes = lens.concat().iter().sum::<usize>() + 3 * "before".len();
    assert_eq!((traffic.messages_out, traffic.bytes_out), (3 + 55, bytes as u64));
    stage.write_all();
    for lens in &lens {
        client.expect(TEXT, b"before");
        batch(lens).iter().for_each(|message| client.expect(TEXT, message));
    }
    let metrics = stage.stop(client);
    assert_eq!((metrics.messages_out, metrics.messages_deflated), (58, 0));
}

#[test]
fn a_batch_is_compressed_under_the_terms_of_its_connection() {
    let mut stage = Stage::compressing(DeflateMode::Shared);
    let (mut wide, wide_id) = stage.peer(WIDE);
    let (mut narrow, narrow_id) = stage.peer(NARROW);
    let messages: Vec<Vec<u8>> = (0..20).map(json).chain([b"short".to_vec()]).collect();
    for id in [wide_id, narrow_id] {
        let terms = stage.cx().deflate_terms(id);
        assert!(terms.is_some());
        let batch = made(terms, messages.clone());
        assert!(batch.bytes() < 20 * 1000 / 2, "{batch:?}");
        assert_eq!(stage.cx().send_batch(id, batch), SendOutcome::Queued);
    }
    stage.write_all();
    for peer in [&mut wide, &mut narrow] {
        for message in &messages {
            // Each message stands alone.
            peer.inflate.reset(false);
            assert_eq!(peer.receive(message).1, message.len() > 256);
        }
    }
    let bytes: usize = messages.iter().map(Vec::len).sum();
    assert_eq!(stage.cx().record(narrow_id).unwrap().traffic.bytes_out, bytes as u64);
    let metrics = stage.stop((wide, narrow));
    assert_eq!((metrics.messages_out, metrics.messages_deflated), (42, 40));
    assert_eq!(metrics.bytes_deflated_from, 2 * (bytes - 5) as u64);
}

#[test]
fn a_batch_does_not_mislead_the_window_of_context_takeover() {
    let mut stage = Stage::compressing(DeflateMode::Dedicated);
    let (mut peer, id) = stage.peer(WIDE);
    let send = |stage: &mut Stage, index| {
        let message = json(index);
        let text = std::str::from_utf8(&message).unwrap();
        assert_eq!(stage.cx().send(id, text), SendOutcome::Queued);
    };
    send(&mut stage, 0);
    send(&mut stage, 1);
    let terms = stage.cx().deflate_terms(id);
    // More than the window, so that what it held before is out of reach.
    let batch = made(terms, (100..110).map(json).collect());
    assert_eq!(stage.cx().send_batch(id, batch), SendOutcome::Queued);
    assert_eq!(stage.cx().metrics().deflate_windows_now, 0);
    send(&mut stage, 2);
    send(&mut stage, 3);
    stage.write_all();
    let indices = [0, 1].into_iter().chain(100..110).chain([2, 3]);
    let sizes: Vec<usize> = indices.map(|index| peer.receive(&json(index)).0).collect();
    let (first, second, after, last) = (sizes[0], sizes[1], sizes[12], sizes[13]);
    assert!(second < first && last < after, "no takeover: {sizes:?}");
    stage.stop(peer);
}

#[test]
fn a_batch_without_room_is_not_sent_in_part() {
    let route = RouteSettings::default()
        .message_bytes_max(1000)
        .outbox_low_bytes(1000)
        .outbox_soft_bytes(20_000)
        .outbox_hard_bytes(40_000)
        .outbox_grace(LONG)
        .slow_policy(SlowPolicy::Drop);
    let mut stage = Stage::new(Settings::default(), route);
    let (mut client, id) = stage.plain();
    let batch = |count: usize| made(None, vec![vec![b'x'; 1000]; count]);
    let mut cx = stage.cx();
    assert_eq!(cx.send_batch(id, batch(41)), SendOutcome::TooLarge);
    assert_eq!(cx.send_batch(id, batch(10)), SendOutcome::Queued);
    assert_eq!(cx.send_batch(id, batch(15)), SendOutcome::Congested);
    assert_eq!(cx.send_batch(id, batch(15)), SendOutcome::Full);
    assert_eq!(cx.queued_bytes(id), 25 * 1004);
    // The connection drops messages until its queue has drained.
    assert_eq!(cx.send_batch(id, batch(1)), SendOutcome::Full);
    let metrics = cx.metrics();
    assert_eq!((metrics.messages_out, metrics.messages_refused), (25, 41 + 15 + 1));
    stage.write_all();
    (0..25).for_each(|_| client.expect(TEXT, &[b'x'; 1000]));
    stage.stop(client);
}

#[test]
fn a_batch_counts_in_the_memory_limit() {
    let settings = Settings::default().buffered_bytes_max(4 << 20);
    let route = RouteSettings::default()
        .outbox_soft_bytes(1 << 20)
        .outbox_hard_bytes(3 << 20)
        .slow_policy(SlowPolicy::Drop);
    let mut stage = Stage::new(settings, route);
    let clients: Vec<_> = (0..8).map(|_| stage.plain()).collect();
    let mut outcomes = Vec::new();
    for (_, id) in &clients {
        let batch = made(None, vec![vec![b'x'; 900_000]]);
        outcomes.push(stage.cx().send_batch(*id, batch));
    }
    assert_eq!(outcomes[0], SendOutcome::Queued);
    assert_eq!(outcomes[7], SendOutcome::Overloaded, "{outcomes:?}");
    assert!(stage.cx().metrics().buffered_now <= 5 << 20);
    let reading = clients.into_iter().map(|(mut client, _)| {
        thread::spawn(move || {
            let mut sink = Vec::new();
            let _ = client.stream.read_to_end(&mut sink);
        })
    });
    let reading: Vec<_> = reading.collect();
    stage.write_all();
    let ids: Vec<_> = stage.cx().connections().collect();
    ids.into_iter().for_each(|id| stage.cx().abort(id));
    stage.stop(());
    reading.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn frames_of_a_batch_that_were_not_started_are_dropped_before_a_close() {
    let route = RouteSettings::default().outbox_grace(LONG).slow_policy(SlowPolicy::Close);
    let settings = Settings::default().close_timeout(LONG);
    let mut stage = Stage::new(settings, route);
    let (mut client, id) = stage.plain();
    // The peer reads nothing: the kernel takes the first frames, and the rest fills the outbox.
    let batch = || made(None, vec![vec![b'x'; 10_000]; 20]);
    let mut batches = 0;
    while stage.cx().send_batch(id, batch()).is_queued() {
        batches += 1;
        assert!(batches < 1000, "the hard limit is not reached");
        stage.server.reactor.turn(Some(Duration::ZERO)).unwrap();
    }
    let dropped = stage.cx().metrics().messages_dropped;
    assert!(dropped > 20, "{dropped} messages dropped");
    let reading = thread::spawn(move || {
        let mut messages = 0;
        loop {
            let frame = client.frame();
            if frame.opcode == Opcode::Close as u8 {
                assert_eq!(frame.payload[..2], CloseCode::TRY_AGAIN_LATER.get().to_be_bytes());
                return (messages, client);
            }
            assert_eq!(frame.payload.len(), 10_000);
            messages += 1;
        }
    });
    stage.server.turn_until("the peer has read all", |metrics| metrics.buffered_now == 0);
    let (messages, client) = reading.join().unwrap();
    assert_eq!(messages + dropped, stage.cx().metrics().messages_out);
    stage.stop(client);
}

#[test]
fn a_batch_under_other_terms_and_one_for_an_outbound_connection_are_refused() {
    let mut stage = Stage::compressing(DeflateMode::Shared);
    let (wide, wide_id) = stage.peer(WIDE);
    let (narrow, narrow_id) = stage.peer(NARROW);
    let (mut plain, plain_id) = stage.plain();
    let terms = stage.cx().deflate_terms(wide_id);
    assert!(stage.cx().deflate_terms(plain_id).is_none());
    let compressed = || made(terms, vec![json(1)]);
    for id in [narrow_id, plain_id] {
        assert_eq!(stage.cx().send_batch(id, compressed()), SendOutcome::WrongRole);
    }
    // Without a compressed message, it suits any client.
    let short = made(terms, vec![b"short".to_vec()]);
    assert_eq!(stage.cx().send_batch(plain_id, short), SendOutcome::Queued);
    stage.write_all();
    plain.expect(TEXT, b"short");

    let request = ClientRequest::new("localhost", "/").unwrap();
    let (address, route) = (stage.server.address, stage.route);
    let opened = stage.cx().metrics().opened;
    let outbound = stage.cx().connect(Connect::to(address), route, &request).unwrap();
    stage.server.turn_until("both ends are open", |metrics| metrics.opened >= opened + 2);
    let is_open = stage.cx().record(outbound).is_some_and(|record| record.is_open);
    assert!(is_open);
    assert!(stage.cx().deflate_terms(outbound).is_none());
    let outcome = stage.cx().send_batch(outbound, made(None, vec![b"x".to_vec()]));
    assert_eq!(outcome, SendOutcome::WrongRole);
    stage.cx().abort(outbound);
    stage.stop((wide, narrow, plain));
}

#[test]
fn a_batch_message_that_does_not_shrink_is_sent_uncompressed() {
    let mut stage = Stage::compressing(DeflateMode::Shared);
    let (mut peer, id) = stage.peer(WIDE);
    let noise: String =
        crate::deflate::noise(2000).iter().map(|byte| char::from(b' ' + byte % 95)).collect();
    let terms = stage.cx().deflate_terms(id);
    let batch = made(terms, vec![noise.clone().into_bytes()]);
    let outcome = stage.cx().send_batch(id, batch);
    assert_eq!(outcome, SendOutcome::Queued);
    stage.write_all();
    let (len, compressed) = peer.receive(Message::Text(&noise).as_bytes());
    let metrics = stage.stop(peer);
    let counts = (metrics.messages_deflated, metrics.messages_not_deflated);
    assert_eq!(counts, if compressed { (1, 0) } else { (0, 1) });
    assert!(len <= 2000);
}
