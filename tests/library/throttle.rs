//! Throttle: reading pauses while a connection has too much work outstanding.

use std::sync::{Arc, Mutex};

use weir::reactor::{ConnId, Outstanding, Throttle};

use crate::puppet::{Puppet, Report, Strings};
use crate::support::{Client, Server, TEXT, eventually, frame};

/// A server whose service counts each message as a job of its bytes, and a client.
struct Stage {
    _server: Server,
    strings: Strings,
    throttle: Arc<Mutex<Throttle>>,
    _client: Client,
    conn: ConnId,
}

impl Stage {
    /// A client has sent the messages in one write.
    fn new(jobs_max: usize, bytes_max: usize, messages: &[&str]) -> Stage {
        let throttle = Arc::new(Mutex::new(Throttle::new(jobs_max, bytes_max)));
        let (mut puppet, strings) = Puppet::new();
        let shared = Arc::clone(&throttle);
        puppet.on_message = Box::new(move |cx, conn, message| {
            shared.lock().unwrap().start(cx, conn, 1, message.len());
        });
        let shared = Arc::clone(&throttle);
        puppet.on_close = Box::new(move |_, conn| shared.lock().unwrap().forget(conn));
        let server = puppet.serve_plain();
        let (mut client, conn) = strings.client(&server, "/");
        let frames = messages.iter().flat_map(|text| frame(true, TEXT, text.as_bytes()));
        client.raw(&frames.collect::<Vec<u8>>());
        Stage { _server: server, strings, throttle, _client: client, conn }
    }

    fn finish(&self, jobs: usize, bytes: usize) {
        let (throttle, conn) = (Arc::clone(&self.throttle), self.conn);
        self.strings.run(move |cx| throttle.lock().unwrap().finish(cx, conn, jobs, bytes));
    }

    /// Expects these messages, and no others.
    fn expect(&self, messages: &[&str]) {
        for &text in messages {
            assert_eq!(self.strings.next(), Report::Text(self.conn, text.to_owned()));
        }
        // A later turn has read input that this one may have left.
        let turns = || self.strings.run(|cx| cx.metrics().turns);
        let later = turns() + 2;
        eventually(|| turns() >= later, "the loop turns");
        self.strings.expect_no_report();
    }

    fn outstanding(&self) -> (usize, usize) {
        let outstanding = self.throttle.lock().unwrap().outstanding(self.conn);
        (outstanding.jobs, outstanding.bytes)
    }
}

#[test]
fn reading_pauses_at_the_limit_of_jobs_and_resumes_at_half() {
    let stage = Stage::new(4, usize::MAX, &["1", "2", "3", "4", "5", "6", "7"]);
    stage.expect(&["1", "2", "3", "4"]);
    stage.finish(1, 1);
    stage.expect(&[]);
    stage.finish(1, 1);
    stage.expect(&["5", "6"]);
    assert_eq!(stage.outstanding(), (4, 4));
    stage.finish(4, 4);
    stage.expect(&["7"]);
}

#[test]
fn reading_pauses_at_the_limit_of_bytes_and_resumes_at_half() {
    let stage = Stage::new(usize::MAX, 10, &["123456", "123", "12", "1"]);
    stage.expect(&["123456", "123", "12"]);
    stage.finish(1, 3);
    stage.expect(&[]);
    stage.finish(1, 3);
    stage.expect(&["1"]);
    assert_eq!(stage.outstanding(), (2, 6));
}

#[test]
fn both_limits_must_be_low_for_reading_to_resume() {
    let stage = Stage::new(2, 4, &["123", "123", "next"]);
    stage.expect(&["123", "123"]);
    stage.finish(2, 3);
    stage.expect(&[]);
    stage.finish(0, 1);
    stage.expect(&["next"]);
}

#[test]
fn pauses_of_a_service_and_of_its_throttle_are_independent() {
    let stage = Stage::new(1, usize::MAX, &["1", "2", "3"]);
    stage.expect(&["1"]);
    let conn = stage.conn;
    stage.strings.run(move |cx| cx.resume(conn));
    stage.expect(&[]);
    stage.strings.run(move |cx| cx.pause(conn));
    stage.finish(1, 1);
    stage.expect(&[]);
    stage.strings.run(move |cx| cx.resume(conn));
    stage.expect(&["2"]);
}

#[test]
fn work_of_a_connection_that_has_ended_is_not_counted() {
    let stage = Stage::new(1, usize::MAX, &["1", "2"]);
    stage.expect(&["1"]);
    let (throttle, conn) = (Arc::clone(&stage.throttle), stage.conn);
    stage.strings.run(move |cx| cx.abort(conn));
    assert_eq!(stage.strings.closed().0, conn);
    // The handler reports the end before it changes the throttle; a task runs after both.
    stage.strings.run(|_| ());
    assert_eq!(stage.outstanding(), (0, 0));
    stage.strings.run(move |cx| {
        let mut throttle = throttle.lock().unwrap();
        assert!(!throttle.start(cx, conn, 1, 1));
        assert_eq!(throttle.outstanding(conn), Outstanding::default());
        throttle.finish(cx, conn, 1, 1);
    });
    assert_eq!(stage.outstanding(), (0, 0));
}
