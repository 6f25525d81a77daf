//! Carries out commands that other threads have put with a [`Handle`](crate::reactor::Handle).
//!
//! The mail phase calls it, within the share of one service. The queue of commands is in
//! [`handle`](crate::reactor::api::handle).

use crate::reactor::api::budget::{MAILS, MESSAGE_WORK};
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
            self.run_command(&command);
            self.work.spend(MESSAGE_WORK);
            self.weigh(before);
            if self.work.is_spent() {
                break;
            }
        }
        More::Yes
    }

    fn run_command(&mut self, command: &Command) {
        let (service, target) = match &command.receivers {
            Receivers::One(conn) => {
                let _ = self.send(*conn, command.message());
                return;
            }
            Receivers::All(service) => (*service, Target::All),
            Receivers::Topic(service, name) => (*service, Target::Topic(name)),
            Receivers::List(service, list) => (*service, Target::List(list)),
        };
        let message = command.message().into();
        let _ = self.publish(service, target, message, PublishOptions::default());
    }
}
