use super::super::refusal::Prefix;
use super::super::signed::{event, json};
use super::*;

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn messages_have_no_white_space() {
    let sub = SubscriptionId::of("a\"b");
    let event = event(1, 1, &[&["t", "x"]], "y");
    let id = "ab".repeat(32);
    let refusal = Prefix::RateLimited.text("more than 50 events a second");
    for (message, expected) in [
        (
            written(|out| write_event(out, &sub, &event)),
            format!(r#"["EVENT","a\"b",{}]"#, json(&event)),
        ),
        (written(|out| write_ok(out, &[0xAB; 32], true, "")), format!(r#"["OK","{id}",true,""]"#)),
        (
            written(|out| write_ok(out, &[0xAB; 32], false, &refusal)),
            format!(r#"["OK","{id}",false,"rate-limited: more than 50 events a second"]"#),
        ),
        (written(|out| write_eose(out, &sub, Hint::None)), r#"["EOSE","a\"b"]"#.to_owned()),
        (
            written(|out| write_eose(out, &sub, Hint::Finish)),
            r#"["EOSE","a\"b",["finish"]]"#.to_owned(),
        ),
        (
            written(|out| write_eose(out, &sub, Hint::More)),
            r#"["EOSE","a\"b",["more"]]"#.to_owned(),
        ),
        (
            written(|out| write_closed(out, &sub, &refusal)),
            r#"["CLOSED","a\"b","rate-limited: more than 50 events a second"]"#.to_owned(),
        ),
        (
            written(|out| write_neg_err(out, &sub, "closed: \"idle\"")),
            r#"["NEG-ERR","a\"b","closed: \"idle\""]"#.to_owned(),
        ),
        (written(|out| write_notice(out, "a\nb")), r#"["NOTICE","a\nb"]"#.to_owned()),
        (written(|out| write_auth(out, "c0ffee")), r#"["AUTH","c0ffee"]"#.to_owned()),
        (
            written(|out| write_count(out, &sub, 7, false, None)),
            r#"["COUNT","a\"b",{"count":7}]"#.to_owned(),
        ),
        (
            written(|out| write_count(out, &sub, 7, true, Some(&[0x0F; 256]))),
            format!(
                r#"["COUNT","a\"b",{{"count":7,"approximate":true,"hll":"{}"}}]"#,
                "0f".repeat(256)
            ),
        ),
        (
            written(|out| write_neg_msg(out, &sub, &[0x61, 0xFF])),
            r#"["NEG-MSG","a\"b","61ff"]"#.to_owned(),
        ),
    ] {
        assert_eq!(message, expected);
        assert!(serde_json::from_str::<serde_json::Value>(&message).is_ok(), "{message}");
    }
}
