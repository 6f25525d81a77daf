//! The verbs of messages of clients.

/// The first element of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Publishes an event.
    Event,
    /// Opens a subscription.
    Req,
    /// Ends a subscription.
    Close,
    /// Counts events (NIP-45).
    Count,
    /// Authenticates (NIP-42).
    Auth,
    /// Opens a negentropy session (NIP-77).
    NegOpen,
    /// Continues one.
    NegMsg,
    /// Ends one.
    NegClose,
}

impl Verb {
    /// All of them, for metrics.
    pub const ALL: [Verb; 8] = [
        Verb::Event,
        Verb::Req,
        Verb::Close,
        Verb::Count,
        Verb::Auth,
        Verb::NegOpen,
        Verb::NegMsg,
        Verb::NegClose,
    ];

    /// The verb as it stands in a message.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Event => "EVENT",
            Verb::Req => "REQ",
            Verb::Close => "CLOSE",
            Verb::Count => "COUNT",
            Verb::Auth => "AUTH",
            Verb::NegOpen => "NEG-OPEN",
            Verb::NegMsg => "NEG-MSG",
            Verb::NegClose => "NEG-CLOSE",
        }
    }

    pub(super) fn of(name: &str) -> Option<Verb> {
        Verb::ALL.into_iter().find(|verb| verb.name() == name)
    }
}

/// The verb of a message, without a look at anything else; `None` if the start is malformed or the verb
/// is not known or written with escapes: [`ClientMessage::parse`](super::message::ClientMessage::parse)
/// finds out.
pub fn verb_of(text: &str) -> Option<Verb> {
    let rest = text.trim_start().strip_prefix('[')?.trim_start().strip_prefix('"')?;
    let (name, _) = rest.split_at_checked(rest.bytes().take(16).position(|byte| byte == b'"')?)?;
    Verb::of(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verb_is_found_without_parsing() {
        for verb in Verb::ALL {
            assert_eq!(verb_of(&format!(" [ \"{}\", x", verb.name())), Some(verb));
        }
        for text in
            ["", "[", "[\"", "[\"REQ", "REQ", "[1,\"REQ\"]", "[\"req\",1]", "[\"\\u0052EQ\""]
        {
            assert_eq!(verb_of(text), None, "{text}");
        }
        assert_eq!(verb_of(&format!("[\"{}\"", "\u{e9}".repeat(99))), None);
    }
}
