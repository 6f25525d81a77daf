//! Changes of the lists on the thread that writes: to the store first, then for all threads.

use super::answer::Answer;
use super::call::{Call, Method};
use super::removals::{Removals, Target};
use crate::reactor::ConnId;
use crate::services::nostr::managed::Entry;
use crate::services::nostr::policy::SharedPolicy;
use crate::services::nostr::store::{StoreError, Writer};
use crate::services::nostr::tags::PublicKey;

/// A call that changes the lists.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) conn: ConnId,
    /// The administrator.
    pub(crate) by: PublicKey,
    pub(crate) call: Call,
}

impl Change {
    /// Makes the change. It holds for the next event that is checked; up to a first step of the events
    /// of a ban are removed.
    pub(crate) fn apply(
        &self,
        writer: &mut Writer,
        lists: &SharedPolicy,
        removals: &mut Removals,
    ) -> Result<Answer, StoreError> {
        let Call { method, settings } = &self.call;
        for setting in settings {
            let entry = setting.entry;
            writer.set_list_entry(entry.list(), &entry.bytes(), setting.reason.as_deref())?;
        }
        lists.change(|managed| {
            for setting in settings {
                managed.set(&setting.entry, setting.reason.as_deref());
            }
        });
        for setting in settings {
            let target = match setting.entry {
                Entry::BannedAuthor(key) => Target::Author(key),
                Entry::BannedId(id) => Target::Event(id),
                _ => continue,
            };
            match setting.reason {
                Some(_) => removals.start(writer, target)?,
                None => removals.cancel(writer, target)?,
            }
        }
        self.log(*method);
        Ok(Answer::result(true))
    }

    /// The answer if the store cannot be written.
    pub(crate) fn failed() -> Answer {
        Answer::error(503, "the store cannot be written")
    }

    fn log(&self, method: Method) {
        let administrator = hex::encode(self.by);
        log::info!(administrator:% = administrator; "management call {}", method.name());
    }
}
