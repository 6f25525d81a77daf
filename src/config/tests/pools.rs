//! Pools of the proxy, and the routes to them.

use weir::services::proxy::{Choose, HashBy, ProxySettings};

use super::*;

const POOL: &str = "[[pool]]\nname = 'a'\nupstreams = ['http://127.0.0.1:9944']\n";
const ROUTE: &str = "[[route]]\npath = '/*'\nservice = 'proxy'\npool = 'a'\n";

/// A file with a pool and a route that have these keys more.
fn both(of_pool: &str, of_route: &str) -> Result<Config, String> {
    file(&format!("{POOL}{of_pool}\n{ROUTE}{of_route}"))
}

fn pool_error(keys: &str) -> String {
    both(keys, "").unwrap_err()
}

fn route_error(keys: &str) -> String {
    both("", keys).unwrap_err()
}

#[test]
fn a_pool_and_its_route_have_the_defaults_of_the_settings_structs() {
    let config = both("", "").unwrap();
    let upstreams = vec!["http://127.0.0.1:9944".parse().unwrap()];
    assert_eq!(config.pools, [PoolSettings::new("a".to_owned(), upstreams)]);
    let [route] = &config.routes[..] else { panic!("{:?}", config.routes) };
    assert_eq!(route.service, RouteService::Proxy(ProxySettings::new("a".to_owned())));
    let room = Some((64 << 10) + (256 << 10) + 14);
    let settings =
        RouteSettings::default().write_timeout(Duration::from_secs(60)).outbox_room_bytes(room);
    assert_eq!(route.settings, settings);
    assert_eq!(config.notes(), [""; 0]);
    assert_eq!(config.differences(), [""; 0]);
}

#[test]
fn the_write_timeout_of_a_proxy_route_can_be_set_anywhere() {
    let timeout = |text: &str, flags: &[(&str, &str)]| {
        let config = load(text, &[], flags).unwrap();
        config.routes[0].settings.write_timeout.as_secs()
    };
    let text = format!("{POOL}{ROUTE}");
    assert_eq!(timeout(&format!("write_timeout = '7s'\n{text}"), &[]), 7);
    assert_eq!(timeout(&format!("{text}write_timeout = '8s'"), &[]), 8);
    assert_eq!(timeout(&text, &[("write_timeout", "9s")]), 9);
}

#[test]
fn each_client_of_the_proxy_can_have_an_outbound_connection() {
    let outbound = |text: &str| file(text).unwrap().server.settings.outbound_max;
    let server = "connections_max = 1000\n";
    let pool = POOL.replace("9944'", "9944', 'http://127.0.0.1:9945'");
    assert_eq!(outbound(&format!("{server}{pool}{ROUTE}")), 1000 + 2 * 16 + 256);
    let no_idle = "keepalive_max = 5\nsend_proxy = 'v1'\n";
    assert_eq!(outbound(&format!("{server}{pool}{no_idle}{ROUTE}")), 1000 + 256);
    assert_eq!(outbound(&format!("{server}outbound_max = 9\n{pool}{ROUTE}")), 9);
    assert_eq!(outbound(&format!("{server}{pool}")), 256, "no route needs them");
}

#[test]
fn the_outbox_of_a_proxy_route_follows_the_held_frame_and_not_the_message() {
    let hard = |keys: &str| both("", keys).map(|it| it.routes[0].settings.outbox_hard_bytes);
    assert_eq!(hard("message_max = '1 GiB'"), Ok(2 << 20));
    assert_eq!(
        hard("outbox_soft = '4 MiB'\nhold_max = '1 MiB'"),
        Ok((5 << 20) + (256 << 10) + (64 << 10))
    );
    let least = (256 << 10) + (64 << 10) + (256 << 10) + 14;
    assert_eq!(hard(&format!("outbox_hard = {least}")), Ok(least));
    let error = hard(&format!("\noutbox_hard = {}", least - 1)).unwrap_err();
    assert!(error.starts_with("weir.toml:10: path \"/*\": outbox_hard is"), "{error}");
    assert!(error.contains(&format!("at least {least} bytes")), "{error}");
    let error = hard("hold_max = '256 KiB'\noutbox_soft = '255 KiB'").unwrap_err();
    assert_eq!(
        error,
        "weir.toml:9: path \"/*\": hold_max (262144 bytes) must not exceed outbox_soft (261120 bytes)"
    );
    assert!(hard("hold_max = '256 KiB'").is_ok());
    assert!(hard("hold_max = 0").unwrap_err().contains("hold_max must be more than zero"));
}

#[test]
fn invalid_pools_are_reported_with_their_line() {
    assert_eq!(
        file("\n[[pool]]\nname = 'a'").unwrap_err(),
        "weir.toml:2: a [[pool]] needs upstreams"
    );
    assert_eq!(file("[[pool]]\nupstreams = []").unwrap_err(), "weir.toml:1: a [[pool]] needs name");
    assert!(file("[[pool]]\nname = 'a'\nupstreams = []").unwrap_err().ends_with("needs upstreams"));
    let error = file(&format!("{POOL}{POOL}")).unwrap_err();
    assert_eq!(error, "weir.toml:5: pool \"a\" is defined twice");
    let error = file(&POOL.replace("'a'", "'a b'")).unwrap_err();
    assert!(error.starts_with("weir.toml:2: name = \"a b\": expected letters"), "{error}");
    let error = file(&POOL.replace("'a'", "''")).unwrap_err();
    assert!(error.starts_with("weir.toml:2: name = \"\": expected letters"), "{error}");
    for (keys, expected) in [
        ("tries = 0", "weir.toml:4: tries is 0, but must be 1 to 16"),
        ("tries = 17", "weir.toml:4: tries is 17, but must be 1 to 16"),
        ("answer_timeout = '0s'", "weir.toml:4: answer_timeout must be more than zero"),
        ("health_interval = '0s'", "weir.toml:4: health_interval must be more than zero"),
        (
            "upstream_connections_max = 0",
            "weir.toml:4: upstream_connections_max must be more than zero",
        ),
        ("hash_by = 'path'", "weir.toml:4: hash_by needs choose = \"hash\""),
        (
            "connect_timeout = '10s'",
            "weir.toml:4: connect_timeout (10s) must be less than handshake_timeout (10s), or no \
             client waits for a second try",
        ),
        (
            "upstream_cert = 'a.pem'",
            "weir.toml:4: upstream_key is missing: upstream_cert and upstream_key belong together",
        ),
        (
            "upstream_key = 'a.pem'",
            "weir.toml:4: upstream_cert is missing: upstream_cert and upstream_key belong together",
        ),
        (
            "upstream_ca = 'a.pem'",
            "weir.toml:4: upstream_ca is set, but no upstream is https:// or wss://",
        ),
    ] {
        assert_eq!(pool_error(keys), expected);
    }
    for (keys, expected) in [
        ("choose = 'leest'", "expected one of priority, least, hash (did you mean \"least\"?)"),
        ("choose = 'hash'\nhash_by = 'cookie'", "\"header:NAME\""),
        (
            "sticky_cookie = 'a b'",
            "expected the name of a cookie, such as \"upstream\", or \"off\"",
        ),
        ("health = 'health'", "expected \"connect\", a path such as \"/health\""),
        ("send_proxy = 'v3'", "expected one of off, v1, v2"),
        ("drain_rate = '0/s'", "0"),
        ("keepalive = 1", "unknown key \"keepalive\""),
        ("message_max = 1000", "unknown key \"message_max\""),
    ] {
        let error = pool_error(keys);
        assert!(error.contains(expected), "{error}");
    }
    assert!(file("[[pools]]\nname = 'a'").unwrap_err().contains("did you mean \"pool\"?"));
}

#[test]
fn upstreams_are_checked_against_each_other_and_the_listeners() {
    let error = |upstreams: &str, server: &str| {
        let text = POOL.replace("['http://127.0.0.1:9944']", upstreams);
        file(&format!("{server}\n{text}{ROUTE}")).map_err(|error| {
            assert!(error.starts_with("weir.toml:4: "), "{error}");
            error
        })
    };
    let twice = "['http://A.example:1', 'https://a.example:1']";
    assert!(
        error(twice, "")
            .unwrap_err()
            .ends_with("upstream a.example:1 is listed twice: use weight for a larger share")
    );
    let many: Vec<String> = (1..=65).map(|port| format!("'http://a:{port}'")).collect();
    let many = format!("[{}]", many.join(","));
    assert!(error(&many, "").unwrap_err().ends_with("at most 64 upstreams, not 65"));
    for (upstream, listen, is_own) in [
        ("127.0.0.1:80", "127.0.0.1:80", true),
        ("localhost:80", "127.0.0.1:80", true),
        ("127.0.0.1:80", "0.0.0.0:80", true),
        ("[::1]:80", "[::]:80", true),
        ("127.0.0.1:80", "[::]:80", false),
        ("127.0.0.1:80", "10.0.0.1:80", false),
        ("localhost:80", "10.0.0.1:80", false),
        ("127.0.0.1:81", "0.0.0.0:80", false),
        ("127.0.0.1:80", "127.0.0.1:0", false),
        ("10.0.0.2:80", "0.0.0.0:80", false),
        ("a.example:80", "0.0.0.0:80", false),
    ] {
        let listen = format!("listen = '{listen}'");
        let found = error(&format!("['http://{upstream}']"), &listen);
        match found {
            Ok(_) => assert!(!is_own, "{upstream} {listen}"),
            Err(error) => {
                assert!(is_own && error.contains("is weir's own listener"), "{error}");
            }
        }
    }
    let admin = error("['http://127.0.0.1:9100']", "admin = '127.0.0.1:9100'").unwrap_err();
    assert!(admin.contains("own listener 127.0.0.1:9100"), "{admin}");
    let path = error("['http://a.example/KEY']", "").unwrap_err();
    assert!(path.contains("no path") && !path.contains("KEY"), "{path}");
}

#[test]
fn routes_of_the_proxy_need_a_pool() {
    assert_eq!(
        file("[[route]]\npath = '/'\nservice = 'proxy'").unwrap_err(),
        "weir.toml:1: a [[route]] needs a pool"
    );
    let error = file(&format!("{POOL}{}", ROUTE.replace("'a'", "'b'"))).unwrap_err();
    assert_eq!(error, "weir.toml:7: path \"/*\": there is no [[pool]] with name = \"b\"");
    let error = file(
        &format!("{}{ROUTE}", POOL.replace("'a'", "'nodes'"))
            .replace("pool = 'a'", "pool = 'node'"),
    );
    assert!(error.unwrap_err().ends_with("(did you mean \"nodes\"?)"));
    let error = file("[[route]]\npath = '/'\nservice = 'echo'\nhold_max = 1000").unwrap_err();
    assert_eq!(error, "weir.toml:1: hold_max needs service = \"proxy\"");
    for (keys, expected) in [
        ("rooms_max = 1", "weir.toml:5: rooms_max needs service = \"rooms\""),
        (
            "page = true",
            "weir.toml:5: path \"/*\": page = true is not for service = \"proxy\": GET is forwarded",
        ),
    ] {
        assert_eq!(route_error(keys), expected);
    }
    for (keys, expected) in [
        ("set_headers = ['Upgrade: h2c']", "upgrade: it is about one connection (hop-by-hop)"),
        ("set_headers = ['Sec-WebSocket-Key: a']", "belongs to the WebSocket handshake"),
        ("set_headers = ['x-a']", "expected a header such as \"X-Tenant: a\""),
        ("remove_headers = ['Host']", "host: the setting host decides about it"),
        ("host = 'http://a'", "expected \"keep\", \"upstream\", or a host"),
        ("forwarded = 'on'", "expected one of x, rfc7239, off"),
    ] {
        let error = route_error(keys);
        assert!(error.starts_with("weir.toml:9: ") && error.contains(expected), "{error}");
    }
}

#[test]
fn settings_of_a_pool_without_an_effect_are_noted() {
    let unused = file(&format!("{POOL}[[route]]\npath = '/'\nservice = 'echo'")).unwrap();
    assert_eq!(unused.notes(), ["pool a: is unused: no route names it"]);
    let pool = POOL.replace("9944'", "9944 weight 2', 'http://127.0.0.1:9945 backup'");
    let notes = |keys: &str| file(&format!("{pool}{keys}\n{ROUTE}")).unwrap().notes();
    let priority = notes("down = 'close'");
    assert_eq!(priority.len(), 3, "{priority:?}");
    assert!(priority[0].starts_with("pool a: backup has no effect with choose"));
    assert!(priority[1].starts_with("pool a: weight has no effect with choose"));
    assert_eq!(priority[2], "pool a: down = \"close\" has no effect without health");
    assert_eq!(notes("choose = 'least'\nhealth = 'connect'\ndown = 'close'"), [""; 0]);
}

#[test]
fn differences_of_pools_and_their_routes_are_listed() {
    let config =
        both("choose = 'hash'\nhash_by = 'path'\ntries = 2", "hold_max = '1 KiB'").unwrap();
    assert_eq!((config.pools[0].choose, &config.pools[0].hash_by), (Choose::Hash, &HashBy::Path));
    assert_eq!(
        config.differences(),
        [
            "/*: hold_max = \"1 KiB\"",
            "pool a: choose = \"hash\"",
            "pool a: hash_by = \"path\"",
            "pool a: tries = 2",
        ]
    );
}

#[test]
fn unreadable_tls_files_of_a_pool_are_reported_with_their_line() {
    let path = std::env::temp_dir().join(format!("weir-pools-{}.toml", std::process::id()));
    let text = "[[pool]]\nname = 'a'\nupstreams = ['https://a.example']\nupstream_ca = 'no.pem'\n";
    std::fs::write(&path, format!("{text}{ROUTE}")).unwrap();
    let loaded = named(Some(&path), Vec::new());
    std::fs::remove_file(&path).unwrap();
    let error = loaded.unwrap_err().to_string();
    assert!(error.contains(".toml:4: upstream_ca: ") && error.contains("no.pem"), "{error}");
}
