//! Idle connections: the cost of connecting and of holding connections. The loop answers pings;
//! connecting is the only load.

use weir::protocol::Message;
use weir::reactor::{ConnId, Context};

use super::{Part, Unit};
use crate::crowd::Crowd;
use crate::tally::Tally;

#[derive(Debug)]
pub(crate) struct Idle {
    name: &'static str,
    crowd: Crowd,
    tally: Tally,
}

impl Idle {
    pub(crate) fn new(name: &'static str, crowd: Crowd) -> Idle {
        Idle { name, crowd, tally: Tally::new() }
    }
}

impl Part for Idle {
    fn name(&self) -> &'static str {
        self.name
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

    fn start(&mut self, _: &mut Context<'_>) {}

    /// Some servers send a greeting, which is only counted.
    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, message: Message<'_>) {
        self.tally.received(message.len());
    }

    fn is_answered(&self) -> bool {
        false
    }

    fn stop(&mut self, _: &mut Context<'_>) {}
}
