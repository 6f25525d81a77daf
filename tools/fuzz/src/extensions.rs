//! The grammar of `Sec-WebSocket-Extensions` (RFC 6455, 9.1), parsed naively.

/// An extension's name and its parameters, in order.
pub(crate) type Extension = (String, Vec<(String, Option<String>)>);

/// The elements of one value of the header; `None` if it does not follow the grammar.
pub(crate) fn extensions(value: &str) -> Option<Vec<Extension>> {
    let elements = split(value, ',')?;
    elements
        .iter()
        .filter(|element| !element.is_empty())
        .map(|element| extension(element))
        .collect()
}

fn extension(element: &str) -> Option<Extension> {
    let parts = split(element, ';')?;
    let (name, params) = parts.split_first()?;
    let params = params.iter().map(|param| parameter(param)).collect::<Option<_>>()?;
    Some((token(name)?, params))
}

fn parameter(text: &str) -> Option<(String, Option<String>)> {
    let Some((name, value)) = text.split_once('=') else {
        return Some((token(text)?, None));
    };
    let value = value.trim_matches(BLANKS);
    let Some(quoted) = value.strip_prefix('"') else {
        return Some((token(name.trim_matches(BLANKS))?, Some(token(value)?)));
    };
    let quoted = quoted.strip_suffix('"')?;
    let mut plain = String::new();
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        plain.push(if c == '\\' { chars.next()? } else { c });
    }
    // A quote that is not escaped is not a token character.
    Some((token(name.trim_matches(BLANKS))?, Some(token(&plain)?)))
}

/// The parts between unquoted separators, trimmed.
pub(crate) fn split(text: &str, separator: char) -> Option<Vec<String>> {
    let mut parts = vec![String::new()];
    let (mut is_quoted, mut is_escaped) = (false, false);
    for c in text.chars() {
        if c == separator && !is_quoted {
            parts.push(String::new());
            continue;
        }
        is_quoted ^= c == '"' && !is_escaped;
        is_escaped = is_quoted && c == '\\' && !is_escaped;
        parts.last_mut()?.push(c);
    }
    let trimmed = parts.iter().map(|part| part.trim_matches(BLANKS).to_owned());
    (!is_quoted).then(|| trimmed.collect())
}

const BLANKS: [char; 2] = [' ', '\t'];

pub(crate) fn is_token(text: &str) -> bool {
    let separators = "()<>@,;:\\\"/[]?={} \t";
    !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() && !separators.contains(c))
}

fn token(text: &str) -> Option<String> {
    is_token(text).then(|| text.to_owned())
}
