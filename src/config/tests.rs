//! Whole configurations: precedence, routes, and the round trip through a file.

use std::collections::HashSet;
use std::time::Duration;

use weir::reactor::settings::{
    ClientCertificates, Heartbeat, RouteHeartbeat, RouteSettings, Settings, SlowPolicy, TlsVersion,
};

use super::keys::{Given, Keys};
use super::networks::{NetworkOptions, NetworkTable};
use super::options::{PoolOptions, PoolTable, ProxyOptions, RoomOptions, RouteOptions};
use super::routes::{RouteService, RouteTable};
use super::*;
use weir::services::rooms::RoomSettings;

mod auth;
mod limits;
mod pools;

fn layer(pairs: &[(&str, &str)]) -> Layer {
    let given = |value: &str| Given { place: Place::CommandLine, values: vec![value.to_owned()] };
    let entry = |&(key, value): &(&str, &str)| (key.to_owned(), given(value));
    pairs.iter().map(entry).collect()
}

fn load(text: &str, variables: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config, String> {
    let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
    File::parse("weir.toml", text)
        .and_then(|file| Config::merge(file, environment::layer(variables)?, layer(flags)))
        .map_err(|error| error.to_string())
}

/// The configuration of a file that a flag or a variable names.
fn named(file: Option<&Path>, variables: Vec<(OsString, OsString)>) -> Result<Config, ConfigError> {
    let file = file.map(Path::to_owned);
    Sources { file, variables, flags: Layer::new(), relay: None }.load(Dates::Checked)
}

fn file(text: &str) -> Result<Config, String> {
    load(text, &[], &[])
}

fn defaults() -> Config {
    file("").unwrap()
}

#[test]
fn the_defaults_are_those_of_the_settings_structs() {
    let config = defaults();
    assert_eq!(config.server.settings, Settings::default());
    assert_eq!(config.server.listen.len(), 1);
    assert_eq!(config.server.listen[0].address.to_string(), "127.0.0.1:9001");
    assert!(!config.server.listen[0].reuse_port);
    let [echo, rooms] = &config.routes[..] else { panic!("{:?}", config.routes) };
    assert_eq!((echo.path.as_str(), echo.page), ("/", true));
    assert_eq!(echo.service, RouteService::Echo);
    assert_eq!(echo.settings, RouteSettings::default());
    assert_eq!((rooms.path.as_str(), rooms.page), ("/rooms/{name}", false));
    assert_eq!(rooms.service, RouteService::Rooms(RoomSettings::default()));
    assert_eq!(rooms.settings, RouteSettings::default());
}

#[test]
fn flags_override_variables_override_the_file_overrides_defaults() {
    let text = "head_max = '2KiB'\nbuffered_max = '16MiB'\nclose_timeout = '1s'";
    let variables = [("WEIR_BUFFERED_MAX", "17MiB"), ("WEIR_CLOSE_TIMEOUT", "2s")];
    let settings = load(text, &variables, &[("close_timeout", "3s")]).unwrap().server.settings;
    assert_eq!(settings.head_bytes_max, 2 << 10);
    assert_eq!(settings.buffered_bytes_max, 17 << 20);
    assert_eq!(settings.close_timeout, Duration::from_secs(3));
    assert_eq!(settings.drain_timeout, Settings::default().drain_timeout);
}

#[test]
fn a_list_replaces_a_list() {
    let text = "listen = ['127.0.0.1:1', '[::1]:1']";
    assert_eq!(file(text).unwrap().server.listen.len(), 2);
    let listen =
        load(text, &[("WEIR_LISTEN", "127.0.0.1:5,127.0.0.1:6")], &[]).unwrap().server.listen;
    let ports: Vec<u16> = listen.iter().map(|listen| listen.address.port()).collect();
    assert_eq!(ports, [5, 6]);
}

#[test]
fn an_invalid_value_is_rejected_even_if_it_is_overridden() {
    assert!(load("head_max = 'big'", &[("WEIR_HEAD_MAX", "2KiB")], &[]).is_err());
    assert!(load("", &[("WEIR_HEAD_MAX", "big")], &[("head_max", "2KiB")]).is_err());
}

#[test]
fn a_route_overrides_settings_for_all_routes() {
    let config = load(
        "message_max = '10 KiB'
         origins = ['https://a.example']
         history_max = 7
         slow = 'drop'
         [[route]]
         path = '/echo'
         service = 'echo'
         message_max = '20 KiB'
         origins = []
         [[route]]
         path = '/chat/{name}'
         service = 'rooms'
         rooms_max = 3",
        &[],
        &[("message_max", "30 KiB"), ("idle_timeout", "1h")],
    )
    .unwrap();
    let [echo, chat] = &config.routes[..] else { panic!("{:?}", config.routes) };
    assert_eq!(echo.settings.message_bytes_max, 20 << 10);
    assert!(echo.settings.origins.is_empty());
    assert_eq!(echo.settings.slow_policy, SlowPolicy::Drop);
    assert!(!echo.page, "only the built-in echo has a page by default");
    assert_eq!(chat.settings.message_bytes_max, 30 << 10);
    assert_eq!(chat.settings.origins, ["https://a.example"]);
    assert_eq!(chat.settings.idle_timeout, Some(Duration::from_secs(3600)));
    let rooms = RoomSettings::default().history_max(7).rooms_max(3);
    assert_eq!(chat.service, RouteService::Rooms(rooms));
}

#[test]
fn a_route_with_a_key_of_the_heartbeat_has_its_own() {
    let text = |route: &str| {
        let server = "ping_interval = '20s'\npong_timeout = '7s'\npong_misses_max = 3";
        format!("{server}\n[[route]]\npath = '/'\nservice = 'echo'\n{route}")
    };
    let heartbeat = |route: &str| file(&text(route)).unwrap().routes[0].settings.heartbeat;
    assert_eq!(heartbeat(""), RouteHeartbeat::Server);
    assert_eq!(heartbeat("ping_interval = 'off'"), RouteHeartbeat::Off);
    let own = Heartbeat::default().interval(Duration::from_secs(20)).misses_max(3);
    let own = own.pong_timeout(Duration::from_secs(5));
    assert_eq!(heartbeat("pong_timeout = '5s'"), RouteHeartbeat::Own(own));
    for route in ["ping_interval = 'off'", "pong_timeout = '5s'", ""] {
        let config = file(&text(route)).unwrap();
        assert_eq!(file(&config.to_string()).unwrap(), config, "{config}");
    }
}

#[test]
fn off_and_auto_reach_the_settings() {
    let config = file(
        "ping_interval = 'off'\nidle_timeout = '0s'\nkey_reuse_window = '5m'\nhistory_ttl = 'off'\n\
         connections_per_address = 0\nrate = '10/s burst 20'\nexempt = '10.0.0.0/8'",
    )
    .unwrap();
    assert_eq!(config.server.settings.heartbeat, None);
    assert_eq!(config.server.settings.key_reuse_window, Some(Duration::from_secs(300)));
    assert_eq!(config.server.settings.connections_per_address, Some(0));
    assert_eq!(config.server.settings.rate.map(|rate| rate.burst), Some(20));
    assert_eq!(config.server.settings.exempt.len(), 1);
    assert_eq!(config.routes[0].settings.idle_timeout, None);
    let RouteService::Rooms(rooms) = &config.routes[1].service else { panic!("{config:?}") };
    assert_eq!(rooms.history_ttl, None);
}

#[test]
fn measuring_is_off_by_default() {
    assert_eq!((defaults().server.pin, defaults().server.settings.turn_stats), (None, false));
    let flags = [("pin", "1"), ("turn_stats", "true")];
    let config = load("pin = 0", &[("WEIR_TURN_STATS", "false")], &flags).unwrap();
    assert_eq!((config.server.pin, config.server.settings.turn_stats), (Some(1), true));
    assert_eq!(load("pin = 0", &[("WEIR_PIN", "off")], &[]).unwrap().server.pin, None);
    assert!(file("pin = 'all'").unwrap_err().contains("whole number"));
}

#[test]
fn secure_listeners_need_pairs_of_certificates_and_keys() {
    assert_eq!(defaults().server.tls, None);
    let text = "listen = ['wss://[::1]:1', 'ws://[::1]:2', '[::1]:3']
        tls_cert = ['a.pem', 'b.pem']
        tls_key = ['a.key', 'b.key']
        tls_client_auth = 'wanted'
        tls_client_ca = 'ca.pem'
        tls_min = '1.3'
        tls_watch = 'off'";
    let config = file(text).unwrap();
    let secure: Vec<bool> = config.server.listen.iter().map(|listen| listen.secure).collect();
    assert_eq!(secure, [true, false, false]);
    let tls = config.server.tls.unwrap();
    let here = |name: &str| std::path::absolute(name).unwrap();
    assert_eq!(tls.certificates[1].chain, here("b.pem"));
    assert_eq!(tls.certificates[1].key, here("b.key"));
    assert_eq!(tls.clients, ClientCertificates::Wanted(here("ca.pem")));
    assert_eq!((tls.version_min, tls.watch), (TlsVersion::Tls13, None));
    for (line, expected) in [
        ("tls_key = ['a.key', 'b.key']", "2 certificates and 0 keys are set"),
        ("tls_client_ca = 'ca.pem'", "tls_client_auth needs tls_client_ca"),
        ("tls_client_auth = 'wanted'", "tls_client_auth is off"),
    ] {
        let error = file(&text.replace(line, "")).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    let error = file(&text.replace("wss://", "")).unwrap_err();
    assert!(error.contains("no listener is wss://"), "{error}");
    let error = file("listen = 'wss://[::1]:1'").unwrap_err();
    assert!(error.contains("wss://[::1]:1 needs tls_cert and tls_key"), "{error}");
    assert!(file("tls_min = '1.1'").unwrap_err().contains("expected one of 1.2, 1.3"));
    assert!(file("listen = 'https://[::1]:1'").unwrap_err().contains("expected an address"));
}

#[test]
fn the_hard_limit_follows_the_largest_message_by_default() {
    let hard = |text: &str| file(text).map(|config| config.routes[0].settings.outbox_hard_bytes);
    assert_eq!(hard(""), Ok(2 << 20));
    assert_eq!(hard("message_max = '4 MiB'"), Ok((4 << 20) + (320 << 10)));
    let error = hard("message_max = '4 MiB'\noutbox_hard = '2 MiB'").unwrap_err();
    assert!(error.contains("2097152 bytes") && error.contains("4456462 bytes"), "{error}");
    let error = hard("message_max = '4 MiB'\nbuffered_max = '4 MiB'").unwrap_err();
    assert!(error.contains("buffered_max (4194304 bytes)"), "{error}");
    let error = hard("history_bytes_max = '1 MiB'").unwrap_err();
    assert!(error.contains("outbox_soft (262144 bytes)"), "{error}");
}

#[test]
fn contradictions_are_rejected() {
    let error = |text: &str| file(text).unwrap_err();
    assert!(error("pong_timeout = '40s'").contains("ping_interval (30s)"));
    assert!(error("outbox_low = '1 MiB'").contains("outbox_soft (262144 bytes)"));
    assert!(error("message_max = 100").contains("100 bytes, but must be 125 to"));
    assert!(error("head_max = '2 MiB'").contains("2097152 bytes, but must be 1024 to 1048576"));
    assert!(error("write_timeout = '0s'").contains("write_timeout must be more than zero"));
    assert!(error("pong_misses_max = 0").contains("pong_misses_max must be more than zero"));
    let of_route = "[[route]]\npath = '/'\nservice = 'echo'\nping_interval = '5s'";
    assert!(error(of_route).contains("pong_timeout (10s) must be less than ping_interval (5s)"));
    assert!(error("listen = ['[::1]:1', '[::1]:1']").contains("[::1]:1 is listed twice"));
    assert!(file("listen = ['[::1]:0', '[::1]:0']").is_ok());
    let error = error("listen = '127.0.0.1:1'\nadmin = '0.0.0.0:1'");
    assert!(error.contains("127.0.0.1:1 and 0.0.0.0:1 cannot both be bound"), "{error}");
    assert!(file("listen = ['0.0.0.0:1', '[::]:1']").is_ok());
    assert!(file("listen = ['0.0.0.0:1', '127.0.0.1:1']\nreuse_port = true").is_ok());
}

#[test]
fn invalid_routes_are_reported_with_their_line() {
    let error = |text: &str| file(text).unwrap_err();
    assert!(error("route = []").contains("at least one route"));
    assert_eq!(error("[[route]]\nservice = 'echo'"), "weir.toml:1: a [[route]] needs a path");
    assert_eq!(error("\n[[route]]\npath = '/'"), "weir.toml:2: a [[route]] needs a service");
    assert_eq!(
        error("[[route]]\npath = 'x'\nservice = 'echo'"),
        r#"weir.toml:1: path "x": must start with /"#
    );
    assert_eq!(
        error("[[route]]\npath = '/'\nservice = 'echo'\nrooms_max = 1"),
        r#"weir.toml:1: rooms_max needs service = "rooms""#
    );
    assert!(
        error("[[route]]\npath = '/x'\nservice = 'rooms'")
            .contains("must contain the parameter {name}")
    );
    for path in ["/a/{b}", "/a/*", "/*"] {
        let error = error(&format!("[[route]]\npath = '{path}'\nservice = 'echo'\npage = true"));
        assert!(error.contains("page = true needs a path without parameters"), "{error}");
    }
    // Neither service has a subprotocol, so the first route gets every request.
    let first = "[[route]]\npath = '/{name}'\nservice = 'rooms'\n";
    let error_of_two = error(&format!("{first}[[route]]\npath = '/{{x}}'\nservice = 'echo'\n"));
    assert!(
        error_of_two.starts_with("weir.toml:4: path \"/{x}\" already has a service"),
        "{error_of_two}"
    );
    let network = "[[network]]\nproject = 'a'\nchain_id = 1\nupstreams = ['http://b']\n";
    let error_of_both = error(&format!("{network}[[route]]\npath = '/a/evm/1'\nservice = 'echo'"));
    assert!(
        error_of_both.starts_with("weir.toml:5: path \"/a/evm/1\" already has"),
        "{error_of_both}"
    );
    let twice = "[[route]]\npath = '/{a}'\nservice = 'echo'\n";
    let again = twice.replace("{a}", "{b}");
    assert!(error(&format!("{twice}{again}")).starts_with("weir.toml:4: "));
    assert!(file(&format!("{twice}{}", twice.replace("/{a}", "/x/{a}"))).is_ok());
}

#[test]
fn invalid_networks_are_reported_with_their_line() {
    let error = |text: &str| file(text).unwrap_err();
    let network = "[[network]]\nproject = 'main'\nchain_id = 1\nupstreams = ['http://a:1']\n";
    assert_eq!(error("\n[[network]]\nchain_id = 1"), "weir.toml:2: a [[network]] needs project");
    assert!(error("[[network]]\nproject = 'a'\nchain_id = 1").ends_with("needs upstreams"));
    assert!(error("[[network]]\nupstream = 'a'").contains(r#"(did you mean "upstreams"?)"#));
    assert!(error("[[netwrok]]").contains(r#"(did you mean "network"?)"#));
    let upstreams = |urls: &str| network.replace("['http://a:1']", urls);
    assert!(
        error(&upstreams("['ftp://a']")).starts_with(r#"weir.toml:4: upstreams = ["ftp://a"]: "#)
    );
    assert!(error(&upstreams("[]")).ends_with("needs upstreams"));
    let many: Vec<String> = (0..17).map(|port| format!("'http://a:{port}'")).collect();
    assert!(
        error(&upstreams(&format!("[{}]", many.join(","))))
            .contains("at most 16 upstreams, not 17")
    );
    assert!(error(&network.replace("main", "a/b")).contains("project = \"a/b\": expected letters"));
    assert!(error(&format!("{network}{network}")).contains("/main/evm/1 is defined twice"));
    assert!(error(&format!("{network}upstream_concurrency = 0")).contains("more than zero"));
    assert!(error(&format!("{network}response_max = '2 GiB'")).contains("buffered_max"));
    for (topics, subscriptions) in [
        ("topics_max = 999", "subscriptions_max = 1000"),
        ("topics_per_connection_max = 256", "subscriptions_per_connection_max = 257"),
    ] {
        let error = error(&format!("{topics}\n{network}{subscriptions}"));
        let expected = format!("{subscriptions}: must not exceed topics_");
        assert!(error.contains(&expected), "{error}");
    }
    assert!(error(&format!("{network}rooms_max = 1")).contains("unknown key"));
    assert!(error(&format!("route = []\n{}", "")).contains("route or network"));
}

#[test]
fn a_gateway_has_no_built_in_routes() {
    let network = "[[network]]\nproject = 'main'\nchain_id = 0x849\nupstreams = ['ws://a:1']\n";
    let config = file(&format!("message_max = '64 KiB'\n{network}call_timeout = '5s'")).unwrap();
    assert!(config.routes.is_empty());
    let only = &config.networks[0];
    assert_eq!(only.path(), "/main/evm/2121");
    assert_eq!(only.gateway.timeout, Duration::from_secs(5));
    assert_eq!((only.rpc.request_bytes_max, only.rpc.connections_max), (65536, 10_000));
    let both = file(&format!("{network}[[route]]\npath = '/'\nservice = 'echo'")).unwrap();
    assert_eq!((both.routes.len(), both.networks.len()), (1, 1));
}

#[test]
fn the_effective_configuration_parses_to_an_equal_one() {
    let all = "listen = ['[::1]:8000', 'proxy+ws://0.0.0.0:8000']
        reuse_port = true
        admin = '127.0.0.1:9100'
        log = 'warn,weir=debug'
        log_format = 'json'
        log_access = true
        trace = true
        audit = 'audit.log'
        audit_key = 'audit.key'
        connections_max = 12
        outbound_max = 13
        connections_per_address = 3
        exempt = ['10.0.0.0/8', '::1']
        trusted_proxies = ['192.0.2.0/24', '::1/128']
        client_address_from = 'true-client-ip'
        rate_per_address = '100/min'
        rate = '7/s burst 9'
        limits_dry_run = ['messages', 'rate_limited']
        head_max = 5000
        key_reuse_window = '1m 1ms'
        buffered_max = '1 GB'
        levels = false
        delay_elevated = '9ms'
        delay_critical = '49ms'
        memory_max = '3 GiB'
        memory_elevated = '84%'
        memory_critical = '92%'
        reserve = '6%'
        shed_max = '19%'
        topics_max = 1234
        topics_per_connection_max = 300
        deflate_level = 2
        deflate_mem_level = 7
        deflate_windows_max = '32 MiB'
        handshake_timeout = '11s'
        close_timeout = '6s'
        drain_timeout = '31s'
        ping_interval = '20s'
        pong_timeout = '8s'
        pong_misses_max = 3
        pin = 3
        turn_stats = true
        slow = 'drop'
        history_ttl = 'off'
        [[route]]
        path = '/a'
        service = 'echo'
        page = true
        origins = ['https://a.example', 'null']
        hosts = ['a.example']
        require_protocol = true
        requests_per_address = '1/s burst 5'
        priority = 'low'
        priority_max = 'critical'
        connections_max = 77
        messages_rate = '100/s burst 200'
        bytes_rate = '1MB/s burst 4MB'
        messages_rate_per_address = '500/s'
        bytes_rate_per_address = '3 MiB/min burst 1 MiB'
        messages_rate_per_subject = '70/s burst 71'
        over = 'close'
        over_grace = '11s'
        refuse = 'close'
        outbox_low = '32 KiB'
        outbox_soft = '512 KiB'
        outbox_hard = '8 MiB'
        outbox_grace = '3s'
        fragment_timeout = '2m'
        write_timeout = '4s'
        ping_interval = '21s'
        pong_misses_max = 1
        deflate = 'dedicated'
        deflate_min = '300 B'
        deflate_window_bits = 11
        deflate_idle = '2m'
        [[route]]
        path = '/b/{name}'
        service = 'rooms'
        message_max = '3 MB'
        idle_timeout = '2h'
        history_max = 9
        history_bytes_max = 0
        rooms_max = 10";
    let rooms = format!(
        "{}
        [[route]]
        path = '/c/{{name}}'
        service = 'rooms'
        auth = 'users'
        join = 'role=member'
        publish = 'role=editor'",
        auth::AUTH
    );
    let secure = "listen = ['wss://[::1]:8000', '0.0.0.0:8000']
        tls_cert = ['a.pem', 'b.pem']
        tls_key = ['a.key', 'b.key']
        tls_client_auth = 'required'
        tls_client_ca = 'ca.pem'
        tls_min = '1.3'
        tls_watch = '1m'";
    let network = "[[network]]
        project = 'main'
        chain_id = 1
        upstreams = ['wss://a.example', 'https://b.example:8443/', 'wss://a.example']
        upstream_ca = 'roots.pem'
        network_connections_max = 6
        subscriptions_per_connection_max = 5
        subscriptions_max = 7
        batch_max = 8
        response_max = '2 MiB'
        depth_max = 9
        calls_per_connection_max = 10
        calls_max = 11
        call_timeout = '12s'
        upstream_concurrency = 13
        upstream_queue_max = 14
        costs = { eth_getLogs = 10, 'debug.trace' = 100 }";
    let mut written = String::new();
    let proxy = "[[pool]]
        name = 'a'
        upstreams = ['https://127.0.0.1:9944 weight 3', 'wss://b.example backup']
        choose = 'hash'
        hash_by = 'header:x-tenant'
        sticky_cookie = 'upstream'
        tries = 2
        connect_timeout = '4s'
        answer_timeout = '59s'
        body_timeout = '58s'
        upstream_connections_max = 7
        keepalive_max = 8
        keepalive_idle = '9s'
        health = 'ws:/health'
        health_interval = '6s'
        down = 'close'
        resolve_interval = 'off'
        drain_after = '5m'
        drain_rate = '7/s burst 8'
        upstream_ca = 'roots.pem'
        upstream_name = 'a.example'
        upstream_cert = 'client.pem'
        upstream_key = 'client.key'
        send_proxy = 'v2'
        [[route]]
        path = '/a/*'
        service = 'proxy'
        pool = 'a'
        host = 'upstream'
        forwarded = 'rfc7239'
        strip_prefix = 1
        websocket_only = true
        set_headers = ['x-a: b, c', 'x-d: e']
        remove_headers = ['Cookie']
        hold_max = '32 KiB'
        tunnel_pings = false
        client_lost = 'close'";
    let relay = "[[relay]]
        name = 'a'
        data_dir = 'events'
        urls = ['wss://relay.example.org', 'ws://relay.example:8080']
        auth = 'write'
        title = 'A relay'
        description = 'for tests'
        banner = 'https://a.example/banner.png'
        icon = 'https://a.example/icon.png'
        pubkey = '0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef'
        contact = 'mailto:admin@a.example'
        terms_of_service = 'https://a.example/terms'
        privacy_policy = 'https://a.example/privacy'
        posting_policy = 'https://a.example/posting'
        event_max = '100 KiB'
        tags_max = 11
        tag_value_max = '12 KiB'
        content_max = 13
        future_max = '14s'
        past_max = '15d'
        pow_min = 16
        deny_kinds = ['4', '20000-29999']
        allow_kinds = ['0', '1', '30000-39999']
        allow_authors = ['0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef']
        deny_authors = ['fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210']
        allow_only = true
        allow_tagged = true
        open_kinds = [3, 10002]
        allow_readers = ['0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef']
        administrators = [
            '0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef', '/etc/weir/keys',
        ]
        plugin = './policy.py --fast'
        plugin_in_flight = 43
        plugin_timeout = '44s'
        plugin_failure = 'accept'
        exempt = ['10.0.0.0/8']
        exempt_keys = ['fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210']
        filters_max = 17
        filter_values_max = 18
        limit_max = 20
        limit_default = 19
        req_events_max = 21
        scan_steps_max = 22
        scan_time_max = '23s'
        slow_scan = '2s'
        subscription_id_max = 24
        subscriptions_per_connection_max = 25
        subscriptions_max = 26
        live_values_max = 27
        scans_per_connection_max = 28
        scans_waiting_max = 29
        scan_bytes_max = '45 MiB'
        broad_filters = 'limited'
        unknown_members = 'ignore'
        count_max = 30
        search_events_max = 31
        neg_items_max = 32
        restricted_kinds = [4, 1059]
        eose_hint = false
        mute = 'false'
        ephemeral_keep = '32s'
        events_in_flight_max = 33
        bad_messages_max = 34
        unused_timeout = '35s'
        slow_readers = 'drop'
        events_rate = '36/s'
        events_rate_per_address = '37/s burst 38'
        events_rate_per_author = '39/min'
        requests_rate = 'off'
        sync = 'interval'
        cache = '40 MiB'
        disk_free_min = '41 MiB'
        retention = ['43d kinds 1,7', '44d 1s authors 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef']
        store_max = '42 GiB'
        verify_threads = 3
        scan_threads = 2
        [[route]]
        path = '/relay'
        service = 'nostr'
        relay = 'a'";
    for text in ["", all, &rooms, secure, network, proxy, relay, "ping_interval = 'off'"] {
        let config = file(text).unwrap();
        let effective = config.to_string();
        assert_eq!(file(&effective).unwrap(), config, "{effective}");
        written += &effective;
    }
    // No value of these files may be lost on the way to the settings: each key is written with a
    // value other than the default at least once.
    let default = "[[route]]
        path = '/other/{name}'
        service = 'rooms'
        [[network]]
        project = 'other'
        chain_id = 2
        upstreams = ['ws://other.example']
        [[pool]]
        name = 'other'
        upstreams = ['http://other.example']
        [[route]]
        path = '/proxied'
        service = 'proxy'
        pool = 'other'";
    let default = file(default).unwrap().to_string();
    let default: HashSet<&str> = default.lines().collect();
    let keys = Keys::of::<ServerOptions>().and::<RouteTable>().and::<RouteOptions>();
    let keys = keys.and::<RoomOptions>().and::<NetworkTable>().and::<NetworkOptions>();
    let of_proxy = Keys::of::<PoolTable>().and::<PoolOptions>().and::<ProxyOptions>();
    for key in keys.names().chain(of_proxy.names()) {
        let of_key = |line: &&str| line.split_once(" = ").is_some_and(|(name, _)| name == key);
        let is_set = written.lines().filter(of_key).any(|line| !default.contains(line));
        assert!(is_set, "{key} has only its default in these files");
    }
}

#[test]
fn keys_in_upstream_urls_are_hidden() {
    let text = "[[network]]
        project = 'main'
        chain_id = 1
        upstreams = ['wss://a.example/KEY', 'https://b.example/?KEY', 'wss://a.example/v3/KEY']";
    let config = file(text).unwrap();
    let written = format!("{config} {config:?}");
    assert!(!written.contains("KEY"), "{written}");
    for shown in
        ["wss://a.example:443/..#1", "https://b.example:443/..", "wss://a.example:443/..#3"]
    {
        assert!(written.contains(&format!("\"{shown}\"")), "{shown} is not in {written}");
    }
    // A redacted URL cannot be served.
    let error = file(&config.to_string()).unwrap_err();
    assert!(error.contains("the URL is redacted"), "{error}");
    for bad in ["ftp://a/KEY", "wss:/a/KEY", "http://u:KEY@a/", "a.example/KEY", "http://a b/KEY"] {
        let error = file(&text.replace("wss://a.example/KEY", bad)).unwrap_err();
        assert!(
            error.starts_with("weir.toml:4: upstreams = [") && !error.contains("KEY"),
            "{error}"
        );
    }
    // A URL under another key may be an upstream's all the same.
    for line in ["project = 'main'", "chain_id = 1"] {
        let (key, _) = line.split_once(' ').unwrap();
        for url in ["'wss://a.example/KEY'", "['wss://a.example/KEY']", "{ url = 'ws://a/KEY' }"] {
            let error = file(&text.replace(line, &format!("{key} = {url}"))).unwrap_err();
            assert!(error.contains(&format!(": {key} = ")) && !error.contains("KEY"), "{error}");
        }
    }
}

#[test]
fn the_effective_configuration_has_every_key() {
    let written = defaults().to_string();
    let keys = Keys::of::<ServerOptions>().and::<RouteTable>();
    for key in keys.and::<RouteOptions>().and::<RoomOptions>().names() {
        assert!(written.lines().any(|line| line.starts_with(&format!("{key} = "))), "{key}");
    }
    assert!(written.contains("message_max = \"1 MiB\""), "{written}");
}

#[test]
fn the_file_is_named_by_flag_or_variable() {
    let path = std::env::temp_dir().join(format!("weir-config-{}.toml", std::process::id()));
    std::fs::write(&path, "connections_max = 5\n").unwrap();
    let variable = |path: &Path| vec![("WEIR_CONFIG".into(), path.as_os_str().to_owned())];
    let by_flag = named(Some(&path), Vec::new());
    let by_variable = named(None, variable(&path));
    let flag_wins = named(Some(&path), variable(Path::new("/nowhere")));
    std::fs::remove_file(&path).unwrap();
    for config in [by_flag, by_variable, flag_wins] {
        assert_eq!(config.unwrap().server.settings.connections_max, 5);
    }
    let error = named(Some(&path), Vec::new()).unwrap_err().to_string();
    assert!(error.contains(path.to_str().unwrap()), "{error}");
}
