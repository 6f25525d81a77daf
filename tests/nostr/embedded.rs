//! A relay in a program of one's own: with a write policy instead of a plugin.

use weir::reactor::Reactor;
use weir::reactor::settings::Settings;
use weir::services::nostr::refusal::Prefix;
use weir::services::nostr::write_policy::{Judgement, Reply, Submission, WritePolicy};
use weir::services::nostr::{Relay, RelaySettings};

use super::author::Author;
use super::relay::{Directory, NostrClient};
use crate::support::Server;

/// Refuses notes with a word, and answers from another thread.
struct Words;

impl WritePolicy for Words {
    fn judge(&self, submission: Submission<'_>, reply: Reply) {
        let judgement = match submission.event.content().contains("spam") {
            true => Judgement::Reject(Prefix::Blocked.text("no spam")),
            false => Judgement::Accept,
        };
        std::thread::spawn(move || reply.send(judgement));
    }
}

#[test]
fn a_program_serves_a_relay_with_its_own_write_policy() {
    let directory = Directory::new();
    let path = directory.path().join("events");
    let server = Server::start(Settings::default(), move |reactor: &mut Reactor| {
        let route = RelaySettings::route();
        let relay = Relay::open("main", RelaySettings::new(path), &route, None).unwrap();
        let service = reactor.add_service(relay.write_policy(Words)).unwrap();
        reactor.add_route("/", service, route).unwrap();
    });
    let (mut client, author) = (NostrClient::open(server.address), Author::new(1));
    client.accept(&author.note("hello"));
    assert_eq!(client.publish(&author.note("spam")), (false, "blocked: no spam".to_owned()));
    drop(client);
    server.stop_clean();
}
