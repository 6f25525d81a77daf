//! Many tokens that expire in the same second, at the real binary.
//!
//! `EXPIRING=10000` is the size of the specification: this process and the server then have that many
//! descriptors each.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::gated::TestFile;
use super::tokens::{SECRET, claims, hs256, now};
use crate::binary::File;
use crate::support::{Admin, Client, DEADLINE, Process, TEXT, crowd, weir};

fn open(address: SocketAddr, claims: &str) -> Client {
    let lines = format!("Authorization: Bearer {}\r\n", hs256(claims));
    Client::open_with(address, "/", &lines).0
}

/// Opens connections whose tokens expire in the same second, which is returned; `None` if that was too early
/// to open all.
fn open_all(address: SocketAddr, many: usize, seconds: u64) -> Option<(u64, Vec<Client>)> {
    let exp = now() + seconds;
    let mut clients = Vec::new();
    while clients.len() < many {
        // The last one needs less than a second.
        if now() + 2 > exp {
            return None;
        }
        let subject = clients.len();
        clients.push(open(address, &format!(r#"{{"sub":"s{subject}","exp":{exp}}}"#)));
    }
    Some((exp, clients))
}

/// Splits clients: those that have something to read, after at most 20 ms, and the others.
fn readable(clients: Vec<Client>) -> (Vec<Client>, Vec<Client>) {
    let mut polled: Vec<PollFd<'_>> =
        clients.iter().map(|client| PollFd::new(&client.stream, PollFlags::IN)).collect();
    let wait = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    poll(&mut polled, Some(&wait)).unwrap();
    let ready: Vec<bool> = polled.iter().map(|it| it.revents().contains(PollFlags::IN)).collect();
    drop(polled);
    let mut ready = ready.into_iter();
    clients.into_iter().partition(|_| ready.next().unwrap())
}

#[test]
fn tokens_that_expire_in_one_second_end_their_connections_and_no_other() {
    const OTHERS: usize = 10;
    let _crowd = crowd();
    let many: usize = std::env::var("EXPIRING").map_or(1_000, |many| many.parse().unwrap());
    let secret = TestFile::new(SECRET);
    let file = File::new(&format!(
        "listen = '127.0.0.1:0'\nadmin = '127.0.0.1:0'\nlevels = false\nping_interval = 'off'\n\
         connections_max = {}\nconnections_per_address = 0\n\
         [[auth]]\nname = 'users'\nkind = 'jwt'\nalgorithms = ['HS256']\nsecret_file = {:?}\n\
         leeway = '0s'\n\
         [[route]]\npath = '/'\nservice = 'echo'\nauth = 'users'\n",
        2 * many + 100,
        secret.0
    ));
    let process = Process::spawn(&mut weir(["--config", file.path()]));
    let address = process.address();
    let admin = Admin::of(&process);
    let started = Instant::now();
    let mut others: Vec<Client> =
        (0..OTHERS).map(|_| open(address, &claims("other", ""))).collect();
    // All must be open before: the time that the first ones need, or a multiple of it.
    let opening = (started.elapsed() * (many / OTHERS) as u32).as_secs() + 2;
    let mut tries = [1, 2, 4, 8, 16].into_iter().map(|times| opening * times);
    let (exp, mut open) = tries.find_map(|seconds| open_all(address, many, seconds)).unwrap();
    let expires = UNIX_EPOCH + Duration::from_secs(exp);
    let mut ended: Vec<Client> = Vec::new();
    let mut first = None;
    let mut last = SystemTime::now();
    while !open.is_empty() {
        assert!(SystemTime::now() < expires + DEADLINE, "{} are still open", open.len());
        let (some, others) = readable(open);
        if !some.is_empty() {
            last = SystemTime::now();
            first.get_or_insert(last);
        }
        ended.extend(some);
        open = others;
    }
    let late = |at: SystemTime| at.duration_since(expires);
    let first = late(first.unwrap()).expect("the first one ended early");
    eprintln!("{many} ended {first:?} to {:?} after their expiry", late(last).unwrap());
    for client in &mut ended {
        assert_eq!(client.expect_close(), (3000, "token expired".to_owned()));
    }
    drop(ended);
    let label = ["reason=\"expired\""];
    admin.await_metric("weir_closed_total", &label, many as f64);
    for client in &mut others {
        client.text("still here");
        client.expect(TEXT, b"still here");
    }
    process.stop();
}
