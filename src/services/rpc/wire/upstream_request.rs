//! Requests that weir itself sends to an upstream, as text.

/// A request; `params` are JSON, empty if there are none.
pub(crate) fn request(id: u64, method: &str, params: &str) -> String {
    let mut members = String::new();
    write_members(&mut members, method, params);
    with_id(id, &members)
}

/// A request with members that [`write_members`] has written.
pub(crate) fn with_id(id: u64, members: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},{members}}}"#)
}

/// Appends the members of a request except for its id: requests with equal members ask for the
/// same.
pub(crate) fn write_members(out: &mut String, method: &str, params: &str) {
    *out += r#""method":"#;
    if method.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric()) {
        out.push('"');
        *out += method;
        out.push('"');
    } else {
        *out += &serde_json::Value::from(method).to_string();
    }
    if !params.is_empty() {
        *out += r#","params":"#;
        *out += params;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_json() {
        let text = request(5, "eth_chainId", "[]");
        assert_eq!(text, r#"{"jsonrpc":"2.0","id":5,"method":"eth_chainId","params":[]}"#);
        assert_eq!(request(9, "a\"b", ""), r#"{"jsonrpc":"2.0","id":9,"method":"a\"b"}"#);
    }
}
