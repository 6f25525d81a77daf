//! The relay information document (NIP-11).
