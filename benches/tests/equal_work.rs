//! The contenders do equal work: they decode the same messages and send the same answers.

use weir::protocol::Message;
use weir_benches::codecs::{Codec, Fastwebsockets, Tungstenite, Weir};
use weir_benches::input::{frame, mixed};
use weir_benches::pieces::{Cut, Pieces};
use weir_benches::servers::{self, Load, Rounds, Server, Work};

#[test]
fn codecs_read_the_same_messages() {
    for cut in [Cut::Whole, Cut::InTwo, Cut::Bytewise] {
        for size in [0, 20, 125, 126, 1024, 65536] {
            let text = mixed(size);
            let stream = Pieces::new(frame(Message::Text(&text)), cut);
            reads(Weir::new(stream.clone()), &text);
            reads(Tungstenite::new(stream.clone()), &text);
            reads(Fastwebsockets::new(stream), &text);
        }
    }
}

fn reads(mut codec: impl Codec, text: &str) {
    for _ in 0..3 {
        let mut shown = false;
        codec.next(|bytes| shown = bytes == text.as_bytes());
        assert!(shown, "a text of {} bytes differs from the one sent", text.len());
    }
}

#[test]
fn servers_give_the_same_answers() {
    for (work, depth, payload_bytes) in [
        (Work::Echo, 1, 20),
        (Work::Echo, 3, 65536),
        (Work::Fanout, 1, 64),
        (Work::Fanout, 16, 700),
    ] {
        let load = Load { work, connections: 5, depth, payload_bytes };
        let expected = answer::<servers::weir::Weir>(load);
        assert_eq!(expected.len(), depth * servers::weir::Weir::answer_bytes(&load));
        assert!(expected == answer::<servers::tungstenite::Tungstenite>(load), "{load:?}");
        assert!(expected == answer::<servers::fastwebsockets::Fastwebsockets>(load), "{load:?}");
        if work == Work::Fanout {
            assert!(expected == answer::<servers::bare::Bare>(load), "{load:?}");
        }
    }
}

fn answer<S: Server>(load: Load) -> Vec<u8> {
    let mut rounds = Rounds::<S>::new(load).unwrap();
    rounds.round(Server::serve);
    rounds.answers().to_vec()
}
