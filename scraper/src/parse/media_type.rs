//! The value of a `Content-Type` header.

/// The media type that `header` names, before its parameters; `None` if they are malformed, as Go judges them.
pub(super) fn media_type(header: &str) -> Option<&str> {
    let (media_type, mut rest) = header.find(';').map_or((header, ""), |at| header.split_at(at));
    let media_type = media_type.trim();
    let (main, sub) = media_type.split_once('/').unwrap_or((media_type, "x"));
    if !is_token(main) || !is_token(sub) {
        return None;
    }
    let mut seen: Vec<(String, &str)> = Vec::new();
    while !rest.trim().is_empty() {
        rest = rest.trim_start().strip_prefix(';')?.trim_start();
        if rest.is_empty() {
            // A semicolon at the end is no parameter.
            break;
        }
        let (name, after) = rest.split_at(rest.find(|c| !is_token_char(c))?);
        let value = after.trim_start().strip_prefix('=')?.trim_start();
        let end = value_end(value)?;
        let name = name.to_ascii_lowercase();
        let is_other = |(seen, other): &(String, &str)| *seen == name && *other != &value[..end];
        if name.is_empty() || seen.iter().any(is_other) {
            return None;
        }
        seen.push((name, &value[..end]));
        rest = &value[end..];
    }
    Some(media_type)
}

/// The end of the parameter value, a token or a text in quotes, that `text` begins with.
fn value_end(text: &str) -> Option<usize> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|c| !is_token_char(c)).unwrap_or(text.len());
        return (end > 0).then_some(end);
    };
    let mut escaped = false;
    for (at, byte) in quoted.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 2),
            b'\r' | b'\n' => return None,
            _ => {}
        }
    }
    None
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_token_char)
}

/// A character of a token (RFC 2045).
fn is_token_char(c: char) -> bool {
    matches!(c, '!'..='~') && !r#"()<>@,;:\"/[]?="#.contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_checked_as_go_checks_them() {
        for (header, expected) in [
            ("text/plain", Some("text/plain")),
            (" Text/Plain ; version=0.0.4;charset=\"utf-8\";", Some("Text/Plain")),
            ("text/plain; a=\"b;c\\\"\"", Some("text/plain")),
            ("text/plain; a = b", Some("text/plain")),
            ("garbage", Some("garbage")),
            ("text/plain; =", None),
            ("text/plain; a", None),
            ("text/plain; a=\"b", None),
            ("text/plain; a=b; a=c", None),
            ("text/plain; a=b, c", None),
            ("text plain", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(media_type(header), expected, "{header}");
        }
    }
}
