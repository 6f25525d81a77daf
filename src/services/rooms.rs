//! Rooms: what a member says, the others in the room hear.
//!
//! `/rooms/{name}` names the room; the query says how: `self=1` sends the member its own messages,
//! too, `history=N` replays the room's last messages on arrival, `presence=1` tells it how many are
//! there, as text `{"presence":N}`, on arrival and when that changes. A message is encoded once, for
//! all members and for the history. Everything a room remembers is bounded, and forgotten in time.

mod histories;

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use self::histories::{Histories, Limits};
use crate::protocol::handshake::{Refusal, Response};
use crate::protocol::{CloseCode, Message, SharedFrame};
use crate::reactor::{
    CloseReason, ConnId, Context, Decision, PublishOptions, Request, SendOutcome, Service, Target,
};

/// Bytes of a room's name.
pub const NAME_BYTES_MAX: usize = 128;
/// Bytes that the histories of all rooms of a service may take, bookkeeping included. Past it, the room
/// without members that has been idle longest loses its history.
pub const HISTORIES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long changes of a room's presence are gathered before they are told: a thousand members who
/// arrive together are not a million messages.
const PRESENCE_DELAY: Duration = Duration::from_millis(200);
/// How often messages that are too old are forgotten: after each time to live, within these.
const SWEEP_INTERVAL_MIN: Duration = Duration::from_secs(1);
const SWEEP_INTERVAL_MAX: Duration = Duration::from_secs(10);
/// Rooms that one sweep looks at, and how soon the next one follows if there may be more: a sweep must
/// not hold up the turn.
const SWEEP_ROOMS_MAX: usize = 1000;
const SWEEP_AGAIN: Duration = Duration::from_millis(10);
/// The timer key of the sweep; rooms' own keys count from 1.
const SWEEP: u64 = 0;

/// The limits of the rooms of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomSettings {
    /// Messages that a room remembers for those who join; 0: none.
    pub history_max: usize,
    /// Bytes that the messages which a room remembers may take; no more than the route's `outbox_soft`,
    /// or a newcomer does not get them all.
    pub history_bytes_max: usize,
    /// How long a room remembers a message; `None`: until newer ones replace it.
    pub history_ttl: Option<Duration>,
    /// Rooms with members at once; one more is answered 503. Rooms without members do not count: the
    /// memory of all histories bounds them.
    pub rooms_max: usize,
}

impl Default for RoomSettings {
    fn default() -> RoomSettings {
        RoomSettings {
            history_max: 100,
            history_bytes_max: 64 * 1024,
            history_ttl: Some(Duration::from_secs(3600)),
            rooms_max: 10_000,
        }
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

    /// `None`: no message grows too old.
    fn sweep_interval(&self) -> Option<Duration> {
        self.history_ttl.map(|ttl| ttl.clamp(SWEEP_INTERVAL_MIN, SWEEP_INTERVAL_MAX))
    }
}

/// Relays messages between the members of rooms.
#[derive(Debug)]
pub struct Rooms {
    settings: RoomSettings,
    /// Rooms with members, by the topic that these have joined.
    rooms: HashMap<Rc<str>, Room>,
    histories: Histories,
    members: HashMap<ConnId, Member>,
    /// Rooms whose presence is to be told, by timer key.
    presence_due: HashMap<u64, Rc<str>>,
    last_key: u64,
}

/// What one member has asked for.
#[derive(Debug)]
struct Member {
    room: Rc<str>,
    hears_itself: bool,
    hears_presence: bool,
    history: usize,
}

/// A room with members. The loop knows them: a room is a topic of the loop's, and those who asked for
/// its presence are another.
#[derive(Debug, Default)]
struct Room {
    presence_pending: bool,
}

impl Rooms {
    /// No rooms yet; they come and go with their members.
    pub fn new(settings: RoomSettings) -> Rooms {
        Rooms {
            histories: Histories::new(settings.limits()),
            settings,
            rooms: HashMap::new(),
            members: HashMap::new(),
            presence_due: HashMap::new(),
            last_key: SWEEP,
        }
    }

    fn is_full(&self, name: &str) -> bool {
        self.rooms.len() >= self.settings.rooms_max && !self.rooms.contains_key(name)
    }

    /// Tells those who asked for it soon how many are in the room now.
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

    fn tell_presence(&mut self, cx: &mut Context<'_>, key: u64) {
        let Some(name) = self.presence_due.remove(&key) else {
            return;
        };
        if let Some(room) = self.rooms.get_mut(&name) {
            room.presence_pending = false;
            let text = format!("{{\"presence\":{}}}", cx.members(&name));
            let _ = cx.publish(Target::Topic(&watchers(&name)), &*text, PublishOptions::default());
        }
    }

    /// The name of a room that has members or remembers something, to be shared.
    fn known_name(&self, name: &str) -> Option<Rc<str>> {
        let named = self.rooms.get_key_value(name).map(|(name, _)| Rc::clone(name));
        named.or_else(|| self.histories.name(name))
    }

    /// Forgets messages that are too old, some rooms at a time.
    fn sweep(&mut self, cx: &mut Context<'_>) {
        let has_more = self.histories.expire(cx.now(), SWEEP_ROOMS_MAX);
        let next = if has_more { Some(SWEEP_AGAIN) } else { self.settings.sweep_interval() };
        if let Some(next) = next {
            let _ = cx.schedule(next, SWEEP);
        }
    }
}

impl Service for Rooms {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        if let Some(interval) = self.settings.sweep_interval() {
            let _ = cx.schedule(interval, SWEEP);
        }
    }

    fn on_request(
        &mut self,
        _cx: &mut Context<'_>,
        conn: ConnId,
        request: &Request<'_>,
    ) -> Decision {
        let name = request.params.get("name").unwrap_or_default();
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Decision::Respond(Response::text(404, "a room's name has 1 to 128 bytes\n"));
        }
        let topic = format!("{ROOM}{name}");
        if self.is_full(&topic) {
            return Decision::Refuse(Refusal::RouteFull);
        }
        let is_set = |key| request.http.query_value(key).is_some_and(|value| value == "1");
        let history = request.http.query_value("history");
        let member = Member {
            room: self.known_name(&topic).unwrap_or_else(|| topic.into()),
            hears_itself: is_set("self"),
            hears_presence: is_set("presence"),
            history: history.and_then(|count| count.parse().ok()).unwrap_or(0),
        };
        self.members.insert(conn, member);
        Decision::Accept { protocol: request.protocol }
    }

    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        let Some(member) = self.members.get(&conn) else {
            return;
        };
        let name = Rc::clone(&member.room);
        let joined = cx.subscribe(conn, &name).is_ok()
            && (!member.hears_presence || cx.subscribe(conn, &watchers(&name)).is_ok());
        if !joined || self.is_full(&name) {
            return cx.close(conn, CloseCode::TRY_AGAIN_LATER, "too many rooms");
        }
        self.rooms.entry(Rc::clone(&name)).or_default();
        self.histories.enter(&name);
        for frame in self.histories.recent(&name, member.history, cx.now()) {
            if cx.send_shared(conn, frame) != SendOutcome::Queued {
                break;
            }
        }
        self.presence_changed(cx, &name);
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        let Some(member) = self.members.get(&conn) else {
            return;
        };
        let except: &[ConnId] = if member.hears_itself { &[] } else { &[conn] };
        let options = PublishOptions { except, ..PublishOptions::default() };
        let frame = SharedFrame::message(message);
        let room = Rc::clone(&member.room);
        // Who had no room for it is counted by the loop, and dealt with by the route's policy.
        let _ = cx.publish(Target::Topic(&room), &frame, options);
        self.histories.remember(&room, cx.now(), frame);
    }

    fn on_close(&mut self, cx: &mut Context<'_>, conn: ConnId, _why: CloseReason) {
        if let Some(member) = self.members.remove(&conn) {
            self.presence_changed(cx, &member.room);
        }
    }

    fn on_empty(&mut self, _cx: &mut Context<'_>, topic: &str) {
        self.rooms.remove(topic);
        self.histories.leave(topic);
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, key: u64) {
        if key == SWEEP {
            self.sweep(cx);
        } else {
            self.tell_presence(cx, key);
        }
    }
}

/// What a room's topic begins with, so that no room's name is taken for another kind of topic.
const ROOM: &str = "room/";

/// The topic of those who asked for the presence in a room.
fn watchers(room: &str) -> String {
    format!("presence in {room}")
}
