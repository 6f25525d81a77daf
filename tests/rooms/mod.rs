//! Rooms: relays, presence, histories and limits.

mod history;
mod members;

use weir::reactor::settings::{RouteSettings, Settings};
use weir::services::Rooms;
use weir::services::rooms::RoomSettings;

use crate::support::{Client, Server, TEXT, upgrade};

/// Rooms at `/rooms/{name}`.
fn serve(rooms: RoomSettings, route: RouteSettings) -> Server {
    Server::start(Settings::default(), move |reactor| {
        let service = reactor.add_service(Rooms::new(rooms)).unwrap();
        reactor.add_route("/rooms/{name}", service, route).unwrap();
    })
}

fn serve_plain() -> Server {
    serve(RoomSettings::default(), RouteSettings::default())
}

/// A member of a room, with the query `how`. It has joined.
fn join(server: &Server, room: &str, how: &str) -> Client {
    Client::open(server.address, &format!("/rooms/{room}?{how}"))
}

/// The status of the response to a request to join.
fn status(server: &Server, room: &str) -> String {
    let mut client = Client::tcp(server.address);
    let head = client.request(&upgrade(&format!("/rooms/{room}"), ""));
    head.split(' ').nth(1).unwrap().to_owned()
}

/// Expects that these clients received nothing before a message that `speaker` sends now.
fn expect_nothing(speaker: &mut Client, listeners: &mut [&mut Client]) {
    speaker.text("nothing until here");
    for listener in listeners {
        listener.expect(TEXT, b"nothing until here");
    }
}
