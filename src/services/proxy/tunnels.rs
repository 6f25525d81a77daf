//! Tunnels: the code for the client of a lost upstream, what is counted at the end, and ends that
//! weir decides on.

use std::rc::Rc;

use super::service::{Link, Proxy};
use crate::protocol::CloseCode;
use crate::reactor::{CloseReason, ConnId, Context, PipeEnd, Time};
use crate::upstream::pools::{Ends, EndsWhy, Use};

impl Proxy {
    /// What the client of a lost upstream should do: reconnect now if an upstream of the pool counts
    /// as up, else back off.
    pub(super) fn code_of_lost(&self, conn: ConnId, now: Time) -> CloseCode {
        let upstream = match self.links.get(conn) {
            Some(Link::Tunnel { upstream, .. }) => Some(*upstream),
            _ => None,
        };
        let pool = upstream.and_then(|upstream| self.pools.pool_of(upstream));
        if pool.is_some_and(|pool| self.pools.is_any_up(pool, now)) {
            CloseCode::SERVICE_RESTART
        } else {
            CloseCode::TRY_AGAIN_LATER
        }
    }

    pub(super) fn handle_pipe_end(&mut self, cx: &mut Context<'_>, conn: ConnId, end: &PipeEnd) {
        let Some(link) = self.links.get_mut(conn) else {
            return;
        };
        let Link::Tunnel { upstream, ref route, ends, .. } = *link else {
            return;
        };
        let route = Rc::clone(route);
        // It counts until it is closed.
        *link = Link::Closing { upstream };
        self.pools.change(upstream, Use::Tunnel, Use::Closing);
        let reason = name(end.reason, ends);
        route.counts.end(end, reason);
        self.pools.count_bytes(upstream, end.from_client.bytes, end.from_upstream.bytes);
        if let CloseReason::UpstreamClosed(Some(code)) = end.reason
            && is_restart(code)
        {
            self.pools.avoid(upstream, cx.now());
        }
        let name = self.pools.target(upstream).map_or("", |target| target.name);
        if self.upkeep.losses.count(name, end, cx.now()) {
            self.set_timer(cx);
        }
    }

    /// Ends some tunnels of an upstream that is down or was removed.
    pub(super) fn end_tunnels(&mut self, cx: &mut Context<'_>, due: Ends) {
        let links = self.links.iter();
        let tunnels = links.filter_map(|(conn, link)| match link {
            Link::Tunnel { client, upstream, ends: None, .. } if *upstream == due.upstream => {
                Some((conn, *client))
            }
            _ => None,
        });
        let tunnels: Vec<(ConnId, ConnId)> = tunnels.take(due.tunnels).collect();
        for (conn, client) in tunnels {
            if let Some(Link::Tunnel { ends, .. }) = self.links.get_mut(conn) {
                *ends = Some(due.why);
            }
            let text = match due.why {
                EndsWhy::Down => "upstream down",
                EndsWhy::Removed => "moved",
            };
            cx.close(client, CloseCode::SERVICE_RESTART, text);
        }
    }
}

/// The label of a tunnel's end.
fn name(reason: CloseReason, ends: Option<EndsWhy>) -> &'static str {
    match (reason, ends) {
        (CloseReason::Service(_), Some(EndsWhy::Down)) => "upstream_down",
        (CloseReason::Service(_), Some(EndsWhy::Removed)) => "drained",
        // However a client is lost.
        (CloseReason::PeerReset | CloseReason::Truncated, _) => CloseReason::PeerGone.name(),
        (reason, _) => reason.name(),
    }
}

/// Whether an upstream that closes with this code is about to go, or has too much to do.
fn is_restart(code: CloseCode) -> bool {
    code == CloseCode::SERVICE_RESTART || code == CloseCode::TRY_AGAIN_LATER
}
