//! Paths that choose a route: what was compared is what the upstream gets, and no spelling of a path
//! passes by the limits of its route.

use super::front::Front;
use super::scripted::Scripted;
use crate::support::{Client, upgrade};

const REFUSED: &str = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";

/// A proxy with an upstream for each of two routes, `/*` and `/api/*`.
fn two_routes() -> (Front, [Scripted; 2]) {
    let upstreams = [Scripted::answering(REFUSED), Scripted::answering(REFUSED)];
    let api = format!(
        "[[pool]]\nname = 'api'\nupstreams = [{:?}]\n\
         [[route]]\npath = '/api/*'\nservice = 'proxy'\npool = 'api'\n\
         [[route]]\npath = '/echo'\nservice = 'echo'",
        upstreams[1].url()
    );
    (Front::new(&[upstreams[0].url()], "", &api), upstreams)
}

/// The status and the body of the response to a request of either kind.
fn asked(front: &Front, target: &str, is_upgrade: bool) -> (String, String) {
    let mut client = Client::tcp(front.address);
    let request = match is_upgrade {
        true => upgrade(target, ""),
        false => format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    };
    client.raw(request.as_bytes());
    let (head, body) = client.answer();
    (head[9..12].to_owned(), String::from_utf8(body).unwrap())
}

#[test]
fn routes_and_upstreams_see_the_normal_form_of_a_path() {
    let (front, [rest, api]) = two_routes();
    for (target, upstream, expected) in [
        ("/api/x", &api, "/api/x"),
        ("/%61pi/%7Euser?%61", &api, "/api/~user?%61"),
        ("/%61%70%69/%c3%a9", &api, "/api/%C3%A9"),
        ("/~user/%7euser/%2D", &rest, "/~user/~user/-"),
        ("/%2561pi/x", &rest, "/%2561pi/x"),
        ("/a%2fb;c//d", &rest, "/a%2Fb;c//d"),
        ("/img/http://a.example/b", &rest, "/img/http://a.example/b"),
        ("/api//x", &api, "/api//x"),
    ] {
        for is_upgrade in [true, false] {
            assert_eq!(asked(&front, target, is_upgrade).0, "403", "{target}");
            let head = upstream.head();
            assert!(head.starts_with(&format!("GET {expected} HTTP/1.1\r\n")), "{target}: {head}");
        }
    }
    for upstream in [rest, api] {
        upstream.expect_no_request();
    }
}

#[test]
fn a_path_that_could_be_of_another_route_is_refused() {
    let (front, [rest, api]) = two_routes();
    for target in [
        "//api/x",
        "///api/x",
        "/api%2Fx",
        "/%61pi%2fx",
        "/%2fapi/x",
        "/api%5cx",
        "/api;a=b/x",
        "/;/api/x",
        "//echo",
    ] {
        for is_upgrade in [true, false] {
            let (status, body) = asked(&front, target, is_upgrade);
            assert_eq!(status, "400", "{target}");
            assert!(body.contains("path can be read as another one"), "{target}: {body}");
        }
    }
    for target in ["/a%00b", "/api/%00"] {
        assert_eq!(asked(&front, target, false).0, "400", "{target}");
    }
    for (target, reason) in [("/x/..%2fapi/x", "dot segment"), ("/%2e%2E/api/x", "dot segment")] {
        let (status, body) = asked(&front, target, true);
        assert!(status == "400" && body.contains(reason), "{target}: {body}");
    }
    let refused = |reason| front.admin.metric("weir_refused_total", &[reason]);
    assert_eq!(refused("reason=\"ambiguous_path\""), 20.0);
    // A service that forwards nothing gets any path of its route.
    Client::open(front.address, "/ech%6f");
    for upstream in [rest, api] {
        upstream.expect_no_request();
    }
}
