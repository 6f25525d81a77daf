//! What an operator changes and sees while the proxy runs: its pools, and the upstreams that are
//! drained.
//!
//! A service that wraps a [`Proxy`] calls these functions from a handler of its own.

use super::mail::{Mail, ProxyMail};
use super::service::Proxy;
use crate::reactor::{Context, MailReceiver, More, Time};
use crate::upstream::resolve::HostPort;
use crate::upstream::{LoadedPool, UpstreamStatus};

impl Proxy {
    /// The names of these pools whose addresses are not known yet. With
    /// [`LoadedPool::set_addresses`] their upstreams are used as soon as the pools are.
    pub fn unresolved_names(&self, pools: &[LoadedPool]) -> Vec<HostPort> {
        self.pools.unresolved_names(pools)
    }

    /// Replaces all pools. An upstream of the same name in the same pool keeps its state; tunnels to
    /// others stay open until `drain_after` has passed.
    pub fn set_pools(&mut self, cx: &mut Context<'_>, pools: Vec<LoadedPool>) {
        let gone = self.pools.swap(pools, cx.now());
        gone.into_iter().for_each(|upstream| self.close_idle(cx, upstream));
        self.keep_up(cx);
    }

    /// Drains all upstreams with this name, or with this `host:port`: they get nothing new. Or ends
    /// that. Returns how many there are.
    pub fn set_drained(&mut self, cx: &mut Context<'_>, name: &str, is_drained: bool) -> usize {
        let count = self.pools.set_drained(name, is_drained, cx.now());
        self.keep_up(cx);
        count
    }

    /// All upstreams by pool, in the order of the lists.
    pub fn upstreams(&self, now: Time) -> Vec<UpstreamStatus<'_>> {
        self.pools.statuses(now)
    }

    /// The pools that cannot be used because no name was resolved yet.
    pub fn unresolved_pools(&self) -> impl Iterator<Item = &str> {
        self.pools.unresolved_pools()
    }

    /// The same service with a mailbox, made by [`Reactor::mailbox`](crate::reactor::Reactor::mailbox):
    ///
    /// ```
    /// use weir::reactor::settings::{RouteSettings, Settings};
    /// use weir::reactor::{MailSender, Reactor};
    /// use weir::services::proxy::{LoadedPool, PoolSettings, Proxy, ProxyMail, ProxyReload};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut reactor = Reactor::new(Settings::default())?;
    /// let id = reactor.next_service_id();
    /// let outbound = reactor.add_outbound(id, RouteSettings::default())?;
    /// let (sender, mail): (MailSender<ProxyMail>, _) = reactor.mailbox(id, 8);
    /// reactor.add_service(Proxy::new(Vec::new(), outbound)?.mailbox(mail))?;
    /// // Later, on a thread: reading TLS files blocks.
    /// let upstreams = vec!["http://127.0.0.1:9944".parse()?];
    /// let pools = vec![LoadedPool::load(PoolSettings::new("nodes".to_owned(), upstreams))?];
    /// sender.try_send(ProxyReload { pools, routes: Vec::new() }.into())?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn mailbox(mut self, mail: MailReceiver<ProxyMail>) -> Proxy {
        self.mail = Some(mail);
        self
    }

    /// Takes one mail.
    pub(super) fn take_mail(&mut self, cx: &mut Context<'_>) -> More {
        let Some(Ok(ProxyMail(mail))) = self.mail.as_ref().map(MailReceiver::try_recv) else {
            return More::No;
        };
        match mail {
            Mail::Reload(reload) => self.reload(cx, reload),
            Mail::Operator(request) => self.answer_operator(cx, request),
        }
        More::Yes
    }
}
