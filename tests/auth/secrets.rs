//! No token appears in a log, a record, or what an upstream gets.

use super::gated::{TestFile, status_of};
use super::tokens::{SECRET, claims, hs256, signed, valid};
use crate::binary::File;
use crate::proxy::scripted::Scripted;
use crate::support::{Admin, Client, Process, upgrade, weir};

/// Everything that can be logged.
const LOG: &str = "trace,mio=trace,rustls=trace,ureq=trace,ureq_proto=trace";

#[test]
fn no_token_appears_in_logs_records_and_upstream_requests() {
    let upstream = Scripted::persistent(|client, head| {
        let response = match head.contains("Upgrade: websocket") {
            true => {
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
            }
            false => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        };
        client.raw(response.as_bytes());
    });
    let (secret, audit) = (TestFile::new(SECRET), TestFile::new(""));
    std::fs::remove_file(&audit.0).unwrap();
    let file = File::new(&format!(
        "listen = '127.0.0.1:0'\nadmin = '127.0.0.1:0'\nlevels = false\nlog = '{LOG}'\n\
         log_access = true\ntrace = true\naudit = {:?}\n\
         [[auth]]\nname = 'users'\nkind = 'jwt'\nalgorithms = ['HS256']\nsecret_file = {:?}\n\
         token_from = ['header', 'cookie:session', 'query:token', 'protocol']\n\
         [[pool]]\nname = 'nodes'\nupstreams = [{:?}]\n\
         [[route]]\npath = '/*'\nservice = 'proxy'\npool = 'nodes'\nauth = 'users'\n\
         origins = ['http://localhost']\n\
         [[route]]\npath = '/auth/refresh'\nservice = 'auth'\nauth = 'users'\n\
         origins = ['http://localhost']\n",
        audit.0,
        secret.0,
        upstream.url()
    ));
    let process = Process::spawn(&mut weir(["--config", file.path()]));
    let address = process.address();
    let admin = Admin::of(&process);
    let good = valid("ann");
    let forged = format!("{}AAAA", &good[..good.len() - 4]);
    let crit = signed(r#"{"alg":"HS256","crit":["x"]}"#, &claims("ann", ""));
    let expired = hs256(r#"{"sub":"ann","exp":1}"#);
    let tokens = [&good, &forged, &crit, &expired];
    let mut printed = String::new();
    for token in tokens {
        for (target, lines) in [
            ("/a".to_owned(), format!("Authorization: Bearer {token}\r\n")),
            ("/a".to_owned(), format!("Cookie: x=y; session={token}\r\n")),
            (format!("/a?x=y&token={token}"), String::new()),
            (
                "/a".to_owned(),
                format!("Sec-WebSocket-Protocol: weir.token, weir.token.{token}\r\n"),
            ),
        ] {
            let lines = format!("Origin: http://localhost\r\n{lines}");
            let expected = if token == &good { [101, 200] } else { [401, 401] };
            let mut client = Client::tcp(address);
            let head = client.request(&upgrade(&target, &lines));
            assert_eq!(status_of(&head), expected[0], "{target} {lines} {head}");
            printed += &head;
            if lines.contains("Sec-WebSocket") {
                continue;
            }
            let mut client = Client::tcp(address);
            client.raw(format!("GET {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n").as_bytes());
            let (head, _) = client.answer();
            assert_eq!(status_of(&head), expected[1], "{target} {lines} {head}");
            printed += &head;
            // It passes without a verdict.
            client = Client::tcp(address);
            client.raw(format!("OPTIONS {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n").as_bytes());
            assert_eq!(status_of(&client.answer().0), 200, "{target} {lines}");
        }
        let mut client = Client::tcp(address);
        printed += &client.request(&format!(
            "POST /auth/refresh HTTP/1.1\r\nHost: a\r\nOrigin: http://localhost\r\n\
             Authorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n"
        ));
    }
    // Seven requests with the valid token and three OPTIONS with each token reached the upstream.
    for _ in 0..7 + 3 * tokens.len() {
        let head = upstream.head();
        assert!(!head.contains("token") && !head.contains("****"), "{head}");
        printed += &head;
    }
    upstream.expect_no_request();
    printed += &admin.metrics();
    printed += &process.stop();
    printed += &std::fs::read_to_string(&audit.0).unwrap();
    assert!(printed.contains("token refused: the signature is wrong"), "the log was not read");
    assert!(printed.contains("\"subject\":\"ann\""), "the audit log was not read");
    for token in tokens {
        for part in token.split('.').filter(|part| part.len() > 20) {
            let is_header_of_all = token.starts_with(part);
            assert!(is_header_of_all || !printed.contains(part), "{part} of {token}");
        }
        assert!(!printed.contains(token.as_str()));
    }
    assert!(!printed.contains(SECRET));
}
