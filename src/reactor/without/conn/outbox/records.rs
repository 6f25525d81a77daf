//! Stands in for `conn/outbox/records.rs` without the feature `tls`: no connection has a session.

use std::io;

use mio::net::TcpStream;

use crate::reactor::api::time::Time;
use crate::reactor::conn::outbox::spares::SpareQueues;
use crate::reactor::conn::outbox::{Flushed, Outbox};
use crate::reactor::parts::tls::{Session, SessionBuffers};

pub(crate) fn flush_session(
    _: &mut SessionBuffers,
    session: &mut Session,
    _: &mut Outbox,
    _: &TcpStream,
    _: &mut SpareQueues,
    _: Time,
) -> io::Result<(usize, Flushed)> {
    match session.0 {}
}
