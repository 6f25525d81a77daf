//! A service that blocks the loop: the delay raises the level, low priority is shed, and high is served.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use weir::protocol::Message;
use weir::reactor::settings::{ListenSettings, MemoryMax, RouteSettings, Settings};
use weir::reactor::{CloseReason, ConnId, Context, Level, Priority, Service};

use crate::support::{CLOSE, Client, DEADLINE, Server, TEXT, any, eventually};

/// Sleeps on the loop's thread for each message, and answers it.
struct Sleeping {
    time: Duration,
    levels: Sender<Level>,
    ends: Sender<CloseReason>,
    messages: Arc<AtomicU64>,
}

impl Service for Sleeping {
    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        thread::sleep(self.time);
        self.messages.fetch_add(1, Ordering::Relaxed);
        let _ = cx.send(conn, message);
    }

    fn on_close(&mut self, _: &mut Context<'_>, _: ConnId, why: CloseReason) {
        // The receiver may have gone.
        let _ = self.ends.send(why);
    }

    fn on_load_level(&mut self, _: &mut Context<'_>, level: Level) {
        let _ = self.levels.send(level);
    }
}

struct Running {
    server: Server,
    levels: Receiver<Level>,
    ends: Receiver<CloseReason>,
    messages: Arc<AtomicU64>,
}

fn sleeping(millis: u64, critical: Duration) -> Running {
    let ((levels, seen_levels), (ends, seen_ends)) = (channel(), channel());
    let messages = Arc::new(AtomicU64::new(0));
    let time = Duration::from_millis(millis);
    let service = Sleeping { time, levels, ends, messages: Arc::clone(&messages) };
    let settings = Settings::default().memory_max(MemoryMax::Off).delay_critical(critical);
    let listen = ListenSettings::new(any());
    let server = Server::with_levels(listen, settings, move |reactor| {
        let service = reactor.add_service(service).unwrap();
        for priority in Priority::ALL {
            let route = RouteSettings::default().priority(priority);
            reactor.add_route(&format!("/{priority}"), service, route).unwrap();
        }
    });
    Running { server, levels: seen_levels, ends: seen_ends, messages }
}

/// A client that sends the next message when the last one is answered; ends with a Close, or if it is asked
/// to. Returns the code of the Close.
fn talking(running: &Running, path: &str, ends: &Arc<AtomicBool>) -> JoinHandle<Option<u16>> {
    let mut client = Client::open(running.server.address, path);
    let ends = Arc::clone(ends);
    thread::spawn(move || {
        while !ends.load(Ordering::Relaxed) {
            client.text("next");
            let frame = client.frame();
            if frame.opcode == CLOSE {
                return Some(u16::from_be_bytes([frame.payload[0], frame.payload[1]]));
            }
            assert_eq!(frame.opcode, TEXT);
        }
        None
    })
}

fn expect_level(running: &Running, level: Level) {
    assert_eq!(running.levels.recv_timeout(DEADLINE), Ok(level));
}

/// On a busy machine 20 ms may become 50; so nothing is critical in this test.
#[test]
fn a_service_that_sleeps_20_ms_a_message_elevates_the_load() {
    let running = sleeping(20, Duration::from_secs(60));
    let ends = Arc::new(AtomicBool::new(false));
    let client = talking(&running, "/normal", &ends);
    expect_level(&running, Level::Elevated);
    // Two samples of a quarter of a second.
    let messages = running.messages.load(Ordering::Relaxed);
    assert!(messages <= 2_000 / 20, "{messages} messages until the load was elevated");
    ends.store(true, Ordering::Relaxed);
    assert_eq!(client.join().unwrap(), None);
    expect_level(&running, Level::Normal);
    running.server.stop();
}

#[test]
fn a_service_that_sleeps_60_ms_a_message_makes_the_load_critical() {
    let running = sleeping(60, Settings::default().delay_critical);
    let ends = Arc::new(AtomicBool::new(false));
    let low = [(); 3].map(|()| talking(&running, "/low", &ends));
    let high = talking(&running, "/high", &ends);
    expect_level(&running, Level::Elevated);
    expect_level(&running, Level::Critical);
    let messages = running.messages.load(Ordering::Relaxed);
    assert!(messages <= 2_000 / 60 + 4, "{messages} messages until the load was critical");
    // 20 % of four connections are less than one, so one is closed.
    assert_eq!(running.ends.recv_timeout(DEADLINE), Ok(CloseReason::Shed));
    assert!(!high.is_finished());
    let served = running.messages.load(Ordering::Relaxed);
    eventually(|| running.messages.load(Ordering::Relaxed) > served + 3, "others are served");
    ends.store(true, Ordering::Relaxed);
    let codes: Vec<_> = low.into_iter().filter_map(|client| client.join().unwrap()).collect();
    assert_eq!((codes, high.join().unwrap()), (vec![1013], None));
    expect_level(&running, Level::Elevated);
    expect_level(&running, Level::Normal);
    let metrics = running.server.stop();
    assert_eq!(metrics.shed, 1, "{metrics}");
}
