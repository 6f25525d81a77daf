//! Requests that two parsers could read differently: those of request smuggling (CL.TE, TE.CL, TE.TE), of
//! h1spec, and of the advisories of other proxies. Tests pass them through a codec and through the
//! real binary.

use weir::protocol::handshake::Refusal::{self, *};

/// A request that must not reach an upstream.
pub const SMUGGLED: &str = "GET /admin HTTP/1.1\r\nHost: h\r\n\r\n";

/// Header lines of a request with two framings.
pub const LENGTH_AND_CODING: &[&str] = &[
    "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
    "Content-Length: 0\r\nTransfer-Encoding: identity\r\n",
    "transfer-encoding: chunked\r\ncontent-length: 4\r\nX: y\r\n",
];

/// Header lines in which other parsers may find another length.
pub const DISGUISED_LENGTHS: &[(&str, Refusal)] = &[
    ("Content-Length: 5\r\nContent-Length: 0\r\n", DuplicateHeader),
    ("Content-Length: 0\r\nContent-Length: 0\r\n", DuplicateHeader),
    ("Content-Length: 5, 5\r\n", BodyLength),
    ("Content-Length: +5\r\n", BodyLength),
    ("Content-Length: -1\r\n", BodyLength),
    ("Content-Length: 0x5\r\n", BodyLength),
    ("Content-Length: 5 5\r\n", BodyLength),
    ("Content-Length: 5_0\r\n", BodyLength),
    ("Content-Length:\r\n", BodyLength),
    ("Content-Length : 5\r\n", Header),
    ("Content-Length\t: 5\r\n", Header),
    ("Content-Length\0: 5\r\n", Header),
    (" Content-Length: 5\r\n", Header),
    ("X: y\r\n Content-Length: 5\r\n", Header),
    ("X: y\r\n\tz\r\n", Header),
    ("X: y\nContent-Length: 5\r\n", BareLf),
    ("X: y\rContent-Length: 5\r\n", Header),
    ("X: y\0\r\n", Header),
    ("X\r\n", Header),
    (": y\r\n", Header),
];

/// Header lines in which other parsers may find another transfer coding.
pub const DISGUISED_CODINGS: &[(&str, Refusal)] = &[
    ("Transfer-Encoding: xchunked\r\n", TransferCoding),
    ("Transfer-Encoding: chunked, identity\r\n", TransferCoding),
    ("Transfer-Encoding: identity, chunked\r\n", TransferCoding),
    ("Transfer-Encoding: chunked, chunked\r\n", TransferCoding),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", TransferCoding),
    ("Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n", TransferCoding),
    ("Transfer-Encoding: gzip, chunked\r\n", TransferCoding),
    ("Transfer-Encoding: \"chunked\"\r\n", TransferCoding),
    ("Transfer-Encoding: chunked;q=1\r\n", TransferCoding),
    ("Transfer-Encoding:\r\n", TransferCoding),
    ("Transfer-Encoding : chunked\r\n", Header),
    ("Transfer-Encoding\t: chunked\r\n", Header),
    (" Transfer-Encoding: chunked\r\n", Header),
    ("X: y\r\n Transfer-Encoding: chunked\r\n", Header),
    ("Transfer-Encoding: \u{b}chunked\r\n", Header),
    ("Transfer-Encoding:\r\n chunked\r\n", Header),
    ("X: y\nTransfer-Encoding: chunked\r\n", BareLf),
    ("X: y\rTransfer-Encoding: chunked\r\n", Header),
];

/// Chunked bodies that other parsers may end elsewhere.
pub const AMBIGUOUS_CHUNKS: &[&str] = &[
    "0\n\n",
    "0\r\n\n",
    "0\r\n\r\r",
    "1\na\r\n0\r\n\r\n",
    "1\r\na\n0\r\n\r\n",
    "1\r\nab\r\n0\r\n\r\n",
    "1\r\na0\r\n\r\n",
    "0x1\r\na\r\n0\r\n\r\n",
    "+1\r\na\r\n0\r\n\r\n",
    "-1\r\na\r\n0\r\n\r\n",
    " 1\r\na\r\n0\r\n\r\n",
    "\r\n1\r\na\r\n0\r\n\r\n",
    "1_0\r\n",
    "1;a\nb\r\na\r\n0\r\n\r\n",
    "1;a\rb\r\na\r\n0\r\n\r\n",
    "00000000000000001\r\na\r\n0\r\n\r\n",
    "10000000000000000\r\na\r\n0\r\n\r\n",
    "0\r\n X: y\r\n\r\n",
    "0\r\nX y\r\n\r\n",
    "0\r\nX : y\r\n\r\n",
];

/// Request lines and Host lines that name another path or host than the one that has the route.
pub const OTHER_TARGETS: &[(&str, &str, Refusal)] = &[
    ("GET /public/../admin HTTP/1.1", "Host: h", DotSegment),
    ("GET /public/%2e%2e/admin HTTP/1.1", "Host: h", DotSegment),
    ("GET /public/..%2Fadmin HTTP/1.1", "Host: h", DotSegment),
    ("GET /public%5C..%5cadmin HTTP/1.1", "Host: h", DotSegment),
    ("GET /public/..;/admin HTTP/1.1", "Host: h", DotSegment),
    ("GET /public/%2e%2E;/admin HTTP/1.1", "Host: h", DotSegment),
    ("GET /admin%00.png HTTP/1.1", "Host: h", AmbiguousPath),
    ("GET http://other/ HTTP/1.1", "Host: h", Target),
    ("GET http://h@other/ HTTP/1.1", "Host: h", Target),
    ("GET //other/ HTTP/1.1 ", "Host: h", RequestLine),
    ("GET  /admin HTTP/1.1", "Host: h", RequestLine),
    ("GET\t/admin HTTP/1.1", "Host: h", RequestLine),
    ("GET /a#/admin HTTP/1.1", "Host: h", Target),
    ("GET * HTTP/1.1", "Host: h", Target),
    ("CONNECT h:443 HTTP/1.1", "Host: h", Target),
    ("GET / HTTP/1.1", "Host: h\r\nHost: other", DuplicateHeader),
    ("GET / HTTP/1.1", "Host: h, other", HostMalformed),
    ("GET / HTTP/1.1", "X: y", HostMalformed),
    ("GET / HTTP/1.1", "Host: h/other", HostMalformed),
];

/// Last chunks of a body.
pub const LAST_CHUNKS: &[&str] = &["0", "000", "0000000000000000", "0;a=b", "0 \t;a"];
