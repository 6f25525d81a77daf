//! Windows of `dedicated`: their content, when they are allocated and freed, and their limit.

use std::time::Duration;

use weir::reactor::settings::{DeflateMode, Settings};
use weir::reactor::{PublishOptions, SendOutcome, Target};
use weir::services::Echo;

use super::{ALONE, OFFER, Peer, json, lines, route, stop_clean, watched};
use crate::support::{ByHand, Client, Server, Watched, eventually, header, upgrade};

/// Messages of one member refer to earlier ones, broadcasts refer to nothing. Both take their place in the
/// window, as in the peer's stream.
#[test]
fn broadcasts_are_added_to_a_window_in_order() {
    let (service, _) = Watched::new(|cx, conn, message| {
        let published = cx.publish(Target::All, message, PublishOptions::default());
        assert_eq!(published.sent, 1);
        assert_eq!(cx.send(conn, message), SendOutcome::Queued);
    });
    let server = Server::start(Settings::default(), move |reactor| {
        let service = reactor.add_service(service).unwrap();
        reactor.add_route("/", service, route(DeflateMode::Dedicated)).unwrap();
    });
    let answer = "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12";
    let mut peer = Peer::open(&server, OFFER, answer);
    for index in 0..20 {
        let message = json(index);
        peer.send(&message);
        let (broadcast, own) = (peer.receive(&message).0, peer.receive(&message).0);
        // Except for the first, a message can refer to the broadcast before it.
        assert!(own < broadcast / 4 || index == 0, "{own} of {broadcast}");
    }
    drop(peer);
    stop_clean(server);
}

#[test]
fn above_the_limit_on_windows_new_connections_get_shared() {
    let two = 2 * 2 * (1 << 12);
    let settings = Settings::default().deflate_windows_bytes_max(two + 100);
    let (server, _) = watched(settings, route(DeflateMode::Dedicated));
    let dedicated = "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12";
    let shared = format!("{ALONE}; server_max_window_bits=12; client_max_window_bits=12");
    let mut first = Peer::open(&server, OFFER, dedicated);
    let second = Peer::open(&server, OFFER, dedicated);
    let mut third = Peer::open(&server, OFFER, &shared);
    for index in 0..5 {
        assert!(first.echo(&json(index)).1 && third.echo(&json(index)).1);
        third.inflate.reset(false);
    }
    drop(second);
    // Its windows are free again.
    eventually(
        || {
            let (_, head) = Client::open_with(server.address, "/", &lines(OFFER));
            header(&head, "Sec-WebSocket-Extensions") == Some(dedicated)
        },
        "a window for the next",
    );
    drop((first, third));
    assert!(stop_clean(server).deflate_windows_refused >= 1);
}

#[test]
fn windows_are_allocated_by_the_first_message_and_freed_when_idle() {
    let idle = route(DeflateMode::Dedicated).deflate_idle(Duration::from_millis(200));
    let mut server = ByHand::new(Settings::default(), |reactor| {
        let service = reactor.add_service(Echo).unwrap();
        reactor.add_route("/", service, idle).unwrap();
    });
    let answer = "permessage-deflate; server_max_window_bits=12; client_no_context_takeover";
    let offer = "permessage-deflate; client_no_context_takeover";
    let mut client = Client::tcp(server.address);
    client.raw(upgrade("/", &lines(offer)).as_bytes());
    server.turn_until("it opens", |metrics| metrics.opened == 1);
    let head = client.head();
    let swapped = "permessage-deflate; client_no_context_takeover; server_max_window_bits=12";
    assert_eq!(header(&head, "Sec-WebSocket-Extensions"), Some(swapped), "{answer}");
    assert_eq!(server.reactor.metrics().deflate_windows_reserved_now, 1 << 12);
    assert_eq!(server.reactor.metrics().deflate_windows_now, 0);
    let mut peer = Peer::on(client, swapped);
    let mut sizes = Vec::new();
    for round in 0..2 {
        for _ in 0..2 {
            let sent = server.reactor.metrics().messages_out;
            peer.send(&json(1));
            server.turn_until("an echo", |metrics| metrics.messages_out > sent);
            sizes.push(peer.receive(&json(1)).0);
        }
        assert!(server.reactor.metrics().deflate_windows_now > 0);
        server.turn_until("the window is freed", |metrics| {
            metrics.deflate_windows_freed == round + 1
        });
        assert_eq!(server.reactor.metrics().deflate_windows_now, 0);
    }
    // After that a message refers to nothing, and the peer's stream, which was not reset, inflates it.
    assert!(sizes[1] < sizes[0] / 4 && sizes[2] == sizes[0] && sizes[3] == sizes[1], "{sizes:?}");
    drop(peer);
    let metrics = server.stop_clean();
    assert_eq!(metrics.deflate_windows_reserved_now, 0);
}
