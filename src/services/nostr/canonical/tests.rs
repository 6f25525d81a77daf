use super::super::json::Reader;
use super::*;

/// A JSON string in canonical form, and the bytes of its text.
fn canonical(json: &str) -> (String, usize) {
    let mut out = String::new();
    let len = push_string(&mut out, Reader::new(json).string().unwrap());
    (out, len)
}

#[test]
fn escapes_are_those_of_nip_01() {
    for (json, expected, len) in [
        (r#""""#, r#""""#, 0),
        (r#""\n\"\\\r\t\b\f""#, r#""\n\"\\\r\t\b\f""#, 7),
        (r#""\u000a\u0022\u005C\u000d\u0009\u0008\u000C""#, r#""\n\"\\\r\t\b\f""#, 7),
        (r#""\/\u002f/""#, r#""///""#, 3),
        (r#""\u0000\u0001\u001F\u000b""#, r#""\u0000\u0001\u001f\u000b""#, 4),
        ("\"\\u007f\u{7f}\"", "\"\u{7f}\u{7f}\"", 2),
        (r#""\u00e9\u20AC\ud83d\ude00\uDBFF\uDFFF""#, "\"é€😀\u{10ffff}\"", 13),
        (r#""\ufffe\uffff\ufdd0""#, "\"\u{fffe}\u{ffff}\u{fdd0}\"", 9),
        ("\"\u{2028}\u{2029}<>&'\"", "\"\u{2028}\u{2029}<>&'\"", 10),
        (r#""a\\u0041""#, r#""a\\u0041""#, 7),
        ("\"plain é text\"", "\"plain é text\"", 13),
    ] {
        assert_eq!(canonical(json), (expected.to_owned(), len), "{json}");
    }
}

#[test]
fn every_character_survives_and_the_form_is_idempotent() {
    let all: String = ('\0'..='\u{2ff}').chain(['\u{d7ff}', '\u{e000}', '\u{10ffff}']).collect();
    let mut json = String::new();
    push_text(&mut json, &all);
    assert_eq!(canonical(&json), (json.clone(), all.len()));
    assert_eq!(unescape(&json[1..json.len() - 1]), all);
    assert_eq!(serde_json::from_str::<String>(&json).unwrap(), all);
    for char in all.chars() {
        let mut units = [0; 2];
        let units = char.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04X}"));
        let escaped = format!("\"{}\"", units.collect::<String>());
        let mut expected = String::new();
        push_text(&mut expected, char.encode_utf8(&mut [0; 4]));
        assert_eq!(canonical(&escaped).0, expected);
    }
}

#[test]
fn text_without_escapes_is_borrowed() {
    assert!(matches!(unescape("plain é"), Cow::Borrowed("plain é")));
    assert!(matches!(verbatim(r#""\n\\u0001""#), Cow::Borrowed(_)));
}

#[test]
fn verbatim_replaces_only_escapes_of_control_characters() {
    assert_eq!(verbatim(r#""a\u0001\\u0001\n\u001f""#), "\"a\u{1}\\\\u0001\\n\u{1f}\"");
    let (plain, escaped) = (r#""\n""#, r#""\u0000""#);
    assert_eq!(hash_verbatim(b"[0,", "[]", plain), None);
    assert_eq!(hash_verbatim(b"[0,", "[]", escaped), Some(hash(b"[0,", "[]", "\"\0\"")));
    assert_eq!(hash_verbatim(b"[0,", escaped, plain), Some(hash(b"[0,", "\"\0\"", plain)));
}
