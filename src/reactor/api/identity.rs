//! [`Identity`]: who a client is, as its gate has determined; and what routes require of it.
//!
//! Plain values. The loop keeps the identity of a connection in its cold state, see
//! [`conn::identity`](crate::reactor::conn::identity).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::budget::SUBJECT_BYTES_MAX;
use super::metadata::Metadata;
use super::priority::Priority;
use super::time::Time;

/// Who a client is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// Shared with the table of subjects.
    subject: Arc<str>,
    /// When it ends; `None`: never. An open connection is closed
    /// [`expired_grace`](field@super::settings::GateSettings::expired_grace) later.
    pub expires: Option<Time>,
    /// The priority of its connections; `None`: that of the route.
    pub priority: Option<Priority>,
    /// Further data, for filters, requirements of routes and logs. Apart from what the service
    /// of the connection [sets](crate::reactor::Context::set_metadata).
    pub metadata: Metadata,
    /// What the gate itself needs to recognize the client's session. Neither sent nor logged.
    pub session: Option<Arc<str>>,
}

impl Identity {
    /// An identity without end and without metadata.
    ///
    /// # Errors
    /// The subject is empty, longer than [`SUBJECT_BYTES_MAX`], or has a control character.
    pub fn new(subject: &str) -> Result<Identity, IdentityError> {
        let has_length = (1..=SUBJECT_BYTES_MAX).contains(&subject.len());
        if !has_length || subject.chars().any(char::is_control) {
            return Err(IdentityError::Subject);
        }
        Ok(Identity {
            subject: subject.into(),
            expires: None,
            priority: None,
            metadata: Metadata::default(),
            session: None,
        })
    }

    /// The name of the client, unique within its gate: a user, a tenant, a device.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    pub(in crate::reactor) fn shared_subject(&self) -> &Arc<str> {
        &self.subject
    }

    /// Whether a value of the required key equals the required value.
    pub fn holds(&self, required: &Requirement) -> bool {
        self.metadata.holds(&required.key, &required.value)
    }
}

/// Why an identity is invalid, or was not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdentityError {
    /// The subject is empty, longer than [`SUBJECT_BYTES_MAX`], or has a control character.
    Subject,
    /// The connection has ended, is not open, or belongs to another service and another gate.
    Gone,
    /// The route of the connection has no gate.
    NoGate,
    /// The subject has the most connections that its gate allows.
    SubjectFull,
    /// It does not meet what the route requires: the connection was closed with 3003.
    Forbidden,
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IdentityError::Subject => "a subject has 1 to 256 bytes and no control characters",
            IdentityError::Gone => "the connection has ended or is not open",
            IdentityError::NoGate => "the route has no gate",
            IdentityError::SubjectFull => "the subject has too many connections",
            IdentityError::Forbidden => "the route requires other metadata",
        })
    }
}

impl std::error::Error for IdentityError {}

/// A key and a value that the metadata of an identity must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    key: Box<str>,
    value: Box<str>,
}

impl Requirement {
    /// Requires this value of the key, of one or several.
    pub fn new(key: &str, value: &str) -> Requirement {
        Requirement { key: key.into(), value: value.into() }
    }
}

/// Written `KEY=VALUE`. The value may contain `=`.
impl FromStr for Requirement {
    type Err = RequirementError;

    fn from_str(text: &str) -> Result<Requirement, RequirementError> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() && !value.is_empty() => {
                Ok(Requirement::new(key, value))
            }
            _ => Err(RequirementError),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

/// A text that is not a [`Requirement`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequirementError;

impl fmt::Display for RequirementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected KEY=VALUE, such as \"role=admin\"")
    }
}

impl std::error::Error for RequirementError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_bounded_and_have_no_control_characters() {
        for subject in ["a", "Zoë", &"x".repeat(SUBJECT_BYTES_MAX)] {
            assert_eq!(Identity::new(subject).unwrap().subject(), subject);
        }
        for subject in ["", "a\nb", "\u{85}", &"x".repeat(SUBJECT_BYTES_MAX + 1)] {
            assert_eq!(Identity::new(subject), Err(IdentityError::Subject), "{subject:?}");
        }
    }

    #[test]
    fn one_of_several_values_meets_a_requirement() {
        let mut identity = Identity::new("ann").unwrap();
        identity.metadata.add("role", "editor").unwrap();
        identity.metadata.add("role", "admin").unwrap();
        let holds = |text: &str| identity.holds(&text.parse().unwrap());
        assert!(holds("role=admin") && holds("role=editor"));
        assert!(!holds("role=adm") && !holds("Role=admin") && !holds("name=admin"));
    }

    #[test]
    fn requirements_have_a_key_and_a_value() {
        let parsed: Requirement = "a=b=c".parse().unwrap();
        assert_eq!(
            (parsed.clone(), parsed.to_string().as_str()),
            (Requirement::new("a", "b=c"), "a=b=c")
        );
        for text in ["", "a", "a=", "=b"] {
            assert_eq!(text.parse::<Requirement>(), Err(RequirementError), "{text:?}");
        }
    }
}
