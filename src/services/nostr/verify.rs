//! Checks of a submitted event that need no store: form, id, signature.
