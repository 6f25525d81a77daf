//! What an upstream is asked.

use super::methods;
use crate::services::rpc::wire::method::Class;
use crate::services::rpc::wire::upstream_request::write_members;

/// A request: what an upstream gets of it, and what that means to us. Kept by who asks, for its memory.
#[derive(Debug)]
pub(super) struct Question {
    /// The members of the request behind its id, as JSON: those that are equal ask the same.
    pub(super) members: String,
    /// It only reads.
    pub(super) reads: bool,
    pub(super) class: Class,
}

impl Default for Question {
    fn default() -> Question {
        Question { members: String::new(), reads: false, class: Class::Other }
    }
}

impl Question {
    /// Asks this; `params` are JSON, empty if there are none.
    pub(super) fn set(&mut self, method: &str, params: &str) {
        let Question { members, reads, class } = self;
        (*reads, *class) = (methods::is_read(method), Class::of(method));
        members.clear();
        write_members(members, method, params);
    }
}
