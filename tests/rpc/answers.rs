//! One answer for many pending calls, on a loop that is turned by hand.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use serde_json::json;
use weir::reactor::settings::{RouteSettings, Settings};
use weir::services::rpc::{Notice, RpcSettings};

use super::scripted::{Report, raw, serve};
use crate::support::{ByHand, Client, TEXT};

/// Calls of `on_mail` in a turn; each answers one pending call.
const CALLS_PER_TURN: u64 = 1024;
const CLIENTS: usize = 12;
/// Pending calls per connection, below the limit.
const CALLS_EACH: usize = 250;

#[test]
fn a_turn_replies_to_a_bounded_number_of_calls_that_share_an_answer() {
    for result_bytes in [10, 10_000] {
        let (sender, receiver) = channel();
        let mut server = ByHand::new(Settings::default(), |reactor| {
            serve(reactor, RpcSettings::default(), RouteSettings::default(), sender);
        });
        let Ok(Report::Started(mail)) = receiver.try_recv() else {
            panic!("the first report is the start");
        };
        let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.open("/")).collect();
        for client in &mut clients {
            for id in 0..CALLS_EACH {
                client.text(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"later"}}"#));
            }
        }
        let all = CLIENTS * CALLS_EACH;
        server.turn_until("all calls wait", |metrics| metrics.messages_in == all as u64);
        let tickets: Vec<_> = receiver
            .try_iter()
            .filter_map(
                |report| if let Report::Called(ticket) = report { Some(ticket) } else { None },
            )
            .collect();
        assert_eq!(tickets.len(), all);
        let result = json!("x".repeat(result_bytes));
        let outcome = Ok(raw(&result));
        let answer = Box::new(move || Notice::Answer { tickets, outcome });
        assert!(mail.try_send(answer).is_ok());

        let mut sent = server.reactor.metrics().messages_out;
        let before = sent;
        let mut turns = 0;
        server.turn_until("all are answered", |metrics| metrics.messages_out > before);
        while sent < before + all as u64 {
            let now = server.reactor.metrics().messages_out;
            assert!(now - sent <= CALLS_PER_TURN, "{} answers in one turn", now - sent);
            assert!(turns < 2 * all, "{} of {all} answers after {turns} turns", now - before);
            sent = now;
            turns += 1;
            server.reactor.turn(Some(Duration::ZERO)).unwrap();
        }
        assert!(turns >= all / CALLS_PER_TURN as usize);
        // The clients read on threads, while the loop turns.
        let readers: Vec<_> = clients
            .into_iter()
            .map(|client| {
                let result = result.to_string();
                thread::spawn(move || expect_all(client, &result))
            })
            .collect();
        let is_over = |reader: &thread::JoinHandle<()>| reader.is_finished();
        while !readers.iter().all(is_over) {
            server.reactor.turn(Some(Duration::from_millis(20))).unwrap();
        }
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        server.stop_clean();
    }
}

/// Reads the replies to all calls, in their order.
fn expect_all(mut client: Client, result: &str) {
    for id in 0..CALLS_EACH {
        let reply = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
        client.expect(TEXT, reply.as_bytes());
    }
}
