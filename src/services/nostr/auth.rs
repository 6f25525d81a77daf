//! Authentication of clients (NIP-42).
