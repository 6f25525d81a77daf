use super::super::signed::{NOW, event, json, key, signed};
use super::*;

#[test]
fn classes_are_those_of_nip_01() {
    for (kind, class) in [
        (0, Class::Replaceable),
        (1, Class::Regular),
        (2, Class::Regular),
        (3, Class::Replaceable),
        (4, Class::Regular),
        (41, Class::Regular),
        (9_999, Class::Regular),
        (10_000, Class::Replaceable),
        (19_999, Class::Replaceable),
        (20_000, Class::Ephemeral),
        (29_999, Class::Ephemeral),
        (30_000, Class::Addressable),
        (39_999, Class::Addressable),
        (40_000, Class::Regular),
        (65_535, Class::Regular),
    ] {
        assert_eq!(Class::of(kind), class, "{kind}");
    }
}

#[test]
fn members_are_written_in_the_order_of_nostr_tools() {
    let head = Head { id: [1; 32], pubkey: [2; 32], sig: [0xAB; 64], created_at: NOW, kind: 1 };
    let event = Event::from_stored(head, r#"[["e","x"]]"#, r#""a\n""#);
    let expected = format!(
        r#"{{"id":"{}","pubkey":"{}","created_at":1700000000,"kind":1,"tags":[["e","x"]],"content":"a\n","sig":"{}"}}"#,
        "01".repeat(32),
        "02".repeat(32),
        "ab".repeat(64),
    );
    assert_eq!(json(&event), expected);
    assert_eq!(event.tags_json(), r#"[["e","x"]]"#);
    assert_eq!(event.content_json(), r#""a\n""#);
    assert_eq!(event.content(), "a\n");
}

#[test]
fn the_size_is_that_of_the_json() {
    for (created_at, kind) in [(0, 0), (9, 9), (10, 10), (NOW, 65_535), ((1 << 40) - 1, 12_345)] {
        let head = Head { id: [1; 32], pubkey: [2; 32], sig: [3; 64], created_at, kind };
        let event = Event::from_stored(head, r#"[["a"]]"#, r#""é\n""#);
        assert_eq!(event.json_bytes(), json(&event).len());
    }
}

#[test]
fn the_identifier_is_the_first_d_value() {
    let event = |tags: &[&[&str]]| event(1, 30_000, tags, "");
    assert_eq!(event(&[&["e", "x"], &["d", "a:b"], &["d", "c"]]).identifier(), "a:b");
    assert_eq!(event(&[&["d"], &["d", "c"]]).identifier(), "");
    assert_eq!(event(&[&["dd", "x"]]).identifier(), "");
}

#[test]
fn only_replaceable_and_addressable_events_have_an_address() {
    let address = |kind| event(1, kind, &[&["d", "x"]], "").address();
    let expected = |kind, identifier: &str| {
        Some(Address { kind, pubkey: key(1), identifier: identifier.into() })
    };
    assert_eq!(address(0), expected(0, ""));
    assert_eq!(address(10_002), expected(10_002, ""));
    assert_eq!(address(30_023), expected(30_023, "x"));
    assert_eq!(address(1), None);
    assert_eq!(address(20_000), None);
}

#[test]
fn expirations_are_decimal_digits() {
    let tag = |tags: &[&[&str]]| event(1, 1, tags, "").expiration_tag();
    assert_eq!(tag(&[]), Expiration::Never);
    assert_eq!(tag(&[&["expiration", "1700000001"]]), Expiration::At(1_700_000_001));
    assert_eq!(tag(&[&["expiration", "1"], &["expiration", "2"]]), Expiration::At(1));
    for value in ["", "-1", "1.5", "soon", " 1"] {
        assert_eq!(tag(&[&["expiration", value]]), Expiration::Malformed, "{value}");
    }
    assert_eq!(tag(&[&["expiration"]]), Expiration::Malformed);
    assert_eq!(event(1, 1, &[&["expiration"]], "").expiration(), None);
}

#[test]
fn difficulty_is_the_number_of_leading_zero_bits() {
    let with_id = |id| {
        let head = Head { id, ..*event(1, 1, &[], "").head() };
        Event::from_stored(head, "[]", "\"\"").difficulty()
    };
    let mut id = [0; 32];
    assert_eq!(with_id(id), 256);
    id[31] = 1;
    assert_eq!(with_id(id), 255);
    id[4] = 0x0E;
    assert_eq!(with_id(id), 36);
    id[0] = 0x80;
    assert_eq!(with_id(id), 0);
    id[0] = 0x7F;
    assert_eq!(with_id(id), 1);
}

#[test]
fn the_nonce_tag_commits_to_a_difficulty() {
    let committed = |tags: &[&[&str]]| event(1, 1, tags, "").committed_difficulty();
    assert_eq!(committed(&[&["nonce", "776797", "20"]]), Some(20));
    assert_eq!(committed(&[&["nonce", "776797"]]), None);
    assert_eq!(committed(&[&["nonce", "1", "many"]]), None);
    assert_eq!(committed(&[]), None);
}

#[test]
fn protected_events_have_the_tag_of_nip_70() {
    assert!(event(1, 1, &[&["e", "x"], &["-"]], "").is_protected());
    assert!(!event(1, 1, &[&["e", "-"]], "").is_protected());
}

#[test]
fn an_id_over_verbatim_control_characters_is_valid() {
    let escaped = event(1, 1, &[&["t", "\u{1}"]], "a\u{1f}b\u{0}");
    assert!(escaped.has_valid_id());
    let (tags, content) = (escaped.tags_json(), escaped.content_json());
    let id = canonical::hash_verbatim(&escaped.hashed_head(), tags, content).unwrap();
    let verbatim = Event::from_stored(Head { id, ..*escaped.head() }, tags, content);
    assert_ne!(verbatim.id(), escaped.id());
    assert!(verbatim.has_valid_id());
}

#[test]
fn every_member_but_the_signature_is_hashed() {
    let event = event(1, 1, &[&["t", "a"]], "b");
    let (head, tags, content) = (*event.head(), event.tags_json(), event.content_json());
    let is_valid = |head, tags, content| Event::from_stored(head, tags, content).has_valid_id();
    assert!(is_valid(Head { sig: [0; 64], ..head }, tags, content));
    assert!(!is_valid(Head { id: [0; 32], ..head }, tags, content));
    assert!(!is_valid(Head { pubkey: key(2), ..head }, tags, content));
    assert!(!is_valid(Head { created_at: NOW + 1, ..head }, tags, content));
    assert!(!is_valid(Head { kind: 2, ..head }, tags, content));
    assert!(!is_valid(head, r#"[["t","b"]]"#, content));
    assert!(!is_valid(head, tags, r#""c""#));
    assert_eq!(signed(1, event.clone()), event);
}
