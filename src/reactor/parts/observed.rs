//! The observer of a reactor, with the limits of what is reported to it.

use super::lines::LineLimits;
use crate::reactor::api::observer::Observer;

/// An observer.
#[derive(Debug)]
pub(crate) struct Observed {
    pub(crate) observer: Box<dyn Observer>,
    /// The limits of refusals, which any peer can provoke.
    pub(crate) limits: LineLimits,
}

impl Observed {
    pub(crate) fn new(observer: Box<dyn Observer>) -> Observed {
        Observed { observer, limits: LineLimits::default() }
    }
}
