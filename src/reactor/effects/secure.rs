//! TLS connections: one budgeted read per connection and turn, handshakes, close_notify, and the
//! certificates of the loop.
//!
//! The counterpart of [`inbound`](crate::reactor::effects::inbound). The plaintext goes through the same functions as that of other connections. All records of a
//! read are decrypted at once, so that "drained" depends on the socket alone, as without TLS.

use std::io::{self, Read, Write};
use std::mem::take;

use log::{debug, error, info, warn};
use rustls::{Error, HandshakeKind};

use crate::protocol::handshake::Refusal;
use crate::reactor::Reactor;
#[cfg(feature = "proxy")]
use crate::reactor::api::budget::READ_BYTES;
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::id::ConnId;
use crate::reactor::api::settings::TlsSettings;
use crate::reactor::conn::connection::Connection;
use crate::reactor::conn::phase::{Input, Phase, Registration};
use crate::reactor::conn::unread::Unread;
use crate::reactor::core::Core;
use crate::reactor::parts::admission::Quota;
use crate::reactor::parts::tls::Identity;
use crate::reactor::parts::tls::error::TlsError;
use crate::reactor::parts::tls::handshakes::Handshakes;
use crate::reactor::parts::tls::reload::Reloader;

/// The result of one read.
enum ReadResult {
    /// The number of plaintext bytes, possibly 0.
    Plain(usize),
    /// Nothing to handle.
    Nothing,
    /// The end of the stream, with or without a close_notify.
    End,
    /// The connection failed.
    Broken,
    /// Not a TLS record, such as a plaintext HTTP request.
    NoTls { head_only: bool },
    /// The number of plaintext bytes, and the TLS error that follows them.
    Failed(usize, Error),
}

impl Reactor {
    /// Reads from one TLS connection and handles the plaintext; returns its length.
    // Not inlined: the plaintext path must not grow.
    #[inline(never)]
    pub(crate) fn read_secure(&mut self, id: ConnId) -> usize {
        if self.core.park_refused(id) { 0 } else { self.read_session(id) }
    }

    /// Reads from the next refused connection in its TLS handshake, if one is due.
    pub(crate) fn read_refused_handshakes(&mut self) {
        let Core { conns, tls, now, .. } = &mut self.core;
        let alive = |id| conns.get(id).is_some();
        if let Some(id) = tls.handshakes.next_refused(*now, alive) {
            if let Some(conn) = conns.get_mut(id) {
                conn.reading.leave_queue();
            }
            self.read_session(id);
            self.core.after_read(id);
        }
    }

    fn read_session(&mut self, id: ConnId) -> usize {
        let mut scratch = take(&mut self.scratch);
        let mut plain = 0;
        let is_rated = self.core.rated_serial == id.serial();
        let most = if is_rated { self.share.bytes } else { self.share.sealed_bytes_max() };
        match self.core.receive(id, &mut scratch, most) {
            ReadResult::Nothing => {}
            ReadResult::Plain(len) => {
                plain = len;
                self.handle_plaintext(id, &mut scratch[..len]);
            }
            ReadResult::Failed(len, error) => {
                plain = len;
                self.handle_plaintext(id, &mut scratch[..len]);
                self.core.fail_tls(id, &error);
            }
            ReadResult::End => self.core.end_secure_input(id),
            ReadResult::Broken => self.core.end_by_reset(id),
            ReadResult::NoTls { head_only } => {
                self.core.refuse(id, Refusal::TlsExpected, head_only);
            }
        }
        self.scratch = scratch;
        plain
    }

    fn handle_plaintext(&mut self, id: ConnId, plain: &mut [u8]) {
        if plain.is_empty() {
            return;
        }
        let consumed = self.consume(id, plain);
        if consumed < plain.len() {
            self.keep_unread(id, Unread::new(plain[consumed..].to_vec(), 0));
        }
    }
}

impl Core {
    /// Queues a refused connection in its TLS handshake for a later read; false for other
    /// connections.
    fn park_refused(&mut self, id: ConnId) -> bool {
        let Some(conn) = self.conns.get_mut(id) else {
            return false;
        };
        let is_parked = conn.registration() == Registration::Refused
            && !conn.discards_input()
            && conn.session().is_some_and(|session| session.is_handshaking());
        if is_parked {
            conn.reading.enter_queue();
            self.tls.handshakes.park(id);
            self.metrics.tls_handshakes_deferred += 1;
        }
        is_parked
    }

    /// Reads once, at most `most` bytes, and decrypts into `plain`.
    fn receive(&mut self, id: ConnId, plain: &mut [u8], most: usize) -> ReadResult {
        let Some(conn) = self.conns.get_mut(id) else {
            return ReadResult::Nothing;
        };
        let is_discarded = conn.discards_input();
        let is_admitted = conn.registration() != Registration::Refused;
        let is_outbound = conn.quota() == Quota::Outbound;
        let Connection { socket, cold: Some(cold), readable, read_closed, .. } = conn else {
            return ReadResult::Nothing;
        };
        let Some(session) = &mut cold.session else {
            return ReadResult::Nothing;
        };
        if session.is_input_ended() {
            return ReadResult::End;
        }
        let is_budgeted = is_admitted && !is_discarded && session.is_handshaking();
        let handshakes = &mut self.tls.handshakes;
        let take_one = if is_outbound { Handshakes::take_outbound } else { Handshakes::take };
        if is_budgeted && !take_one(handshakes) {
            // It stays readable and queued: the next turn reads it.
            self.metrics.tls_handshakes_deferred += 1;
            return ReadResult::Nothing;
        }
        let buffers = &mut self.tls.buffers;
        let kept = session.restore(&mut buffers.incoming);
        // `&*socket`, not `socket`: `Read for &TcpStream` is another function than the one that the
        // plaintext path calls. That one keeps a single caller, and so is inlined there.
        let wanted = most.min(buffers.incoming.len() - kept);
        let len = match (&*socket).read(&mut buffers.incoming[kept..kept + wanted]) {
            Ok(0) => return ReadResult::End,
            Ok(len) => len,
            Err(error) => {
                session.keep(&buffers.incoming[..kept]);
                match error.kind() {
                    io::ErrorKind::WouldBlock => *readable = false,
                    io::ErrorKind::Interrupted => {}
                    _ => return ReadResult::Broken,
                }
                return ReadResult::Nothing;
            }
        };
        // As without TLS: a short read means drained, unless the read side is closed.
        *readable = len == wanted || *read_closed;
        conn.last_heard = self.now;
        conn.heartbeat.received();
        self.metrics.bytes_read += len as u64;
        if is_discarded {
            return ReadResult::Nothing;
        }
        let records = &mut buffers.incoming[..kept + len];
        if session.is_fresh() && !is_outbound && records[0].is_ascii_uppercase() {
            // No TLS record starts with an upper-case letter (RFC 8446, 5.1); every HTTP method
            // does. A server without TLS gets an alert, and no response.
            let head_only = records.starts_with(b"HEAD ");
            cold.session = None;
            return ReadResult::NoTls { head_only };
        }
        buffers.answer.clear();
        let received = session.receive(records, plain, &mut buffers.answer);
        // The end of the input is reported after all plaintext before it was handled.
        conn.readable |= session.is_input_ended();
        if !buffers.answer.is_empty() {
            let answer = take(&mut buffers.answer);
            self.queue_sealed(id, &answer);
            self.tls.buffers.answer = answer;
        }
        if let Some(kind) = received.handshake {
            self.finish_handshake(id, kind);
        }
        match received.error {
            None => ReadResult::Plain(received.plain),
            Some(error) => ReadResult::Failed(received.plain, error),
        }
    }

    /// The handshake is complete: HTTP may start.
    fn finish_handshake(&mut self, id: ConnId, kind: HandshakeKind) {
        match kind {
            HandshakeKind::Resumed => self.metrics.tls_handshakes_resumed += 1,
            HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest => {
                self.metrics.tls_handshakes_full += 1;
            }
        }
        self.begin_http(id);
    }

    /// Handles the end of the stream. Without a close_notify, input may be truncated (RFC 8446,
    /// 6.1). That is an error, unless both Close frames have passed, so that no input was expected.
    fn end_secure_input(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let is_discarded = conn.discards_input();
        let is_cut = conn.session().is_some_and(|session| {
            !is_discarded && !session.is_input_ended() && !session.is_handshaking()
        });
        if !is_cut {
            return self.end_input(id, CloseReason::PeerGone);
        }
        self.metrics.tls_truncated += 1;
        self.end_input(id, CloseReason::Truncated);
    }

    /// Handles a TLS error or an alert of the peer: nothing more is read, and of the queued output
    /// only encrypted records are sent, our alert among them.
    fn fail_tls(&mut self, id: ConnId, error: &Error) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        if matches!(conn.phase, Phase::Gone(_)) {
            return;
        }
        self.metrics.tls_failed += 1;
        self.log_tls_failure(id, error);
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let reason = conn.reason().unwrap_or(CloseReason::TlsFailed);
        conn.phase = Phase::Closing { since: self.now, reason, input: Input::Discard };
        conn.forget_message();
        let dropped = self.outboxes.change(id, conn, |open| open.outbox.cut_to_sealed(open.spares));
        self.metrics.messages_dropped += dropped;
        self.enqueue_flush(id);
        self.arm(id);
    }
}

impl Core {
    /// Queues records of TLS itself, before all output that is not encrypted yet.
    pub(crate) fn queue_sealed(&mut self, id: ConnId, records: &[u8]) {
        if let Some(conn) = self.conns.get_mut(id) {
            self.outboxes.change(id, conn, |open| open.outbox.push_sealed(open.spares, records));
            self.enqueue_flush(id);
        }
    }

    /// Reads once from an idle connection; whether only TLS's own messages have arrived, and no
    /// close_notify. For the connections of upstreams.
    #[cfg(feature = "proxy")]
    pub(crate) fn reads_no_plaintext(&mut self, id: ConnId) -> bool {
        let mut plain = vec![0; READ_BYTES];
        let is_empty = matches!(
            self.receive(id, &mut plain, usize::MAX),
            ReadResult::Nothing | ReadResult::Plain(0)
        );
        let session = self.conns.get_mut(id).and_then(|conn| conn.session());
        is_empty && session.is_some_and(|session| !session.is_input_ended())
    }

    /// Starts the handshake of an outbound connection: queues the ClientHello.
    pub(crate) fn begin_handshake(&mut self, id: ConnId) {
        let mut hello = Vec::new();
        if let Some(session) = self.conns.get_mut(id).and_then(|conn| conn.session()) {
            session.receive(&mut [], &mut [], &mut hello);
        }
        self.queue_sealed(id, &hello);
    }

    /// Writes our close_notify to a peer that has ended its side, if the socket accepts it at once.
    pub(crate) fn write_close_notify(&mut self, id: ConnId) {
        let Some(Connection { socket, cold: Some(cold), .. }) = self.conns.get_mut(id) else {
            return;
        };
        let records = &mut self.tls.buffers.outgoing;
        let sealed = cold.session.as_mut().and_then(|session| session.seal_end(records));
        if let Some(len) = sealed
            && let Err(error) = (&*socket).write(&records[..len])
        {
            debug!("{id}: close_notify not written: {error}");
        }
    }

    /// Queues our close_notify; false if it was sent before or cannot be sent.
    pub(crate) fn queue_close_notify(&mut self, id: ConnId) -> bool {
        let Some(session) = self.conns.get_mut(id).and_then(|conn| conn.session()) else {
            return false;
        };
        let records = &mut self.tls.buffers.outgoing;
        let Some(len) = session.seal_end(records) else {
            return false;
        };
        let notify = records[..len].to_vec();
        self.queue_sealed(id, &notify);
        true
    }

    /// Uses certificates that the thread has reloaded since the last call, for new connections.
    pub(crate) fn take_reloaded(&mut self) {
        let Some(identity) = &mut self.tls.identity else {
            return;
        };
        match identity.reloader.next() {
            None => {}
            Some(Ok(config)) => {
                identity.config = config;
                self.metrics.tls_reloads += 1;
                info!("certificates reloaded");
            }
            Some(Err(error)) => {
                self.metrics.tls_reloads_refused += 1;
                error!("certificates not reloaded, the old ones stay: {error}");
            }
        }
    }
}

impl Reactor {
    /// Reads the certificates of [TLS listeners](crate::reactor::settings::ListenSettings::secure).
    /// A thread then watches the files, and reloads them on a change or on
    /// [`reload_certificates`](Reactor::reload_certificates).
    ///
    /// # Errors
    /// A file is unreadable, malformed or inconsistent. A certificate that is not valid at this
    /// time only logs a warning.
    pub fn set_tls(&mut self, settings: TlsSettings) -> Result<(), TlsError> {
        let (reloader, loaded) = Reloader::start(settings, self.core.notifiers.loop_waker())?;
        if let Some(error) = loaded.not_valid_now {
            warn!("{error}");
        }
        self.core.tls.identity = Some(Identity { config: loaded.config, reloader });
        Ok(())
    }

    /// Reloads the certificates given to [`set_tls`](Reactor::set_tls), on a thread. If they are
    /// valid, new connections use them. Otherwise the error is logged and the old ones stay in use.
    /// Without TLS it only logs that there is nothing to reload.
    pub fn reload_certificates(&self) {
        match &self.core.tls.identity {
            Some(identity) => identity.reloader.request(),
            None => info!("nothing to reload: no listener uses TLS"),
        }
    }
}
