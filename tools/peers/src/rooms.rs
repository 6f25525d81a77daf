//! The members of rooms, and the queue of undelivered messages of each member.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Messages from the other members of a room.
pub type Inbox<M> = UnboundedReceiver<M>;

type Members<M> = HashMap<String, Vec<(u64, UnboundedSender<M>)>>;

/// All rooms of a peer with messages of type `M`.
#[derive(Debug)]
pub struct Rooms<M>(Arc<Mutex<State<M>>>);

#[derive(Debug)]
struct State<M> {
    members: Members<M>,
    last_id: u64,
}

impl<M> Default for Rooms<M> {
    fn default() -> Rooms<M> {
        Rooms(Arc::new(Mutex::new(State { members: HashMap::new(), last_id: 0 })))
    }
}

impl<M> Clone for Rooms<M> {
    fn clone(&self) -> Rooms<M> {
        Rooms(Arc::clone(&self.0))
    }
}

impl<M> Rooms<M> {
    /// Joins the room with this path; `None` if it is not the path of a room.
    pub fn join(&self, path: &str) -> Option<(Member<M>, Inbox<M>)> {
        let room = path.strip_prefix("/rooms/")?.to_owned();
        let (sender, inbox) = unbounded_channel();
        let mut state = self.lock();
        state.last_id += 1;
        let id = state.last_id;
        state.members.entry(room.clone()).or_default().push((id, sender));
        Some((Member { rooms: self.clone(), room, id }, inbox))
    }

    /// There is only one thread, and nothing here panics while holding the lock.
    fn lock(&self) -> MutexGuard<'_, State<M>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection in its room; dropping it leaves the room.
#[derive(Debug)]
pub struct Member<M> {
    rooms: Rooms<M>,
    room: String,
    id: u64,
}

impl<M: Clone> Member<M> {
    /// Adds the message to the inbox of every other member.
    pub fn publish(&self, message: &M) {
        for (id, sender) in self.rooms.lock().members.get(&self.room).into_iter().flatten() {
            if *id != self.id {
                // Fails for a member that is leaving.
                let _ = sender.send(message.clone());
            }
        }
    }
}

impl<M> Drop for Member<M> {
    fn drop(&mut self) {
        let mut state = self.rooms.lock();
        if let Some(members) = state.members.get_mut(&self.room) {
            members.retain(|(id, _)| *id != self.id);
            if members.is_empty() {
                state.members.remove(&self.room);
            }
        }
    }
}
