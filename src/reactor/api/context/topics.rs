//! Topics, and messages for many connections.
//!
//! The index of members is parts/topics.rs; effects/publish.rs delivers.

use super::Context;
use crate::reactor::api::id::ConnId;
use crate::reactor::api::publish::{Payload, PublishOptions, Published, Target};
use crate::reactor::parts::topics::{JoinError, Joined, Left};

impl Context<'_> {
    /// Queues one message for many connections: it is encoded once and shared.
    ///
    /// ```
    /// # use weir::reactor::{ConnId, Context, PublishOptions, Record, Target};
    /// fn alert_admins(cx: &mut Context<'_>, sender: ConnId) {
    ///     let is_admin = |record: &Record<'_>| record.metadata.get("role") == Some("admin");
    ///     let options = PublishOptions::default().filter(&is_admin);
    ///     let outcome = cx.publish(Target::Topic("ops"), "disk full", options.except(&[sender]));
    ///     println!("{} received it, {} had no room", outcome.sent, outcome.refused);
    /// }
    /// ```
    pub fn publish<'p>(
        &mut self,
        target: Target<'_>,
        payload: impl Into<Payload<'p>>,
        options: PublishOptions<'_>,
    ) -> Published {
        self.core.publish(self.core.served, target, payload.into(), options)
    }

    /// Makes a connection a member of one of the service's topics.
    ///
    /// # Errors
    /// A limit is reached, or the connection is not open.
    pub fn subscribe(&mut self, conn: ConnId, topic: &str) -> Result<Joined, JoinError> {
        self.core.subscribe(self.core.served, conn, topic)
    }

    /// Ends a membership. The end of a connection ends all its memberships.
    pub fn unsubscribe(&mut self, conn: ConnId, topic: &str) -> Left {
        self.core.unsubscribe(self.core.served, conn, topic)
    }

    /// The number of members of a topic.
    pub fn members(&self, topic: &str) -> usize {
        self.core.topics.count(self.core.served.number(), topic)
    }
}
