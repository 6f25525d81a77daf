//! Stands in for `conn/windows.rs` without the feature `deflate`.
//!
//! [`Windows`] and [`Unfinished`] have no value, so the compiler removes each branch that needs
//! one. An `Option` of them takes no byte.

use std::convert::Infallible;

use crate::reactor::api::settings::RouteSettings;
use crate::reactor::api::time::Time;

/// The compression windows of one connection: has no value.
#[derive(Debug)]
pub(crate) struct Windows(Infallible);

/// How a connection stores its windows.
pub(crate) type WindowsBox = Windows;

impl Windows {
    pub(crate) fn idle_at(&self, _: &RouteSettings) -> Option<Time> {
        match self.0 {}
    }

    pub(crate) fn held_bytes(&self) -> usize {
        match self.0 {}
    }

    pub(crate) fn is_unused_since(&self, _: Time) -> bool {
        match self.0 {}
    }
}

/// An incomplete compressed message: has no value.
#[derive(Debug)]
pub(crate) struct Unfinished(Infallible);

impl Unfinished {
    pub(crate) fn is_whole(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn held_bytes(&self) -> usize {
        match self.0 {}
    }
}
