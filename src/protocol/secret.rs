//! [`Secret`]: a value that debug output does not show.
//!
//! Request heads, tokens and credentials are held in it while they are not overwritten yet. A log line or
//! a failed assertion may print a whole connection or service.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// A value whose `Debug` shows nothing of it, not even its length.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Secret<T>(pub(crate) T);

impl<T> Deref for Secret<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Secret<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_shows_neither_a_value_nor_its_length() {
        assert_eq!(format!("{:?} {:#?}", Secret("abc"), Secret(vec![1, 2])), "Secret Secret");
    }
}
