use serde_json::Value;

use super::super::testing::Random;
use super::*;

fn skip(text: &str) -> Result<(), JsonError> {
    let mut reader = Reader::new(text);
    reader.skip()?;
    reader.end()
}

#[test]
fn texts_are_valid_exactly_if_serde_json_parses_them() {
    const PARTS: [&str; 40] = [
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "\"",
        "\"a\"",
        "\"\"",
        " ",
        "\n",
        "\t",
        "\r",
        "\u{b}",
        "true",
        "false",
        "null",
        "nul",
        "0",
        "1",
        "-",
        "-0",
        "12",
        "01",
        ".",
        ".5",
        "1.5",
        "e3",
        "1E+2",
        "1e-",
        "\\",
        "\"\\n\"",
        "\"\\u00e9\"",
        "\"\\u12\"",
        "\"\\ud83d\\ude00\"",
        "\"\\ud83d\"",
        "\"\\ude00\"",
        "\"\\ud83d\\u0041\"",
        "\"\u{7f}é\u{10ffff}\"",
        "\"\u{1}\"",
    ];
    let mut random = Random(1);
    let mut valid = 0;
    for _ in 0..200_000 {
        let mut text = String::new();
        // Mostly inside of an array or an object, where more is valid.
        let frame = random.below(4);
        text.push_str(["", "[", "{\"a\":", "[{\"a\":1,\"b\":"][frame]);
        for _ in 0..1 + random.below(4) {
            text.push_str(PARTS[random.below(PARTS.len())]);
        }
        text.push_str(["", "]", "}", "}]"][frame]);
        let parsed = serde_json::from_str::<Value>(&text);
        // An exponent that f64 does not have is no error of syntax, but hides the next one.
        if parsed.as_ref().is_err_and(|error| error.to_string().starts_with("number")) {
            continue;
        }
        let expected = parsed.is_ok();
        assert_eq!(skip(&text).is_ok(), expected, "{text:?}");
        valid += usize::from(expected);
    }
    assert!(valid > 10_000, "{valid}");
}

#[test]
fn strings_are_read_to_their_end_at_every_offset() {
    for len in 0..40 {
        for special in ["", "\\\"", "\\\\", "é", "\u{7f}", "\\u0000", "\u{10ffff}"] {
            let raw = ["x".repeat(len).as_str(), special, "yz"].concat();
            let text = format!("\"{raw}\"]");
            let mut reader = Reader::new(&text);
            let string = reader.string().unwrap();
            assert_eq!(string, RawString { raw: &raw, is_escaped: special.starts_with('\\') });
            assert_eq!(reader.rest(), "]");
        }
        for control in ["\0", "\u{1f}", "\n"] {
            let text = ["\"", "x".repeat(len).as_str(), control, "yz\""].concat();
            let at = len + 1;
            assert_eq!(Reader::new(&text).string(), Err(JsonError::Syntax { at }));
        }
    }
}

#[test]
fn lone_surrogates_are_an_error_of_their_own() {
    for text in [r#""\ud800""#, r#""\udfff""#, r#""\ud800x""#, r#""\ud800\n""#, r#""\uDC00\uD800""#]
    {
        assert_eq!(skip(text), Err(JsonError::LoneSurrogate), "{text}");
    }
    assert_eq!(skip(r#""\ud800\u12""#), Err(JsonError::Syntax { at: 7 }));
    assert_eq!(skip(r#""\ud83d\ude00""#), Ok(()));
}

#[test]
fn nesting_is_bounded() {
    let nested =
        |open: &str, close: &str, depth: usize| open.repeat(depth) + "1" + &close.repeat(depth);
    assert_eq!(skip(&nested("[", "]", 128)), Ok(()));
    assert_eq!(skip(&nested("{\"a\":", "}", 128)), Ok(()));
    assert_eq!(skip(&nested("[", "]", 129)), Err(JsonError::TooDeep));
    assert_eq!(skip(&nested("{\"a\":", "}", 129)), Err(JsonError::TooDeep));
    assert_eq!(skip(&"[".repeat(100_000)), Err(JsonError::TooDeep));
    assert_eq!(skip(&nested("[{\"a\":", "}]", 64)), Ok(()));
    let long = format!("[{}1]", "[[[1],2],{\"a\":[1]}],".repeat(1_000));
    assert_eq!(skip(&long), Ok(()));
}

#[test]
fn numbers_with_sign_fraction_or_exponent_are_not_unsigned() {
    let number = |text| Reader::new(text).number();
    assert_eq!(number("0"), Ok(Number::Unsigned(0)));
    assert_eq!(number("18446744073709551615"), Ok(Number::Unsigned(u64::MAX)));
    assert_eq!(number("18446744073709551616"), Ok(Number::TooLarge));
    for text in ["-0", "-1", "1.0", "1e0", "1E5", "1e+2", "0.0"] {
        assert_eq!(number(text), Ok(Number::NotUnsigned), "{text}");
    }
    for (text, at) in [("01", 1), ("-", 1), ("1.", 2), ("1e", 2), ("1e+", 3), ("x", 0), ("", 0)] {
        assert_eq!(number(text), Err(JsonError::Syntax { at }), "{text}");
    }
}

#[test]
fn a_value_is_read_without_what_follows() {
    let mut reader = Reader::new(" {\"a\" : [1, {}]} , 2");
    reader.peek();
    let start = reader.position();
    reader.skip().unwrap();
    assert_eq!(reader.since(start), "{\"a\" : [1, {}]}");
    assert_eq!(reader.rest(), " , 2");
    assert_eq!(reader.kind(), Kind::Other);
    assert!(reader.end().is_err());
}

#[test]
fn errors_do_not_repeat_the_text() {
    let shown = |text| skip(text).unwrap_err().to_string();
    assert_eq!(shown("[1,<script>]"), "malformed JSON at byte 3");
    assert_eq!(shown("\"\\udfff\""), "a string contains half of a surrogate pair");
    assert_eq!(shown(&"[".repeat(200)), "JSON nested deeper than 128 levels");
}
