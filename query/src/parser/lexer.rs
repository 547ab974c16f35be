//! Text → tokens, made one by one as the parser asks for them.

use super::ParseError;
use super::ast::Span;

/// What a token is. Words are told apart by the parser: keywords are legal names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    Number,
    Duration,
    Text,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
    Assign,
    RegexMatch,
    RegexUnequal,
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    TrimUpper,
    TrimLower,
    At,
    End,
}

/// A token and its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) span: Span,
}

/// Cuts a text into tokens.
#[derive(Debug)]
pub(super) struct Lexer<'t> {
    text: &'t str,
    at: usize,
    line: u32,
    line_start: usize,
    in_braces: bool,
    in_brackets: bool,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0, line: 1, line_start: 0, in_braces: false, in_brackets: false }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn accept(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn take_while(&mut self, test: impl Fn(u8) -> bool) {
        while self.peek().is_some_and(&test) {
            self.at += 1;
        }
    }

    /// From `start` to where the lexer stands.
    fn span_from(&self, start: usize) -> Span {
        Span {
            start: start as u32,
            end: self.at as u32,
            line: self.line,
            column: (start.saturating_sub(self.line_start) + 1) as u32,
        }
    }

    fn error(&self, start: usize, message: String) -> ParseError {
        ParseError::new(message, self.span_from(start))
    }

    fn skip_blanks(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b'\n' => {
                    self.at += 1;
                    self.line += 1;
                    self.line_start = self.at;
                }
                b' ' | b'\t' | b'\r' => self.at += 1,
                b'#' => self.take_while(|b| b != b'\n'),
                _ => return,
            }
        }
    }

    /// The next token; [`Kind::End`] for ever after the last one.
    pub(super) fn next(&mut self) -> Result<Token, ParseError> {
        self.skip_blanks();
        let start = self.at;
        let Some(byte) = self.peek() else {
            return Ok(Token { kind: Kind::End, span: self.span_from(start) });
        };
        // A quoted text may hold line breaks; its place is that of its first byte.
        let (line, column) = (self.line, (start - self.line_start + 1) as u32);
        let kind = match byte {
            b'"' | b'\'' | b'`' => self.text_literal(byte)?,
            b'0'..=b'9' => self.number()?,
            b'.' if self.text.as_bytes().get(start + 1).is_some_and(u8::is_ascii_digit) => self.number()?,
            b'_' | b'a'..=b'z' | b'A'..=b'Z' => self.word(),
            b':' if !self.in_brackets && !self.in_braces => self.word(),
            _ => self.punctuation(byte)?,
        };
        Ok(Token { kind, span: Span { start: start as u32, end: self.at as u32, line, column } })
    }

    fn word(&mut self) -> Kind {
        let colon = !self.in_brackets && !self.in_braces;
        self.take_while(|b| b.is_ascii_alphanumeric() || b == b'_' || (colon && b == b':'));
        Kind::Word
    }

    fn punctuation(&mut self, byte: u8) -> Result<Kind, ParseError> {
        let start = self.at;
        self.at += 1;
        Ok(match byte {
            b'(' => Kind::LeftParen,
            b')' => Kind::RightParen,
            b'{' => {
                self.in_braces = true;
                Kind::LeftBrace
            }
            b'}' => {
                self.in_braces = false;
                Kind::RightBrace
            }
            b'[' => {
                self.in_brackets = true;
                Kind::LeftBracket
            }
            b']' => {
                self.in_brackets = false;
                Kind::RightBracket
            }
            b',' => Kind::Comma,
            b':' => Kind::Colon,
            b'+' => Kind::Add,
            b'-' => Kind::Sub,
            b'*' => Kind::Mul,
            b'/' => Kind::Div,
            b'%' => Kind::Mod,
            b'^' => Kind::Pow,
            b'@' => Kind::At,
            b'=' if self.accept(b'=') => Kind::Equal,
            b'=' if self.accept(b'~') => Kind::RegexMatch,
            b'=' => Kind::Assign,
            b'!' if self.accept(b'=') => Kind::NotEqual,
            b'!' if self.accept(b'~') => Kind::RegexUnequal,
            b'!' => {
                let next = self.text[self.at..].chars().next().map_or_else(String::new, |c| format!(": {c:?}"));
                return Err(self.error(start, format!("unexpected character after '!'{next}")));
            }
            b'<' if self.accept(b'=') => Kind::LessEqual,
            b'<' if self.accept(b'/') => Kind::TrimUpper,
            b'<' => Kind::Less,
            b'>' if self.accept(b'=') => Kind::GreaterEqual,
            b'>' if self.accept(b'/') => Kind::TrimLower,
            b'>' => Kind::Greater,
            _ => {
                self.at = start;
                let character = self.text[start..].chars().next().unwrap_or_default();
                self.at += character.len_utf8();
                let place = if self.in_braces { " inside braces" } else { "" };
                return Err(self.error(start, format!("unexpected character{place}: {character:?}")));
            }
        })
    }

    fn text_literal(&mut self, quote: u8) -> Result<Kind, ParseError> {
        let start = self.at;
        let (line, line_start) = (self.line, self.line_start);
        self.at += 1;
        loop {
            match self.peek() {
                Some(b) if b == quote => {
                    self.at += 1;
                    return Ok(Kind::Text);
                }
                Some(b'\\') if quote != b'`' => {
                    self.at += 1;
                    if self.peek().is_some() {
                        self.at += self.text[self.at..].chars().next().map_or(1, char::len_utf8);
                    }
                }
                Some(b'\n') if quote == b'`' => {
                    self.at += 1;
                    self.line += 1;
                    self.line_start = self.at;
                }
                None | Some(b'\n') => {
                    (self.line, self.line_start) = (line, line_start);
                    let kind = if quote == b'`' { "raw" } else { "quoted" };
                    return Err(self.error(start, format!("unterminated {kind} string")));
                }
                Some(_) => self.at += 1,
            }
        }
    }

    /// A number, or a duration such as `1h30m`.
    fn number(&mut self) -> Result<Kind, ParseError> {
        let start = self.at;
        let hex = self.text.as_bytes()[start..].starts_with(b"0x") || self.text.as_bytes()[start..].starts_with(b"0X");
        if hex {
            self.at += 2;
            self.take_while(|b| b.is_ascii_hexdigit() || b == b'_');
        } else {
            self.take_while(|b| b.is_ascii_digit() || b == b'_');
            if self.accept(b'.') {
                self.take_while(|b| b.is_ascii_digit() || b == b'_');
            }
            let before = self.at;
            if self.accept(b'e') || self.accept(b'E') {
                let _ = self.accept(b'+') || self.accept(b'-');
                if self.peek().is_some_and(|b| b.is_ascii_digit()) {
                    self.take_while(|b| b.is_ascii_digit() || b == b'_');
                } else {
                    self.at = before;
                }
            }
        }
        if !self.peek().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.') {
            return Ok(Kind::Number);
        }
        self.at = start;
        self.take_while(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.');
        let text = &self.text[start..self.at];
        if super::duration::parse_millis(text).is_some() {
            return Ok(Kind::Duration);
        }
        Err(self.error(start, format!("bad number or duration syntax: {text:?}")))
    }
}

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
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        rest = escape(&rest[at + 1..], quote, &mut out)?;
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}

/// Decodes what follows a backslash and hands back what follows that.
fn escape<'a>(text: &'a str, quote: u8, out: &mut Vec<u8>) -> Result<&'a str, String> {
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
        'x' => return digits(rest, 2, 16, out, false),
        'u' => return digits(rest, 4, 16, out, true),
        'U' => return digits(rest, 8, 16, out, true),
        '0'..='7' => return digits(text, 3, 8, out, false),
        _ => return Err(format!("unknown escape sequence {kind:?}")),
    };
    out.push(simple);
    Ok(rest)
}

fn digits<'a>(text: &'a str, count: usize, radix: u32, out: &mut Vec<u8>, character: bool) -> Result<&'a str, String> {
    let number = text
        .get(..count)
        .filter(|t| t.bytes().all(|b| char::from(b).is_digit(radix)))
        .and_then(|t| u32::from_str_radix(t, radix).ok())
        .ok_or("illegal character in escape sequence")?;
    if character {
        let character = char::from_u32(number).ok_or("escape sequence is an invalid Unicode code point")?;
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    } else {
        out.push(u8::try_from(number).map_err(|_| "escape sequence is too large")?);
    }
    Ok(&text[count..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind> {
        let mut lexer = Lexer::new(text);
        let mut out = Vec::new();
        loop {
            match lexer.next().unwrap().kind {
                Kind::End => return out,
                kind => out.push(kind),
            }
        }
    }

    #[test]
    fn colons_belong_to_words_outside_brackets_only() {
        use Kind::{Colon, Duration, LeftBracket, RightBracket, Word};
        assert_eq!(kinds("a:b[5m:1m]"), [Word, LeftBracket, Duration, Colon, Duration, RightBracket]);
        assert_eq!(kinds(":a"), [Word]);
    }

    #[test]
    fn numbers_and_durations() {
        use Kind::{Duration, Number};
        assert_eq!(
            kinds("1 1.5 .5 1e3 1E-3 0x1F 1_000 1h30m 5ms 5."),
            [Number, Number, Number, Number, Number, Number, Number, Duration, Duration, Number]
        );
        for bad in ["1x", "1.2.3", "1h2x", "1m1h", "0xfg"] {
            assert!(Lexer::new(bad).next().is_err(), "{bad}");
        }
    }

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

    #[test]
    fn places_count_lines_and_columns_from_one() {
        let mut lexer = Lexer::new("a\n  # b\n  \"c\"");
        lexer.next().unwrap();
        let token = lexer.next().unwrap();
        assert_eq!((token.span.line, token.span.column, token.span.start), (3, 3, 10));
    }
}
