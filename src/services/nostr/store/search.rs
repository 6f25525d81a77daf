//! `search` (NIP-50): all words have to occur in the content.

use super::record::Record;
use crate::services::nostr::canonical::unescape;

/// Whether each word of the query occurs in the event's content, in any case.
pub(super) fn matches(query: &str, record: &Record) -> bool {
    let json = record.content_json();
    let content = unescape(json.get(1..json.len().saturating_sub(1)).unwrap_or_default());
    let content = content.to_lowercase();
    query.split_whitespace().all(|word| content.contains(&word.to_lowercase()))
}
