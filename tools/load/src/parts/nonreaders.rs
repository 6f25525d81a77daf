//! Subscribers to `newHeads` that do not read. They request blocks until their output is congested,
//! so that not only the kernel's buffers but also their queue at the server is full.
//!
//! After the measurement they read again, which shows how the server has treated them.

use weir::protocol::Message;
use weir::reactor::{CloseReason, ConnId, Context};

use super::heads::SUBSCRIBE;
use super::slow::{count_end, send_repeatedly};
use super::{Part, Unit};
use crate::crowd::Crowd;
use crate::tally::{Errors, Tally};

/// A call whose answer is much longer than the call.
const ASK: &str =
    r#"{"jsonrpc":"2.0","id":2,"method":"eth_getBlockByNumber","params":["latest",false]}"#;
/// Maximum calls per subscriber: the answers exceed the kernel's buffers of both ends.
const CALLS_MAX: usize = 16 * 1024;

#[derive(Debug)]
pub(crate) struct NonReaders {
    crowd: Crowd,
    tally: Tally,
    /// Calls per member, and approximately the unanswered ones: a head counts as an answer.
    sent: Vec<usize>,
    unread: Vec<usize>,
    /// How the connections ended.
    ends: Errors,
    is_stopped: bool,
}

impl NonReaders {
    pub(crate) fn new(crowd: Crowd) -> NonReaders {
        NonReaders {
            tally: Tally::new(),
            sent: vec![0; crowd.len()],
            unread: vec![0; crowd.len()],
            crowd,
            ends: Errors::default(),
            is_stopped: false,
        }
    }

    fn ask(&mut self, cx: &mut Context<'_>, member: usize, conn: ConnId) {
        if self.is_stopped {
            return;
        }
        let asked = send_repeatedly(cx, conn, Message::Text(ASK), CALLS_MAX - self.sent[member]);
        self.sent[member] += asked;
        self.unread[member] += asked;
        for _ in 0..asked {
            self.tally.sent(ASK.len());
        }
    }
}

impl Part for NonReaders {
    fn name(&self) -> &'static str {
        "non-readers"
    }

    fn unit(&self) -> Unit {
        Unit { one: "message", many: "messages" }
    }

    fn crowd(&mut self) -> &mut Crowd {
        &mut self.crowd
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    fn start(&mut self, cx: &mut Context<'_>) {
        for member in 0..self.crowd.len() {
            if let Some(conn) = self.crowd.conn(member) {
                cx.pause(conn);
                let _ = cx.send(conn, SUBSCRIBE);
                self.ask(cx, member, conn);
            }
        }
    }

    fn on_message(&mut self, _: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        self.tally.received(message.len());
        let member = self.crowd.member(conn);
        self.unread[member] = self.unread[member].saturating_sub(1);
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        let member = self.crowd.member(conn);
        self.ask(cx, member, conn);
    }

    /// A server may end a connection that does not read.
    fn on_end(&mut self, _: &mut Context<'_>, member: usize, why: CloseReason) -> bool {
        self.unread[member] = 0;
        count_end(&mut self.ends, why);
        false
    }

    fn is_answered(&self) -> bool {
        false
    }

    fn stop(&mut self, cx: &mut Context<'_>) {
        self.is_stopped = true;
        for member in 0..self.crowd.len() {
            if let Some(conn) = self.crowd.conn(member) {
                cx.resume(conn);
            }
        }
    }

    fn outstanding(&self) -> u64 {
        self.unread.iter().sum::<usize>() as u64
    }

    fn notes(&self) -> Vec<String> {
        let sent: usize = self.sent.iter().sum();
        let count = self.sent.len();
        let mut notes = vec![format!("{count} sent {sent} calls and read nothing")];
        notes.extend(self.ends.iter().map(|(end, count)| format!("{count} of them: {end}")));
        notes
    }
}
