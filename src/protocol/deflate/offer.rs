//! Offers and answers: RFC 7692, 5 and 7.1.
//!
//! A server accepts the first offer that it can fulfil. It declines the others as a whole; an offer
//! with an unknown, repeated or out-of-range parameter is declined. A client checks the answer
//! against its offer, and fails the connection on a mismatch.

use super::agreement::{Agreement, Direction, NAME};
use super::window::WINDOW_BITS_MAX;
use crate::protocol::handshake::extension::{ExtensionList, MalformedExtensions, ParamValue};

/// The server's side of the negotiation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Whether messages may refer to earlier messages, in either direction.
    pub takeover: bool,
    /// Maximum window size as an exponent of 2: 9 to 15. Without takeover no window is kept, and
    /// the largest size is used.
    pub window_bits: u8,
}

/// The parameters of one offer or answer, as received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Params {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    /// May lack a value in an offer.
    client_max_window_bits: Option<Option<u8>>,
}

impl Params {
    /// Reads one parameter; `None` if it is unknown, repeated or has an invalid value (7.1).
    fn read(&mut self, name: &str, value: Option<ParamValue<'_>>) -> Option<()> {
        match (name, value) {
            ("server_no_context_takeover", None) => once(&mut self.server_no_context_takeover),
            ("client_no_context_takeover", None) => once(&mut self.client_no_context_takeover),
            ("server_max_window_bits", Some(bits)) => {
                let before = self.server_max_window_bits.replace(window_bits(bits)?);
                before.is_none().then_some(())
            }
            ("client_max_window_bits", bits) => {
                let bits = bits.map(|bits| window_bits(bits).ok_or(()));
                let before = self.client_max_window_bits.replace(bits.transpose().ok()?);
                before.is_none().then_some(())
            }
            _ => None,
        }
    }
}

fn once(flag: &mut bool) -> Option<()> {
    (!std::mem::replace(flag, true)).then_some(())
}

/// 7.1.2: "a decimal integer value without leading zeroes between 8 to 15, inclusive".
fn window_bits(value: ParamValue<'_>) -> Option<u8> {
    let mut bytes = value.bytes();
    match (bytes.next()?, bytes.next(), bytes.next()) {
        (digit @ b'8'..=b'9', None, _) => Some(digit - b'0'),
        (b'1', Some(digit @ b'0'..=b'5'), None) => Some(10 + digit - b'0'),
        _ => None,
    }
}

/// Reads up to the next permessage-deflate element: `Some(None)` if its parameters are invalid.
fn next_params(
    list: &mut ExtensionList<'_>,
) -> Result<Option<Option<Params>>, MalformedExtensions> {
    while let Some(name) = list.next_extension()? {
        let is_ours = name == NAME;
        let mut params = is_ours.then(Params::default);
        while let Some(param) = list.next_param()? {
            params = params.and_then(|mut params| {
                params.read(param.name, param.value)?;
                Some(params)
            });
        }
        if is_ours {
            return Ok(Some(params));
        }
    }
    Ok(None)
}

/// The first of the client's offers that a server with these terms can fulfil. `values` are the
/// values of `Sec-WebSocket-Extensions`, in order.
///
/// # Errors
/// The header is malformed: the connection must be failed (RFC 6455, 9.1).
pub fn negotiate<'a>(
    values: impl Iterator<Item = &'a [u8]>,
    terms: Terms,
) -> Result<Option<Agreement>, MalformedExtensions> {
    let mut agreed = None;
    for value in values {
        let mut list = ExtensionList::new(value);
        while let Some(offer) = next_params(&mut list)? {
            agreed = agreed.or_else(|| offer.and_then(|offer| accept(offer, terms)));
        }
    }
    Ok(agreed)
}

/// The agreement that follows from a valid offer, if it can be fulfilled.
fn accept(offer: Params, terms: Terms) -> Option<Agreement> {
    let most = |takeover| if takeover { terms.window_bits } else { WINDOW_BITS_MAX };
    let takeover = terms.takeover && !offer.server_no_context_takeover;
    let server = Direction {
        takeover,
        // 7.1.2.1: "the same or smaller value", whether the client has named one or not.
        window_bits: offer.server_max_window_bits.unwrap_or(WINDOW_BITS_MAX).min(most(takeover)),
    };
    let takeover = terms.takeover && !offer.client_no_context_takeover;
    let client = Direction {
        takeover,
        window_bits: match offer.client_max_window_bits {
            Some(hint) if takeover => hint.unwrap_or(WINDOW_BITS_MAX).min(most(takeover)),
            // 7.1.2.2: a server must not set it unless the client has offered it. Without a window
            // to keep, there is no reason to.
            _ => WINDOW_BITS_MAX,
        },
    };
    let names_server_bits = offer.server_max_window_bits.is_some();
    server.is_possible().then_some(Agreement { server, client, names_server_bits })
}

/// A client's offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// Whether messages may refer to earlier messages, in either direction.
    pub takeover: bool,
}

impl Offer {
    /// The value for `Sec-WebSocket-Extensions`.
    pub const fn as_str(self) -> &'static str {
        if self.takeover {
            "permessage-deflate; client_max_window_bits"
        } else {
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        }
    }

    /// Checks the server's answer; `None` if the server declined. `values` are the values of its
    /// `Sec-WebSocket-Extensions`.
    ///
    /// # Errors
    /// The answer is malformed or does not match this offer: the connection must be failed (RFC
    /// 7692, 5.1).
    pub fn check<'a>(
        self,
        values: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Option<Agreement>, MalformedExtensions> {
        let mut agreed = None;
        for value in values {
            let mut list = ExtensionList::new(value);
            while let Some(name) = list.next_extension()? {
                let mut params = Params::default();
                while let Some(param) = list.next_param()? {
                    params.read(param.name, param.value).ok_or(MalformedExtensions)?;
                }
                // RFC 6455, 9.1: only extensions that were offered, each at most once.
                if name != NAME || agreed.is_some() {
                    return Err(MalformedExtensions);
                }
                agreed = Some(self.agreement(params)?);
            }
        }
        Ok(agreed)
    }

    fn agreement(self, answer: Params) -> Result<Agreement, MalformedExtensions> {
        let client_bits = match answer.client_max_window_bits {
            None => WINDOW_BITS_MAX,
            // 7.1.2.2: only in answer to an offer that has it, and with a value.
            Some(Some(bits)) if self.takeover => bits,
            Some(_) => return Err(MalformedExtensions),
        };
        // 7.1.1.1: a server that accepts an offer with it must include it in its answer.
        if !self.takeover && !answer.server_no_context_takeover {
            return Err(MalformedExtensions);
        }
        Ok(Agreement {
            server: Direction {
                takeover: !answer.server_no_context_takeover,
                window_bits: answer.server_max_window_bits.unwrap_or(WINDOW_BITS_MAX),
            },
            // 7.1.1.2: a client may do without context takeover, whatever the answer.
            client: Direction {
                takeover: self.takeover && !answer.client_no_context_takeover,
                window_bits: client_bits,
            },
            names_server_bits: answer.server_max_window_bits.is_some(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Role;

    const SHARED: Terms = Terms { takeover: false, window_bits: 12 };
    const DEDICATED: Terms = Terms { takeover: true, window_bits: 12 };

    fn answer(terms: Terms, values: &[&str]) -> Result<String, MalformedExtensions> {
        let agreed = negotiate(values.iter().map(|value| value.as_bytes()), terms)?;
        Ok(agreed.map_or(String::new(), |agreed| agreed.to_string()))
    }

    fn shared(value: &str) -> String {
        answer(SHARED, &[value]).unwrap()
    }

    fn dedicated(value: &str) -> String {
        answer(DEDICATED, &[value]).unwrap()
    }

    #[test]
    fn shared_terms_have_no_context_takeover() {
        const ALONE: &str =
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        for offer in [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=8",
            "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
        ] {
            assert_eq!(shared(offer), ALONE, "{offer}");
        }
        for bits in 9..=15 {
            let offer = format!("permessage-deflate; server_max_window_bits={bits}");
            assert_eq!(shared(&offer), format!("{ALONE}; server_max_window_bits={bits}"));
        }
    }

    #[test]
    fn dedicated_terms_agree_on_the_smaller_window() {
        let cases = [
            ("", "; server_max_window_bits=12"),
            ("; client_max_window_bits", "; server_max_window_bits=12; client_max_window_bits=12"),
            (
                "; client_max_window_bits=15",
                "; server_max_window_bits=12; client_max_window_bits=12",
            ),
            (
                "; client_max_window_bits=8; server_max_window_bits=10",
                "; server_max_window_bits=10; client_max_window_bits=8",
            ),
            ("; server_no_context_takeover", "; server_no_context_takeover"),
            (
                "; client_no_context_takeover; server_max_window_bits=\"1\\5\"",
                "; client_no_context_takeover; server_max_window_bits=12",
            ),
        ];
        for (params, expected) in cases {
            let offer = format!("permessage-deflate{params}");
            assert_eq!(dedicated(&offer), format!("permessage-deflate{expected}"), "{offer}");
        }
        let widest = Terms { takeover: true, window_bits: 15 };
        let plain = answer(widest, &["permessage-deflate; client_max_window_bits"]);
        assert_eq!(plain.as_deref(), Ok("permessage-deflate"));
        let named = answer(widest, &["permessage-deflate; server_max_window_bits=15"]);
        assert_eq!(named.as_deref(), Ok("permessage-deflate; server_max_window_bits=15"));
    }

    #[test]
    fn invalid_offers_are_declined_as_a_whole() {
        for params in [
            "server_max_window_bits=8",
            "server_max_window_bits",
            "server_max_window_bits=7",
            "server_max_window_bits=16",
            "server_max_window_bits=09",
            "server_max_window_bits=010",
            "server_max_window_bits=100",
            "server_max_window_bits=abc",
            "server_max_window_bits=\"7\"",
            "server_max_window_bits=10; server_max_window_bits=10",
            "client_max_window_bits=7",
            "client_max_window_bits=16",
            "client_max_window_bits=abc",
            "client_max_window_bits=-9",
            "client_max_window_bits; client_max_window_bits",
            "client_max_window_bits; client_max_window_bits=10",
            "server_no_context_takeover=1",
            "client_no_context_takeover=true",
            "server_no_context_takeover; server_no_context_takeover",
            "client_no_context_takeover; client_no_context_takeover",
            "unknown",
            "unknown=1; client_max_window_bits",
            "Server_No_Context_Takeover",
        ] {
            let offer = format!("permessage-deflate; {params}");
            assert_eq!(shared(&offer), "", "{params}");
            assert_eq!(dedicated(&offer), "", "{params}");
            // A later valid offer is accepted.
            let offers = format!("{offer}, x-other; a=\"b\", permessage-deflate");
            assert_eq!(dedicated(&offers), "permessage-deflate; server_max_window_bits=12");
        }
        for other in ["", "x-webkit-deflate-frame", "permessage-bzip2", "Permessage-Deflate"] {
            assert_eq!(dedicated(other), "", "{other:?}");
        }
    }

    #[test]
    fn the_first_offer_that_can_be_fulfilled_is_accepted() {
        let values = [
            "permessage-deflate; server_max_window_bits=8, other",
            "permessage-deflate; server_max_window_bits=11, permessage-deflate",
        ];
        let expected = "permessage-deflate; server_max_window_bits=11";
        assert_eq!(answer(DEDICATED, &values).as_deref(), Ok(expected));
    }

    #[test]
    fn malformed_offers_fail_even_after_a_valid_one() {
        for value in [
            "permessage-deflate, a;",
            "permessage-deflate; client_max_window_bits=",
            "permessage-deflate; client_max_window_bits=\"\"",
        ] {
            assert_eq!(answer(DEDICATED, &[value]), Err(MalformedExtensions), "{value}");
        }
        assert_eq!(answer(SHARED, &["permessage-deflate", "="]), Err(MalformedExtensions));
    }

    #[test]
    fn a_server_without_room_answers_without_takeover() {
        let offer = "permessage-deflate; client_max_window_bits; server_max_window_bits=10";
        let agreed = negotiate([offer.as_bytes()].into_iter(), DEDICATED).unwrap().unwrap();
        assert_eq!(agreed.window_bytes_max(), (1 << 10) + (1 << 12));
        let without = agreed.without_takeover();
        assert_eq!(without.window_bytes_max(), 0);
        assert_eq!(
            without.to_string(),
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
             server_max_window_bits=10; client_max_window_bits=12"
        );
    }

    fn check(offer: Offer, value: &str) -> Result<Option<Agreement>, MalformedExtensions> {
        offer.check([value.as_bytes()].into_iter())
    }

    #[test]
    fn client_and_server_reach_the_same_agreement() {
        let widest = Terms { takeover: true, window_bits: 15 };
        for offer in [Offer { takeover: true }, Offer { takeover: false }] {
            for terms in [SHARED, DEDICATED, widest] {
                let server = negotiate([offer.as_str().as_bytes()].into_iter(), terms).unwrap();
                let server = server.unwrap();
                let client = check(offer, &server.to_string()).unwrap().unwrap();
                assert_eq!((client.server, client.client), (server.server, server.client));
                assert_eq!(client.outgoing(Role::Client), server.incoming(Role::Server));
                assert_eq!(client.incoming(Role::Client), server.outgoing(Role::Server));
            }
        }
    }

    #[test]
    fn a_client_rejects_answers_that_do_not_match_its_offer() {
        let (keeps, alone) = (Offer { takeover: true }, Offer { takeover: false });
        for offer in [keeps, alone] {
            assert_eq!(check(offer, ""), Ok(None));
            for value in [
                "other",
                "permessage-deflate; unknown",
                "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
                "permessage-deflate; server_no_context_takeover; client_max_window_bits",
                "permessage-deflate; server_no_context_takeover; server_max_window_bits=7",
                "permessage-deflate; server_no_context_takeover, permessage-deflate",
                "permessage-deflate; server_no_context_takeover, other",
                "permessage-deflate;",
            ] {
                assert_eq!(check(offer, value), Err(MalformedExtensions), "{value}");
            }
        }
        assert!(check(keeps, "permessage-deflate; client_max_window_bits=9").is_ok());
        let unasked = "permessage-deflate; server_no_context_takeover; client_max_window_bits=9";
        assert_eq!(check(alone, unasked), Err(MalformedExtensions));
        assert_eq!(check(alone, "permessage-deflate"), Err(MalformedExtensions));
        let agreed = check(keeps, "permessage-deflate; client_max_window_bits=8").unwrap().unwrap();
        assert!(!agreed.outgoing(Role::Client).is_possible());
    }
}
