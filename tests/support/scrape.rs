//! Reads metrics from the admin address of a real binary.

use std::net::SocketAddr;

use super::{Client, Process, eventually};

/// The admin address of a process.
#[derive(Clone, Copy)]
pub struct Admin(SocketAddr);

impl Admin {
    /// The admin address in the next line of the process's standard output.
    pub fn of(process: &Process) -> Admin {
        let line = process.line();
        let address = line.strip_prefix("admin http://").expect(&line).trim_end_matches('/');
        Admin(address.parse().unwrap())
    }

    pub fn address(&self) -> SocketAddr {
        self.0
    }

    pub fn metrics(&self) -> String {
        let mut client = Client::tcp(self.0);
        client.raw(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n");
        let (_, body) = client.answer();
        String::from_utf8(body).unwrap()
    }

    /// The sum of a metric's samples with all of these labels, such as `code="-32005"`.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.metrics();
        let is_meant = |line: &&str| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        };
        let samples: Vec<&str> = text.lines().filter(is_meant).collect();
        assert!(!samples.is_empty(), "{name} {labels:?} is not in\n{text}");
        samples.iter().map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
    }

    /// Waits until a metric has this value.
    pub fn await_metric(&self, name: &str, labels: &[&str], value: f64) {
        eventually(|| self.metric(name, labels) == value, &format!("{name} {labels:?} is {value}"));
    }
}
