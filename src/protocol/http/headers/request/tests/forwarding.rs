//! The headers about earlier hops.

use super::*;

#[test]
fn a_client_cannot_nominate_our_headers_away() {
    let extra = "Connection: X-Forwarded-For, x-forwarded-proto, X-Forwarded-Host, X-Real-IP, \
                 Forwarded, X-Set, traceparent\r\nX-Forwarded-For: 192.0.2.7\r\n";
    let changes = HeaderChanges::new([("X-Set", "a")], []).unwrap();
    let rules = RequestRules { changes, ..RequestRules::default() };
    let own = "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\n\
               X-Forwarded-Host: a.example\r\nX-Real-IP: 192.0.2.7\r\nX-Set: a\r\n";
    assert_eq!(lines(extra, &rules, &origin()), own);
    let appended = own.replace("For: 192.0.2.7", "For: 192.0.2.7, 10.0.0.1");
    assert_eq!(lines(extra, &rules, &trusted()), appended);
}

#[test]
fn headers_about_earlier_hops_of_an_untrusted_peer_are_removed() {
    let extra = "X-Forwarded-For: 1.1.1.1\r\nx-forwarded-for: 2.2.2.2\r\nX_Forwarded_For: 3.3.3.3\r\n\
                 X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\n\
                 X-Forwarded-Prefix: /a\r\nX-Real-IP: 1.1.1.1\r\nForwarded: for=1.1.1.1\r\n\
                 CF-Connecting-IP: 1.1.1.1\r\nTrue-Client-IP: 1.1.1.1\r\n";
    assert_eq!(lines(extra, &off(), &origin()), "");
    let own = "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\n\
               X-Forwarded-Host: a.example\r\nX-Real-IP: 192.0.2.7\r\n";
    assert_eq!(lines(extra, &RequestRules::default(), &origin()), own);
    let own = "Forwarded: for=192.0.2.7;host=\"a.example\";proto=http\r\n";
    assert_eq!(lines(extra, &rfc7239(), &origin()), own);
}

#[test]
fn lists_of_a_trusted_peer_are_extended() {
    let extra = "X-Forwarded-For: 9.9.9.9, 192.0.2.7\r\nA: b\r\nX-Forwarded-For: 10.0.0.2\r\n\
                 X-Forwarded-Proto: https\r\nX-Forwarded-Host: b.example\r\nX-Real-IP: 9.9.9.9\r\n\
                 X-Forwarded-Port: 443\r\nForwarded: for=9.9.9.9\r\nTrue-Client-IP: 192.0.2.7\r\n";
    let kept = "A: b\r\nX-Forwarded-Port: 443\r\nTrue-Client-IP: 192.0.2.7\r\n";
    let expected = format!(
        "{kept}X-Forwarded-For: 9.9.9.9, 192.0.2.7, 10.0.0.2, 10.0.0.1\r\n\
         X-Forwarded-Proto: https\r\nX-Forwarded-Host: b.example\r\nX-Real-IP: 192.0.2.7\r\n"
    );
    assert_eq!(lines(extra, &RequestRules::default(), &trusted()), expected);
    let expected =
        format!("{kept}Forwarded: for=9.9.9.9, for=10.0.0.1;host=\"a.example\";proto=http\r\n");
    assert_eq!(lines(extra, &rfc7239(), &trusted()), expected);
    assert_eq!(lines(extra, &off(), &trusted()), kept);

    let list = "Forwarded: for=\"[::1]\"\r\nForwarded: host=\"a,b\", for=192.0.2.7\r\n";
    let expected = "Forwarded: for=\"[::1]\", host=\"a,b\", for=192.0.2.7, \
                    for=10.0.0.1;host=\"a.example\";proto=http\r\n";
    assert_eq!(lines(list, &rfc7239(), &trusted()), expected);
}

#[test]
fn missing_or_ambiguous_headers_of_a_trusted_peer_are_set() {
    let own = "X-Forwarded-For: 192.0.2.7, 10.0.0.1\r\nX-Forwarded-Proto: http\r\n\
               X-Forwarded-Host: a.example\r\nX-Real-IP: 192.0.2.7\r\n";
    assert_eq!(lines("", &RequestRules::default(), &trusted()), own);
    let extra = "X-Forwarded-For:\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n\
                 X-Forwarded-Host:\r\n";
    assert_eq!(lines(extra, &RequestRules::default(), &trusted()), own);
    let own = "Forwarded: for=192.0.2.7, for=10.0.0.1;host=\"a.example\";proto=http\r\n";
    assert_eq!(lines("", &rfc7239(), &trusted()), own);
    for malformed in ["for=\"9.9.9.9", "for=a b", "for=a;for=b"] {
        let extra = format!("Forwarded: {malformed}\r\n");
        assert_eq!(lines(&extra, &rfc7239(), &trusted()), own, "{malformed}");
    }
    let direct = RequestOrigin { client: trusted().peer, ..trusted() };
    let own = "Forwarded: for=10.0.0.1;host=\"a.example\";proto=http\r\n";
    assert_eq!(lines("", &rfc7239(), &direct), own);
}

#[test]
fn addresses_and_schemes_are_written_as_their_formats_demand() {
    let six: IpAddr = "2001:db8::1".parse().unwrap();
    let secure = RequestOrigin { peer: six, client: six, is_secure: true, ..origin() };
    let own = "X-Forwarded-For: 2001:db8::1\r\nX-Forwarded-Proto: https\r\n\
               X-Forwarded-Host: a.example\r\nX-Real-IP: 2001:db8::1\r\n";
    assert_eq!(lines("", &RequestRules::default(), &secure), own);
    let own = "Forwarded: for=\"[2001:db8::1]\";host=\"a.example\";proto=https\r\n";
    assert_eq!(lines("", &rfc7239(), &secure), own);
    let mapped: IpAddr = "::ffff:192.0.2.7".parse().unwrap();
    let mapped = RequestOrigin { peer: mapped, client: mapped, ..origin() };
    let own = "Forwarded: for=192.0.2.7;host=\"a.example\";proto=http\r\n";
    assert_eq!(lines("", &rfc7239(), &mapped), own);
}
