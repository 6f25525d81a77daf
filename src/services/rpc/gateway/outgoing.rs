//! A request before it is submitted: its text, and what its method implies.

use super::methods;
use crate::protocol::http::TraceParent;
use crate::services::rpc::wire::method::Class;
use crate::services::rpc::wire::upstream_request::write_members;

/// A request to be submitted. Its owner keeps it to reuse the memory.
#[derive(Debug)]
pub(super) struct OutgoingRequest {
    /// The members of the request except for its id, as JSON: requests with equal members are
    /// equal.
    pub(super) members: String,
    /// The method only reads.
    pub(super) is_read: bool,
    pub(super) class: Class,
    /// The trace of the client's request, for upstreams by HTTP.
    pub(super) trace: Option<TraceParent>,
}

impl Default for OutgoingRequest {
    fn default() -> OutgoingRequest {
        OutgoingRequest { members: String::new(), is_read: false, class: Class::Other, trace: None }
    }
}

impl OutgoingRequest {
    /// Sets method and parameters; there is no trace then. `params` are JSON, empty if there are none.
    pub(super) fn set(&mut self, method: &str, params: &str) {
        self.is_read = methods::is_read(method);
        self.class = Class::of(method);
        self.trace = None;
        self.members.clear();
        write_members(&mut self.members, method, params);
    }
}
