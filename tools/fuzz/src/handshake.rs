//! The opening handshake of both roles, compared with a naive parser.

use weir::protocol::handshake::{
    Accept, ClientRequest, ConnectionOption, EMPTY_SLOTS, Expected, HeadScan, Refusal, Request,
    Response, Upgrade,
};

use crate::bytes::{Bytes, pieces};
use crate::extensions::{extensions, is_token};
use crate::heads::{self, NONCE};

const HEAD_BYTES_MAX: [usize; 4] = [0, 64, 300, 16 * 1024];
/// The server's subprotocols.
const PROTOCOLS: [&str; 2] = ["superchat", "chat"];

/// A head, valid, altered or arbitrary, is parsed in parts as it is whole, as a request and as a
/// response. An accepted head fulfils all requirements of RFC 6455, 4; a refused one does not.
/// Nothing from the peer starts a line in our output.
pub fn handshake(data: &[u8]) {
    let mut input = Bytes(data);
    let Some(choice) = input.u8() else {
        return;
    };
    let cuts = input.cuts();
    let bytes = if choice % 8 != 0 {
        heads::build(&mut input).unwrap_or_default()
    } else {
        input.0.to_vec()
    };
    let head_bytes_max = HEAD_BYTES_MAX[usize::from(choice >> 3) % HEAD_BYTES_MAX.len()];
    if let Some(end) = scan(&bytes, head_bytes_max, &cuts) {
        let head = &bytes[..end];
        read_request(head);
        read_answer(head);
    }
    // Neither parser relies on the scan before it.
    read_request(&bytes);
    read_answer(&bytes);
}

/// Scans for the end of the head, whole and in parts, and checks the result.
fn scan(bytes: &[u8], head_bytes_max: usize, cuts: &[usize]) -> Option<usize> {
    let whole = HeadScan::default().scan(bytes, head_bytes_max);
    let mut scan = HeadScan::default();
    let mut received = 0;
    let mut outcome = Ok(None);
    for piece in pieces(bytes, cuts) {
        received += piece.len();
        outcome = scan.scan(&bytes[..received], head_bytes_max);
        if outcome != Ok(None) {
            break;
        }
    }
    if !bytes.is_empty() {
        assert_eq!(outcome, whole, "in pieces of {cuts:?}");
    }
    match whole {
        Ok(Some(end)) => {
            assert!(end <= head_bytes_max);
            let head: String = bytes[..end].iter().map(|&byte| char::from(byte)).collect();
            let body = head.trim_start_matches("\r\n");
            assert_eq!(body.find("\r\n\r\n"), Some(body.len() - 4));
            assert!(!head.replace("\r\n", "").contains('\n'), "a bare LF");
        }
        Ok(None) => assert!(bytes.len() < head_bytes_max),
        Err(Refusal::HeadTooLong) => assert!(bytes.len() >= head_bytes_max),
        Err(_) => {}
    }
    whole.ok().flatten()
}

fn read_request(head: &[u8]) {
    let mut slots = EMPTY_SLOTS;
    let request = match Request::parse(head, &mut slots) {
        Ok(request) => request,
        Err(refusal) => return check_refusal(refusal),
    };
    let lines = naive_lines(head).expect("a request with a malformed line");
    let target = request.target();
    assert_eq!(lines[0].split(' ').nth(1), Some(target));
    assert!(request.path().starts_with('/'));
    check_echo(&request);

    let upgrade = request.upgrade();
    assert_eq!(upgrade.is_ok(), naive_upgrades(&lines), "{upgrade:?} of {lines:#?}");
    match upgrade {
        Ok(upgrade) => check_upgrade(&upgrade, &naive_fields(&lines)),
        Err(refusal) => check_refusal(refusal),
    }
}

/// RFC 6455, 4.2.1, for a request with valid syntax.
fn naive_upgrades(lines: &[String]) -> bool {
    let fields = naive_fields(lines);
    let values = |name: &str| {
        let named = fields.iter().filter(|(other, _)| other == name);
        named.map(|(_, value)| value.as_str()).collect::<Vec<_>>()
    };
    let items = |name: &str| {
        let list = values(name).into_iter().flat_map(|value| value.split(','));
        list.map(|item| item.trim_matches([' ', '\t']).to_owned()).collect::<Vec<_>>()
    };
    let lengths = values("content-length").concat();
    lines[0].starts_with("GET ")
        && lines[0].ends_with(" HTTP/1.1")
        && values("host").len() == 1
        && items("connection").iter().any(|item| item.eq_ignore_ascii_case("upgrade"))
        && items("upgrade").iter().any(|item| item.eq_ignore_ascii_case("websocket"))
        && values("sec-websocket-version") == ["13"]
        && values("sec-websocket-key").len() == 1
        && naive_nonce(values("sec-websocket-key")[0]).is_some()
        && naive_protocols(&items("sec-websocket-protocol"))
        && values("sec-websocket-extensions").iter().all(|value| extensions(value).is_some())
        && values("transfer-encoding").is_empty()
        && lengths.trim_matches('0').is_empty()
}

/// RFC 9110, 5.6.1: empty items of a list are ignored, but at least one item must not be empty.
fn naive_protocols(items: &[String]) -> bool {
    let named: Vec<&String> = items.iter().filter(|item| !item.is_empty()).collect();
    named.iter().all(|item| is_token(item)) && named.is_empty() == items.is_empty()
}

fn check_upgrade(upgrade: &Upgrade<'_>, fields: &[(String, String)]) {
    let key = fields.iter().find(|(name, _)| name == "sec-websocket-key");
    assert_eq!(key.map(|(_, value)| value.as_str()), Some(upgrade.key()));
    let chosen = upgrade.choose(&PROTOCOLS).map(|index| PROTOCOLS[index]);
    let mut offered: Vec<&str> = Vec::new();
    for name in upgrade.protocols() {
        // Our client offers each subprotocol once (RFC 6455, 4.1).
        if !offered.contains(&name) {
            offered.push(name);
        }
    }
    assert_eq!(chosen, PROTOCOLS.into_iter().find(|name| offered.contains(name)));

    let mut answer = Vec::new();
    let accept = chosen.map_or_else(Accept::new, |name| Accept::new().protocol(name));
    accept.write(&mut answer, &upgrade.accept(), "").unwrap();
    let lines = naive_lines(&answer).unwrap();
    assert_eq!(lines.len(), 4 + usize::from(chosen.is_some()));

    // The client with this key accepts the answer.
    let nonce = naive_nonce(upgrade.key()).unwrap();
    let (expected, sent) = client(&offered, nonce);
    if naive_lines(&sent).unwrap().iter().any(|line| line.ends_with(upgrade.key())) {
        let index = expected.check(&answer).unwrap();
        assert_eq!(index.protocol.map(|index| offered[index]), chosen);
    }
}

/// A request that offers these subprotocols, and the answer that it expects.
fn client(offered: &[&str], nonce: [u8; 16]) -> (Expected, Vec<u8>) {
    let mut request = ClientRequest::new("localhost", "/chat").unwrap();
    for name in offered {
        request = request.protocol(name).unwrap();
    }
    let mut sent = Vec::new();
    (request.write(nonce, &mut sent), sent)
}

/// A service that echoes input in its response cannot break a line with it.
fn check_echo(request: &Request<'_>) {
    let query = request.query_value("a").unwrap_or_default();
    for sent in [&*query, request.path(), request.header("X").unwrap_or_default()] {
        let mut answer = Vec::new();
        if let Ok(response) = Response::text(200, sent.to_owned()).header("X-Echo", sent) {
            response.write(&mut answer, ConnectionOption::Close, true, None);
            assert_eq!(naive_lines(&answer).unwrap().len(), 5);
        }
        answer.clear();
        let Ok(accept) = Accept::new().protocol(sent).header("X-Echo", sent) else {
            continue;
        };
        match accept.write(&mut answer, &[b'a'; 28], "") {
            Ok(()) => assert_eq!(naive_lines(&answer).unwrap().len(), 6),
            Err(_) => assert!(answer.is_empty()),
        }
    }
}

/// The response to a refused request is one head and the reason.
fn check_refusal(refusal: Refusal) {
    let mut answer = Vec::new();
    Response::from(refusal).write(&mut answer, ConnectionOption::KeepAlive, true, None);
    let lines = naive_lines(&answer).unwrap();
    assert!(lines[0].starts_with(&format!("HTTP/1.1 {} ", refusal.status())));
    assert!(lines.iter().any(|line| line.starts_with("Connection: close")));
}

fn read_answer(head: &[u8]) {
    let offered = ["chat", "superchat"];
    let (expected, _) = client(&offered, *NONCE);
    let Ok(chosen) = expected.check(head) else {
        return;
    };
    let lines = naive_lines(head).expect("an answer with a malformed line");
    assert!(lines[0].starts_with("HTTP/1.1 101"), "{:?}", lines[0]);
    let fields = naive_fields(&lines);
    let has = |name: &str, accepts: &dyn Fn(&str) -> bool| {
        fields.iter().any(|(other, value)| other == name && accepts(value))
    };
    assert!(has("upgrade", &|value| value.eq_ignore_ascii_case("websocket")));
    assert!(has("connection", &|value| value.to_ascii_lowercase().contains("upgrade")));
    assert!(has("sec-websocket-accept", &|value| value == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert!(!has("sec-websocket-extensions", &|value| !value.is_empty()));
    let name = chosen.protocol.map(|index| offered[index]);
    assert_eq!(has("sec-websocket-protocol", &|value| Some(value) == name), name.is_some());
}

/// The lines of a head. Each ends in CR LF, and an empty line follows the last. Leading empty lines
/// are left out. Non-ASCII bytes count as one character each.
fn naive_lines(head: &[u8]) -> Option<Vec<String>> {
    let head: String = head.iter().map(|&byte| char::from(byte)).collect();
    let lines = head.trim_start_matches("\r\n").strip_suffix("\r\n\r\n")?;
    let lines: Vec<String> = lines.split("\r\n").map(str::to_owned).collect();
    let malformed = |line: &String| line.contains(['\r', '\n']);
    (!lines.iter().any(malformed)).then_some(lines)
}

/// Names in lower case, and trimmed values.
fn naive_fields(lines: &[String]) -> Vec<(String, String)> {
    let split = |line: &String| {
        let (name, value) = line.split_once(':').expect("a line without a colon");
        (name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned())
    };
    lines[1..].iter().map(split).collect()
}

/// The 16 bytes that a key of 24 characters encodes (RFC 4648, 4).
fn naive_nonce(key: &str) -> Option<[u8; 16]> {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = key.strip_suffix("==").filter(|digits| digits.len() == 22)?;
    let mut number = 0u128;
    for digit in digits[..21].chars() {
        number = number << 6 | ALPHABET.find(digit)? as u128;
    }
    let last = ALPHABET.find(digits.chars().last()?)? as u128;
    Some((number << 2 | last >> 4).to_be_bytes())
}
