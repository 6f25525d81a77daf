//! A log that is slow, full, or not read: the loop goes on, and what is lost is counted.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use rustix::fs::{OFlags, fcntl_setfl};

use super::{Audited, expect_valid, key_of, lines, log_of};
use crate::nostr::relay::Directory;
use crate::support::{Client, Process, TEXT, clean, eventually};

/// Requests on one connection.
const PER_CONNECTION: usize = 100;

/// Causes events: requests of operators, which share connections.
fn cause(server: &Audited, events: usize) {
    let request = "GET /healthz?audited HTTP/1.1\r\nHost: a\r\n\r\n";
    for _ in 0..events / PER_CONNECTION {
        let mut client = Client::tcp(server.admin.address());
        client.raw(request.repeat(PER_CONNECTION).as_bytes());
        for _ in 0..PER_CONNECTION {
            assert_eq!(client.answer().1, b"ok\n");
        }
    }
}

/// Lines and reported losses.
fn sum(lines: &[serde_json::Value]) -> u64 {
    let lost: u64 = lines.iter().filter_map(|line| line["lost"].as_u64()).sum();
    lines.len() as u64 + lost
}

#[test]
fn a_hundred_thousand_events_are_lines_or_counted() {
    const EVENTS: usize = 100_000;
    let directory = Directory::new();
    let log = log_of(&directory);
    let server = Audited::new(&directory, &[]);
    cause(&server, EVENTS);
    let all = EVENTS as u64 + 1;
    eventually(|| server.count("total") + server.count("dropped_total") == all, "all are counted");
    let stderr = server.stop();
    let lines = lines(&log);
    assert_eq!(sum(&lines), all + 1, "{stderr}");
    assert_eq!(expect_valid(&directory, &[&log]), lines.len() as u64);
}

#[test]
fn the_loop_does_not_wait_for_a_log_that_nobody_reads() {
    const EVENTS: usize = 10_000;
    let directory = Directory::new();
    let (fifo, mut reader) = open_fifo(&directory);
    let key = key_of(&directory);
    let flags = ["--audit", fifo.to_str().unwrap(), "--audit-key", key.to_str().unwrap()];
    let server = Audited::with(&flags);
    cause(&server, EVENTS);
    let lost = server.count("dropped_total");
    assert!(lost > 4_000, "{lost} lost: the pipe and the channel are full");
    let mut client = Client::open(server.address, "/");
    client.text("the loop turns");
    client.expect(TEXT, b"the loop turns");
    drop(client);

    // Once it is read, the next line reports what was lost.
    let copy = directory.path().join("copy");
    let mut target = File::create(&copy).unwrap();
    let reading = thread::spawn(move || io::copy(&mut reader, &mut target).unwrap());
    let written = |server: &Audited| server.count("total") + server.count("dropped_total");
    eventually(|| written(&server) >= EVENTS as u64 + 3, "all are written");
    let stderr = server.stop();
    reading.join().unwrap();
    let lines = lines(&copy);
    assert_eq!(sum(&lines), EVENTS as u64 + 4, "{stderr}");
    assert_eq!(expect_valid(&directory, &[&copy]), lines.len() as u64);
}

#[test]
fn the_end_of_the_process_does_not_wait_for_a_log_that_nobody_reads() {
    let directory = Directory::new();
    let (fifo, reader) = open_fifo(&directory);
    let server = Audited::with(&["--audit", fifo.to_str().unwrap()]);
    let mut reader = BufReader::new(reader);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert!(line.contains("started"), "{line}");
    cause(&server, 2_000);
    let stderr = server.stop();
    assert!(stderr.contains("not all events were written"), "{stderr}");
}

/// The log is on a tmpfs of 64 KiB in a mount namespace of the server, which is reached by its root.
#[test]
fn a_full_disk_loses_events_and_no_line() {
    let can_mount = Command::new("unshare").args(["-rm", "true"]).status();
    if !can_mount.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: this user may not create a mount namespace (unshare -rm)");
        return;
    }
    let directory = Directory::new();
    let (log, key) = (directory.path().join("disk/audit.log"), key_of(&directory));
    fs::create_dir(log.parent().unwrap()).unwrap();
    let script = r#"mount -t tmpfs -o size=64k tmpfs "$1" && shift && exec "$@""#;
    let mut command = clean(Command::new("unshare"), ["-rm", "sh", "-c", script, "sh"]);
    command.arg(log.parent().unwrap()).arg(env!("CARGO_BIN_EXE_weir"));
    command
        .args(["--levels=false", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--audit"])
        .arg(&log);
    command.arg("--audit-key").arg(&key);
    let mut server = Audited::of(Process::spawn(&mut command));
    let inside = |path: &Path| -> PathBuf {
        let root = format!("/proc/{}/root", server.process.pid());
        Path::new(&root).join(path.strip_prefix("/").unwrap())
    };
    let (log, filler) = (inside(&log), inside(&log.with_file_name("filler")));
    cause(&server, 100);
    eventually(|| server.count("total") == 101, "there is room");
    let size = fs::metadata(&log).unwrap().len();
    fill(&filler);
    cause(&server, 1_000);
    eventually(
        || server.count("total") + server.count("dropped_total") == 1_101,
        "all are counted",
    );
    let (written, lost) = (server.count("total"), server.count("dropped_total"));
    assert!(lost > 800, "{written} written, {lost} lost");
    server.process.logged("audit log not written: No space left on device");
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.ends_with("}\n") && text.len() as u64 > size, "no part of a line is left");
    assert_eq!(text.lines().count() as u64, written);

    fs::remove_file(&filler).unwrap();
    cause(&server, 100);
    server.process.logged("audit log written again");
    eventually(|| server.count("total") == written + 100, "there is room again");
    assert_eq!(server.count("dropped_total"), lost);
    let copy = directory.path().join("copy");
    fs::copy(&log, &copy).unwrap();
    let lines = lines(&copy);
    assert_eq!(lines[written as usize]["lost"], lost, "the next line reports them");
    assert_eq!(sum(&lines), 1_201);
    assert_eq!(expect_valid(&directory, &[&copy]), written + 100);
    server.stop();
}

/// Writes a file until the disk is full.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    while file.write_all(&[0; 512]).is_ok() {}
}

/// A FIFO in this directory, opened for reading.
fn open_fifo(directory: &Directory) -> (PathBuf, File) {
    let path = directory.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    // Otherwise it would wait for the writer.
    let flags = OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(&path).unwrap();
    fcntl_setfl(&file, OFlags::empty()).unwrap();
    (path, file)
}
