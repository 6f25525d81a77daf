//! Data about a connection for services, logs and filters: address, traffic, round trips.
//!
//! Plain data, kept small because an idle connection consists mostly of it. Nothing here changes a
//! connection's state.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::id::ConnId;
use super::identity::Identity;
use super::metadata::Metadata;
use super::priority::Priority;
use super::time::Time;
use crate::protocol::http::TraceParent;

/// A peer's address in 18 bytes instead of the 32 of [`SocketAddr`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::reactor) struct Peer {
    ip: [u8; 16],
    port: u16,
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Peer {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        Peer { ip: ip.octets(), port: address.port() }
    }
}

impl From<Peer> for SocketAddr {
    fn from(peer: Peer) -> SocketAddr {
        SocketAddr::new(Ipv6Addr::from(peer.ip).to_canonical(), peer.port)
    }
}

/// Messages of a connection, and their payload bytes. Control frames do not count. In a tunnel
/// bytes are those of frames of any kind, headers included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Messages that the peer sent.
    pub messages_in: u64,
    /// Messages queued for the peer.
    pub messages_out: u64,
    /// Payload bytes of `messages_in`.
    pub bytes_in: u64,
    /// Payload bytes of `messages_out`.
    pub bytes_out: u64,
}

impl Traffic {
    pub(in crate::reactor) fn count_out(&mut self, payload_len: usize) {
        self.messages_out += 1;
        self.bytes_out += payload_len as u64;
    }

    /// Adds the outgoing counts of `other`.
    pub(in crate::reactor) fn add_out(&mut self, other: &Traffic) {
        self.messages_out += other.messages_out;
        self.bytes_out += other.bytes_out;
    }
}

/// The last heartbeat round trips, latest first: each in microseconds, packed into 16 bits with a
/// precision of 0.1 %. Zero stands for no sample. Plain `u32` would add 24 bytes to each
/// connection.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::reactor) struct RoundTrips([u16; RoundTrips::SAMPLES]);

impl RoundTrips {
    const SAMPLES: usize = 10;
    const MANTISSA_BITS: u32 = 11;

    pub(in crate::reactor) fn push(&mut self, sample: Duration) {
        let micros = u32::try_from(sample.as_micros()).unwrap_or(u32::MAX).max(1);
        let shift = (32 - micros.leading_zeros()).saturating_sub(RoundTrips::MANTISSA_BITS);
        self.0.rotate_right(1);
        self.0[0] = (shift << RoundTrips::MANTISSA_BITS | micros >> shift) as u16;
    }

    /// The mean of the last ten samples.
    pub(in crate::reactor) fn mean(&self) -> Option<Duration> {
        let samples = self.0.iter().take_while(|&&packed| packed != 0);
        let count = samples.clone().count() as u32;
        let sum: u64 = samples.map(|&packed| unpack(packed)).sum();
        (count > 0).then(|| Duration::from_micros(sum) / count)
    }
}

fn unpack(packed: u16) -> u64 {
    let mantissa = packed & ((1 << RoundTrips::MANTISSA_BITS) - 1);
    u64::from(mantissa) << (packed >> RoundTrips::MANTISSA_BITS)
}

/// Data about a connection, for its service.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Record<'a> {
    /// The connection's id.
    pub id: ConnId,
    /// The client's address, as in
    /// [`UpgradeRequest::peer`](crate::reactor::UpgradeRequest::peer); the server's, for an outbound
    /// connection.
    pub peer: SocketAddr,
    /// The pattern of its route.
    pub route: &'a str,
    /// The path of the request, without the query.
    pub path: &'a str,
    /// The negotiated subprotocol.
    pub protocol: Option<&'a str>,
    /// The priority that its route or its gate has set; the highest for an outbound connection.
    pub priority: Priority,
    /// Whether messages can be sent and received: the handshake is complete, and no Close was sent
    /// or received.
    pub is_open: bool,
    /// When it was accepted, or when an outbound connection was started.
    pub opened: Time,
    /// When bytes were last read from it.
    pub last_heard: Time,
    /// Messages and bytes in each direction.
    pub traffic: Traffic,
    /// Bytes queued for it that the kernel has not accepted yet.
    pub queued_bytes: usize,
    /// The mean of its last ten heartbeat round trips.
    pub round_trip: Option<Duration>,
    /// The service's metadata.
    pub metadata: &'a Metadata,
    /// The trace of its last request; `None` unless the setting
    /// [`trace`](field@crate::reactor::settings::Settings::trace) is on.
    pub trace: Option<TraceParent>,
    /// Who the client is, if its gate has determined it.
    pub identity: Option<&'a Identity>,
}

impl<'a> Record<'a> {
    /// The subject of its identity.
    pub fn subject(&self) -> Option<&'a str> {
        self.identity.map(Identity::subject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_are_the_mean_of_the_last_ten() {
        let mut trips = RoundTrips::default();
        assert_eq!(trips.mean(), None);
        trips.push(Duration::ZERO);
        assert_eq!(trips.mean(), Some(Duration::from_micros(1)));
        trips.push(Duration::from_micros(149));
        assert_eq!(trips.mean(), Some(Duration::from_micros(75)));
        for _ in 0..10 {
            trips.push(Duration::from_millis(2000));
        }
        let mean = trips.mean().unwrap().as_secs_f64();
        assert!((mean - 2.0).abs() < 0.002, "{mean}");
        trips.push(Duration::MAX);
        assert!(trips.mean().unwrap() > Duration::from_secs(400));
    }

    #[test]
    fn addresses_survive_packing() {
        for address in ["127.0.0.1:80", "[::1]:9001", "[2001:db8::5]:65535"] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(SocketAddr::from(Peer::from(address)), address);
        }
    }
}
