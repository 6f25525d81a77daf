//! What runs on the loop.
