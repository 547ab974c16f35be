//! What a text literal stands for.

/// Undoes the quoting of a text literal: `"` and `'` with Go's escapes, back quotes without. The result may be any bytes.
pub(crate) fn unquote(literal: &str) -> Result<Vec<u8>, String> {
    let bytes = literal.as_bytes();
    let (Some(&quote), true) = (bytes.first(), bytes.len() >= 2) else {
        return Err("invalid syntax".into());
    };
    let inner = &literal[1..literal.len() - 1];
    if quote == b'`' {
        return Ok(inner.bytes().filter(|b| *b != b'\r').collect());
    }
    unescape(inner, quote, Some(quote))
}

/// Undoes the escapes of a text within `"` or `'`, which ends with `end` if at all.
pub(super) fn unescape(inner: &str, quote: u8, end: Option<u8>) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        rest = escape(&rest[at + 1..], quote, end, &mut out)?;
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}

/// Decodes what follows a backslash and hands back what follows that.
fn escape<'a>(text: &'a str, quote: u8, end: Option<u8>, out: &mut Vec<u8>) -> Result<&'a str, String> {
    let kind = text.chars().next().ok_or("escape sequence not terminated")?;
    let rest = &text[kind.len_utf8()..];
    let simple = match kind {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' => b'\\',
        '"' | '\'' if kind == char::from(quote) => quote,
        'x' => return digits(rest, 2, 16, end, out),
        'u' => return digits(rest, 4, 16, end, out),
        'U' => return digits(rest, 8, 16, end, out),
        '0'..='7' => return digits(text, 3, 8, end, out),
        _ => return Err(format!("unknown escape sequence {}", named(kind))),
    };
    out.push(simple);
    Ok(rest)
}

/// `U+0071 'q'`
fn named(character: char) -> String {
    format!("U+{:04X} '{character}'", u32::from(character))
}

/// Reads `count` digits: with more than three the number of a character, else a byte.
fn digits<'a>(text: &'a str, count: usize, radix: u32, end: Option<u8>, out: &mut Vec<u8>) -> Result<&'a str, String> {
    const INVALID: &str = "escape sequence is an invalid Unicode code point";
    let mut number = 0u32;
    for i in 0..count {
        let digit = text[i..].chars().next().or(end.map(char::from)).ok_or("escape sequence not terminated")?;
        let value =
            digit.to_digit(radix).ok_or_else(|| format!("illegal character {} in escape sequence", named(digit)))?;
        number = number.saturating_mul(radix).saturating_add(value);
    }
    if count > 3 {
        let character = char::from_u32(number).ok_or(INVALID)?;
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    } else {
        out.push(u8::try_from(number).map_err(|_| INVALID)?);
    }
    Ok(&text[count..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_those_of_go() {
        assert_eq!(unquote(r#""a\n\"\x41\101\u00fc""#).unwrap(), "a\n\"AAü".as_bytes());
        assert_eq!(unquote(r#""\xc5""#).unwrap(), [0xc5]);
        assert_eq!(unquote(r"`a\n`").unwrap(), br"a\n");
        assert_eq!(unquote(r#"'it\'s'"#).unwrap(), b"it's");
        for bad in [r#""\q""#, r#""\x4""#, r#""\400""#, r#""\ud800""#, r#""\'""#] {
            assert!(unquote(bad).is_err(), "{bad}");
        }
    }
}
