//! Lets connections join and leave topics.
//!
//! [`parts::topics`](crate::reactor::parts::topics) owns the memberships and their limits.

use crate::reactor::api::id::{ConnId, ServiceId};
use crate::reactor::conn::connection::Connection;
use crate::reactor::core::Core;
use crate::reactor::parts::topics::{JoinError, Joined, Left};

impl Core {
    pub(crate) fn subscribe(
        &mut self,
        service: ServiceId,
        id: ConnId,
        topic: &str,
    ) -> Result<Joined, JoinError> {
        let can_join = |conn: &&mut Connection| conn.is_open() && conn.service == service;
        let Some(conn) = self.conns.get_mut(id).filter(can_join) else {
            return Err(JoinError::NotOpen);
        };
        let joined = self.topics.join(service.number(), topic, id, &mut conn.topics);
        self.metrics.joins_refused += u64::from(joined.is_err());
        joined
    }

    pub(crate) fn unsubscribe(&mut self, service: ServiceId, id: ConnId, topic: &str) -> Left {
        match self.conns.get_mut(id) {
            Some(conn) => self.topics.leave(service.number(), topic, &mut conn.topics),
            None => Left::NotMember,
        }
    }
}
