use super::*;

#[test]
fn host_and_port_are_compared_and_nothing_else() {
    let names =
        RelayNames::of_urls(["wss://Relay.Example.com/", "ws://[2001:DB8::1]:7777/a"]).unwrap();
    for url in [
        "wss://relay.example.com",
        "wss://relay.example.com/",
        "WSS://RELAY.EXAMPLE.COM:443/path?query#fragment",
        "https://relay.example.com",
        "ws://relay.example.com:443",
        "wss://relay.example.com.",
        "wss://relay.example.com:/",
        " wss://relay.example.com ",
        "ws://[2001:db8:0:0::0001]:7777",
        "wss://[2001:db8::1]:7777/b",
    ] {
        assert!(names.contains(url), "{url}");
    }
    for url in [
        "ws://relay.example.com",
        "wss://relay.example.com:7777",
        "wss://example.com",
        "wss://relay.example.com.evil.com",
        "wss://evil.com/relay.example.com",
        "wss://evil.com?wss://relay.example.com",
        "wss://relay.example.com@evil.com",
        "wss://user@relay.example.com",
        "wss://relay.example.com:443x",
        "wss://relay.example.com:+443",
        "wss://relay.example.com:65979",
        "ws://[2001:db8::1]",
        "ws://[2001:db8::1]7777",
        "ws://2001:db8::1:7777",
        "relay.example.com",
        "ftp://relay.example.com:443",
        "wss://",
        "wss:///",
        "",
    ] {
        assert!(!names.contains(url), "{url}");
    }
}

#[test]
fn a_malformed_url_is_named() {
    assert_eq!(RelayNames::of_urls(["wss://a", "relay"]), Err("relay"));
}

#[test]
fn without_urls_the_listeners_are_the_names() {
    let listeners = ["127.0.0.1:7777", "0.0.0.0:80", "[2001:db8::1]:443"];
    let names = RelayNames::of_listeners(listeners.map(|address| address.parse().unwrap()));
    for url in [
        "ws://127.0.0.1:7777",
        "ws://localhost:7777/",
        "ws://LOCALHOST",
        "ws://127.0.0.1",
        "ws://[::1]:80",
        "wss://[2001:db8::1]",
        "wss://localhost",
    ] {
        assert!(names.contains(url), "{url}");
    }
    for url in ["ws://127.0.0.1:7778", "ws://0.0.0.0", "ws://10.0.0.1", "ws://[::1]:7777"] {
        assert!(!names.contains(url), "{url}");
    }
}

#[test]
fn the_target_of_a_url_is_its_path_and_query() {
    for (url, expected) in [
        ("https://a", Some("/")),
        ("https://a/", Some("/")),
        ("https://a/b/?c=d/e#f", Some("/b/?c=d/e")),
        ("https://[::1]:80?x", Some("?x")),
        ("https://a#/b", Some("/")),
        ("/b", None),
    ] {
        assert_eq!(target(url), expected, "{url}");
    }
}
