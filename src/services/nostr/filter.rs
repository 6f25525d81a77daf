//! Filters of subscriptions (NIP-01).
