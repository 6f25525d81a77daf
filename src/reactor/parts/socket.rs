//! Options of TCP sockets: send buffers and source addresses.
//!
//! It reads and writes no data. [`closing`](crate::reactor::effects::closing) grows send buffers,
//! [`connect`](crate::reactor::effects::connect) binds addresses.

use std::io;
use std::net::{IpAddr, SocketAddr};
#[cfg(feature = "proxy")]
use std::time::Duration;

use log::debug;
use mio::net::TcpStream;
use socket2::{Domain, SockRef, Socket, Type};

use crate::reactor::api::budget::SEGMENT_BYTES;

/// The largest send buffer that the system allows. Linux reduces a larger value to it. Other
/// systems reject a larger value; then the limit is unknown, and no value is reduced.
pub(crate) fn send_buffer_max() -> io::Result<usize> {
    const ABOVE_ANY_LIMIT: usize = 1 << 30;
    let probe = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    match probe.set_send_buffer_size(ABOVE_ANY_LIMIT) {
        Ok(()) => probe.send_buffer_size(),
        Err(_) => Ok(usize::MAX),
    }
}

/// Grows the send buffer so that the kernel accepts all queued output, whether the peer reads or
/// not.
pub(crate) fn grow_send_buffer(socket: &TcpStream, queued: usize, most: usize) {
    let socket = SockRef::from(socket);
    // Linux doubles the value for its bookkeeping, and returns the doubled one.
    let now = socket.send_buffer_size().unwrap_or(0);
    if now >= most {
        // It has grown automatically beyond what may be set: setting it would shrink it.
        return debug!("the send buffer stays at {now} bytes: {most} is the system's limit");
    }
    let wanted = now / 2 + queued + SEGMENT_BYTES;
    if let Err(error) = socket.set_send_buffer_size(wanted) {
        debug!("the send buffer stays at {now} bytes: {error}");
    }
}

/// Lets the end of a connection show as a reset, and discards what the kernel has not sent.
#[cfg(feature = "proxy")]
pub(crate) fn reset_on_close(socket: &TcpStream) -> io::Result<()> {
    SockRef::from(socket).set_linger(Some(Duration::ZERO))
}

/// Connects a socket that is bound to `from`.
pub(crate) fn connect_from(from: IpAddr, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::new(from, 0).into())?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}
