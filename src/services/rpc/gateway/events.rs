//! The events of the service that a gateway handles as its backend: calls, feeds, mail, timers, and
//! connections to upstreams.

use serde_json::value::RawValue;

use super::http_threads::HttpThreads;
use super::requests::Submitted;
use super::websocket::WebSocketClient;
use super::{Gateway, GatewaySettings, TIMER, UpstreamClient, Waiter};
use crate::reactor::{ConnId, Context};
use crate::services::rpc::backend::{Backend, LinkEvent, Network, Notice, Progress, Ticket};
use crate::services::rpc::subscriptions::{Feeds, Source};
use crate::services::rpc::wire::error::RpcError;
use crate::services::rpc::wire::request::Call;
use crate::upstream::http::HttpClient;
use crate::upstream::pool::Readiness;
use crate::upstream::url::Scheme;

impl Backend for Gateway {
    fn network(&self) -> &Network {
        &self.settings.network
    }

    fn start(&mut self, cx: &mut Context<'_>) {
        let GatewaySettings { upstreams, concurrency, answer_bytes_max, .. } = &self.settings;
        // One lookup for each upstream at a time.
        let (sender, receiver) = cx.mailbox(upstreams.len());
        self.mail = Some(receiver);
        let tls = std::mem::take(&mut self.tls);
        for ((index, url), tls) in upstreams.iter().enumerate().zip(tls) {
            self.clients.push(match url.scheme() {
                Scheme::Http => {
                    self.requests.set_readiness(index, Readiness::Ready);
                    let client = HttpClient::new(url, tls, *concurrency);
                    let threads =
                        HttpThreads::new(cx, index, client, *concurrency, *answer_bytes_max);
                    UpstreamClient::Http(threads)
                }
                Scheme::WebSocket => {
                    let client = WebSocketClient::new(index, url, tls, sender.clone());
                    UpstreamClient::WebSocket(Box::new(client))
                }
            });
        }
        self.look_up(cx.now());
    }

    fn answers_all(&self) -> bool {
        true
    }

    fn call(
        &mut self,
        cx: &mut Context<'_>,
        ticket: Ticket,
        call: &Call<'_>,
        _: &mut String,
    ) -> Result<Progress, RpcError> {
        let params = call.params.map_or("", RawValue::get);
        self.outgoing.set(&call.method, params);
        self.outgoing.trace = call.trace;
        match self.requests.submit(&self.outgoing, Waiter::Client(ticket), None, cx.now()) {
            Ok(Submitted::New) => {
                self.advance(cx);
                self.announce_later(cx);
            }
            Ok(Submitted::Joined) => {}
            Err((ended, _)) => return Err(ended.into()),
        }
        Ok(Progress::Later)
    }

    fn next_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    fn receive(&mut self, cx: &mut Context<'_>) -> Option<Notice> {
        if self.notices.is_empty() {
            let mail = self.next_mail()?;
            self.on_mail(cx, mail);
        }
        Some(self.notices.pop_front().unwrap_or(Notice::Nothing))
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, key: u64) {
        debug_assert_eq!(key, TIMER);
        self.timer = None;
        let now = cx.now();
        let expired = self.requests.expire(now);
        expired.into_iter().for_each(|finished| self.deliver(Some(finished), now));
        self.watch.poll(now);
        self.look_up(now);
        self.advance(cx);
    }

    fn is_started(&self, source: Source) -> bool {
        self.watch.is_started(source)
    }

    fn on_feeds(&mut self, cx: &mut Context<'_>, feeds: &Feeds) {
        self.watch.set_wanted(feeds.into(), cx.now());
        self.advance(cx);
        self.announce_later(cx);
    }

    fn owns(&self, conn: ConnId) -> bool {
        self.upstream_of(conn).is_some()
    }

    fn on_link(&mut self, cx: &mut Context<'_>, conn: ConnId, event: LinkEvent<'_>) {
        let Some(upstream) = self.upstream_of(conn) else {
            return;
        };
        match event {
            LinkEvent::Opened => {
                if let UpstreamClient::WebSocket(client) = &mut self.clients[upstream] {
                    client.opened(conn);
                }
                self.requests.set_readiness(upstream, Readiness::Ready);
            }
            LinkEvent::Message(text) => self.on_upstream_message(cx, upstream, text),
            LinkEvent::Closed(why) => {
                if let UpstreamClient::WebSocket(client) = &mut self.clients[upstream]
                    && !client.closed(cx, self.outbound, why)
                {
                    self.requests.set_readiness(upstream, Readiness::Down);
                }
                let lost = self.requests.fail_all(upstream, cx.now());
                lost.into_iter().for_each(|finished| self.deliver(Some(finished), cx.now()));
            }
        }
        self.advance(cx);
    }
}
