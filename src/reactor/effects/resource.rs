//! Responses of the loop itself: static pages, `OPTIONS`, `Allow` for a path, and 403 for a host
//! that is not admitted.
//!
//! A path without a route gets 404 for any method, before 405 is considered.

use crate::protocol::handshake::{Refusal, Request, Response};
use crate::reactor::api::id::ConnId;
use crate::reactor::api::route::Page;
use crate::reactor::conn::handshake::PendingHttp;
use crate::reactor::core::Core;
use crate::reactor::parts::cors::Cors;
use crate::reactor::parts::destination::Destination;

impl Core {
    /// Answers a request without a service: `OPTIONS`, or a page.
    pub(crate) fn answer_without_service(
        &mut self,
        id: ConnId,
        listener_group: u16,
        request: &Request<'_>,
    ) -> Result<(), Refusal> {
        let response = match request.method() {
            "OPTIONS" => self.options(listener_group, request)?,
            "GET" | "HEAD" => self.find_page(listener_group, request)?,
            _ => return Err(Refusal::Method),
        };
        self.check_admission(id)?;
        self.respond(id, PendingHttp::of(request, Cors::Off), response);
        Ok(())
    }

    /// Checks that the path admits the host of the request.
    pub(crate) fn check_host(&mut self, id: ConnId, request: &Request<'_>) -> Result<(), Refusal> {
        let handshake = self.conns.get_mut(id).and_then(|conn| conn.handshake());
        let listener_group = handshake.map_or(0, |handshake| handshake.listener_group);
        let is_refused = self.router.refuses_host(Destination::of(listener_group, request));
        if is_refused { Err(Refusal::Host) } else { Ok(()) }
    }

    fn find_page(&self, listener_group: u16, request: &Request<'_>) -> Result<Response, Refusal> {
        if request.has_body() {
            return Err(Refusal::Body);
        }
        let to = Destination::of(listener_group, request);
        match self.router.page(to) {
            Some(page) => Ok(page_response(page)),
            None if self.router.has_route(to) => Err(Refusal::UpgradeRequired),
            None => Err(Refusal::NotFound),
        }
    }

    /// The response to `OPTIONS` (RFC 9110, 9.3.7), which may be a CORS preflight request.
    fn options(&self, listener_group: u16, request: &Request<'_>) -> Result<Response, Refusal> {
        let to = Destination::of(listener_group, request);
        let allowed = self.router.allowed(to).ok_or(Refusal::NotFound)?;
        if request.has_body() {
            return Err(Refusal::Body);
        }
        let mut response = Response::text(204, "");
        response.add("Allow", &allowed.join(", "));
        let wished = request.header("Access-Control-Request-Method");
        let found = wished.and_then(|method| self.router.find_http(to, method));
        if let Some((route, _)) = found {
            let methods = self.router.methods(self.router.service(route));
            let cors = Cors::of(self.router.settings(route), request);
            cors.add_to_preflight(&mut response, methods);
        }
        Ok(response)
    }

    /// Refuses a method with the list of supported ones (RFC 9110, 15.5.6).
    pub(crate) fn refuse_method(&mut self, id: ConnId, request: &Request<'_>, head_only: bool) {
        let handshake = self.conns.get_mut(id).and_then(|conn| conn.handshake());
        let listener_group = handshake.map_or(0, |handshake| handshake.listener_group);
        let Some(allowed) = self.router.allowed(Destination::of(listener_group, request)) else {
            return self.refuse(id, Refusal::NotFound, head_only);
        };
        let mut response = Response::from(Refusal::Method);
        response.add("Allow", &allowed.join(", "));
        self.refuse_with(id, Refusal::Method, &response, head_only);
    }
}

/// A page as a response. Browsers do not guess another media type, and run nothing that its policy
/// forbids.
fn page_response(page: &Page) -> Response {
    let mut response = Response::new(200, page.content_type, page.body);
    response.add("X-Content-Type-Options", "nosniff");
    if !page.security_policy.is_empty() {
        response.add("Content-Security-Policy", page.security_policy);
    }
    response
}
