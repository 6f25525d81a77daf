use super::super::signed::{event, key, key_hex};
use super::*;

#[test]
fn tags_and_elements_are_those_of_the_json() {
    let tags: [&[&str]; 6] = [
        &["e", "x"],
        &["-"],
        &["quoted \"name\"", "back\\slash", "]],[[", "a,b"],
        &["", ""],
        &["d", "line\nbreak", "\u{1}"],
        &["p", "é😀"],
    ];
    let event = event(1, 1, &tags, "");
    let read: Vec<Vec<Cow<'_, str>>> =
        event.tags().iter().map(|tag| tag.elements().collect()).collect();
    assert_eq!(read, tags);
    let names: Vec<_> = event.tags().iter().map(|tag| (tag.name(), tag.value())).collect();
    assert_eq!(names[1], ("-".into(), None));
    assert_eq!(names[3], ("".into(), Some("".into())));
    let letters: Vec<_> = event.tags().letters().collect();
    assert_eq!(
        letters,
        [(b'e', "x".into()), (b'd', "line\nbreak".into()), (b'p', Cow::from("é😀"))]
    );
}

#[test]
fn no_tags_are_an_empty_list() {
    assert_eq!(event(1, 1, &[], "").tags().iter().count(), 0);
    assert_eq!(event(1, 1, &[], "").tags_json(), "[]");
}

#[test]
fn identifiers_of_addresses_may_contain_colons() {
    let pubkey = key_hex(1);
    let address = |identifier: &str| {
        Some(Address { kind: 30_023, pubkey: key(1), identifier: identifier.to_owned() })
    };
    assert_eq!(Address::parse(&format!("30023:{pubkey}:a:b::c")), address("a:b::c"));
    assert_eq!(Address::parse(&format!("30023:{pubkey}:")), address(""));
    for text in [
        format!("30023:{pubkey}"),
        format!("65536:{pubkey}:"),
        format!("+1:{pubkey}:"),
        format!(":{pubkey}:"),
        format!("1:{}:", pubkey.to_uppercase()),
        format!("1:{}:", &pubkey[1..]),
        "1::".to_owned(),
        String::new(),
    ] {
        assert_eq!(Address::parse(&text), None, "{text}");
    }
}

#[test]
fn hex_is_of_exact_length_and_lower_case() {
    let digits = "0123456789abcdef".repeat(4);
    assert!(hex_32(&digits).is_some());
    for wrong in [
        digits.to_uppercase(),
        digits.replace('a', "A"),
        digits[1..].to_owned(),
        format!("{digits}0"),
        format!("0x{}", &digits[2..]),
        format!("0x{digits}"),
        digits.replace('f', "g"),
        digits.replace("01", "é"),
        String::new(),
    ] {
        assert_eq!(hex_32(&wrong), None, "{wrong}");
    }
}

#[test]
fn decimal_numbers_have_digits_only() {
    assert_eq!(decimal("0"), Some(0));
    assert_eq!(decimal("007"), Some(7));
    assert_eq!(decimal("99999999999999999999"), Some(u64::MAX));
    for text in ["", "+1", "-1", " 1", "1.0", "1e3", "١"] {
        assert_eq!(decimal(text), None, "{text}");
    }
}
