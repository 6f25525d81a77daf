//! The gateway as the service in front of it sees it: calls, news, time, and the connections to upstreams.

use serde_json::value::RawValue;

use super::calls::Asked;
use super::http::Http;
use super::socket::Socket;
use super::{Asker, Gateway, GatewaySettings, Transport};
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
        // Every thread has one mail at a time: none waits for the loop for long.
        let (sender, receiver) = cx.mailbox(upstreams.len() * concurrency);
        self.mail = Some(receiver);
        let security = std::mem::take(&mut self.security);
        for ((index, url), security) in upstreams.iter().enumerate().zip(security) {
            let sender = sender.clone();
            self.links.push(match url.scheme() {
                Scheme::Http => {
                    self.calls.set_readiness(index, Readiness::Ready);
                    let client = HttpClient::new(url, security, *concurrency);
                    Transport::Http(Http::new(index, client, *answer_bytes_max, sender))
                }
                Scheme::WebSocket => Transport::Socket(Socket::new(index, url, security, sender)),
            });
        }
        self.wake_sockets(cx.now());
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
        self.question.set(&call.method, params);
        match self.calls.ask(&self.question, Asker::Client(ticket), None, cx.now()) {
            Ok(Asked::Anew) => self.go_on(cx),
            Ok(Asked::Together) => {}
            Err((ended, _)) => return Err(ended.into()),
        }
        Ok(Progress::Later)
    }

    fn next_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    fn receive(&mut self, cx: &mut Context<'_>) -> Option<Notice> {
        if self.notices.is_empty() {
            let mail = self.mail.as_ref()?.try_recv().ok()?;
            self.take(cx, mail);
        }
        Some(self.notices.pop_front().unwrap_or(Notice::Nothing))
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, _: u64) {
        self.alarm = None;
        let now = cx.now();
        let expired = self.calls.expire(now);
        expired.into_iter().for_each(|finished| self.conclude(Some(finished), now));
        self.watch.poll(now);
        self.wake_sockets(now);
        self.go_on(cx);
    }

    fn is_started(&self, source: Source) -> bool {
        self.watch.has_begun(source)
    }

    fn on_feeds(&mut self, cx: &mut Context<'_>, feeds: &Feeds) {
        self.watch.want(feeds.into(), cx.now());
        self.go_on(cx);
    }

    fn owns(&self, conn: ConnId) -> bool {
        self.link_of(conn).is_some()
    }

    fn on_link(&mut self, cx: &mut Context<'_>, conn: ConnId, event: LinkEvent<'_>) {
        let Some(upstream) = self.link_of(conn) else {
            return;
        };
        match event {
            LinkEvent::Opened => {
                if let Transport::Socket(socket) = &mut self.links[upstream] {
                    socket.opened(conn);
                }
                self.calls.set_readiness(upstream, Readiness::Ready);
            }
            LinkEvent::Message(text) => self.take_message(cx, upstream, text),
            LinkEvent::Closed(why) => {
                let route = self.outbound.get();
                if let Transport::Socket(socket) = &mut self.links[upstream]
                    && !socket.closed(cx, route, why)
                {
                    self.calls.set_readiness(upstream, Readiness::Down);
                }
                let lost = self.calls.fail_all(upstream, cx.now());
                lost.into_iter().for_each(|finished| self.conclude(Some(finished), cx.now()));
            }
        }
        self.go_on(cx);
    }
}
