//! Users behind a trusted front that shares one connection among them.

use super::gated::TestFile;
use super::tokens::{SECRET, valid};
use crate::proxy::front::Front;
use crate::proxy::scripted::Scripted;
use crate::support::{Client, header};

#[test]
fn each_request_of_two_users_on_one_connection_has_its_own_identity() {
    let upstream = Scripted::persistent(|client, _| {
        client.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
    let secret = TestFile::new(SECRET);
    let gate = format!(
        "auth = 'users'\n[[auth]]\nname = 'users'\nkind = 'jwt'\nalgorithms = ['HS256']\n\
         secret_file = {:?}",
        secret.0
    );
    let flags = ["--trusted-proxies", "127.0.0.1"];
    let front = Front::with(&[upstream.url()], "", &gate, &flags);
    let tokens = [valid("ann"), valid("bob")];
    let mut shared = Client::tcp(front.address);
    let mut request = |token: Option<&String>, address: &str| {
        let token = token.map_or(String::new(), |it| format!("Authorization: Bearer {it}\r\n"));
        let lines = format!("X-Forwarded-For: {address}\r\n{token}");
        shared.raw(format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").as_bytes());
        shared.answer().0[9..12].to_owned()
    };
    for _ in 0..2 {
        for (token, subject, address) in
            [(&tokens[0], "ann", "192.0.2.1"), (&tokens[1], "bob", "192.0.2.2")]
        {
            assert_eq!(request(Some(token), address), "200");
            let head = upstream.head();
            assert_eq!(header(&head, "X-Weir-User"), Some(subject), "{head}");
            assert!(header(&head, "X-Forwarded-For").unwrap().contains(address), "{head}");
            // The user before is not passed on to a request without a token.
            assert_eq!(request(None, address), "401");
        }
    }
    upstream.expect_no_request();
}
