//! Reads metrics and the list of connections from an admin address.

use std::net::SocketAddr;

use serde_json::Value;

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

    /// The admin address of a reactor.
    pub fn at(address: SocketAddr) -> Admin {
        Admin(address)
    }

    pub fn address(&self) -> SocketAddr {
        self.0
    }

    /// The page of the list of connections that this query asks for.
    pub fn page(&self, query: &str) -> Value {
        let mut client = Client::tcp(self.0);
        client.raw(format!("GET /connections?{query} HTTP/1.1\r\nHost: [::1]\r\n\r\n").as_bytes());
        let (head, body) = client.answer();
        assert!(head.starts_with("HTTP/1.1 200 "), "{query}: {head}");
        serde_json::from_slice(&body).unwrap()
    }

    /// The connections of each page, from the first one on.
    pub fn pages(&self, query: &str) -> Vec<Vec<Value>> {
        let mut pages = Vec::new();
        let mut next = Some(0);
        while let Some(from) = next {
            let page = self.page(&format!("from={from}&{query}"));
            pages.push(page["connections"].as_array().unwrap().clone());
            next = page["next"].as_u64();
            assert!(next.is_none_or(|next| next > from), "{page}");
        }
        pages
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
