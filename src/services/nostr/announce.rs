//! Live events: one encoding, and one compression, for all subscriptions that match.

use std::sync::Arc;

use super::event::Event;
use super::guard::Guard;
use super::message::SubscriptionId;
use super::metrics::{Reply, add};
use super::refusal::Prefix;
use super::relay::Relay;
use super::reply::{write_event_head, write_notice};
use super::settings::SlowReaders;
use crate::protocol::SharedTail;
use crate::reactor::{ConnId, Context, SendOutcome};

impl Relay {
    /// Sends an event to its subscribers. Returns how many there are, those included that will get it
    /// after their scan.
    pub(super) fn announce(
        &mut self,
        cx: &mut Context<'_>,
        event: Arc<Event>,
        serial: Option<u64>,
    ) -> usize {
        if self.events.vanished.withholds(&event) {
            return 0;
        }
        let Relay { subscriptions, clients, settings, counts, out, .. } = self;
        let guard = Guard::of(settings, &event);
        let recipients = subscriptions.announce(Arc::clone(&event), serial, cx.now());
        // Of a restricted event it is not known which of the waiting ones will get it.
        let mut heard = if guard.is_open() { recipients.waiting() } else { 0 };
        if recipients.is_empty() {
            counts.recipients.count(heard);
            return heard;
        }
        out.clear();
        event.write_json(out);
        out.push(b']');
        let tail = SharedTail::new(out.as_slice());
        add(&counts.encodings, 1);
        for (sub, conns) in recipients.groups() {
            out.clear();
            write_event_head(out, sub);
            for conn in conns {
                let Some(client) = clients.get_mut(conn) else {
                    continue;
                };
                if !guard.admits(client.keys()) {
                    continue;
                }
                heard += 1;
                if client.is_slow() {
                    add(&counts.dropped, 1);
                    if client.drops_first(sub) {
                        tell_dropped(cx, conn, sub);
                        counts.sent(Reply::Notice);
                    }
                    continue;
                }
                let outcome = cx.send_joined(conn, out, &tail);
                if outcome == SendOutcome::Congested && settings.slow == SlowReaders::Drop {
                    client.begin_slowness();
                }
                match outcome.is_queued() {
                    true => {
                        add(&counts.deliveries_live, 1);
                        counts.sent(Reply::Event);
                    }
                    false => add(&counts.dropped, 1),
                }
            }
        }
        counts.recipients.count(heard);
        heard
    }
}

/// Tells a client that live events of a subscription are dropped until it has read what is queued.
fn tell_dropped(cx: &mut Context<'_>, conn: ConnId, sub: &SubscriptionId) {
    let text = format!("events of the subscription {} are dropped: read faster", sub.json());
    let mut message = Vec::new();
    write_notice(&mut message, Prefix::RateLimited.text(text));
    if let Ok(text) = std::str::from_utf8(&message) {
        let _ = cx.send(conn, text);
    }
}
