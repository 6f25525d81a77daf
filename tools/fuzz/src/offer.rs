//! The negotiation of permessage-deflate in both roles, compared with a naive reading of RFC 7692,
//! 7.1.

use weir::protocol::Role;
use weir::protocol::deflate::{Agreement, Offer, Terms, negotiate};

use crate::bytes::Bytes;
use crate::extensions::{Extension, extensions};

const PARTS: [&str; 24] = [
    "permessage-deflate",
    "permessage-deflate; ",
    "; ",
    ", ",
    ",",
    ";",
    "=",
    "\"",
    "\\",
    " ",
    "server_no_context_takeover",
    "client_no_context_takeover",
    "; server_max_window_bits=",
    "; client_max_window_bits",
    "; client_max_window_bits=",
    "; server_no_context_takeover",
    "; client_no_context_takeover",
    "\"1\\2\"",
    "x-other; a=b",
    "abc",
    "0",
    "1",
    "8",
    "10",
];

/// Header values, made of parts or of arbitrary bytes, lead to the same agreement, decline or error
/// as in the naive reading. The server's answer is valid for the offer.
pub fn offer(data: &[u8]) {
    let mut input = Bytes(data);
    let Some(choice) = input.u8() else {
        return;
    };
    let terms = Terms { takeover: choice & 1 == 0, window_bits: 9 + (choice >> 1) % 7 };
    let count = 1 + usize::from(choice >> 4) % 3;
    let values: Vec<Vec<u8>> = (0..count).map(|_| value(&mut input)).collect();
    let values = || values.iter().map(Vec::as_slice);
    let naive: Option<Vec<Extension>> = values()
        .map(|value| {
            let text: String = value.iter().map(|&byte| char::from(byte)).collect();
            extensions(&text)
        })
        .collect::<Option<Vec<_>>>()
        .map(|lists| lists.concat());

    let agreed = negotiate(values(), terms);
    match &naive {
        None => assert!(agreed.is_err(), "a malformed header was accepted: {agreed:?}"),
        Some(list) => {
            let agreed = agreed.expect("a valid header was rejected");
            assert_eq!(agreed.map(numbers), server(list, terms), "{list:?}, {terms:?}");
            check_answer(agreed, list);
        }
    }
    for takeover in [false, true] {
        let settled = Offer { takeover }.check(values());
        let expected = naive.as_ref().and_then(|list| client(list, takeover));
        assert_eq!(settled.ok().map(|agreed| agreed.map(numbers)), expected, "{naive:?}");
    }
}

fn value(input: &mut Bytes<'_>) -> Vec<u8> {
    if input.below(16).unwrap_or(0) == 0 {
        let len = input.below(64).unwrap_or(0);
        return input.up_to(len).to_vec();
    }
    let count = input.below(24).unwrap_or(0);
    let parts = (0..count).filter_map(|_| Some(PARTS[input.below(PARTS.len())?]));
    parts.collect::<String>().into_bytes()
}

/// Takeover and window bits of the server, then of the client.
type Numbers = [(bool, u8); 2];

fn numbers(agreed: Agreement) -> Numbers {
    let of = |role| (agreed.outgoing(role).takeover, agreed.outgoing(role).window_bits);
    [of(Role::Server), of(Role::Client)]
}

/// `None` if the value is invalid: not 8 to 15 in decimal without leading zeros.
fn bits(value: &str) -> Option<u8> {
    (8..=15).find(|bits| bits.to_string() == *value)
}

/// The parameters of an extension; there are none if one is unknown, repeated or out of range.
#[derive(Default)]
struct Params {
    server_alone: bool,
    client_alone: bool,
    server_bits: Option<u8>,
    client_bits: Option<Option<u8>>,
}

fn params(extension: &Extension) -> Option<Params> {
    let mut params = Params::default();
    for (index, (name, value)) in extension.1.iter().enumerate() {
        if extension.1[..index].iter().any(|(other, _)| other == name) {
            return None;
        }
        match (name.as_str(), value) {
            ("server_no_context_takeover", None) => params.server_alone = true,
            ("client_no_context_takeover", None) => params.client_alone = true,
            ("server_max_window_bits", Some(value)) => params.server_bits = Some(bits(value)?),
            ("client_max_window_bits", None) => params.client_bits = Some(None),
            ("client_max_window_bits", Some(value)) => {
                params.client_bits = Some(Some(bits(value)?));
            }
            _ => return None,
        }
    }
    Some(params)
}

fn server(list: &[Extension], terms: Terms) -> Option<Numbers> {
    let ours = list.iter().filter(|(name, _)| name == "permessage-deflate");
    let possible = |params: &Params| params.server_bits != Some(8);
    let params = ours.filter_map(params).find(possible)?;
    let server = terms.takeover && !params.server_alone;
    let client = terms.takeover && !params.client_alone;
    let most = |takeover| if takeover { terms.window_bits } else { 15 };
    let server_bits = params.server_bits.unwrap_or(15).min(most(server));
    let client_bits = match params.client_bits {
        Some(hint) if client => hint.unwrap_or(15).min(most(client)),
        _ => 15,
    };
    Some([(server, server_bits), (client, client_bits)])
}

/// The result of the answer, if a client may accept it.
fn client(list: &[Extension], takeover: bool) -> Option<Option<Numbers>> {
    let Some(first) = list.first() else {
        return Some(None);
    };
    let params = params(first).filter(|_| list.len() == 1 && first.0 == "permessage-deflate")?;
    let client_bits = match params.client_bits {
        None => 15,
        Some(bits) => bits.filter(|_| takeover)?,
    };
    if !takeover && !params.server_alone {
        return None;
    }
    let client = takeover && !params.client_alone;
    Some(Some([(!params.server_alone, params.server_bits.unwrap_or(15)), (client, client_bits)]))
}

/// 7.1: the answer only has parameters that the offers permit.
fn check_answer(agreed: Option<Agreement>, list: &[Extension]) {
    let Some(agreed) = agreed else {
        return;
    };
    let answer = extensions(&agreed.to_string()).expect("an answer that is not a list");
    let params = params(&answer[0]).expect("an answer of ours with a bad parameter");
    assert_eq!(answer.len(), 1);
    assert_eq!(params.server_alone, !agreed.server.takeover);
    let offered =
        |name: &str| list.iter().any(|(_, params)| params.iter().any(|(other, _)| other == name));
    if let Some(bits) = params.client_bits {
        assert!(offered("client_max_window_bits"));
        assert_eq!(bits, Some(agreed.client.window_bits));
    }
    assert_eq!(params.server_bits.unwrap_or(15), agreed.server.window_bits);
    let without = agreed.without_takeover().to_string();
    assert!(without.contains("server_no_context_takeover; client_no_context_takeover"));
}
