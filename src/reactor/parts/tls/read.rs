//! Reads from TLS connections: one budgeted read per connection and turn.
//!
//! The counterpart of [`inbound`](crate::reactor::effects::inbound); no other file reads sockets. The
//! plaintext goes through the same functions as that of other connections. All records of a read
//! are decrypted at once, so that "drained" depends on the socket alone, as without TLS.

use std::io::{self, Read};
use std::mem::take;

use rustls::{Error, HandshakeKind};

use crate::protocol::handshake::Refusal;
use crate::reactor::Reactor;
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::id::ConnId;
use crate::reactor::conn::connection::Connection;
use crate::reactor::conn::phase::{Input, Phase, Standing};
use crate::reactor::conn::unread::Unread;
use crate::reactor::core::Core;

/// The result of one read.
enum Arrived {
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
    /// Reads from one TLS connection and handles the plaintext.
    // Not inlined: the plaintext path must not grow.
    #[inline(never)]
    pub(crate) fn read_secure(&mut self, id: ConnId) {
        if !self.core.park_refused(id) {
            self.read_session(id);
        }
    }

    /// Reads from the next refused connection in its TLS handshake, if one is due.
    pub(crate) fn read_refused(&mut self) {
        let Core { conns, tls, now, .. } = &mut self.core;
        let alive = |id| conns.get(id).is_some();
        if let Some(id) = tls.handshakes.next_refused(*now, alive) {
            if let Some(conn) = conns.get_mut(id) {
                conn.queued = false;
            }
            self.read_session(id);
            self.core.after_read(id);
        }
    }

    fn read_session(&mut self, id: ConnId) {
        let mut scratch = take(&mut self.scratch);
        match self.core.receive(id, &mut scratch) {
            Arrived::Nothing => {}
            Arrived::Plain(len) => self.take_plain(id, &mut scratch[..len]),
            Arrived::Failed(len, error) => {
                self.take_plain(id, &mut scratch[..len]);
                self.core.fail_tls(id, &error);
            }
            Arrived::End => self.core.end_secure_input(id),
            Arrived::Broken => self.core.vanish(id, CloseReason::PeerReset),
            Arrived::NoTls { head_only } => {
                self.core.refuse(id, Refusal::TlsExpected, head_only);
            }
        }
        self.scratch = scratch;
    }

    fn take_plain(&mut self, id: ConnId, plain: &mut [u8]) {
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
        let is_parked = conn.standing == Standing::Refused
            && !conn.discards_input()
            && conn.session().is_some_and(|session| session.is_handshaking());
        if is_parked {
            conn.queued = true;
            self.tls.handshakes.park(id);
            self.metrics.tls_handshakes_deferred += 1;
        }
        is_parked
    }

    /// Reads once and decrypts into `plain`.
    fn receive(&mut self, id: ConnId, plain: &mut [u8]) -> Arrived {
        let Some(conn) = self.conns.get_mut(id) else {
            return Arrived::Nothing;
        };
        let is_discarded = conn.discards_input();
        let Connection { socket, rare: Some(rare), readable, read_closed, .. } = conn else {
            return Arrived::Nothing;
        };
        let Some(session) = &mut rare.session else {
            return Arrived::Nothing;
        };
        if session.is_input_ended() {
            return Arrived::End;
        }
        if session.is_handshaking() && !is_discarded {
            let is_admitted = conn.standing != Standing::Refused;
            if is_admitted && !self.tls.handshakes.take() {
                // It stays readable and queued: the next turn reads it.
                self.metrics.tls_handshakes_deferred += 1;
                return Arrived::Nothing;
            }
        }
        let memory = &mut self.tls.memory;
        let kept = session.restore(&mut memory.incoming);
        // `&*socket`, not `socket`: `Read for &TcpStream` is another function than the one that the
        // plaintext path calls. That one keeps a single caller, and so is inlined there.
        let len = match (&*socket).read(&mut memory.incoming[kept..]) {
            Ok(0) => return Arrived::End,
            Ok(len) => len,
            Err(error) => {
                session.keep(&memory.incoming[..kept]);
                match error.kind() {
                    io::ErrorKind::WouldBlock => *readable = false,
                    io::ErrorKind::Interrupted => {}
                    _ => return Arrived::Broken,
                }
                return Arrived::Nothing;
            }
        };
        // As without TLS: a short read means drained, unless the read side is closed.
        *readable = kept + len == memory.incoming.len() || *read_closed;
        conn.last_heard = self.now;
        conn.pulse.heard();
        self.metrics.bytes_read += len as u64;
        if is_discarded {
            return Arrived::Nothing;
        }
        let records = &mut memory.incoming[..kept + len];
        if session.is_fresh() && records[0].is_ascii_uppercase() {
            // No TLS record starts with an upper-case letter (RFC 8446, 5.1); every HTTP method
            // does.
            let head_only = records.starts_with(b"HEAD ");
            rare.session = None;
            return Arrived::NoTls { head_only };
        }
        memory.answer.clear();
        let received = session.receive(records, plain, &mut memory.answer);
        // The end of the input is reported after all plaintext before it was handled.
        conn.readable |= session.is_input_ended();
        if !memory.answer.is_empty() {
            let answer = take(&mut memory.answer);
            self.queue_sealed(id, &answer);
            self.tls.memory.answer = answer;
        }
        if let Some(kind) = received.handshake {
            self.finish_handshake(id, kind);
        }
        match received.error {
            None => Arrived::Plain(received.plain),
            Some(error) => Arrived::Failed(received.plain, error),
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
        self.send_request(id);
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
        self.mark_dirty(id);
        self.arm(id);
    }
}
