//! JSON as Go's `encoding/json` reads it, where that is more lenient than the standard.

/// Text in which broken UTF-8 and lone surrogates are replaced: each byte of the one, each escape of the other, by U+FFFD.
pub(super) fn repair(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    if out.contains("\\u") { replace_surrogates(&out) } else { out }
}

fn replace_surrogates(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let pair = surrogate(escape).map(|first| (first, escape.get(6..).and_then(surrogate)));
        let (written, length) = match pair {
            Some((0xd800..0xdc00, Some(0xdc00..0xe000))) => (&escape[..12], 12),
            Some(_) => ("\\ufffd", 6),
            // Another escape, of two characters so that `\\u` is none.
            None => {
                let length = 1 + escape[1..].chars().next().map_or(0, char::len_utf8);
                (&escape[..length], length)
            }
        };
        out.push_str(written);
        rest = &escape[length..];
    }
    out + rest
}

/// The surrogate whose escape `text` begins with.
fn surrogate(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let code = u32::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))?;
    (0xd800..0xe000).contains(&code).then_some(code)
}

/// A key as Go compares it with the name of a field: letter by letter, without case.
pub(super) fn fold(key: &str) -> String {
    let folded = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    key.chars().map(folded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lone_surrogates_are_replaced_and_pairs_kept() {
        for (text, expected) in [
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (r#""\ud83d""#, r#""\ufffd""#),
            (r#""\ude00\ud83d""#, r#""\ufffd\ufffd""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\\ud83d""#, r#""\\ud83d""#),
            (r#""\u00e9 \u12""#, r#""\u00e9 \u12""#),
            (r#""\u+d83""#, r#""\u+d83""#),
            ("\\", "\\"),
        ] {
            assert_eq!(repair(text.as_bytes()), expected);
        }
    }
}
