//! Rooms: each message of a member is sent to the other members of its room.
//!
//! `/rooms/{name}` names the room. The query has options: `self=1` also returns a member's own
//! messages, `history=N` replays the room's last messages on joining, and `presence=1` sends the
//! number of members, as text `{"presence":N}`, on joining and on changes. A message is encoded
//! once, for all members and for the history. Histories are bounded and expire.
//!
//! A member with the subprotocol `weir.rooms` can send its gate a new token in a message.

mod histories;
#[cfg_attr(not(feature = "auth"), path = "rooms/without_refreshing.rs")]
mod refreshing;

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use self::histories::{Histories, Limits};
use self::refreshing::{PROTOCOLS, Refreshing};
use crate::protocol::handshake::{Refusal, Response};
use crate::protocol::{CloseCode, Message, SharedFrame};
use crate::reactor::settings::with_setters;
use crate::reactor::{
    CloseReason, ConnId, ConnMap, Context, Decision, Identity, Level, PublishOptions, Requirement,
    SendOutcome, Service, Target, UpgradeRequest,
};

/// Maximum length of a room's name in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Maximum size of the histories of all rooms of a service, bookkeeping included; half of it while the
/// load is elevated, and a quarter while it is critical. Above it, the
/// room without members that has been idle longest loses its history.
pub const HISTORIES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Delay in which changes of a room's presence are combined: 1,000 members who join together must
/// not cause a million messages.
const PRESENCE_DELAY: Duration = Duration::from_millis(200);
/// Bounds of the interval between sweeps for expired messages, which is the history's time to live.
const SWEEP_INTERVAL_MIN: Duration = Duration::from_secs(1);
const SWEEP_INTERVAL_MAX: Duration = Duration::from_secs(10);
/// Maximum number of rooms per sweep, and the delay of an additional sweep if more may be due: a
/// sweep must not delay the turn.
const SWEEP_ROOMS_MAX: usize = 1000;
const SWEEP_AGAIN: Duration = Duration::from_millis(10);
/// The timer key of the sweep; rooms' keys count from 1.
const SWEEP: u64 = 0;

with_setters! {
    /// The limits of the rooms of one service.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct RoomSettings {
        /// Messages that a room keeps for new members; 0: none.
        pub history_max: usize = 100,
        /// Maximum size of a room's kept messages in bytes. At most the route's
        /// `outbox_soft_bytes`; otherwise a new member would not get all of them.
        pub history_bytes_max: usize = 64 * 1024,
        /// How long a room keeps a message; `None`: until newer ones replace it.
        pub history_ttl: Option<Duration> = Some(Duration::from_secs(3600)),
        /// Maximum number of rooms with members; more are refused with 503. Rooms without members
        /// do not count: the memory limit of all histories bounds them.
        pub rooms_max: usize = 10_000,
        /// What the identity of a client must have to join a room; others are refused with 403. A member
        /// whose identity is replaced by one without it is closed with 3003. `None`: nothing.
        pub join: Option<Requirement> = None,
        /// What the identity of a member must have to send messages; others are closed with 3003.
        /// `None`: nothing.
        pub publish: Option<Requirement> = None,
    }
}

impl RoomSettings {
    fn limits(&self) -> Limits {
        Limits {
            messages_max: self.history_max,
            bytes_max: self.history_bytes_max,
            total_bytes_max: HISTORIES_BYTES_MAX,
            ttl: self.history_ttl,
        }
    }

    /// `None`: messages do not expire.
    fn sweep_interval(&self) -> Option<Duration> {
        self.history_ttl.map(|ttl| ttl.clamp(SWEEP_INTERVAL_MIN, SWEEP_INTERVAL_MAX))
    }
}

/// Relays messages between the members of rooms.
#[derive(Debug)]
pub struct Rooms {
    settings: RoomSettings,
    /// Rooms with members, by their topic.
    rooms: HashMap<Rc<str>, Room>,
    histories: Histories,
    members: ConnMap<Member>,
    /// Rooms that owe a presence message, by timer key.
    presence_due: HashMap<u64, Rc<str>>,
    last_key: u64,
}

/// The options that one member requested.
#[derive(Debug)]
struct Member {
    room: Rc<str>,
    wants_own: bool,
    wants_presence: bool,
    history: usize,
    refreshing: Refreshing,
}

/// A room with members. The loop knows them: a room is one of the loop's topics, and its presence
/// is another.
#[derive(Debug, Default)]
struct Room {
    presence_pending: bool,
}

impl Rooms {
    /// A service without rooms; rooms are created and removed with their members.
    pub fn new(settings: RoomSettings) -> Rooms {
        Rooms {
            histories: Histories::new(settings.limits()),
            settings,
            rooms: HashMap::new(),
            members: ConnMap::new(),
            presence_due: HashMap::new(),
            last_key: SWEEP,
        }
    }

    fn is_full(&self, name: &str) -> bool {
        self.rooms.len() >= self.settings.rooms_max && !self.rooms.contains_key(name)
    }

    /// Schedules a presence message to the members that requested it.
    fn presence_changed(&mut self, cx: &mut Context<'_>, name: &Rc<str>) {
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        if room.presence_pending || cx.members(&watchers(name)) == 0 {
            return;
        }
        self.last_key += 1;
        if cx.schedule(PRESENCE_DELAY, self.last_key).is_some() {
            room.presence_pending = true;
            self.presence_due.insert(self.last_key, Rc::clone(name));
        }
    }

    fn send_presence(&mut self, cx: &mut Context<'_>, key: u64) {
        let Some(name) = self.presence_due.remove(&key) else {
            return;
        };
        if let Some(room) = self.rooms.get_mut(&name) {
            room.presence_pending = false;
            let text = format!("{{\"presence\":{}}}", cx.members(&name));
            let _ = cx.publish(Target::Topic(&watchers(&name)), &*text, PublishOptions::default());
        }
    }

    /// The shared name of a room that has members or a history.
    fn known_name(&self, name: &str) -> Option<Rc<str>> {
        let named = self.rooms.get_key_value(name).map(|(name, _)| Rc::clone(name));
        named.or_else(|| self.histories.name(name))
    }

    /// Drops expired messages, and those above the limit of all rooms, a limited number of rooms at a
    /// time.
    fn sweep(&mut self, cx: &mut Context<'_>) {
        let may_expire = self.histories.expire(cx.now(), SWEEP_ROOMS_MAX);
        if may_expire || self.histories.shrink(SWEEP_ROOMS_MAX) {
            let _ = cx.schedule(SWEEP_AGAIN, SWEEP);
        }
    }
}

impl Service for Rooms {
    fn protocols(&self) -> &[&str] {
        PROTOCOLS
    }

    fn on_start(&mut self, cx: &mut Context<'_>) {
        if let Some(interval) = self.settings.sweep_interval() {
            let _ = cx.schedule_every(interval, SWEEP);
        }
    }

    fn on_request(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        request: &UpgradeRequest<'_>,
    ) -> Decision {
        let name = request.params.get("name").unwrap_or_default();
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Decision::Respond(Response::text(404, "a room's name has 1 to 128 bytes\n"));
        }
        if !is_met(self.settings.join.as_ref(), request.identity) {
            return Decision::Refuse(Refusal::Forbidden);
        }
        let topic = format!("{ROOM}{name}");
        if self.is_full(&topic) {
            return Decision::Refuse(Refusal::RouteFull);
        }
        let is_set = |key| request.http.query_value(key).is_some_and(|value| value == "1");
        let history = request.http.query_value("history");
        let member = Member {
            room: self.known_name(&topic).unwrap_or_else(|| topic.into()),
            wants_own: is_set("self"),
            wants_presence: is_set("presence"),
            history: history.and_then(|count| count.parse().ok()).unwrap_or(0),
            refreshing: Refreshing::new(request.protocol),
        };
        self.members.insert(cx, conn, member);
        Decision::Accept(request.accept())
    }

    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        let Some(member) = self.members.get(conn) else {
            return;
        };
        let name = Rc::clone(&member.room);
        let joined = cx.subscribe(conn, &name).is_ok()
            && (!member.wants_presence || cx.subscribe(conn, &watchers(&name)).is_ok());
        if !joined || self.is_full(&name) {
            return cx.close(conn, CloseCode::TRY_AGAIN_LATER, "too many rooms");
        }
        self.rooms.entry(Rc::clone(&name)).or_default();
        self.histories.enter(&name);
        for frame in self.histories.recent(&name, member.history, cx.now()) {
            match cx.send_shared(conn, frame) {
                SendOutcome::Queued => {}
                // The room's new messages need the rest of the queue. A message that no queue holds
                // is not among them: `history_bytes_max` is at most `outbox_soft`.
                SendOutcome::Congested
                | SendOutcome::Full
                | SendOutcome::Overloaded
                | SendOutcome::TooLarge
                | SendOutcome::WrongRole
                | SendOutcome::Gone => break,
            }
        }
        self.presence_changed(cx, &name);
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        let Some(member) = self.members.get_mut(conn) else {
            return;
        };
        if member.refreshing.handles(cx, conn, message) {
            return;
        }
        if !is_met(self.settings.publish.as_ref(), cx.identity(conn)) {
            return cx.close(conn, CloseCode::FORBIDDEN, "not allowed to send");
        }
        let except: &[ConnId] = if member.wants_own { &[] } else { &[conn] };
        let options = PublishOptions::default().except(except);
        let frame = SharedFrame::message(message);
        let room = Rc::clone(&member.room);
        cx.charge(conn, cx.members(&room) / MEMBERS_PER_TOKEN);
        // The loop counts members without room for it, and the route's policy handles them.
        let _ = cx.publish(Target::Topic(&room), &frame, options);
        self.histories.remember(&room, cx.now(), frame);
    }

    /// A member leaves its room if it could not join it any more.
    fn on_identity(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        if !is_met(self.settings.join.as_ref(), cx.identity(conn)) {
            cx.close(conn, CloseCode::FORBIDDEN, "not allowed in this room");
        }
    }

    fn on_presented(&mut self, cx: &mut Context<'_>, conn: ConnId, outcome: Result<(), Refusal>) {
        let stays = is_met(self.settings.join.as_ref(), cx.identity(conn));
        // A member that does not stay gets its Close instead.
        if let Some(member) = self.members.get_mut(conn).filter(|_| stays) {
            member.refreshing.answer(cx, conn, outcome);
        }
    }

    fn on_close(&mut self, cx: &mut Context<'_>, conn: ConnId, _why: CloseReason) {
        if let Some(member) = self.members.remove(conn) {
            self.presence_changed(cx, &member.room);
        }
    }

    fn on_empty(&mut self, _cx: &mut Context<'_>, topic: &str) {
        self.rooms.remove(topic);
        self.histories.leave(topic);
    }

    fn on_load_level(&mut self, cx: &mut Context<'_>, level: Level) {
        self.histories.limit_total(HISTORIES_BYTES_MAX >> (level as u32));
        self.sweep(cx);
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, key: u64) {
        if key == SWEEP {
            self.sweep(cx);
        } else {
            self.send_presence(cx, key);
        }
    }
}

/// Whether an identity has what is required. Without a gate there is none.
fn is_met(required: Option<&Requirement>, identity: Option<&Identity>) -> bool {
    required.is_none_or(|required| identity.is_some_and(|identity| identity.holds(required)))
}

/// A message counts as one more for this number of members.
const MEMBERS_PER_TOKEN: usize = 1000;

/// The prefix of a room's topic, so that a room's name cannot equal another kind of topic.
const ROOM: &str = "room/";

/// The topic of the members that requested a room's presence.
fn watchers(room: &str) -> String {
    format!("presence in {room}")
}

#[cfg(test)]
mod tests;
