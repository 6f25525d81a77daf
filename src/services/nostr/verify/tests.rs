use super::super::event::Head;
use super::super::signed::{NOW, event, event_at, json, key, key_hex, signed};
use super::*;

/// A store and lists of a few entries.
#[derive(Default)]
struct World {
    stored: Option<(EventId, Signature)>,
    vanished: Option<(PublicKey, u64)>,
    refused: Option<Refusal>,
}

impl Known for World {
    fn signature(&self, id: &EventId) -> Option<Signature> {
        self.stored.filter(|(stored, _)| stored == id).map(|(_, sig)| sig)
    }

    fn is_vanished(&self, author: &PublicKey, created_at: u64) -> bool {
        self.vanished.is_some_and(|(vanished, time)| vanished == *author && created_at <= time)
    }
}

impl Lists for World {
    fn refusal(&self, _: &Event) -> Option<Refusal> {
        self.refused.clone()
    }
}

fn verdict(event: &Event, settings: &VerifySettings, world: &World) -> Verdict {
    let keys = &mut KeyCache::default();
    let mut verifier = Verifier { settings, known: world, lists: world, keys, now: NOW };
    let whole = verifier.check(&json(event));
    assert_eq!(verifier.check_message(&format!("{}]", json(event))), whole);
    whole
}

/// The refusal's text.
fn refusal(event: &Event, settings: &VerifySettings, world: &World) -> String {
    match verdict(event, settings, world) {
        Verdict::Refuse { id, refusal } => {
            assert_eq!(id, Some(event.id().into()));
            refusal.to_string()
        }
        other => panic!("not refused: {other:?}"),
    }
}

fn refused(event: &Event) -> String {
    refusal(event, &VerifySettings::default(), &World::default())
}

fn accepted(event: &Event) {
    let verdict = verdict(event, &VerifySettings::default(), &World::default());
    assert_eq!(verdict, Verdict::Accept(event.clone()));
}

/// The same event, changed without a new id.
fn with(event: &Event, head: impl FnOnce(&mut Head)) -> Event {
    let mut changed = *event.head();
    head(&mut changed);
    Event::from_stored(changed, event.tags_json(), event.content_json())
}

#[test]
fn valid_events_are_accepted_by_class() {
    for kind in [0, 1, 5, 10_002, 30_023, 1_059, 65_535] {
        accepted(&event(1, kind, &[&["p", &key_hex(2)]], "x"));
    }
    let ephemeral = event(1, 20_001, &[], "");
    let verdict = verdict(&ephemeral, &VerifySettings::default(), &World::default());
    assert_eq!(verdict, Verdict::Ephemeral(ephemeral));
}

/// The same 14 events, signed by nostr-tools 2.25.2 and nostr-sdk 0.45.1. Their texts have NIP-01's escapes,
/// all control characters, 0x7F, escapes as text, U+2028, surrogate pairs, non-characters, NUL.
const NOSTR_TOOLS: &str = include_str!("nostr_tools.jsonl");
const NOSTR_SDK: &str = include_str!("nostr_sdk.jsonl");

#[test]
fn events_of_other_libraries_are_accepted_and_written_alike() {
    let (settings, world) = (VerifySettings::default(), World::default());
    let check = |text: &str| {
        let keys = &mut KeyCache::default();
        let verdict =
            Verifier { settings: &settings, known: &world, lists: &world, keys, now: NOW }
                .check(text);
        match verdict {
            Verdict::Accept(event) => event,
            other => panic!("{text}: {other:?}"),
        }
    };
    assert_eq!(NOSTR_SDK.lines().count(), 14);
    for (tools, sdk) in NOSTR_TOOLS.lines().zip(NOSTR_SDK.lines()) {
        let event = check(sdk);
        assert_eq!(check(tools).id(), event.id());
        assert_eq!(json(&event), sdk);
        // Escaped otherwise, it is the same event.
        let escaped = sdk.replace('/', "\\/").replace('\u{e9}', "\\u00E9");
        let escaped = escaped.replace('\u{10ffff}', "\\udbff\\uDFFF").replace('\u{7f}', "\\u007f");
        assert_eq!(check(&escaped), event);
    }
}

#[test]
fn kinds_that_are_not_for_relays_are_blocked() {
    for kind in [13, 9_734, 22_242, 24_242, 27_235] {
        assert_eq!(
            refused(&event(1, kind, &[], "")),
            format!("blocked: kind {kind} is not for relays")
        );
    }
    let settings =
        VerifySettings { denied_kinds: vec![4..=4, 100..=102], ..VerifySettings::default() };
    let world = World::default();
    for kind in [4, 100, 101, 102] {
        let text = format!("blocked: kind {kind} is not accepted here");
        assert_eq!(refusal(&event(1, kind, &[], ""), &settings, &world), text);
    }
    assert!(matches!(verdict(&event(1, 103, &[], ""), &settings, &world), Verdict::Accept(_)));
}

#[test]
fn times_are_bounded() {
    accepted(&event_at(1, NOW + 900, 1, &[], ""));
    accepted(&event_at(1, 0, 1, &[], ""));
    let future = "invalid: created_at is more than 900 seconds in the future";
    assert_eq!(refused(&event_at(1, NOW + 901, 1, &[], "")), future);
    let old = event_at(1, NOW - 601, 20_000, &[], "");
    assert_eq!(refused(&old), "invalid: created_at is more than 600 seconds in the past");
    let settings = VerifySettings { past_max_seconds: Some(1_000), ..VerifySettings::default() };
    let world = World::default();
    let past = |created_at| event_at(1, created_at, 1, &[], "");
    assert!(matches!(verdict(&past(NOW - 1_000), &settings, &world), Verdict::Accept(_)));
    let text = "invalid: created_at is more than 1000 seconds in the past";
    assert_eq!(refusal(&past(NOW - 1_001), &settings, &world), text);
    let ephemeral = event_at(1, NOW - 600, 20_000, &[], "");
    assert!(matches!(verdict(&ephemeral, &settings, &world), Verdict::Ephemeral(_)));
}

#[test]
fn an_expiration_is_later_than_now() {
    let expiring = |time: u64| event(1, 1, &[&["expiration", &time.to_string()]], "");
    accepted(&expiring(NOW + 1));
    assert_eq!(refused(&expiring(NOW)), "invalid: the event has expired");
    let malformed = event(1, 1, &[&["expiration", "tomorrow"]], "");
    assert_eq!(refused(&malformed), "invalid: expiration must be decimal digits");
}

#[test]
fn a_wrong_id_is_refused_though_the_signature_over_it_is_valid() {
    let event = event(1, 1, &[], "x");
    // A signature over another event's id, moved to this content.
    let moved = Event::from_stored(*event.head(), "[]", "\"y\"");
    assert_eq!(refused(&moved), "invalid: the id is not the hash of the event");
}

#[test]
fn work_is_counted_in_the_id_and_in_the_commitment() {
    let settings = VerifySettings { pow_min_bits: 4, ..VerifySettings::default() };
    let world = World::default();
    let mined = |target: &str, is_enough: fn(u32) -> bool| {
        (0..10_000)
            .map(|nonce: u32| event(1, 1, &[&["nonce", &nonce.to_string(), target]], ""))
            .find(|event| is_enough(event.difficulty()))
            .unwrap()
    };
    let enough = mined("4", |difficulty| difficulty >= 4);
    assert!(matches!(verdict(&enough, &settings, &world), Verdict::Accept(_)));
    let text = refusal(&mined("4", |difficulty| difficulty == 3), &settings, &world);
    assert_eq!(text, "pow: difficulty 3 is less than 4");
    let uncommitted = mined("3", |difficulty| difficulty >= 4);
    let text = refusal(&uncommitted, &settings, &world);
    assert_eq!(text, "pow: the nonce tag does not commit to a difficulty of 4");
    accepted(&uncommitted);
}

#[test]
fn lists_are_asked_before_the_store() {
    let event = event(1, 1, &[], "");
    let world = World {
        stored: Some((*event.id(), *event.sig())),
        refused: Some(Prefix::Blocked.text("listed")),
        vanished: None,
    };
    assert_eq!(refusal(&event, &VerifySettings::default(), &world), "blocked: listed");
}

#[test]
fn a_stored_event_is_a_duplicate_and_a_forged_signature_is_not() {
    let event = event(1, 1, &[], "");
    let settings = VerifySettings::default();
    let stored = |sig| World { stored: Some((*event.id(), sig)), ..World::default() };
    // The same signature is not verified again: row 12.
    let unverified = with(&event, |head| head.sig = [7; 64]);
    assert_eq!(verdict(&unverified, &settings, &stored([7; 64])), Verdict::Duplicate(*event.id()));
    // Another valid signature: row 14.
    assert_eq!(verdict(&event, &settings, &stored([7; 64])), Verdict::Duplicate(*event.id()));
    // A known id with a forged signature.
    let text = refusal(&unverified, &settings, &stored(*event.sig()));
    assert_eq!(text, "invalid: the signature is wrong");
}

#[test]
fn signatures_of_others_are_refused() {
    let event = event(1, 1, &[], "");
    let forged = with(&event, |head| head.sig = *signed(2, event.clone()).sig());
    assert_eq!(refused(&forged), "invalid: the signature is wrong");
}

#[test]
fn events_of_vanished_authors_are_blocked_up_to_their_time() {
    let world = World { vanished: Some((key(1), NOW)), ..World::default() };
    let settings = VerifySettings::default();
    let text = "blocked: the author has requested to vanish";
    assert_eq!(refusal(&event_at(1, NOW, 1, &[], ""), &settings, &world), text);
    let later = event_at(1, NOW + 1, 1, &[], "");
    assert!(matches!(verdict(&later, &settings, &world), Verdict::Accept(_)));
    let wrap = event_at(2, NOW, KIND_GIFT_WRAP, &[&["p", "x"], &["p", &key_hex(1)]], "");
    assert_eq!(refusal(&wrap, &settings, &world), text);
    let mention = event_at(2, NOW, 1, &[&["p", &key_hex(1)]], "");
    assert!(matches!(verdict(&mention, &settings, &world), Verdict::Accept(_)));
}

#[test]
fn requests_to_vanish_name_the_relay_and_skip_the_lists() {
    let names = RelayNames::of_urls(["wss://relay.example.com"]).unwrap();
    let settings = VerifySettings { names, ..VerifySettings::default() };
    let world = World {
        refused: Some(Prefix::Blocked.text("listed")),
        vanished: Some((key(1), NOW)),
        stored: None,
    };
    let request =
        |relay: &str| event(1, KIND_VANISH, &[&["relay", "wss://a"], &["relay", relay]], "");
    for relay in ["ALL_RELAYS", "wss://relay.example.com/"] {
        assert!(matches!(verdict(&request(relay), &settings, &world), Verdict::Accept(_)));
    }
    let text = "invalid: a request to vanish must name this relay or ALL_RELAYS";
    assert_eq!(refusal(&request("wss://b"), &settings, &world), text);
    assert_eq!(refusal(&event(1, KIND_VANISH, &[], ""), &settings, &world), text);
}

#[test]
fn of_several_faults_the_first_row_is_named() {
    let settings = VerifySettings {
        pow_min_bits: 255,
        limits: EventLimits { tags_max: 1, ..EventLimits::default() },
        ..VerifySettings::default()
    };
    let world = World { refused: Some(Prefix::Blocked.text("listed")), ..World::default() };
    let expired: &[&str] = &["expiration", "1"];
    let mut faults = event_at(1, NOW + 901, 13, &[expired, expired], "");
    faults = with(&faults, |head| (head.sig, head.id) = ([0; 64], [0xFF; 32]));
    let mut rows = Vec::new();
    rows.push(refusal(&faults, &settings, &world));
    faults = with(&faults, |head| head.kind = 1);
    rows.push(refusal(&faults, &settings, &world));
    faults = Event::from_stored(*faults.head(), r#"[["expiration","1"]]"#, "\"\"");
    rows.push(refusal(&faults, &settings, &world));
    faults = with(&faults, |head| head.created_at = NOW);
    rows.push(refusal(&faults, &settings, &world));
    faults = Event::from_stored(*faults.head(), "[]", "\"\"");
    rows.push(refusal(&faults, &settings, &world));
    faults = with(&signed(1, faults), |head| head.sig = [0; 64]);
    rows.push(refusal(&faults, &settings, &world));
    let settings = VerifySettings::default();
    rows.push(refusal(&faults, &settings, &world));
    let world = World { vanished: Some((key(1), NOW)), ..World::default() };
    rows.push(refusal(&faults, &settings, &world));
    rows.push(refused(&faults));
    let difficulty = faults.difficulty();
    assert_eq!(
        rows,
        [
            "blocked: kind 13 is not for relays",
            "invalid: the event has more than 1 tags",
            "invalid: created_at is more than 900 seconds in the future",
            "invalid: the event has expired",
            "invalid: the id is not the hash of the event",
            &format!("pow: difficulty {difficulty} is less than 255"),
            "blocked: listed",
            "blocked: the author has requested to vanish",
            "invalid: the signature is wrong",
        ]
    );
}
