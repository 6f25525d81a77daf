//! Errors of calls, with the codes of JSON-RPC 2.0 and of Ethereum.
//!
//! One constructor for each kind of error, so that all codes and most messages stand here.

use std::borrow::Cow;
use std::fmt;

use serde_json::value::RawValue;

/// An error object of JSON-RPC 2.0 (5.1): weir's own, or an upstream's, passed on unchanged.
#[derive(Debug, Clone)]
pub struct RpcError {
    /// The code, for programs.
    pub code: i64,
    /// The message, for people.
    pub message: Cow<'static, str>,
    /// Further data of an upstream.
    pub data: Option<Box<RawValue>>,
}

impl RpcError {
    /// The text is not JSON.
    pub const PARSE: i64 = -32700;
    /// The JSON is not a call.
    pub const INVALID_REQUEST: i64 = -32600;
    /// The method or the kind of subscription is unknown.
    pub const METHOD_NOT_FOUND: i64 = -32601;
    /// The parameters are invalid.
    pub const INVALID_PARAMS: i64 = -32602;
    /// An internal error.
    pub const INTERNAL: i64 = -32603;
    /// The server cannot do this, or not now.
    pub const SERVER: i64 = -32000;
    /// This transport has no notifications.
    pub const NOTIFICATIONS: i64 = -32001;
    /// No answer in time.
    pub const TIMEOUT: i64 = -32002;
    /// The response would be too large.
    pub const TOO_LARGE: i64 = -32003;
    /// A limit is reached.
    pub const LIMIT: i64 = -32005;

    /// All codes of weir's own errors. They bound the labels of a metric.
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

    /// An error with any code.
    pub fn new(code: i64, message: impl Into<Cow<'static, str>>) -> RpcError {
        RpcError { code, message: message.into(), data: None }
    }

    /// -32700: the text is not JSON.
    pub fn parse() -> RpcError {
        RpcError::new(RpcError::PARSE, "parse error")
    }

    /// -32600: the JSON is not a call.
    pub fn invalid_request(message: &'static str) -> RpcError {
        RpcError::new(RpcError::INVALID_REQUEST, message)
    }

    /// -32601: the method is unknown.
    pub fn unknown_method(method: &str) -> RpcError {
        /// Characters of the method's name that the message repeats.
        const NAME_CHARS_MAX: usize = 64;
        let shown: String = method.chars().take(NAME_CHARS_MAX).collect();
        let message = format!("the method {shown} does not exist/is not available");
        RpcError::new(RpcError::METHOD_NOT_FOUND, message)
    }

    /// -32602: the parameters are invalid.
    pub fn invalid_params(message: impl Into<Cow<'static, str>>) -> RpcError {
        RpcError::new(RpcError::INVALID_PARAMS, message)
    }

    /// -32603: an internal error.
    pub fn internal() -> RpcError {
        RpcError::new(RpcError::INTERNAL, "internal error")
    }

    /// -32000: the server refuses or fails.
    pub fn server(message: impl Into<Cow<'static, str>>) -> RpcError {
        RpcError::new(RpcError::SERVER, message)
    }

    /// -32001: a subscription over a transport without notifications.
    pub fn no_notifications() -> RpcError {
        RpcError::new(RpcError::NOTIFICATIONS, "notifications not supported")
    }

    /// -32002: no answer in time.
    pub fn timed_out() -> RpcError {
        RpcError::new(RpcError::TIMEOUT, "request timed out")
    }

    /// -32003: the response exceeds its limit.
    pub fn too_large() -> RpcError {
        RpcError::new(RpcError::TOO_LARGE, "response too large")
    }

    /// -32005: a limit is reached.
    pub fn limit(message: &'static str) -> RpcError {
        RpcError::new(RpcError::LIMIT, message)
    }

    /// -32005: too many calls are pending.
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
