//! Batches: small messages for a topic's members share their bytes until they are written. Peers
//! and services see no difference to one send per member.

use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

use weir::protocol::{CloseCode, Message};
use weir::reactor::settings::{RouteSettings, Settings, SlowPolicy};
use weir::reactor::{
    ConnId, Context, Durations, Metrics, Payload, PublishOptions, Published, SendOutcome, Service,
    ServiceId, Target,
};

use super::selection::report;
use crate::support::{BINARY, ByHand, CLOSE, Client, DEADLINE, PING, PONG, TEXT, upgrade};

const LONG: Duration = Duration::from_secs(3600);

/// A service that sends nothing by itself.
struct Silent;

impl Service for Silent {
    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

pub fn by_hand(settings: Settings, route: RouteSettings) -> (ByHand, ServiceId) {
    let mut added = None;
    let server = ByHand::new(settings, |reactor| {
        let service = reactor.add_service(Silent).unwrap();
        reactor.add_route("/", service, route).unwrap();
        added = Some(service);
    });
    (server, added.unwrap())
}

/// Open connections and their ids, in the order in which they were opened.
pub fn clients(
    server: &mut ByHand,
    service: ServiceId,
    count: usize,
) -> (Vec<Client>, Vec<ConnId>) {
    let clients = (0..count).map(|_| server.open("/")).collect();
    let mut ids: Vec<ConnId> = server.reactor.context(service).connections().collect();
    ids.sort_unstable_by_key(|id| id.serial());
    (clients, ids)
}

fn turn(server: &mut ByHand) {
    server.reactor.turn(Some(Duration::ZERO)).unwrap();
}

/// Everything that a service or a peer can observe of a run.
#[derive(Debug, PartialEq)]
struct Observed {
    outcomes: Vec<String>,
    metrics: Metrics,
    received: Vec<Vec<u8>>,
}

/// A run of random operations on eight connections and two topics. `singly` tracks the outcomes of
/// each publication, so that its message is sent to one member after the other.
struct Play {
    seed: u32,
    singly: bool,
    ids: Vec<ConnId>,
    outcomes: Vec<String>,
}

impl Play {
    fn random(&mut self, below: usize) -> usize {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 17;
        self.seed ^= self.seed << 5;
        self.seed as usize % below
    }

    fn anyone(&mut self) -> ConnId {
        let at = self.random(self.ids.len());
        self.ids[at]
    }

    fn publish(&mut self, cx: &mut Context<'_>, payload: Payload<'_>) {
        let topic = ["even", "odd", "even"][self.random(3)];
        let except: Vec<ConnId> = (0..self.random(3)).map(|_| self.anyone()).collect();
        let options = PublishOptions::default().except(&except).track(self.singly);
        let Published { sent, refused, skipped, .. } =
            cx.publish(Target::Topic(topic), payload, options);
        self.outcomes.push(format!("{topic}: {sent} sent, {refused} refused, {skipped} skipped"));
    }

    fn operate(&mut self, cx: &mut Context<'_>) {
        let id = self.anyone();
        let small = vec![self.random(256) as u8; [20, 200, 400][self.random(3)]];
        match self.random(18) {
            0..9 => self.publish(cx, Message::Binary(&small).into()),
            9 => self.publish(cx, Message::Binary(&[b'l'; 600]).into()),
            10 => self.publish(cx, Payload::Ping(b"all")),
            11 => self.outcomes.push(format!("{:?}", cx.send(id, &small[..]))),
            12 => self.outcomes.push(format!("{:?}", cx.ping(id, b"one"))),
            13 => self.outcomes.push(format!("{:?}", cx.subscribe(id, "odd"))),
            14 => self.outcomes.push(format!("{:?}", cx.unsubscribe(id, "odd"))),
            15 => self.outcomes.push(format!("{:?}", cx.unsubscribe(id, "even"))),
            16 => self.outcomes.push(format!("{:?}", cx.subscribe(id, "even"))),
            _ if self.random(8) > 0 => {}
            _ if self.random(2) > 0 => cx.close(id, CloseCode::NORMAL, "enough"),
            _ => cx.abort(id),
        }
        for &id in &self.ids {
            let traffic = cx.record(id).map(|record| (record.queued_bytes, record.traffic));
            self.outcomes.push(format!("{id}: {} {traffic:?}", cx.queued_bytes(id)));
        }
    }
}

fn play(seed: u32, singly: bool) -> Observed {
    let slow_policy = if seed.is_multiple_of(2) { SlowPolicy::Drop } else { SlowPolicy::Close };
    let route = RouteSettings::default()
        .message_bytes_max(1000)
        .outbox_low_bytes(100)
        .outbox_soft_bytes(if seed.is_multiple_of(3) { 300 } else { 1500 })
        .outbox_hard_bytes(2600)
        .outbox_grace(LONG)
        .slow_policy(slow_policy);
    let settings = Settings::default().close_timeout(LONG).heartbeat(None);
    let (mut server, service) = by_hand(settings, route);
    let (clients, ids) = clients(&mut server, service, 8);
    let mut play = Play { seed: seed.wrapping_mul(0x9E37_79B9), singly, ids, outcomes: Vec::new() };
    for &id in &play.ids {
        server.reactor.context(service).subscribe(id, "even").unwrap();
    }
    for _ in 0..20 {
        for _ in 0..play.random(30) {
            play.operate(&mut server.reactor.context(service));
        }
        turn(&mut server);
    }
    let mut metrics = server.reactor.metrics().clone();
    metrics.turns = 0;
    // Times differ between any two runs.
    metrics.turns_took = Durations::default();
    metrics.handshakes_took = Durations::default();
    metrics.decodes_took = Durations::default();
    // The sockets are closed with their loop.
    drop(server);
    let read = |mut client: Client| {
        let mut received = Vec::new();
        client.stream.read_to_end(&mut received).unwrap();
        received
    };
    Observed { outcomes: play.outcomes, metrics, received: clients.into_iter().map(read).collect() }
}

#[test]
fn batches_look_like_one_send_per_member() {
    let mut metrics = Metrics::default();
    for seed in 1..40 {
        let (shared, singly) = (play(seed, false), play(seed, true));
        for (at, (shared, singly)) in shared.outcomes.iter().zip(&singly.outcomes).enumerate() {
            assert_eq!(shared, singly, "line {at} of seed {seed}");
        }
        assert!(shared == singly, "seed {seed}: {} and {}", shared.metrics, singly.metrics);
        metrics.messages_out += shared.metrics.messages_out;
        metrics.messages_refused += shared.metrics.messages_refused;
        metrics.messages_dropped += shared.metrics.messages_dropped;
        metrics.congested += shared.metrics.congested;
        metrics.ended_slow += shared.metrics.ended_slow;
    }
    // Each kind of outcome occurred.
    assert!(metrics.messages_out > 1000);
    assert!(metrics.messages_refused.min(metrics.messages_dropped) > 10, "{metrics}");
    assert!(metrics.congested > 10 && metrics.ended_slow > 10, "{metrics}");
}

#[test]
fn a_reply_to_a_member_follows_the_batch() {
    let (mut server, service) = by_hand(Settings::default(), RouteSettings::default());
    let (mut clients, ids) = clients(&mut server, service, 4);
    clients[0].send(PING, b"there?");
    clients[1].close(1000, "bye");
    clients[2].finish();
    let mut cx = server.reactor.context(service);
    for &id in &ids {
        cx.subscribe(id, "t").unwrap();
    }
    for text in ["one", "two"] {
        assert_eq!(cx.publish(Target::Topic("t"), text, Default::default()), report(4, 0, 0));
    }
    server.turn_until("two peers end", |metrics| {
        metrics.ended_peer_closed == 1 && metrics.ended_peer_lost == 1
    });
    for client in &mut clients {
        client.expect(TEXT, b"one");
        client.expect(TEXT, b"two");
    }
    clients[0].expect(PONG, b"there?");
    assert_eq!(clients[1].frame().opcode, CLOSE);
    clients[1].expect_end();
    clients[2].expect_end();
    let traffic = |id| server.reactor.context(service).record(id).unwrap().traffic.bytes_out;
    assert_eq!([ids[0], ids[3]].map(traffic), [6, 6]);
}

#[test]
fn a_large_message_does_not_overtake_a_batch() {
    let (mut server, service) = by_hand(Settings::default(), RouteSettings::default());
    let (mut clients, ids) = clients(&mut server, service, 1);
    let large = [b'l'; 20_000];
    let mut cx = server.reactor.context(service);
    cx.subscribe(ids[0], "t").unwrap();
    assert_eq!(cx.publish(Target::Topic("t"), "first", Default::default()), report(1, 0, 0));
    assert_eq!(cx.send(ids[0], &large[..]), SendOutcome::Queued);
    turn(&mut server);
    clients[0].expect(TEXT, b"first");
    clients[0].expect(BINARY, &large);
}

#[test]
fn batches_that_the_kernel_does_not_take_stay_in_order() {
    const CLIENTS: usize = 8;
    const BATCH: usize = 40;
    let roomy = RouteSettings::default()
        .outbox_soft_bytes(32 << 20)
        .outbox_hard_bytes(64 << 20)
        .outbox_grace(LONG)
        .write_timeout(LONG);
    let (mut server, service) = by_hand(Settings::default(), roomy);
    let mut narrow: Vec<Client> = (1..=CLIENTS as u64)
        .map(|count| {
            let mut client = Client::narrow_tcp(server.address);
            client.raw(upgrade("/", "").as_bytes());
            server.turn_until("it opens", |metrics| metrics.opened == count);
            assert!(client.head().starts_with("HTTP/1.1 101 "));
            client
        })
        .collect();
    let ids: Vec<ConnId> = server.reactor.context(service).connections().collect();
    for &id in &ids {
        server.reactor.context(service).subscribe(id, "t").unwrap();
    }
    let numbered = |number: usize| format!("{number:400}");
    let mut sent = 0;
    let started = Instant::now();
    // No peer reads: first the kernel's buffers fill up, mostly within a batch, then the outboxes.
    while server.reactor.metrics().buffered_now < (CLIENTS * BATCH * 2000) as u64 {
        assert!(started.elapsed() < DEADLINE, "{sent} messages, and the kernel takes more");
        for number in sent..sent + BATCH {
            let mut cx = server.reactor.context(service);
            let published = cx.publish(Target::Topic("t"), &*numbered(number), Default::default());
            assert_eq!(published, report(CLIENTS, 0, 0));
        }
        sent += BATCH;
        turn(&mut server);
    }
    let reader = thread::spawn(move || {
        for client in &mut narrow {
            (0..sent).for_each(|number| client.expect(TEXT, numbered(number).as_bytes()));
        }
        narrow
    });
    server.turn_until("all is written", |metrics| metrics.buffered_now == 0);
    let _open = reader.join().unwrap();
    for &id in &ids {
        let traffic = server.reactor.context(service).record(id).unwrap().traffic;
        assert_eq!(traffic.messages_out, sent as u64);
    }
}

#[test]
fn more_topics_and_bytes_than_batches_hold_are_delivered() {
    const TOPICS: usize = 600;
    let (mut server, service) = by_hand(Settings::default(), RouteSettings::default());
    let (mut clients, ids) = clients(&mut server, service, TOPICS);
    let mut cx = server.reactor.context(service);
    for (&id, topic) in ids.iter().zip(0..) {
        cx.subscribe(id, &format!("topic {topic}")).unwrap();
    }
    for round in 0..3 {
        for topic in 0..TOPICS {
            let name = format!("topic {topic}");
            let text = format!("{round} of {topic}");
            let published = cx.publish(Target::Topic(&name), &*text, Default::default());
            assert_eq!(published, report(1, 0, 0));
        }
    }
    let long = [b'.'; 500];
    for _ in 0..100 {
        let published = cx.publish(Target::Topic("topic 0"), &long[..], Default::default());
        assert_eq!(published, report(1, 0, 0));
    }
    server.turn_until("all is written", |metrics| metrics.buffered_now == 0);
    for (client, topic) in clients.iter_mut().zip(0..) {
        (0..3).for_each(|round| client.expect(TEXT, format!("{round} of {topic}").as_bytes()));
    }
    (0..100).for_each(|_| clients[0].expect(BINARY, &long));
}

#[test]
fn batches_do_not_exceed_the_memory_limit() {
    // Half of it is available to every connection; shares of the other half are next to nothing.
    let settings = Settings::default().buffered_bytes_max(20_000);
    let route = RouteSettings::default().slow_policy(SlowPolicy::Drop);
    for (members, times) in [(10, 10), (200, 0)] {
        let (mut server, service) = by_hand(settings.clone(), route.clone());
        let (_clients, ids) = clients(&mut server, service, members);
        let mut cx = server.reactor.context(service);
        for &id in &ids {
            cx.subscribe(id, "t").unwrap();
        }
        let small = [b's'; 98];
        for _ in 0..times {
            let published = cx.publish(Target::Topic("t"), &small[..], Default::default());
            assert_eq!(published, report(members, 0, 0));
        }
        let fit = 100 - members * times;
        let published = cx.publish(Target::Topic("t"), &small[..], Default::default());
        assert_eq!(published, report(fit, members - fit, 0));
        // A copy of the batch is a little larger than the batch: it has a queue of its own.
        let held = cx.metrics().buffered_now as usize;
        assert!((10_000..=10_000 + members * 256).contains(&held), "{held} bytes");
        assert_eq!(cx.metrics().buffered_refused, (members - fit) as u64);
    }
}
