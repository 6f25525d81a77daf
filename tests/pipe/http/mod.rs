//! HTTP exchanges through an upstream. The service and the upstream are the test's.

mod ends;
mod forwarding;
mod keeping;
mod requests;
mod responses;
mod secure;
mod smuggling;
mod volume;
