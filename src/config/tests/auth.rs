//! Gates, and the routes and networks that name them.

use weir::protocol::CloseCode;
use weir::reactor::settings::{GateSettings, RefuseBy};

use super::*;

const AUTH: &str = "[[auth]]\nname = 'users'\nkind = 'jwt'\n";
const ROUTE: &str = "[[route]]\npath = '/a'\nservice = 'echo'\n";

fn both(of_auth: &str, of_route: &str) -> Result<Config, String> {
    file(&format!("{AUTH}{of_auth}\n{ROUTE}{of_route}"))
}

fn route_error(keys: &str) -> String {
    both("", keys).unwrap_err()
}

#[test]
fn a_gate_has_the_defaults_of_the_settings_struct() {
    let config = both("", "auth = 'users'").unwrap();
    assert_eq!(config.auths[0].gate, GateSettings::default());
    assert_eq!(config.differences(), ["/a: auth = \"users\""]);
    assert_eq!(config.notes(), [""; 0]);
    let config = both(
        "connections_per_subject = 3\nexpired_code = 4001\nexpired_grace = '2s'",
        "auth = 'users'\nrequire = ['role=admin', 'a=b,c']\nrefuse = 'close'",
    );
    let config = config.unwrap();
    let gate = GateSettings::default()
        .connections_per_subject(3)
        .expired_code(CloseCode::new(4001).unwrap())
        .expired_grace(Duration::from_secs(2));
    assert_eq!(config.auths[0].gate, gate);
    assert_eq!(config.routes[0].access.auth(), Some("users"));
    assert_eq!(config.routes[0].settings.refuse, RefuseBy::Close);
    let written = config.to_string();
    assert_eq!(file(&written).unwrap(), config, "{written}");
    let differences = config.differences();
    for line in [
        "/a: require = [\"role=admin\", \"a=b,c\"]",
        "/a: auth = \"users\"",
        "/a: refuse = \"close\"",
        "auth users: connections_per_subject = \"3\"",
        "auth users: expired_code = 4001",
        "auth users: expired_grace = \"2s\"",
    ] {
        assert!(differences.iter().any(|other| other == line), "{line}: {differences:?}");
    }
}

#[test]
fn routes_and_networks_name_a_gate_that_exists() {
    assert_eq!(
        route_error("auth = 'user'"),
        "weir.toml:8: path \"/a\": there is no [[auth]] with name = \"user\" (did you mean \"users\"?)"
    );
    assert_eq!(route_error("require = ['a=b']"), "weir.toml:8: path \"/a\": require needs auth");
    assert!(route_error("auth = 'users'\nrequire = ['a']").contains("expected KEY=VALUE"));
    let network = "[[network]]\nproject = 'main'\nchain_id = 1\nupstreams = ['http://a.example']\n";
    let error = file(&format!("{AUTH}{network}auth = 'other'")).unwrap_err();
    assert_eq!(error, "weir.toml:8: there is no [[auth]] with name = \"other\"");
    let config = file(&format!("{AUTH}{network}auth = 'users'\nrequire = ['a=b']")).unwrap();
    assert_eq!(config.networks[0].access.auth(), Some("users"));
    assert_eq!(file(&config.to_string()).unwrap(), config);
}

#[test]
fn an_unused_gate_is_noted() {
    assert_eq!(both("", "").unwrap().notes(), ["auth users: is unused: no route names it"]);
}

#[test]
fn invalid_gates_are_rejected() {
    for (text, why) in [
        ("[[auth]]\nkind = 'jwt'\n", "weir.toml:1: a [[auth]] needs name"),
        ("[[auth]]\nname = 'a'\n", "weir.toml:1: a [[auth]] needs kind"),
        ("[[auth]]\nname = 'a b'\nkind = 'jwt'\n", "weir.toml:2: name = \"a b\": expected letters"),
        (
            "[[auth]]\nname = 'users'\nkind = 'jwt'\nexpired_code = 1000",
            "weir.toml:4: expired_code = 1000: expected 1008, or a code from 3000 to 4999",
        ),
        ("[[auth]]\nname = 'a'\nkind = 'jvt'\n", "weir.toml:3: kind = 'jvt': expected one of"),
    ] {
        let error = file(text).unwrap_err();
        assert!(error.starts_with(why), "{error}");
    }
    let error = file(&format!("{AUTH}{AUTH}")).unwrap_err();
    assert_eq!(error, "weir.toml:5: auth \"users\" is defined twice");
}

#[test]
fn a_changed_gate_needs_a_restart_and_a_changed_requirement_does_not() {
    let old = both("", "auth = 'users'").unwrap();
    let start = old.start();
    let new = both("", "auth = 'users'\nrequire = ['a=b']").unwrap();
    assert_eq!(old.needing_restart(&new, &start), [""; 0]);
    let new = both("expired_code = 1008", "auth = 'users'").unwrap();
    assert_eq!(old.needing_restart(&new, &start), ["auth: the gates have changed"]);
}
