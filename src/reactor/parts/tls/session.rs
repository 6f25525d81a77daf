//! The TLS session of one connection: records to plaintext and back, and messages of TLS itself.
//!
//! It uses rustls' unbuffered API: the loop lends the memory, so no data stays inside rustls, an
//! idle session owns no buffer, and one read may return many records. (The buffered API keeps at
//! least 4 KiB per connection, and copies input in chunks of that size.) Between two reads a
//! session stores only an incomplete record. It does no I/O: `effects/secure.rs` reads, and
//! `conn/outbox/records.rs` writes.

use std::fmt;
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use rustls::{ClientConfig, CommonState, Error, HandshakeKind, ProtocolVersion, ServerConfig};

use crate::reactor::api::budget::TLS_PARTIAL_BYTES_MAX;
use crate::reactor::api::settings::TlsVersion;
use crate::reactor::api::tls_info::TlsInfo;

/// The TLS session of one connection.
pub(crate) struct Session {
    end: End,
    /// Incomplete input: a part of a record, or the records of an incomplete handshake message.
    partial: Vec<u8>,
    input: Input,
    /// Whether our close_notify, or an alert that ends the connection, was encrypted.
    is_output_ended: bool,
}

/// The role of our end.
enum End {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// The state of the input from the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    /// Nothing received yet: the peer may not speak TLS.
    Awaited,
    Flowing,
    /// The peer's close_notify was received.
    Ended,
    /// The input is not TLS, or fails authentication.
    Broken,
}

/// The result of one read from the socket.
#[derive(Debug)]
pub(crate) struct Received {
    /// Bytes of plaintext.
    pub(crate) plain: usize,
    /// Set when this read completed the handshake.
    pub(crate) handshake: Option<HandshakeKind>,
    /// The connection has failed. If an alert applies, it is among the records to send.
    pub(crate) error: Option<Error>,
}

impl Session {
    /// # Errors
    /// rustls rejects the configuration.
    pub(crate) fn server(config: Arc<ServerConfig>) -> Result<Session, Error> {
        Ok(Session::new(End::Server(UnbufferedServerConnection::new(config)?)))
    }

    /// # Errors
    /// rustls rejects the configuration.
    pub(super) fn client(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Session, Error> {
        Ok(Session::new(End::Client(UnbufferedClientConnection::new(config, name)?)))
    }

    fn new(end: End) -> Session {
        Session { end, partial: Vec::new(), input: Input::Awaited, is_output_ended: false }
    }

    fn common(&self) -> &CommonState {
        match &self.end {
            End::Server(server) => server,
            End::Client(client) => client,
        }
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.common().is_handshaking()
    }

    /// Whether the peer has sent nothing yet.
    pub(crate) fn is_fresh(&self) -> bool {
        self.input == Input::Awaited
    }

    /// Whether the peer has sent close_notify: then the end of the stream truncates nothing.
    pub(crate) fn is_input_ended(&self) -> bool {
        self.input == Input::Ended
    }

    pub(crate) fn held_bytes(&self) -> usize {
        self.partial.capacity()
    }

    /// Copies the incomplete record of the last read to the front of `records`; returns its length.
    pub(crate) fn restore(&mut self, records: &mut [u8]) -> usize {
        let kept = std::mem::take(&mut self.partial);
        records[..kept.len()].copy_from_slice(&kept);
        kept.len()
    }

    /// Stores the incomplete record again, after a read that returned nothing.
    pub(crate) fn keep(&mut self, records: &[u8]) {
        self.partial = records.to_vec();
    }

    /// Decrypts records, including the restored bytes. Writes plaintext to the front of `plain`,
    /// which must be as long as `records`, and appends records to send in response to `answer`.
    /// Keeps an incomplete record for the next read.
    pub(crate) fn receive(
        &mut self,
        records: &mut [u8],
        plain: &mut [u8],
        answer: &mut Vec<u8>,
    ) -> Received {
        let was_handshaking = self.is_handshaking();
        if !records.is_empty() && self.is_fresh() {
            self.input = Input::Flowing;
        }
        let mut taken = match &mut self.end {
            End::Server(server) => take(server, records, plain, answer),
            End::Client(client) => take(client, records, plain, answer),
        };
        let rest = &records[taken.records..];
        if taken.is_ended {
            self.input = Input::Ended;
        } else if rest.len() > TLS_PARTIAL_BYTES_MAX {
            let too_long = || Error::General("handshake message too long".into());
            taken.error.get_or_insert_with(too_long);
        } else if !rest.is_empty() {
            self.partial = rest.to_vec();
        }
        if taken.error.is_some() {
            self.input = Input::Broken;
            self.is_output_ended = true;
            self.partial = Vec::new();
        }
        let is_done = was_handshaking && !self.is_handshaking() && taken.error.is_none();
        let handshake = self.common().handshake_kind().filter(|_| is_done);
        Received { plain: taken.plain, handshake, error: taken.error }
    }

    /// Encrypts plaintext into records at the front of `records`, after any records that TLS itself
    /// must send first. Returns their length.
    ///
    /// # Errors
    /// The handshake is not complete, our side has ended, or the keys are exhausted.
    pub(crate) fn seal(&mut self, plain: &[u8], records: &mut [u8]) -> Result<usize, Error> {
        if self.is_output_ended {
            return Err(Error::General("our side of the stream has ended".into()));
        }
        match &mut self.end {
            End::Server(server) => seal(server, &mut self.partial, Outgoing::Data(plain), records),
            End::Client(client) => seal(client, &mut self.partial, Outgoing::Data(plain), records),
        }
    }

    /// Encrypts our close_notify (RFC 8446, 6.1), once. `None` if it was sent before, a fatal alert
    /// was sent instead, or the handshake is not complete.
    pub(crate) fn seal_end(&mut self, records: &mut [u8]) -> Option<usize> {
        if self.is_output_ended || self.is_handshaking() {
            return None;
        }
        self.is_output_ended = true;
        let sealed = match &mut self.end {
            End::Server(server) => seal(server, &mut self.partial, Outgoing::End, records),
            End::Client(client) => seal(client, &mut self.partial, Outgoing::End, records),
        };
        sealed.ok()
    }

    /// Version, resumption and client certificate, for services.
    pub(crate) fn info(&self) -> TlsInfo {
        let common = self.common();
        TlsInfo {
            version: match common.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => TlsVersion::Tls13,
                _ => TlsVersion::Tls12,
            },
            #[cfg(feature = "cert-info")]
            subject: common
                .peer_certificates()
                .and_then(|chain| super::cert_info::subject(chain.first()?)),
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("is_handshaking", &self.is_handshaking())
            .field("input", &self.input)
            .field("partial", &self.partial.len())
            .finish_non_exhaustive()
    }
}

/// The common interface of rustls' server and client connections, which share no trait.
trait Process {
    type Data;

    fn process<'c, 'i>(&'c mut self, records: &'i mut [u8])
    -> UnbufferedStatus<'c, 'i, Self::Data>;

    /// Whether it has records to send, regardless of input.
    fn has_output(&self) -> bool;
}

impl Process for UnbufferedServerConnection {
    type Data = rustls::server::ServerConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        records: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(records)
    }

    fn has_output(&self) -> bool {
        self.wants_write()
    }
}

impl Process for UnbufferedClientConnection {
    type Data = rustls::client::ClientConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        records: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(records)
    }

    fn has_output(&self) -> bool {
        self.wants_write()
    }
}

/// The result of [`take`].
struct Taken {
    records: usize,
    plain: usize,
    is_ended: bool,
    error: Option<Error>,
}

/// Runs rustls until it needs more input.
fn take(
    end: &mut impl Process,
    records: &mut [u8],
    plain: &mut [u8],
    answer: &mut Vec<u8>,
) -> Taken {
    let mut taken = Taken { records: 0, plain: 0, is_ended: false, error: None };
    loop {
        let UnbufferedStatus { mut discard, state } = end.process(&mut records[taken.records..]);
        let is_done = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(Ok(record)) = traffic.next_record() {
                    discard += record.discard;
                    let len = record.payload.len();
                    plain[taken.plain..][..len].copy_from_slice(record.payload);
                    taken.plain += len;
                }
                false
            }
            Ok(ConnectionState::EncodeTlsData(mut message)) => {
                append(&mut message, answer);
                false
            }
            Ok(ConnectionState::TransmitTlsData(sent)) => {
                sent.done();
                false
            }
            Ok(ConnectionState::PeerClosed) => {
                taken.is_ended = true;
                false
            }
            Ok(_) => true,
            Err(error) => {
                taken.records += discard;
                taken.error = Some(error);
                append_alert(end, answer);
                return taken;
            }
        };
        taken.records += discard;
        if is_done {
            return taken;
        }
    }
}

/// Appends the alert for an error, if rustls has one. It must not process failed input again, so it
/// is called only while it has records to send.
fn append_alert(end: &mut impl Process, answer: &mut Vec<u8>) {
    while end.has_output() {
        if let Ok(ConnectionState::EncodeTlsData(mut message)) = end.process(&mut []).state {
            append(&mut message, answer);
        } else {
            return;
        }
    }
}

fn append<D>(message: &mut EncodeTlsData<'_, D>, to: &mut Vec<u8>) {
    if let Err(EncodeError::InsufficientSize(error)) = message.encode(&mut []) {
        let at = to.len();
        to.resize(at + error.required_size, 0);
        // The buffer has the size that rustls requested.
        let _ = message.encode(&mut to[at..]);
    }
}

enum Outgoing<'a> {
    Data(&'a [u8]),
    End,
}

/// `partial` is input that rustls has found incomplete. It must be passed again with each call.
fn seal(
    end: &mut impl Process,
    partial: &mut [u8],
    outgoing: Outgoing<'_>,
    records: &mut [u8],
) -> Result<usize, Error> {
    let failed = |why: String| Error::General(why);
    let mut len = 0;
    loop {
        match end.process(partial).state? {
            ConnectionState::EncodeTlsData(mut message) => {
                let encoded = message.encode(&mut records[len..]);
                len += encoded.map_err(|error| failed(error.to_string()))?;
            }
            ConnectionState::TransmitTlsData(sent) => sent.done(),
            ConnectionState::WriteTraffic(mut traffic) => {
                let room = &mut records[len..];
                let sealed = match outgoing {
                    Outgoing::Data(plain) => traffic.encrypt(plain, room),
                    Outgoing::End => traffic.queue_close_notify(room),
                };
                return Ok(len + sealed.map_err(|error| failed(error.to_string()))?);
            }
            state => return Err(failed(format!("nothing can be sent in state {state:?}"))),
        }
    }
}
