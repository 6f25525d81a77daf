//! The information document (NIP-11) and the page for browsers, both rendered once.
//!
//! Each number in them is the setting that the relay enforces.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::settings::{AuthPolicy, RelayInfo, RelaySettings, RetentionRule};

/// The media type of the document.
pub(super) const MEDIA_TYPE: &str = "application/nostr+json";

const STYLE: &str = "body{font-family:sans-serif;max-width:40em;margin:3em auto;padding:0 1em}\
    th{text-align:left;padding-right:2em}";

/// What a GET of a relay's path returns.
#[derive(Debug)]
pub(super) struct Documents {
    /// The information document.
    pub(super) json: Box<[u8]>,
    pub(super) page: Box<[u8]>,
    /// The `Content-Security-Policy` of the page: it loads nothing.
    pub(super) page_policy: String,
    /// The limit of the relay's route.
    pub(super) message_bytes_max: usize,
}

impl Documents {
    /// Renders all. `message_bytes_max` is the limit of the relay's route.
    pub(super) fn render(settings: &RelaySettings, message_bytes_max: usize) -> Documents {
        let document = Document::of(settings, message_bytes_max);
        let json = serde_json::to_vec(&document).unwrap_or_default();
        let digest = STANDARD.encode(Sha256::digest(STYLE));
        Documents {
            message_bytes_max,
            json: json.into(),
            page: page(&document).into_bytes().into(),
            page_policy: format!(
                "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; \
                 form-action 'none'; frame-ancestors 'none'"
            ),
        }
    }
}

#[derive(Debug, Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    about: About<'a>,
    supported_nips: Vec<u8>,
    software: &'static str,
    version: &'static str,
    limitation: Limitation,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    retention: Vec<Retention>,
}

/// How long events are kept. The document cannot name authors, so it has the rules for all of them.
#[derive(Debug, Serialize)]
struct Retention {
    /// Empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kinds: Vec<Kinds>,
    /// Seconds.
    time: u64,
}

/// One kind, or the first and the last of several.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Kinds {
    One(u16),
    Range(u16, u16),
}

#[derive(Debug, Serialize)]
struct About<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    banner: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icon: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pubkey: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    contact: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    terms_of_service: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    privacy_policy: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    posting_policy: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Limitation {
    max_message_length: usize,
    max_subscriptions: usize,
    max_filters: usize,
    max_limit: usize,
    default_limit: usize,
    max_subid_length: usize,
    max_event_tags: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_content_length: Option<usize>,
    min_pow_difficulty: u8,
    auth_required: bool,
    payment_required: bool,
    restricted_writes: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at_lower_limit: Option<u64>,
    created_at_upper_limit: u64,
}

impl<'a> Document<'a> {
    fn of(settings: &'a RelaySettings, message_bytes_max: usize) -> Document<'a> {
        Document {
            about: About::of(&settings.info),
            supported_nips: nips(settings),
            software: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            limitation: Limitation::of(settings, message_bytes_max),
            retention: settings.retention.iter().filter_map(Retention::of).collect(),
        }
    }
}

impl Retention {
    fn of(rule: &RetentionRule) -> Option<Retention> {
        let kinds = rule.kinds.iter().map(Kinds::of).collect();
        rule.authors.is_empty().then_some(Retention { kinds, time: rule.age })
    }
}

impl Kinds {
    fn of(kinds: &RangeInclusive<u16>) -> Kinds {
        match (*kinds.start(), *kinds.end()) {
            (first, last) if first == last => Kinds::One(first),
            (first, last) => Kinds::Range(first, last),
        }
    }
}

impl<'a> About<'a> {
    fn of(info: &'a RelayInfo) -> About<'a> {
        About {
            name: info.name.as_deref().unwrap_or("weir"),
            description: info.description.as_deref(),
            banner: info.banner.as_deref(),
            icon: info.icon.as_deref(),
            pubkey: info.pubkey.as_deref(),
            contact: info.contact.as_deref(),
            terms_of_service: info.terms_of_service.as_deref(),
            privacy_policy: info.privacy_policy.as_deref(),
            posting_policy: info.posting_policy.as_deref(),
        }
    }
}

impl Limitation {
    fn of(settings: &RelaySettings, message_bytes_max: usize) -> Limitation {
        Limitation {
            max_message_length: message_bytes_max,
            max_subscriptions: settings.subscriptions_per_connection_max,
            max_filters: settings.filters_max,
            max_limit: settings.limit_max,
            default_limit: settings.limit_default,
            max_subid_length: settings.subscription_id_max,
            max_event_tags: settings.tags_max,
            max_content_length: settings.content_chars_max,
            min_pow_difficulty: settings.pow_min,
            auth_required: settings.auth.protects_reads() || settings.auth.protects_writes(),
            payment_required: false,
            restricted_writes: restricts_writes(settings),
            created_at_lower_limit: settings.past_max.map(|past| past.as_secs()),
            created_at_upper_limit: settings.future_max.as_secs(),
        }
    }
}

/// Whether a note of any author may be refused for other reasons than its form.
fn restricts_writes(settings: &RelaySettings) -> bool {
    settings.auth.protects_writes()
        || settings.pow_min > 0
        || settings.allow_only
        || !settings.allow_authors.is_empty()
        || !settings.allow_kinds.is_empty()
        || settings.plugin.is_some()
}

/// The NIPs that a relay with these settings follows.
fn nips(settings: &RelaySettings) -> Vec<u8> {
    let has_auth = settings.auth != AuthPolicy::Off;
    let all = [
        (1, true),
        (9, true),
        (11, true),
        (13, true),
        (17, has_auth),
        (40, true),
        (42, has_auth),
        (45, true),
        (50, settings.search_events_max > 0),
        (59, has_auth),
        (62, true),
        (65, true),
        (67, settings.eose_hint),
        (70, true),
        (77, settings.neg_items_max > 0),
        (86, !settings.administrators.is_empty()),
        (98, !settings.administrators.is_empty()),
    ];
    all.into_iter().filter(|(_, is_on)| *is_on).map(|(nip, _)| nip).collect()
}

/// The page for browsers.
fn page(document: &Document<'_>) -> String {
    let Document { about, limitation, .. } = document;
    let name = escaped(about.name);
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{name}</title>\
         <style>{STYLE}</style><h1>{name}</h1>"
    );
    if let Some(description) = about.description {
        let _ = write!(html, "<p>{}</p>", escaped(description));
    }
    html += "<p>This is a Nostr relay. Add its address to a Nostr client: \
             the address of this page with <code>wss://</code> or <code>ws://</code>.</p>";
    let nips: Vec<String> = document.supported_nips.iter().map(u8::to_string).collect();
    let rows: [(&str, Cow<'_, str>); 7] = [
        ("Supported NIPs", nips.join(", ").into()),
        ("Message length", format!("{} bytes", limitation.max_message_length).into()),
        ("Subscriptions of a connection", limitation.max_subscriptions.to_string().into()),
        ("Events for a filter", limitation.max_limit.to_string().into()),
        ("Tags of an event", limitation.max_event_tags.to_string().into()),
        ("Authentication", if limitation.auth_required { "required" } else { "optional" }.into()),
        ("Contact", about.contact.map_or("-".into(), escaped)),
    ];
    html += "<table>";
    for (name, value) in rows {
        let _ = write!(html, "<tr><th>{name}<td>{value}");
    }
    let _ = write!(html, "</table><p>{} {}</p></html>", document.software, document.version);
    html
}

fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return text.into();
    }
    let mut html = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => html += "&amp;",
            '<' => html += "&lt;",
            '>' => html += "&gt;",
            '"' => html += "&quot;",
            '\'' => html += "&#39;",
            c => html.push(c),
        }
    }
    html.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(settings: &RelaySettings) -> serde_json::Value {
        serde_json::from_slice(&Documents::render(settings, 1000).json).unwrap()
    }

    #[test]
    fn each_limit_is_in_the_document() {
        let settings = RelaySettings::new("relay".into()).pow_min(7).limit_max(9).limit_default(8);
        let document = document(&settings.past_max(std::time::Duration::from_secs(60)));
        let limitation = &document["limitation"];
        assert_eq!(limitation["max_message_length"], 1000);
        assert_eq!(limitation["min_pow_difficulty"], 7);
        assert_eq!(
            (&limitation["max_limit"], &limitation["default_limit"]),
            (&9.into(), &8.into())
        );
        assert_eq!(limitation["created_at_lower_limit"], 60);
        assert_eq!(limitation["auth_required"], false);
    }

    #[test]
    fn rules_of_retention_for_all_authors_are_in_the_document() {
        let rule = |kinds, authors, age| RetentionRule { kinds, authors, age };
        let author = [7; 32];
        let document = document(&RelaySettings::new("relay".into()).retention(vec![
            rule(vec![1..=1, 5..=7], vec![], 3600),
            rule(vec![], vec![author], 60),
            rule(vec![], vec![], 86_400),
        ]));
        let expected = serde_json::json!([
            { "kinds": [1, [5, 7]], "time": 3600 },
            { "time": 86_400 },
        ]);
        assert_eq!(document["retention"], expected);
    }

    #[test]
    fn private_messages_are_not_advertised_without_authentication() {
        let nips = |auth| {
            let settings = RelaySettings::new("relay".into()).auth(auth);
            document(&settings)["supported_nips"].as_array().unwrap().clone()
        };
        for nip in [17, 42, 59] {
            assert!(nips(AuthPolicy::Offer).contains(&nip.into()), "{nip}");
            assert!(!nips(AuthPolicy::Off).contains(&nip.into()), "{nip}");
        }
    }

    #[test]
    fn texts_of_the_operator_are_escaped_in_the_page() {
        let info = RelayInfo::default().name("<b>\"&'".to_owned());
        let settings = RelaySettings::new("relay".into()).info(info);
        let page = String::from_utf8(Documents::render(&settings, 1).page.into()).unwrap();
        assert!(page.contains("<h1>&lt;b&gt;&quot;&amp;&#39;</h1>"), "{page}");
    }
}
