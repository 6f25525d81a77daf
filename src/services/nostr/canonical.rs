//! The canonical form of an event, whose SHA-256 is its id (NIP-01).
