//! The headers by which an upstream learns about the client's connection: `X-Forwarded-*` and `X-Real-IP`,
//! or `Forwarded` (RFC 7239).
//!
//! Lists of a trusted peer are extended. Those of others are replaced.

use core::net::IpAddr;

use super::super::super::forwarded::{is_alike, joined_forwarded};
use super::super::hop::append_received;
use super::Head;
use crate::protocol::handshake::field::is_plain;

impl Head<'_, '_> {
    /// Whether a trusted peer's header about earlier hops is forwarded as received: those that the
    /// mode does not write.
    pub(super) fn is_believed(&self, name: &str) -> bool {
        const WRITTEN: [&str; 5] =
            ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"];
        self.origin.is_peer_trusted && !WRITTEN.iter().any(|own| is_alike(name, own))
    }

    pub(super) fn x_forwarded(&mut self) {
        let (peer, client) = self.addresses();
        if !self.drops("X-Forwarded-For") {
            self.out.extend_from_slice(b"X-Forwarded-For: ");
            if !self.append_list("X-Forwarded-For") && client != peer {
                self.append_text(format_args!("{client}, "));
            }
            self.append_text(format_args!("{peer}\r\n"));
        }
        let proto = if self.origin.is_secure { "https" } else { "http" };
        self.believed_or("X-Forwarded-Proto", Some(proto));
        self.believed_or("X-Forwarded-Host", self.request.host());
        if !self.drops("X-Real-IP") {
            self.append_text(format_args!("X-Real-IP: {client}\r\n"));
        }
    }

    /// Neither address is mapped into IPv6.
    fn addresses(&self) -> (IpAddr, IpAddr) {
        (self.origin.peer.to_canonical(), self.origin.client.to_canonical())
    }

    /// Appends the values of a trusted peer's list, each followed by a comma; whether there was one.
    fn append_list(&mut self, name: &str) -> bool {
        let start = self.out.len();
        if self.origin.is_peer_trusted {
            for value in self.request.fields.values(name).filter(|value| !value.is_empty()) {
                self.out.extend_from_slice(value);
                self.out.extend_from_slice(b", ");
            }
        }
        self.out.len() > start
    }

    /// Appends a header with the value of a trusted peer if there is exactly one, else with ours.
    fn believed_or(&mut self, name: &str, own: Option<&str>) {
        let received =
            self.request.fields.sole(name).filter(|value| {
                self.origin.is_peer_trusted && !value.is_empty() && is_plain(value)
            });
        let value = received.or(own.map(str::as_bytes));
        if let Some(value) = value.filter(|_| !self.drops(name)) {
            append_received(self.out, name, value);
        }
    }

    pub(super) fn forwarded(&mut self) {
        if self.drops("Forwarded") {
            return;
        }
        let (peer, client) = self.addresses();
        self.out.extend_from_slice(b"Forwarded: ");
        // A malformed list would make ours a part of something else.
        let is_trusted = self.origin.is_peer_trusted;
        match joined_forwarded(self.request).filter(|_| is_trusted) {
            Some(list) => {
                self.out.extend_from_slice(&list);
                self.out.extend_from_slice(b", ");
            }
            None if client != peer => {
                self.append_node(client);
                self.out.extend_from_slice(b", ");
            }
            None => {}
        }
        self.append_node(peer);
        if let Some(host) = self.request.host() {
            // A valid host has neither quotes nor backslashes.
            self.append_text(format_args!(";host=\"{host}\""));
        }
        let proto = if self.origin.is_secure { "https" } else { "http" };
        self.append_text(format_args!(";proto={proto}\r\n"));
    }

    /// RFC 7239, 6: an IPv6 address is in brackets and quoted.
    fn append_node(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.append_text(format_args!("for={address}")),
            IpAddr::V6(address) => self.append_text(format_args!("for=\"[{address}]\"")),
        }
    }
}
