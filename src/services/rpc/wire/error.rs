//! What a call is answered when it cannot be answered: the codes of JSON-RPC 2.0 and of Ethereum.
//!
//! One constructor for each mistake, so that every code and its words stand here and nowhere else.

use std::borrow::Cow;
use std::fmt;

use serde_json::value::RawValue;

/// An error as JSON-RPC 2.0 (5.1) has it: ours, or an upstream's passed on as it came.
#[derive(Debug, Clone)]
pub struct RpcError {
    /// What programs go by.
    pub code: i64,
    /// What people read.
    pub message: Cow<'static, str>,
    /// Whatever else an upstream has said.
    pub data: Option<Box<RawValue>>,
}

impl RpcError {
    /// The text is no JSON.
    pub const PARSE: i64 = -32700;
    /// It is JSON, but no call.
    pub const INVALID_REQUEST: i64 = -32600;
    /// There is no such method, or no such subscription.
    pub const METHOD_NOT_FOUND: i64 = -32601;
    /// The method does not take these parameters.
    pub const INVALID_PARAMS: i64 = -32602;
    /// A fault of ours.
    pub const INTERNAL: i64 = -32603;
    /// Whatever the server cannot do just now.
    pub const SERVER: i64 = -32000;
    /// No notifications over this transport.
    pub const NOTIFICATIONS: i64 = -32001;
    /// It took too long.
    pub const TIMEOUT: i64 = -32002;
    /// The answer would be too large.
    pub const TOO_LARGE: i64 = -32003;
    /// A limit is reached.
    pub const LIMIT: i64 = -32005;

    /// Every code that we give ourselves: labels of a metric are bounded by it.
    pub const CODES: [i64; 10] = [
        RpcError::PARSE,
        RpcError::INVALID_REQUEST,
        RpcError::METHOD_NOT_FOUND,
        RpcError::INVALID_PARAMS,
        RpcError::INTERNAL,
        RpcError::SERVER,
        RpcError::NOTIFICATIONS,
        RpcError::TIMEOUT,
        RpcError::TOO_LARGE,
        RpcError::LIMIT,
    ];

    /// Any error.
    pub fn new(code: i64, message: impl Into<Cow<'static, str>>) -> RpcError {
        RpcError { code, message: message.into(), data: None }
    }

    /// Broken JSON.
    pub fn parse() -> RpcError {
        RpcError::new(RpcError::PARSE, "parse error")
    }

    /// JSON that is no call, and why.
    pub fn invalid_request(why: &'static str) -> RpcError {
        RpcError::new(RpcError::INVALID_REQUEST, why)
    }

    /// A method that nobody here knows.
    pub fn unknown_method(method: &str) -> RpcError {
        /// Characters of a name that are worth repeating.
        const NAME_CHARS_MAX: usize = 64;
        let shown: String = method.chars().take(NAME_CHARS_MAX).collect();
        let message = format!("the method {shown} does not exist/is not available");
        RpcError::new(RpcError::METHOD_NOT_FOUND, message)
    }

    /// Parameters that the method does not take, and why.
    pub fn invalid_params(why: impl Into<Cow<'static, str>>) -> RpcError {
        RpcError::new(RpcError::INVALID_PARAMS, why)
    }

    /// A fault of ours.
    pub fn internal() -> RpcError {
        RpcError::new(RpcError::INTERNAL, "internal error")
    }

    /// Something that the server will not or cannot do, and why.
    pub fn server(why: impl Into<Cow<'static, str>>) -> RpcError {
        RpcError::new(RpcError::SERVER, why)
    }

    /// A subscription where nothing can be pushed.
    pub fn no_notifications() -> RpcError {
        RpcError::new(RpcError::NOTIFICATIONS, "notifications not supported")
    }

    /// No answer in time.
    pub fn timed_out() -> RpcError {
        RpcError::new(RpcError::TIMEOUT, "request timed out")
    }

    /// An answer larger than may be sent.
    pub fn too_large() -> RpcError {
        RpcError::new(RpcError::TOO_LARGE, "response too large")
    }

    /// A limit, by name.
    pub fn limit(which: &'static str) -> RpcError {
        RpcError::new(RpcError::LIMIT, which)
    }

    /// As many calls under way as there may be.
    pub fn busy() -> RpcError {
        RpcError::limit("busy")
    }
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.message)
    }
}

impl std::error::Error for RpcError {}
