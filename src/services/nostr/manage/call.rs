//! Calls of the management API (NIP-86), from the body of a request.

use serde::Deserialize;
use serde_json::Value;

use crate::services::nostr::keys::parse_key;
use crate::services::nostr::managed::{Entry, InfoText};
use crate::services::nostr::tags::hex_32;

/// Bytes of the reason of an entry, or of a text of the information document.
const TEXT_BYTES_MAX: usize = 1024;

/// A method with its name.
macro_rules! methods {
    ($($method:ident $name:literal,)*) => {
        /// The methods of the API.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Method {
            $($method,)*
        }

        impl Method {
            pub(super) const ALL: &[Method] = &[$(Method::$method,)*];

            /// Its name in a request.
            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Method::$method => $name,)*
                }
            }
        }
    };
}

methods! {
    SupportedMethods "supportedmethods",
    BanPubkey "banpubkey",
    UnbanPubkey "unbanpubkey",
    ListBannedPubkeys "listbannedpubkeys",
    AllowPubkey "allowpubkey",
    UnallowPubkey "unallowpubkey",
    ListAllowedPubkeys "listallowedpubkeys",
    BanEvent "banevent",
    AllowEvent "allowevent",
    ListBannedEvents "listbannedevents",
    AllowKind "allowkind",
    DisallowKind "disallowkind",
    ListAllowedKinds "listallowedkinds",
    BlockIp "blockip",
    UnblockIp "unblockip",
    ListBlockedIps "listblockedips",
    ChangeRelayName "changerelayname",
    ChangeRelayDescription "changerelaydescription",
    ChangeRelayIcon "changerelayicon",
}

/// A parsed request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Empty: the call changes nothing. In this order, so that a ban is set before an allow is removed.
    pub(crate) settings: Vec<Setting>,
}

/// An entry to add, with its reason or text, or to remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) entry: Entry,
    pub(crate) reason: Option<Box<str>>,
}

/// Why a body is not a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CallError {
    /// The body is not a request of the API.
    Malformed(String),
    /// The method is not known, or has other parameters.
    Refused(String),
}

#[derive(Deserialize)]
struct Body {
    method: String,
    #[serde(default)]
    params: Vec<Value>,
}

impl Call {
    pub(super) fn parse(body: &[u8]) -> Result<Call, CallError> {
        let Body { method: name, params } = serde_json::from_slice(body)
            .map_err(|error| CallError::Malformed(format!("malformed request: {error}")))?;
        let method = Method::ALL.iter().copied().find(|method| method.name() == name);
        let Some(method) = method else {
            return Err(CallError::Refused("unknown method: see supportedmethods".to_owned()));
        };
        match settings(method, &Params(&params)) {
            Ok(settings) => Ok(Call { method, settings }),
            Err(expected) => Err(CallError::Refused(format!("{name}: {expected}"))),
        }
    }
}

type Parsed<T> = Result<T, &'static str>;

/// The entries that a call sets and removes.
fn settings(method: Method, params: &Params<'_>) -> Parsed<Vec<Setting>> {
    let add = |entry, reason| Setting { entry, reason: Some(reason) };
    let remove = |entry| Setting { entry, reason: None };
    let text = |member| -> Parsed<Vec<Setting>> {
        let text = params.text(0)?.ok_or("expected a text")?;
        // Without a text the configured one is served again.
        let reason = Some(text).filter(|text| !text.is_empty());
        Ok(vec![Setting { entry: Entry::Text(member), reason }])
    };
    Ok(match method {
        Method::SupportedMethods
        | Method::ListBannedPubkeys
        | Method::ListAllowedPubkeys
        | Method::ListBannedEvents
        | Method::ListAllowedKinds
        | Method::ListBlockedIps => Vec::new(),
        Method::BanPubkey => {
            let key = params.key()?;
            vec![add(Entry::BannedAuthor(key), params.reason()?), remove(Entry::AllowedAuthor(key))]
        }
        Method::AllowPubkey => {
            let key = params.key()?;
            vec![add(Entry::AllowedAuthor(key), params.reason()?), remove(Entry::BannedAuthor(key))]
        }
        Method::UnbanPubkey => vec![remove(Entry::BannedAuthor(params.key()?))],
        Method::UnallowPubkey => vec![remove(Entry::AllowedAuthor(params.key()?))],
        Method::BanEvent => vec![add(Entry::BannedId(params.id()?), params.reason()?)],
        Method::AllowEvent => vec![remove(Entry::BannedId(params.id()?))],
        Method::AllowKind => {
            let kind = params.kind()?;
            vec![add(Entry::AllowedKind(kind), "".into()), remove(Entry::DeniedKind(kind))]
        }
        Method::DisallowKind => {
            let kind = params.kind()?;
            vec![add(Entry::DeniedKind(kind), "".into()), remove(Entry::AllowedKind(kind))]
        }
        Method::BlockIp => vec![add(params.address()?, params.reason()?)],
        Method::UnblockIp => vec![remove(params.address()?)],
        Method::ChangeRelayName => text(InfoText::Name)?,
        Method::ChangeRelayDescription => text(InfoText::Description)?,
        Method::ChangeRelayIcon => text(InfoText::Icon)?,
    })
}

/// The parameters of a call. Further ones are ignored.
struct Params<'a>(&'a [Value]);

impl Params<'_> {
    fn str(&self, index: usize) -> Option<&str> {
        self.0.get(index)?.as_str()
    }

    fn key(&self) -> Parsed<[u8; 32]> {
        self.str(0).and_then(parse_key).ok_or("expected a public key of 64 lower-case hex digits")
    }

    fn id(&self) -> Parsed<[u8; 32]> {
        self.str(0).and_then(hex_32).ok_or("expected an event id of 64 lower-case hex digits")
    }

    fn kind(&self) -> Parsed<u16> {
        let kind = self.0.first().and_then(Value::as_u64);
        kind.and_then(|kind| kind.try_into().ok()).ok_or("expected a kind from 0 to 65535")
    }

    fn address(&self) -> Parsed<Entry> {
        let address = self.str(0).and_then(|text| text.parse::<std::net::IpAddr>().ok());
        let address = address.ok_or("expected an IP address")?;
        Ok(Entry::BlockedAddress(address.to_canonical()))
    }

    /// The optional reason of an entry.
    fn reason(&self) -> Parsed<Box<str>> {
        Ok(self.text(1)?.unwrap_or_default())
    }

    fn text(&self, index: usize) -> Parsed<Option<Box<str>>> {
        match self.0.get(index) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.len() <= TEXT_BYTES_MAX => {
                Ok(Some(text.as_str().into()))
            }
            Some(Value::String(_)) => Err("a text has at most 1024 bytes"),
            Some(_) => Err("a reason must be a text"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4e";

    fn parse(body: &str) -> Result<Vec<Setting>, CallError> {
        Call::parse(body.as_bytes()).map(|call| call.settings)
    }

    fn call(method: &str, params: &str) -> Vec<Setting> {
        parse(&format!(r#"{{"method":"{method}","params":{params}}}"#)).unwrap()
    }

    fn set(entry: Entry, reason: &str) -> Setting {
        Setting { entry, reason: Some(reason.into()) }
    }

    fn removed(entry: Entry) -> Setting {
        Setting { entry, reason: None }
    }

    #[test]
    fn a_ban_and_an_allow_replace_each_other() {
        let key = hex_32(KEY).unwrap();
        let (banned, allowed) = (Entry::BannedAuthor(key), Entry::AllowedAuthor(key));
        let params = format!(r#"["{KEY}","spam"]"#);
        assert_eq!(call("banpubkey", &params), [set(banned, "spam"), removed(allowed)]);
        let params = format!(r#"["{KEY}",null]"#);
        assert_eq!(call("allowpubkey", &params), [set(allowed, ""), removed(banned)]);
        assert_eq!(call("unbanpubkey", &params), [removed(banned)]);
        assert_eq!(call("unallowpubkey", &params), [removed(allowed)]);
        let kinds = [set(Entry::DeniedKind(7), ""), removed(Entry::AllowedKind(7))];
        assert_eq!(call("disallowkind", "[7]"), kinds);
    }

    #[test]
    fn an_address_is_listed_in_canonical_form() {
        let address = Entry::BlockedAddress("10.0.0.1".parse().unwrap());
        assert_eq!(call("blockip", r#"["::ffff:10.0.0.1","x"]"#), [set(address, "x")]);
        assert_eq!(call("unblockip", r#"["10.0.0.1"]"#), [removed(address)]);
    }

    #[test]
    fn an_empty_text_restores_the_configured_one() {
        let name = Entry::Text(InfoText::Name);
        assert_eq!(call("changerelayname", r#"["Harbour"]"#), [set(name, "Harbour")]);
        assert_eq!(call("changerelayname", r#"[""]"#), [removed(name)]);
    }

    #[test]
    fn calls_without_parameters_change_nothing() {
        for method in Method::ALL.iter().filter(|method| method.name().starts_with("list")) {
            assert_eq!(call(method.name(), "[]"), []);
            assert_eq!(parse(&format!(r#"{{"method":"{}"}}"#, method.name())), Ok(Vec::new()));
        }
    }

    #[test]
    fn malformed_bodies_are_told_from_wrong_parameters() {
        let deep = format!(r#"{{"method":"x","params":{}}}"#, "[".repeat(10_000));
        for body in ["", "{", "[]", "{}", r#"{"method":1}"#, r#"{"method":"x","params":{}}"#, &deep]
        {
            assert!(matches!(parse(body), Err(CallError::Malformed(_))), "{body}");
        }
        let long = format!(r#"["{KEY}","{}"]"#, "x".repeat(TEXT_BYTES_MAX + 1));
        let calls = [
            ("createrole", "[]"),
            ("banpubkey", "[]"),
            ("banpubkey", r#"["xyz"]"#),
            ("banpubkey", long.as_str()),
            ("banevent", "[7]"),
            ("allowkind", "[65536]"),
            ("allowkind", r#"["7"]"#),
            ("blockip", r#"["10.0.0.0/8"]"#),
            ("changerelayname", "[]"),
            ("changerelayicon", "[1]"),
        ];
        for (method, params) in calls {
            let body = format!(r#"{{"method":"{method}","params":{params}}}"#);
            assert!(matches!(parse(&body), Err(CallError::Refused(_))), "{body}");
        }
    }
}
