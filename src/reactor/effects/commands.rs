//! Carries out commands that other threads have put with a [`Handle`](crate::reactor::Handle).
//!
//! The mail phase calls it, within the share of one service. The queue of commands is in
//! [`handle`](crate::reactor::api::handle).

use crate::protocol::Message;
use crate::reactor::api::budget::{MAILS, MESSAGE_WORK};
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::handle::{Command, Receivers};
use crate::reactor::api::outcome::More;
use crate::reactor::api::publish::{PublishOptions, Target};
use crate::reactor::core::Core;

impl Core {
    /// Carries out commands, within the share of one service.
    pub(crate) fn run_commands(&mut self) -> More {
        for _ in 0..MAILS {
            let Some(command) = self.commands.take() else {
                return More::No;
            };
            let before = self.weighed();
            match command {
                Command::Message(receivers, content) => self.send_to(&receivers, content.message()),
                Command::Close { conn, code, reason } => {
                    self.begin_close(conn, CloseReason::Service(code), &reason);
                }
            }
            self.work.spend(MESSAGE_WORK);
            self.weigh(before);
            if self.work.is_spent() {
                break;
            }
        }
        More::Yes
    }

    fn send_to(&mut self, receivers: &Receivers, message: Message<'_>) {
        let (service, target) = match receivers {
            Receivers::One(conn) => {
                if let Some(service) = self.conns.get(*conn).map(|conn| conn.service) {
                    self.served = service;
                    let _ = self.send(*conn, message);
                }
                return;
            }
            Receivers::All(service) => (*service, Target::All),
            Receivers::Topic(service, name) => (*service, Target::Topic(name)),
            Receivers::List(service, list) => (*service, Target::List(list)),
        };
        let _ = self.publish(service, target, message.into(), PublishOptions::default());
    }
}
