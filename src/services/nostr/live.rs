//! The live index: which subscriptions could match a new event.
