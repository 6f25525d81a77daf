//! One connection of a library whose sockets are streams and sinks: echo, or relay to a room.
//!
//! Replies are fed to the sink while there are messages to read or to relay, and flushed otherwise:
//! the cheapest way that such a library offers.

use std::future::poll_fn;
use std::task::{Poll, ready};

use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};

use crate::rooms::{Inbox, Member};

/// Runs until either side ends the connection. `message` extracts a message to echo or relay from
/// an item of the stream; `None` for a control frame, which the libraries answer themselves.
pub async fn relay<S, M, E>(
    mut socket: S,
    member: Option<(Member<M>, Inbox<M>)>,
    message: impl Fn(S::Item) -> Result<Option<M>, E>,
) where
    S: Stream + Sink<M> + Unpin,
    M: Clone,
{
    let (member, mut inbox) = member.unzip();
    let mut next = None;
    poll_fn(|cx| {
        loop {
            if next.is_some() {
                let ready = ready!(socket.poll_ready_unpin(cx));
                if ready.is_err()
                    || next.take().is_some_and(|m| socket.start_send_unpin(m).is_err())
                {
                    return Poll::Ready(());
                }
            }
            if let Some(inbox) = &mut inbox
                && let Poll::Ready(received) = inbox.poll_recv(cx)
            {
                next = received;
                continue;
            }
            match socket.poll_next_unpin(cx).map(|item| item.map(&message)) {
                Poll::Ready(Some(Ok(received))) => match (&member, received) {
                    (Some(member), Some(received)) => member.publish(&received),
                    (_, received) => next = received,
                },
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => {
                    return match ready!(socket.poll_flush_unpin(cx)) {
                        Ok(()) => Poll::Pending,
                        Err(_) => Poll::Ready(()),
                    };
                }
            }
        }
    })
    .await;
}
