//! The HTTP client of one upstream: sends a request and reads the answer. Blocks, so it belongs on a
//! thread.
//!
//! It connects to the host of the URL and to no other: `HTTP_PROXY` and its relatives are ignored,
//! and redirects are not followed. A status is never an error here: callers decide what it means.
//! Errors do not show the URL, whose path may hold a key.

use std::fmt;
use std::io::{self, Read, Take};
use std::net::SocketAddr;
use std::time::Duration;

use ureq::Agent;
use ureq::config::Config;
use ureq::http::{Response, Uri};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use super::tls::UpstreamTls;
use super::url::UpstreamUrl;
use crate::protocol::growth::{DOUBLING_BYTES_MAX, next_capacity};
#[cfg(feature = "rpc")]
use crate::protocol::http::TraceParent;

/// Connections that were idle for longer are not used again: the server may have closed them.
const IDLE_MAX: Duration = Duration::from_secs(5);

/// The HTTP client of one upstream. Clones share its connections.
#[derive(Debug, Clone)]
pub(crate) struct HttpClient {
    url: UpstreamUrl,
    agent: Agent,
}

/// The answer to a request, with a body that is not read yet.
#[derive(Debug)]
pub(crate) struct HttpAnswer(Response<ureq::Body>);

/// A request without a complete answer.
#[derive(Debug)]
pub(crate) struct HttpError(ureq::Error);

/// The kind of an [`HttpError`], by its consequence for the request.
#[cfg(feature = "rpc")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HttpFailure {
    /// The request did not reach the upstream.
    Unsent,
    /// No complete answer arrived within the timeout.
    TimedOut,
    /// The answer is larger than the limit.
    TooLarge,
    /// The request may have reached the upstream, but the connection or the answer broke.
    Broken,
}

/// Resolves the host of the upstream. ureq resolves on a thread of its own for each request, because
/// that may take longer than the timeout, even if the host is an address.
#[derive(Debug)]
struct UpstreamResolver {
    by_name: DefaultResolver,
    /// If the host is an address.
    address: Option<SocketAddr>,
}

impl Resolver for UpstreamResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let Some(address) = self.address else {
            return self.by_name.resolve(uri, config, timeout);
        };
        let mut addresses = self.empty();
        addresses.push(address);
        Ok(addresses)
    }
}

impl HttpClient {
    /// A client that keeps up to `connections` idle connections.
    pub(crate) fn new(
        url: &UpstreamUrl,
        tls: Option<UpstreamTls>,
        connections: usize,
    ) -> HttpClient {
        let tls = tls.map(|tls| tls.http);
        let config = Agent::config_builder()
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .user_agent("weir")
            .tls_config(tls.unwrap_or_default())
            .max_idle_age(IDLE_MAX)
            .max_idle_connections(connections)
            .max_idle_connections_per_host(connections)
            .build();
        let resolver =
            UpstreamResolver { by_name: DefaultResolver::default(), address: url.address() };
        let agent = Agent::with_parts(config, DefaultConnector::default(), resolver);
        HttpClient { url: url.clone(), agent }
    }

    #[cfg(feature = "node")]
    pub(crate) fn url(&self) -> &UpstreamUrl {
        &self.url
    }

    /// Sends a GET with these headers. `timeout` as for [`post`](HttpClient::post).
    #[cfg(feature = "auth")]
    pub(crate) fn get(
        &self,
        headers: &[(String, Vec<u8>)],
        timeout: Duration,
    ) -> Result<HttpAnswer, HttpError> {
        let request = self.agent.get(self.url.full_text());
        let mut request = request.config().timeout_global(Some(timeout)).build();
        for (name, value) in headers {
            request = request.header(name, &value[..]);
        }
        request.call().map(HttpAnswer).map_err(HttpError)
    }

    /// Posts a JSON text, as a part of this trace. `timeout` includes name resolution, connecting and
    /// reading the answer.
    #[cfg(feature = "rpc")]
    pub(crate) fn post(
        &self,
        json: &str,
        timeout: Duration,
        trace: Option<TraceParent>,
    ) -> Result<HttpAnswer, HttpError> {
        let request = self.agent.post(self.url.full_text());
        let request = request.config().timeout_global(Some(timeout)).build();
        let request = request.header("Content-Type", "application/json");
        let mut request = request.header("Accept", "application/json");
        if let Some(trace) = trace {
            request = request.header(TraceParent::NAME, trace.to_string());
        }
        request.send(json).map(HttpAnswer).map_err(HttpError)
    }
}

impl HttpAnswer {
    pub(crate) fn status(&self) -> u16 {
        self.0.status().as_u16()
    }

    /// The headers with a name: the name in lower case, and the value.
    #[cfg(feature = "auth")]
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()))
    }

    /// Reads the body, of at most `bytes_max` bytes.
    pub(crate) fn read(mut self, bytes_max: usize) -> Result<Vec<u8>, HttpError> {
        let bytes_max = bytes_max as u64;
        let announced = self.0.body().content_length();
        let reader = self.0.body_mut().as_reader().take(bytes_max + 1);
        let body = read_all(reader, announced).map_err(|error| HttpError(error.into()))?;
        if body.len() as u64 > bytes_max {
            return Err(HttpError(ureq::Error::BodyExceedsLimit(bytes_max)));
        }
        Ok(body)
    }
}

/// Reads until the end or the reader's limit. If the length is announced, a large buffer
/// [grows](crate::protocol::growth) to it in few steps. If not (RFC 9112, 6.3), it doubles.
fn read_all(mut reader: Take<impl Read>, announced: Option<u64>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    let first = reader.by_ref().take(DOUBLING_BYTES_MAX as u64).read_to_end(&mut body)?;
    if first < DOUBLING_BYTES_MAX {
        return Ok(body);
    }
    let total = announced.map_or(0, |announced| announced.min(body.len() as u64 + reader.limit()));
    while (body.len() as u64) < total {
        let room = next_capacity(body.len(), total as usize) - body.len();
        body.reserve_exact(room);
        if reader.by_ref().take(room as u64).read_to_end(&mut body)? < room {
            return Ok(body);
        }
    }
    reader.read_to_end(&mut body)?;
    Ok(body)
}

impl HttpError {
    /// Whether the head of the answer exceeds the limit of the client.
    #[cfg(feature = "auth")]
    pub(crate) fn is_long_head(&self) -> bool {
        matches!(self.0, ureq::Error::LargeResponseHeader(..))
    }

    #[cfg(feature = "rpc")]
    pub(crate) fn failure(&self) -> HttpFailure {
        match &self.0 {
            ureq::Error::HostNotFound | ureq::Error::ConnectionFailed | ureq::Error::Tls(_) => {
                HttpFailure::Unsent
            }
            ureq::Error::Io(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused => HttpFailure::Unsent,
                io::ErrorKind::TimedOut => HttpFailure::TimedOut,
                _ => HttpFailure::Broken,
            },
            ureq::Error::Timeout(_) => HttpFailure::TimedOut,
            ureq::Error::BodyExceedsLimit(_) => HttpFailure::TooLarge,
            _ => HttpFailure::Broken,
        }
    }
}

impl fmt::Display for HttpError {
    /// Lists the variants that do not hold a URL; a new variant of the crate is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use ureq::Error;
        match &self.0 {
            Error::StatusCode(_)
            | Error::Protocol(_)
            | Error::Io(_)
            | Error::Timeout(_)
            | Error::HostNotFound
            | Error::RedirectFailed
            | Error::ConnectionFailed
            | Error::BodyExceedsLimit(_)
            | Error::TooManyRedirects
            | Error::Tls(_)
            | Error::Pem(_)
            | Error::Rustls(_)
            | Error::LargeResponseHeader(..)
            | Error::Decompress(..) => self.0.fmt(f),
            Error::BadUri(_) => f.write_str("the URL cannot be used for a request"),
            _ => f.write_str("the HTTP request failed"),
        }
    }
}

#[cfg(all(test, feature = "rpc"))]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::protocol::growth::GROWTH_MAX;

    const TIMEOUT: Duration = Duration::from_secs(20);

    /// Posts to a server that sends `answer` to its only connection and closes it.
    fn post(answer: &'static str) -> Result<HttpAnswer, HttpError> {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/secret", server.local_addr().unwrap());
        let serve = thread::spawn(move || {
            let mut socket = server.accept().unwrap().0;
            // The head and the body of the request end in one brace.
            let mut request = Vec::new();
            while request.last() != Some(&b'}') {
                let mut byte = [0];
                socket.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            socket.write_all(answer.as_bytes()).unwrap();
        });
        let client = HttpClient::new(&url.parse().unwrap(), None, 1);
        let answer = client.post("{}", TIMEOUT, None);
        serve.join().unwrap();
        answer
    }

    #[test]
    fn a_body_is_read_up_to_its_limit() {
        const ANSWER: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nabcde";
        let answer = post(ANSWER).unwrap();
        assert_eq!(answer.status(), 503, "a status is not an error");
        assert_eq!(answer.read(5).unwrap(), b"abcde");
        let error = post(ANSWER).unwrap().read(4).unwrap_err();
        assert_eq!(error.failure(), HttpFailure::TooLarge);
    }

    #[test]
    fn a_large_body_is_read_into_a_buffer_of_its_announced_length() {
        const LEN: usize = 5_000_000;
        let sent = vec![b'x'; LEN];
        let read = |announced: usize, limit: usize| {
            read_all(sent.take(limit as u64), Some(announced as u64)).unwrap()
        };
        let body = read(LEN, 2 * LEN);
        assert!(body == sent && body.capacity() == LEN, "{} bytes", body.capacity());
        // The limit, the end of the stream or the announced length may each be the least.
        for limit in [0, 1, LEN / 2, LEN, 2 * LEN] {
            for announced in [0, 1, LEN / 2, LEN, 2 * LEN] {
                let len = limit.min(LEN);
                assert_eq!(read(announced, limit).len(), len, "{announced} announced");
            }
        }
        assert_eq!(read_all(sent.take(u64::MAX), None).unwrap().len(), LEN);
    }

    /// An announced length, however large, allocates at most 4 bytes for each received byte.
    #[test]
    fn the_buffer_of_a_body_is_bounded_by_the_received_bytes() {
        const STARTED_BYTES: usize = 64;
        for len in [0, 1, 1000, DOUBLING_BYTES_MAX, 300_000, 2_000_000] {
            for announced in [1 << 40, u64::MAX] {
                let sent = vec![b'x'; len];
                let body = read_all(sent.take(u64::MAX), Some(announced)).unwrap();
                assert_eq!(body.len(), len);
                let most = GROWTH_MAX * len + STARTED_BYTES;
                assert!(body.capacity() <= most, "{} bytes for {len}", body.capacity());
            }
        }
    }

    #[test]
    fn redirects_are_not_followed() {
        let moved = "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:9/\r\n\
            Content-Length: 0\r\n\r\n";
        assert_eq!(post(moved).unwrap().status(), 307);
    }

    #[test]
    fn failures_tell_apart_whether_the_request_was_sent() {
        let broken = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab";
        let error = post(broken).unwrap().read(100).unwrap_err();
        assert_eq!(error.failure(), HttpFailure::Broken);
        assert_eq!(post("").unwrap_err().failure(), HttpFailure::Broken);

        let closed = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", closed.local_addr().unwrap());
        let client = HttpClient::new(&url.parse().unwrap(), None, 1);
        let error = client.post("{}", Duration::from_millis(1), None).unwrap_err();
        assert_eq!(error.failure(), HttpFailure::TimedOut, "{error}");
        drop(closed);
        assert_eq!(client.post("{}", TIMEOUT, None).unwrap_err().failure(), HttpFailure::Unsent);
    }

    #[test]
    fn errors_do_not_show_the_url() {
        let secret = || "http://a/secret".to_owned();
        for error in [
            ureq::Error::BadUri(secret()),
            ureq::Error::RequireHttpsOnly(secret()),
            ureq::Error::ConnectProxyFailed(secret()),
            ureq::Error::Other(secret().into()),
        ] {
            let error = HttpError(error);
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        let timeout = io::Error::from(io::ErrorKind::TimedOut);
        assert_eq!(HttpError(ureq::Error::Io(timeout)).to_string(), "io: timed out");
    }
}
