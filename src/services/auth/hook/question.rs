//! What a hook is asked: the headers that describe a client's request, as nginx and Traefik send them.

use crate::protocol::http::TraceParent;
use crate::reactor::GateRequest;
use crate::services::auth::cache::Hash;
use crate::services::auth::keys::set::sha256;
use crate::services::auth::settings::HookHeader;

/// The headers of one request to the hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    /// Names in lower case. `traceparent`, if there is one, is the last.
    pub(super) headers: Vec<(String, Vec<u8>)>,
    /// How many of them describe the request: `traceparent` differs for equal requests.
    described: usize,
}

impl Question {
    pub(super) fn new(request: &GateRequest<'_>, forwarded: &[HookHeader]) -> Question {
        let mut headers = Vec::new();
        for (name, value) in request.http.all_headers() {
            let name = name.to_ascii_lowercase();
            if forwarded.iter().any(|wanted| wanted.0 == name) {
                headers.push((name, value.to_vec()));
            }
        }
        let http = request.http;
        let uri = match http.query() {
            Some(query) => format!("{}?{query}", http.path()),
            None => http.path().to_owned(),
        };
        let scheme = if request.is_secure { "https" } else { "http" };
        let host = http.host().unwrap_or_default();
        let client = request.peer.ip().to_canonical();
        for (name, value) in [
            ("x-original-url", format!("{scheme}://{host}{uri}")),
            ("x-original-method", http.method().to_owned()),
            ("x-forwarded-uri", uri.clone()),
            ("x-original-uri", uri),
            ("x-forwarded-method", http.method().to_owned()),
            ("x-forwarded-for", client.to_string()),
            ("x-forwarded-proto", scheme.to_owned()),
            ("x-forwarded-host", host.to_owned()),
        ] {
            headers.push((name.to_owned(), value.into_bytes()));
        }
        let described = headers.len();
        if let Some(trace) = request.trace {
            headers.push((TraceParent::NAME.to_owned(), trace.to_string().into_bytes()));
        }
        Question { headers, described }
    }

    /// A hash of everything that is sent but `traceparent`. Lengths keep different headers apart.
    pub(super) fn hash(&self) -> Hash {
        let mut text = Vec::new();
        for (name, value) in &self.headers[..self.described] {
            for part in [name.as_bytes(), value] {
                text.extend_from_slice(&part.len().to_le_bytes());
                text.extend_from_slice(part);
            }
        }
        sha256(&text)
    }
}
