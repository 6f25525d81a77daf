//! What a hook is asked: the headers that describe a client's request, as nginx and Traefik send them.
//!
//! The path is in its normal form, which routes compare and upstreams get, so that the hook does not
//! decide on another spelling. A question holds each text of the request once; the thread that sends it
//! makes the headers.

use std::net::IpAddr;

use crate::protocol::handshake::Refusal;
#[cfg(feature = "proxy")]
use crate::protocol::http::lenient_path;
use crate::protocol::http::{TraceParent, normalized_path};
use crate::protocol::secret::Secret;
use crate::reactor::GateRequest;
use crate::services::auth::cache::Hash;
use crate::services::auth::keys::set::sha256;
use crate::services::auth::settings::HookHeader;

/// A header: its name in lower case, and its value.
type Header = (String, Vec<u8>);

/// What one request to the hook says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    /// The path in its normal form, and the query as sent.
    uri: Secret<String>,
    method: String,
    host: String,
    scheme: &'static str,
    client: IpAddr,
    /// Headers of the client.
    forwarded: Secret<Vec<Header>>,
    trace: Option<TraceParent>,
}

impl Question {
    /// # Errors
    /// [`Refusal::AmbiguousPath`]: the request goes to an upstream that may read another path than the
    /// hook. [`Refusal::Header`]: its credentials are no ASCII (RFC 9110, 11.4), which the HTTP client
    /// does not send; that would count as a failure of the hook.
    pub(super) fn new(
        request: &GateRequest<'_>,
        forwarded: &[HookHeader],
    ) -> Result<Question, Refusal> {
        let http = request.http;
        let path = normalized_path(http.path());
        #[cfg(feature = "proxy")]
        if request.is_forwarded && lenient_path(&path).is_some() {
            return Err(Refusal::AmbiguousPath);
        }
        let uri = match http.query() {
            Some(query) => format!("{path}?{query}"),
            None => path.into_owned(),
        };
        let mut headers = Vec::new();
        for (name, value) in http.all_headers() {
            let name = name.to_ascii_lowercase();
            if forwarded.iter().any(|wanted| wanted.0 == name) {
                if name == "authorization" && !value.is_ascii() {
                    return Err(Refusal::Header);
                }
                headers.push((name, value.to_vec()));
            }
        }
        Ok(Question {
            uri: Secret(uri),
            method: http.method().to_owned(),
            host: http.host().unwrap_or_default().to_owned(),
            scheme: if request.is_secure { "https" } else { "http" },
            client: request.peer.ip().to_canonical(),
            forwarded: Secret(headers),
            trace: request.trace,
        })
    }

    /// The headers to send.
    pub(super) fn into_headers(self) -> Vec<Header> {
        let Question { uri, method, host, scheme, client, forwarded, trace } = self;
        let (Secret(uri), Secret(mut headers)) = (uri, forwarded);
        for (name, value) in [
            ("x-original-url", format!("{scheme}://{host}{uri}")),
            ("x-original-method", method.clone()),
            ("x-forwarded-uri", uri.clone()),
            ("x-original-uri", uri),
            ("x-forwarded-method", method),
            ("x-forwarded-for", client.to_string()),
            ("x-forwarded-proto", scheme.to_owned()),
            ("x-forwarded-host", host),
        ] {
            headers.push((name.to_owned(), value.into_bytes()));
        }
        if let Some(trace) = trace {
            headers.push((TraceParent::NAME.to_owned(), trace.to_string().into_bytes()));
        }
        headers
    }

    /// The memory that it needs while it waits.
    pub(super) fn bytes(&self) -> usize {
        let of_header = |(name, value): &Header| size_of::<Header>() + name.len() + value.len();
        let texts = self.uri.len() + self.method.len() + self.host.len();
        size_of::<Question>() + texts + self.forwarded.iter().map(of_header).sum::<usize>()
    }

    /// A hash of everything that decides what is sent, without `traceparent`, which differs for equal
    /// requests. Lengths keep different texts apart.
    pub(super) fn hash(&self) -> Hash {
        let client = self.client.to_string();
        let texts = [&*self.uri, &self.method, &self.host, self.scheme, &client].map(str::as_bytes);
        let headers = self.forwarded.iter().flat_map(|(name, value)| [name.as_bytes(), value]);
        let mut hashed = Vec::new();
        for part in texts.into_iter().chain(headers) {
            hashed.extend_from_slice(&part.len().to_le_bytes());
            hashed.extend_from_slice(part);
        }
        sha256(&hashed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_shows_neither_headers_nor_the_query() {
        let question = Question {
            uri: Secret("/?token=SECRET".to_owned()),
            method: String::new(),
            host: String::new(),
            scheme: "http",
            client: [127, 0, 0, 1].into(),
            forwarded: Secret(vec![("cookie".to_owned(), b"SECRET".to_vec())]),
            trace: None,
        };
        let text = format!("{question:?}");
        let bytes = format!("{:?}", b"SECRET");
        assert!(text.contains("uri: Secret") && text.contains("forwarded: Secret"), "{text}");
        assert!(
            !text.contains("SECRET") && !text.contains(bytes.trim_matches(['[', ']'])),
            "{text}"
        );
    }
}
