//! Lets connections join and leave topics.
//!
//! [`parts::topics`](crate::reactor::parts::topics) owns the memberships and their limits.

use crate::reactor::api::id::{ConnId, ServiceId};
use crate::reactor::core::Core;
use crate::reactor::parts::topics::{JoinError, Joined, Left};

impl Core {
    pub(crate) fn subscribe(
        &mut self,
        service: ServiceId,
        id: ConnId,
        topic: &str,
    ) -> Result<Joined, JoinError> {
        let conn = self.conns.owned_mut(service, id);
        let Some(conn) = conn.filter(|conn| conn.is_open()) else {
            return Err(JoinError::NotOpen);
        };
        let joined = self.topics.join(service.number(), topic, id, &mut conn.topics);
        self.metrics.joins_refused += u64::from(joined.is_err());
        joined
    }

    pub(crate) fn unsubscribe(&mut self, service: ServiceId, id: ConnId, topic: &str) -> Left {
        match self.conns.owned_mut(service, id) {
            Some(conn) => self.topics.leave(service.number(), topic, &mut conn.topics),
            None => Left::NotMember,
        }
    }
}
