//! Gates, and the routes and networks that name them.

use std::path::PathBuf;

use weir::protocol::CloseCode;
use weir::reactor::settings::{GateSettings, Rate, RefuseBy};
use weir::services::auth::settings::{
    Algorithm, Audience, HookSettings, JwtSettings, KeySource, OnFailure, TokenPlace,
};

use super::super::options::{GateFiles, HookOptions, JwtOptions};
use super::*;

pub(super) const AUTH: &str =
    "[[auth]]\nname = 'users'\nkind = 'jwt'\nalgorithms = ['HS256']\nsecret_file = '/secret'\n";
const HOOK: &str = "[[auth]]\nname = 'hook'\nkind = 'http'\nurl = 'https://a.example/'\n";
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
    let secret = "auth users: secret_file = \"/secret\"";
    assert_eq!(config.differences(), ["/a: auth = \"users\"", secret]);
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
        "weir.toml:10: path \"/a\": there is no [[auth]] with name = \"user\" (did you mean \"users\"?)"
    );
    assert_eq!(route_error("require = ['a=b']"), "weir.toml:10: path \"/a\": require needs auth");
    assert!(route_error("auth = 'users'\nrequire = ['a']").contains("expected KEY=VALUE"));
    let rooms = "[[route]]\npath = '/{name}'\nservice = 'rooms'\n";
    for key in ["join", "publish"] {
        let error = file(&format!("{rooms}{key} = 'a=b'")).unwrap_err();
        assert_eq!(error, format!("weir.toml:4: path \"/{{name}}\": {key} needs auth"));
        file(&format!("{AUTH}{rooms}auth = 'users'\n{key} = {{ a = 'b' }}")).unwrap();
    }
    let network = "[[network]]\nproject = 'main'\nchain_id = 1\nupstreams = ['http://a.example']\n";
    let error = file(&format!("{AUTH}{network}auth = 'other'")).unwrap_err();
    assert_eq!(error, "weir.toml:10: there is no [[auth]] with name = \"other\"");
    let config = file(&format!("{AUTH}{network}auth = 'users'\nrequire = ['a=b']")).unwrap();
    assert_eq!(config.networks[0].access.auth(), Some("users"));
    assert!(!config.notes().iter().any(|note| note.contains("is unused")), "a network uses it");
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
        ("[[auth]]\nname = ''\nkind = 'jwt'\n", "weir.toml:2: name = \"\": expected letters"),
        // The name is a segment of the path at the admin address.
        ("[[auth]]\nname = 'a/b'\nkind = 'jwt'\n", "weir.toml:2: name = \"a/b\": expected letters"),
        ("[[auth]]\nname = 'a'\nkind = 'jvt'\n", "weir.toml:3: kind = 'jvt': expected one of"),
    ] {
        let error = file(text).unwrap_err();
        assert!(error.starts_with(why), "{error}");
    }
    let error = file(&format!("{AUTH}{AUTH}")).unwrap_err();
    assert_eq!(error, "weir.toml:7: auth \"users\" is defined twice");
    for code in [999, 1000, 1001, 1007, 1009, 1013, 2999, 5000] {
        let error = both(&format!("expired_code = {code}"), "").unwrap_err();
        let why = "expected 1008, or a code from 3000 to 4999";
        assert_eq!(error, format!("weir.toml:6: expired_code = {code}: {why}"));
    }
    for code in [1008, 3000, 4999] {
        assert!(both(&format!("expired_code = {code}"), "").is_ok(), "{code}");
    }
}

#[test]
fn a_changed_gate_needs_a_restart_and_a_changed_requirement_does_not() {
    let old = both("", "auth = 'users'").unwrap();
    let start = old.start();
    let new = both("", "auth = 'users'\nrequire = ['a=b']").unwrap();
    assert_eq!(old.needing_restart(&new, &start), [""; 0]);
    let two =
        |auth: &str| both(HOOK, &format!("auth = '{auth}'\norigins = ['https://a'] ")).unwrap();
    let (old_of_two, new_of_two) = (two("users"), two("hook"));
    let start_of_two = old_of_two.start();
    assert_eq!(old_of_two.needing_restart(&new_of_two, &start_of_two), [""; 0]);
    let new = both("expired_code = 1008", "auth = 'users'").unwrap();
    assert_eq!(old.needing_restart(&new, &start), ["auth: the gates have changed"]);
}

#[test]
fn every_key_of_a_gate_reaches_its_settings() {
    let jwt = "[[auth]]
        name = 'users'
        kind = 'jwt'
        algorithms = ['RS256', 'HS512', 'EdDSA']
        secret_file = '/secret'
        keys = 'https://id.example/'
        ca = '/roots.pem'
        token_from = ['header', 'query:t', 'protocol']
        audience = ['chat', 'feed']
        issuer = 'https://id.example'
        claims = ['role', 'tenant']
        leeway = '7s'
        exp = 'optional'
        failures_per_address = '3/min burst 4'
        [[auth]]
        name = 'cookies'
        kind = 'jwt'
        algorithms = ['ES256']
        keys = '/keys.pem'
        token_from = ['cookie:session']
        audience = ['any']
        forward_token = true
        failures_per_address = 'off'";
    let hook = "[[auth]]
        name = 'hook'
        kind = 'http'
        url = 'https://a.example/'
        ca = '/hook.pem'
        headers = ['X-Key']
        timeout = '2s'
        concurrency = 3
        on_failure = 'pass'
        cache = '10s'";
    let config = file(&format!("{jwt}\n{hook}")).unwrap();
    let written = config.to_string();
    assert_eq!(file(&written).unwrap(), config, "{written}");
    let path = |name: &str| PathBuf::from(name);
    let places = |names: &str| names.split(' ').map(|name| name.parse().unwrap()).collect();
    let users = JwtSettings::new(vec![Algorithm::Rs256, Algorithm::Hs512, Algorithm::EdDsa])
        .secret_file(path("/secret"))
        .keys("https://id.example/".parse::<KeySource>().unwrap())
        .ca_file(path("/roots.pem"))
        .token_from(places("header query:t protocol"))
        .audience(Audience::OneOf(vec!["chat".to_owned(), "feed".to_owned()]))
        .issuer("https://id.example".to_owned())
        .claims(vec!["role".to_owned(), "tenant".to_owned()])
        .leeway(Duration::from_secs(7))
        .needs_exp(false)
        .failures_per_address(Rate { per_second: 0.05, burst: 4 });
    let cookies = JwtSettings::new(vec![Algorithm::Es256])
        .keys(KeySource::File(path("/keys.pem")))
        .token_from(vec![TokenPlace::Cookie("session".to_owned())])
        .audience(Audience::Any)
        .forward_token(true)
        .failures_per_address(None);
    let hook = HookSettings::new("https://a.example/".parse().unwrap())
        .ca_file(path("/hook.pem"))
        .headers(vec!["x-key".parse().unwrap()])
        .timeout(Duration::from_secs(2))
        .concurrency(3)
        .on_failure(OnFailure::Pass)
        .cache(Duration::from_secs(10));
    let kinds: Vec<&GateKind> = config.auths.iter().map(|auth| &auth.kind).collect();
    let expected = [&GateKind::Jwt(users), &GateKind::Jwt(cookies), &GateKind::Http(hook)];
    assert_eq!(kinds, expected);
    // No key is missing above.
    let usual = file(&format!("{AUTH}{HOOK}")).unwrap().to_string();
    let usual: HashSet<&str> = usual.lines().collect();
    let keys = Keys::of::<JwtOptions>().and::<HookOptions>().and::<GateFiles>();
    for key in keys.names() {
        let of_key = |line: &&str| line.split_once(" = ").is_some_and(|(name, _)| name == key);
        let is_set = written.lines().filter(of_key).any(|line| !usual.contains(line));
        assert!(is_set || key == "url", "{key} has only its default");
    }
}

#[test]
fn keys_of_gates_must_fit_together() {
    let jwt =
        |keys: &str| file(&format!("[[auth]]\nname = 'a'\nkind = 'jwt'\n{keys}\n")).unwrap_err();
    let hook =
        |keys: &str| file(&format!("[[auth]]\nname = 'a'\nkind = 'http'\n{keys}\n")).unwrap_err();
    let server = "algorithms = ['RS256']\nkeys = 'https://a.example/KEY'";
    for (error, why) in [
        (jwt(""), "weir.toml:1: a [[auth]] needs algorithms"),
        (jwt("algorithms = ['none']"), "weir.toml:4: algorithms = ['none']: expected one of HS256"),
        (jwt("algorithms = ['HS256']"), "weir.toml:4: secret_file is missing"),
        (jwt("algorithms = ['RS256']"), "weir.toml:4: keys is missing"),
        (jwt(server), "weir.toml:5: audience is missing"),
        (
            jwt("algorithms = ['RS256']\nkeys = 'http://a/KEY'"),
            "weir.toml:5: keys = [\"http://a/..\"]: keys from a server need https",
        ),
        (jwt("algorithms = ['HS256']\nurl = 'http://a'"), "weir.toml:5: url needs kind = \"http\""),
        (jwt("token_from = ['body']"), "weir.toml:4: token_from = ['body']: expected header, "),
        (hook(""), "weir.toml:1: a [[auth]] needs url"),
        (hook("url = 'ws://a'"), "weir.toml:4: url must begin with http"),
        (hook("url = 'http://a'\ntimeout = '10s'"), "weir.toml:5: timeout must be above 0s"),
        (hook("url = 'http://a'\nclaims = ['x']"), "weir.toml:5: claims needs kind = \"jwt\""),
        (
            hook("url = 'http://a'\nheaders = ['Upgrade']"),
            "weir.toml:5: headers = ['Upgrade']: a hook",
        ),
        (hook("url = 'http://a'\nca = '/a'"), "weir.toml:5: ca is set, but nothing is fetched"),
    ] {
        assert!(error.starts_with(why), "{error} is not {why}");
        assert!(!error.contains("KEY"), "{error}");
    }
}

/// Browsers send cookies with requests of pages of other sites.
#[test]
fn gates_that_accept_cookies_need_origins() {
    let cookies = format!("{AUTH}token_from = ['cookie:s']\n{ROUTE}auth = 'users'\n");
    let hook = format!("{HOOK}{ROUTE}auth = 'hook'\n");
    for text in [cookies, hook.clone()] {
        let error = file(&text).unwrap_err();
        assert!(error.contains("needs origins: it accepts cookies"), "{error}");
        assert!(file(&format!("{text}origins = ['https://a.example']")).is_ok());
    }
    assert!(file(&hook.replace("[[route]]", "headers = ['authorization']\n[[route]]")).is_ok());
}

#[test]
fn a_route_that_refreshes_names_a_gate_for_tokens() {
    let route = |keys: &str| {
        file(&format!("{AUTH}{HOOK}[[route]]\npath = '/auth/refresh'\nservice = 'auth'\n{keys}\n"))
    };
    let config = route("auth = 'users'").unwrap();
    assert_eq!(config.routes[0].service, RouteService::Auth);
    assert_eq!(file(&config.to_string()).unwrap(), config);
    for (keys, why) in [
        ("", "service = \"auth\" needs auth"),
        ("auth = 'hook'", "auth = \"hook\" must have kind = \"jwt\""),
        ("auth = 'user'", "there is no [[auth]] with name = \"user\""),
        ("auth = 'users'\nrequire = ['a=b']", "require is not for service = \"auth\""),
        ("auth = 'users'\npage = true", "service = \"auth\" needs a path that ends in /refresh"),
    ] {
        let error = route(keys).unwrap_err();
        assert!(error.contains(why), "{error} is not {why}");
    }
}

#[test]
fn files_of_gates_are_relative_to_the_configuration() {
    let text = "[[auth]]\nname = 'a'\nkind = 'jwt'\nalgorithms = ['HS256', 'ES256']\n\
        secret_file = 'secret'\nkeys = 'keys.pem'\nca = 'roots.pem'\n";
    let config = File::parse("/etc/weir/weir.toml", text).unwrap();
    let table = &config.auths[0].1;
    assert_eq!(table["secret_file"].values, ["/etc/weir/secret"]);
    assert_eq!(table["keys"].values, ["/etc/weir/keys.pem"]);
    assert_eq!(table["ca"].values, ["/etc/weir/roots.pem"]);
    let url = text.replace("'keys.pem'", "'https://a.example/'");
    let config = File::parse("/etc/weir/weir.toml", &url).unwrap();
    assert_eq!(config.auths[0].1["keys"].values, ["https://a.example/"]);
}
