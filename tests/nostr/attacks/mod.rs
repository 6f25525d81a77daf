//! Attacks on a relay, over sockets.
//!
//! | attack | tests |
//! |---|---|
//! | a known id with a forged signature | `forged::a_known_id_with_another_signature_is_not_known` |
//! | a valid signature over a wrong id | `forged::a_signature_over_a_wrong_id_is_no_proof` |
//! | created_at 2^63, -1, 1e10 | `forged::times_beyond_all_clocks_are_refused` |
//! | ids with equal first 8 bytes | in the store, since nobody can mine them: `store::tests::random` |
//! | JSON depth 100,000 | `malformed` |
//! | REQs with ids of 100 KB | `requests::ids_of_100_kb_are_not_sent_back` |
//! | 100 filters x 1,000 | `requests::a_hundred_filters_of_a_thousand_stay_within_the_limits` |
//! | `{}` and filters that match nothing in many events | `requests::endless_scans_end_and_delay_no_other_client` |
//! | COUNT of everything | `requests::a_count_of_everything_is_approximate_beyond_its_limit` |
//! | AUTH without end | `identity::auths_without_end_are_refused_and_the_connection_is_closed` |
//! | AUTH for another relay, 11 minutes old | `auth::wrong_auths_are_refused_and_end_the_connection_at_last` |
//! | AUTH replayed, with a chosen Host | `identity::a_replayed_auth_is_refused`, `identity::the_host_of_a_request_names_no_relay` |
//! | floods by connection, address, key | `operating::rates_of_events_and_requests_are_limited`, `floods::an_address_has_one_rate_for_its_connections`, `floods::an_author_has_one_rate_for_all_connections` |
//! | 10,000 indexed tags | `floods::ten_thousand_tags_are_stored_and_half_of_them_are_indexed` |
//! | kind 5 with 10,000 `e` tags | `floods::ten_thousand_deletions_remove_own_events_only` |
//! | non-readers of stored and live events | `readers` |
//! | negentropy beyond limits | `negentropy::each_refusal_of_a_session_names_its_reason` |
//! | negentropy with cut varints, lengths of 2^63 | `reconciling::malformed_messages_end_the_session_only` |
//! | a plugin that hangs, dies, lies, writes 100 MB | `plugins` |
//! | deletion of others' events | `rules::deleting`, `sequences::deletions` |
//! | vanish with a crash in the middle | `vanishing::a_vanished_author_stays_away_through_crashes` |
//! | gift wraps by REQ, `{}`, live | `auth::gift_wraps_reach_their_recipients_only`, `private` |
//! | gift wraps by COUNT, negentropy, search | `private::no_other_way_leads_to_private_messages` |
//! | two processes on one directory | `operating::two_processes_cannot_use_one_directory` |
//! | a replayed NIP-86 call | `manage::a_replayed_call_is_refused` |

mod floods;
mod forged;
mod identity;
mod plugins;
mod private;
mod readers;
mod reconciling;
mod requests;
mod vanishing;

use serde_json::{Value, json};

use super::author::{Author, id, now};
use super::relay::{Directory, NostrClient, Relay};

/// Lines of a `[[relay]]` table without limits on rates.
const WITHOUT_RATES: &str =
    "events_rate = 'off'\nevents_rate_per_address = 'off'\nrequests_rate = 'off'\n";

/// A relay with these lines and without limits on rates.
fn unlimited(settings: &str) -> Relay {
    Relay::with(&format!("{WITHOUT_RATES}{settings}"))
}

/// The text of a refused event.
fn refused(client: &mut NostrClient, event: &Value) -> String {
    let (accepted, text) = client.publish(event);
    assert!(!accepted, "{event} is accepted: {text}");
    text
}

/// Publishes events without waiting for each OK; all must be accepted.
fn accept_all(client: &mut NostrClient, events: &[Value]) {
    for events in events.chunks(200) {
        events.iter().for_each(|event| client.send(&json!(["EVENT", event])));
        for event in events {
            assert_eq!(client.ok(id(event)), (true, String::new()));
        }
    }
}
