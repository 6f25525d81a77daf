//! Events: parsed once, kept in the form that is stored and sent.
