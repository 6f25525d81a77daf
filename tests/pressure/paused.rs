//! Who is paused is not heard.

use std::time::Duration;

use weir::protocol::Message;
use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{ConnId, Context, Service};

use crate::support::{BINARY, Client, Server, TEXT, Watched, eventually, frame, upgrade};

/// Takes one message at a time: pauses from the start and at each, and says `next` when it goes on.
struct OneAtATime;

impl OneAtATime {
    fn pause(cx: &mut Context<'_>, conn: ConnId) {
        cx.pause(conn);
        cx.schedule(Duration::ZERO, 0).unwrap();
    }
}

impl Service for OneAtATime {
    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        OneAtATime::pause(cx, conn);
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        let _ = cx.send(conn, message);
        OneAtATime::pause(cx, conn);
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, _: u64) {
        let all: Vec<ConnId> = cx.connections().collect();
        for conn in all {
            let _ = cx.send(conn, "next");
            cx.resume(conn);
        }
    }
}

/// What is paused takes no further message, whether that came behind the head, in the same read, or
/// behind a frame that was read straight to its place.
#[test]
fn who_is_paused_is_not_heard_even_if_it_has_spoken_already() {
    const LARGE: usize = 80 * 1024;
    const FIRST: usize = 64 * 1024;
    let server = Server::start(Settings::default(), |reactor| {
        let (count, _) = Watched::new(|cx, conn, _| {
            let count = cx.metrics().bytes_read.to_string();
            let _ = cx.send(conn, &*count);
        });
        let count = reactor.add_service(count).unwrap();
        reactor.add_route("/count", count, RouteSettings::default()).unwrap();
        let pausing = reactor.add_service(OneAtATime).unwrap();
        reactor.add_route("/", pausing, RouteSettings::default()).unwrap();
    });
    let mut probe = Client::open(server.address, "/count");
    let mut read = || -> usize {
        probe.text("?");
        String::from_utf8(probe.frame().payload).unwrap().parse().unwrap()
    };
    let mut client = Client::tcp(server.address);
    let two = [frame(true, TEXT, b"one"), frame(true, TEXT, b"two")].concat();
    client.raw(&[upgrade("/", "").as_bytes(), &two].concat());
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    for text in ["one", "two"] {
        client.expect(TEXT, b"next");
        client.expect(TEXT, text.as_bytes());
    }
    client.expect(TEXT, b"next");

    let before = read();
    let all = [frame(true, BINARY, &[9; LARGE]), two].concat();
    client.raw(&all[..FIRST]);
    eventually(|| read() >= before + FIRST, "the large frame is begun");
    client.raw(&all[FIRST..]);
    client.expect(BINARY, &[9; LARGE]);
    for text in ["one", "two"] {
        client.expect(TEXT, b"next");
        client.expect(TEXT, text.as_bytes());
    }
}
