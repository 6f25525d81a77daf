//! Compressed messages from peers: limits, errors and streams.

use super::*;

#[test]
fn the_message_limit_applies_to_inflated_bytes() {
    let limited = RouteSettings::default().message_bytes_max(10_000);
    let (server, seen) = watched(impatient(), limited);
    let mut peer = Peer::open(&server, OFFER, ALONE);
    assert!(peer.echo(&[0; 10_000]).1);
    peer.send(&[0; 10_001]);
    let text = "message too big: inflates to more than 10000 bytes";
    assert_eq!(peer.client.expect_close(), (1009, text.into()));
    assert_eq!(next_end(&seen), CloseReason::Protocol(ProtocolError::MessageTooBig));
    // In fragments, each of which is below the limit.
    let mut peer = Peer::open(&server, OFFER, ALONE);
    let payload = peer.compress(&[0; 10_001]);
    let (begin, end) = payload.split_at(payload.len() / 2);
    peer.client.raw(&frame(false, COMPRESSED | BINARY, begin));
    peer.client.raw(&frame(true, CONTINUATION, end));
    assert_eq!(peer.client.expect_close().0, 1009);
}

#[test]
fn inflated_text_must_be_utf8() {
    let (server, seen) = watched(impatient(), RouteSettings::default());
    let mut peer = Peer::open(&server, OFFER, ALONE);
    let payload = peer.compress(b"\xFF");
    peer.client.raw(&frame(true, COMPRESSED | TEXT, &payload));
    assert_eq!(peer.client.expect_close(), (1007, "invalid UTF-8".into()));
    assert_eq!(next_end(&seen), CloseReason::Protocol(ProtocolError::InvalidUtf8));
}

/// A connection sends decompression bombs of the maximum size as fast as it can. A turn inflates a
/// bounded number of bytes of them, and another connection is answered in between.
#[test]
fn bombs_leave_other_connections_their_turns() {
    const BOMB: usize = 1 << 20;
    let (service, _) = Watched::new(|_, _, _| {});
    let mut server = ByHand::new(Settings::default(), |reactor| {
        let bombed = reactor.add_service(service).unwrap();
        reactor.add_route("/", bombed, RouteSettings::default()).unwrap();
        let echo = reactor.add_service(Echo).unwrap();
        reactor.add_route("/echo", echo, RouteSettings::default()).unwrap();
    });
    let mut client = Client::tcp(server.address);
    client.raw(upgrade("/", &lines(OFFER)).as_bytes());
    server.turn_until("it opens", |metrics| metrics.opened == 1);
    client.head();
    let mut other = server.open("/echo");
    let mut peer = Peer::on(client, ALONE);
    let bomb = frame(true, COMPRESSED | BINARY, &peer.compress(&vec![0; BOMB]));
    // All bombs fit into one read.
    let all = bomb.repeat(64);
    assert!(all.len() < 128 * 1024);
    peer.client.raw(&all);
    other.text("still here");
    server.turn_until("the other is answered", |metrics| metrics.messages_out == 1);
    other.expect(TEXT, b"still here");
    let mut before = server.reactor.metrics().bytes_inflated_to;
    while server.reactor.metrics().messages_inflated < 64 {
        server.reactor.turn(Some(Duration::ZERO)).unwrap();
        let after = server.reactor.metrics().bytes_inflated_to;
        assert!(after - before <= 2 * BOMB as u64, "{} bytes in one turn", after - before);
        before = after;
    }
    drop((peer, other));
    server.stop_clean();
}

/// Streams and buffers that were not used for a while are freed, and allocated again for the next message.
#[test]
fn an_idle_loop_frees_its_streams() {
    let mut server = ByHand::new(Settings::default(), |reactor| {
        let service = reactor.add_service(Echo).unwrap();
        reactor.add_route("/", service, RouteSettings::default()).unwrap();
    });
    let mut client = Client::tcp(server.address);
    client.raw(upgrade("/", &lines(OFFER)).as_bytes());
    server.turn_until("it opens", |metrics| metrics.opened == 1);
    client.head();
    let mut peer = Peer::on(client, ALONE);
    for round in 0..2 {
        let sent = server.reactor.metrics().messages_out;
        peer.send(&json(round));
        server.turn_until("an echo", |metrics| metrics.messages_out > sent);
        assert!(peer.receive(&json(round)).1);
        peer.inflate.reset(false);
        // The queue of the outbox, the stream that deflates, and the one that inflates.
        let freed = server.reactor.metrics().spares_freed;
        server.turn_until("all three are freed", |m| m.spares_freed == freed + 3);
    }
    // And then the loop sleeps until the next ping, or longer.
    let idle = server.reactor.wait();
    assert!(idle > Duration::from_secs(2), "{idle:?}");
    drop(peer);
    server.stop_clean();
}

/// The connection fails at the fragment that shows the error; the last fragment is never sent.
#[test]
fn invalid_or_too_large_fragments_fail_early() {
    for (mode, answer) in [
        (DeflateMode::Shared, ALONE),
        (
            DeflateMode::Dedicated,
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
        ),
    ] {
        let (server, seen) = watched(impatient(), route(mode));
        let mut peer = Peer::open(&server, OFFER, answer);
        assert!(peer.echo(&json(1)).1);
        let payload = peer.compress(b"\xFF is no text");
        peer.client.raw(&frame(false, COMPRESSED | TEXT, &payload));
        assert_eq!(peer.client.expect_close(), (1007, "invalid UTF-8".into()));
        assert_eq!(next_end(&seen), CloseReason::Protocol(ProtocolError::InvalidUtf8));

        let mut peer = Peer::open(&server, OFFER, answer);
        let bomb = peer.compress(&vec![0; 10_000_000]);
        assert!(bomb.len() < 12_000);
        for (index, fragment) in bomb.chunks(500).enumerate() {
            let opcode = if index == 0 { COMPRESSED | BINARY } else { CONTINUATION };
            peer.client.raw(&frame(false, opcode, fragment));
        }
        assert_eq!(peer.client.expect_close().0, 1009);
        assert_eq!(next_end(&seen), CloseReason::Protocol(ProtocolError::MessageTooBig));
        drop(peer);
        let metrics = stop_clean(server);
        assert_eq!((metrics.inflate_streams_now, metrics.buffered_now), (0, 0));
        assert!(metrics.bytes_inflated_to <= (1 << 20) + 2 * 16 * 1024, "{metrics}");
    }
}

/// The bytes of an unfinished message are counted as held until it is complete. A limited number of
/// messages have a stream; others are inflated once they are complete, with the same result.
#[test]
fn unfinished_messages_are_counted_and_their_streams_bounded() {
    const PEERS: usize = Inflater::STREAMS_MAX + 6;
    let mut server = ByHand::new(Settings::default(), |reactor| {
        let service = reactor.add_service(Echo).unwrap();
        reactor.add_route("/", service, RouteSettings::default()).unwrap();
    });
    let message = [0; 100_000];
    let mut peers: Vec<Peer> = (0..PEERS)
        .map(|_| {
            let mut client = Client::tcp(server.address);
            client.raw(upgrade("/", &lines(OFFER)).as_bytes());
            let before = server.reactor.metrics().opened;
            server.turn_until("it opens", |metrics| metrics.opened > before);
            client.head();
            Peer::on(client, ALONE)
        })
        .collect();
    let mut rests = Vec::new();
    for (index, peer) in peers.iter_mut().enumerate() {
        let payload = peer.compress(&message);
        let (first, rest) = payload.split_at(payload.len() - 10);
        rests.push(frame(true, CONTINUATION, rest));
        let before = server.reactor.metrics().buffered_now;
        peer.client.raw(&frame(false, COMPRESSED | BINARY, first));
        server.turn_until("it is held", |m| m.buffered_now > before);
        let held = server.reactor.metrics().buffered_now - before;
        if index < Inflater::STREAMS_MAX {
            assert!((80_000..300_000).contains(&held), "{held} bytes inflated");
        } else {
            assert!(held < 3 * payload.len() as u64 + 1024, "{held} bytes for {}", payload.len());
        }
    }
    let metrics = server.reactor.metrics();
    assert_eq!(metrics.inflate_streams_now, Inflater::STREAMS_MAX as u64);
    assert_eq!(metrics.messages_gathered, 6);
    // Streams of closed connections are free for others.
    drop(peers.drain(..10));
    rests.drain(..10);
    server.turn_until("they are gone", |m| m.connections_now == PEERS as u64 - 10);
    assert_eq!(server.reactor.metrics().inflate_streams_now, Inflater::STREAMS_MAX as u64 - 10);
    for (peer, rest) in peers.iter_mut().zip(rests) {
        let before = server.reactor.metrics().bytes_written;
        peer.client.raw(&rest);
        server.turn_until("an echo", |m| m.bytes_written > before);
        assert!(peer.receive(&message).1);
    }
    let metrics = server.reactor.metrics();
    assert_eq!((metrics.inflate_streams_now, metrics.buffered_now), (0, 0));
    assert_eq!(metrics.messages_inflated, PEERS as u64 - 10);
    drop(peers);
    server.stop_clean();
}
