//! Errors of the library as `std::error::Error`s with their sources.

use std::error::Error;
use std::io;

use weir::protocol::Message;
use weir::reactor::settings::{
    CertificateFiles, HostPattern, ListenSettings, NotationError, Prefix, Rate, RouteSettings,
    Settings, TlsSettings,
};
use weir::reactor::{ConnId, Context, JoinError, PatternError, Reactor, RouteError, Service};
use weir::services::Echo;

/// The first error that caused `error`, as its own type.
fn source<E: Error + 'static>(error: &dyn Error) -> Option<&E> {
    error.source().and_then(|source| source.downcast_ref())
}

#[test]
fn errors_name_their_source() {
    let mut reactor = Reactor::new(Settings::default()).unwrap();
    let echo = reactor.add_service(Echo).unwrap();
    let error = reactor.add_route("no slash", echo, RouteSettings::default()).unwrap_err();
    assert_eq!(source(&error), Some(&PatternError::NoSlash));

    let settings = RouteSettings::default().message_bytes_max(1);
    let invalid = settings.check().unwrap_err();
    let error = reactor.add_route("/", echo, settings).unwrap_err();
    assert_eq!(source(&error), Some(&invalid));
    assert!(RouteError::NoService.source().is_none());

    let nowhere = CertificateFiles::new("/nowhere", "/nowhere");
    let error = reactor.set_tls(TlsSettings::new(nowhere)).unwrap_err();
    let missing: &io::Error = source(&error).unwrap();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
}

#[test]
fn an_error_of_listen_names_the_address() {
    let mut reactor = Reactor::new(Settings::default()).unwrap();
    let taken = reactor.listen(&ListenSettings::new("127.0.0.1:0".parse().unwrap())).unwrap();
    let error = reactor.listen(&ListenSettings::new(taken)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().starts_with(&format!("listen on {taken}: ")), "{error}");
}

#[test]
fn a_service_with_too_many_subprotocols_is_rejected() {
    struct Many(Vec<&'static str>);
    impl Service for Many {
        fn protocols(&self) -> &[&str] {
            &self.0
        }
        fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
    }
    let mut reactor = Reactor::new(Settings::default()).unwrap();
    let error = reactor.add_service(Many(vec!["x"; 256])).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("subprotocols"), "{error}");
    reactor.add_service(Many(vec!["x"; 255])).unwrap();
}

#[test]
fn errors_of_one_expression_share_a_type() {
    fn parse() -> Result<(Rate, Prefix, HostPattern), NotationError> {
        Ok(("10/s".parse()?, "10.0.0.0/8".parse()?, "*".parse()?))
    }
    fn boxed() -> Result<(), Box<dyn Error>> {
        parse()?;
        Err(JoinError::TooManyTopics)?
    }
    assert_eq!(boxed().unwrap_err().to_string(), "too many topics");
    assert!("10".parse::<Rate>().unwrap_err().to_string().starts_with("expected a rate"));
}
