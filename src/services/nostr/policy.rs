//! Write policy: lists of authors, kinds and ids, and plugins.
