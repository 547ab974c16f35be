//! Text → tokens, made one by one as the parser asks for them.

mod number;

use super::ParseError;
use super::ast::Span;
use super::unquote::unescape;

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
    brackets: Brackets,
    open_parens: u32,
}

/// Where within `[…]` the lexer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Brackets {
    Outside,
    /// Before any number or name.
    Begun,
    Range,
    /// Past the colon.
    Step,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0, line: 1, line_start: 0, in_braces: false, brackets: Brackets::Outside, open_parens: 0 }
    }

    /// Whether the last token stands within braces.
    pub(super) fn in_braces(&self) -> bool {
        self.in_braces
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

    fn error(&self, start: usize, message: impl Into<String>) -> ParseError {
        ParseError::new(message, self.span_from(start))
    }

    /// Complains about the character at `start`.
    fn stray(&mut self, start: usize, what: &str) -> ParseError {
        let character = self.text[start..].chars().next().unwrap_or(char::REPLACEMENT_CHARACTER);
        self.at = (start + character.len_utf8()).min(self.text.len());
        self.error(start, format!("unexpected {what} {character:?}"))
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
        let Some(byte) = self.peek() else { return self.end() };
        // A quoted text may hold line breaks; its place is that of its first byte.
        let (line, column) = (self.line, (start - self.line_start + 1) as u32);
        let kind = if self.in_braces { self.within_braces(byte)? } else { self.outside_braces(byte)? };
        Ok(Token { kind, span: Span { start: start as u32, end: self.at as u32, line, column } })
    }

    fn end(&self) -> Result<Token, ParseError> {
        let message = match self.brackets {
            _ if self.in_braces => "unexpected end of input inside braces",
            Brackets::Begun => "unexpected end of input in duration expression",
            _ if self.open_parens > 0 => "unclosed left parenthesis",
            Brackets::Range | Brackets::Step => "unclosed left bracket",
            Brackets::Outside => return Ok(Token { kind: Kind::End, span: self.span_from(self.at) }),
        };
        Err(self.error(self.at, message))
    }

    fn word(&mut self) -> Kind {
        let colon = !self.in_braces && self.brackets == Brackets::Outside;
        self.take_while(|b| b.is_ascii_alphanumeric() || b == b'_' || (colon && b == b':'));
        Kind::Word
    }

    fn within_braces(&mut self, byte: u8) -> Result<Kind, ParseError> {
        let start = self.at;
        match byte {
            b'"' | b'\'' | b'`' => return self.text_literal(byte),
            b'_' | b'a'..=b'z' | b'A'..=b'Z' => return Ok(self.word()),
            _ => self.at += 1,
        }
        Ok(match byte {
            b'}' => {
                self.in_braces = false;
                Kind::RightBrace
            }
            b',' => Kind::Comma,
            b'=' if self.accept(b'~') => Kind::RegexMatch,
            b'=' => Kind::Assign,
            b'!' if self.accept(b'=') => Kind::NotEqual,
            b'!' if self.accept(b'~') => Kind::RegexUnequal,
            b'!' => return Err(self.after(start, "'!' inside braces")),
            b'{' => return Err(self.stray(start, "left brace")),
            _ => return Err(self.stray(start, "character inside braces:")),
        })
    }

    fn outside_braces(&mut self, byte: u8) -> Result<Kind, ParseError> {
        let digit_follows = self.text.as_bytes().get(self.at + 1).is_some_and(u8::is_ascii_digit);
        let begun = self.brackets == Brackets::Begun;
        match byte {
            b'0'..=b'9' => self.number(),
            b'.' if digit_follows => self.number(),
            b'_' | b'a'..=b'z' | b'A'..=b'Z' => {
                let start = self.at;
                let kind = self.word();
                if begun {
                    self.brackets = Brackets::Range;
                    let words = ["step", "range", "min_of", "max_of"];
                    if !words.iter().any(|word| word.eq_ignore_ascii_case(&self.text[start..self.at])) {
                        return Err(self.stray(start, "character in duration expression:"));
                    }
                }
                Ok(kind)
            }
            b':' if self.brackets == Brackets::Outside => Ok(self.word()),
            b'"' | b'\'' | b'`' if !begun => self.text_literal(byte),
            b']' | b':' | b'(' | b')' | b'+' | b'-' | b'*' | b'/' | b'%' | b'^' => self.punctuation(byte),
            _ if begun => Err(self.stray(self.at, "character in duration expression:")),
            _ => self.punctuation(byte),
        }
    }

    fn after(&self, start: usize, what: &str) -> ParseError {
        let next = self.text[self.at..].chars().next().unwrap_or(char::REPLACEMENT_CHARACTER);
        self.error(start, format!("unexpected character after {what}: {next:?}"))
    }

    fn punctuation(&mut self, byte: u8) -> Result<Kind, ParseError> {
        let start = self.at;
        self.at += 1;
        Ok(match byte {
            b'(' => {
                self.open_parens += 1;
                Kind::LeftParen
            }
            b')' => {
                let left = self.open_parens.checked_sub(1);
                self.open_parens = left.ok_or_else(|| self.error(self.at, "unexpected right parenthesis ')'"))?;
                Kind::RightParen
            }
            b'{' => {
                self.in_braces = true;
                Kind::LeftBrace
            }
            b'[' if self.brackets != Brackets::Outside => return Err(self.stray(start, "left bracket")),
            b'[' => {
                self.brackets = Brackets::Begun;
                Kind::LeftBracket
            }
            b']' if self.brackets == Brackets::Outside => return Err(self.stray(start, "right bracket")),
            b']' => {
                self.brackets = Brackets::Outside;
                Kind::RightBracket
            }
            b':' => match self.brackets {
                Brackets::Range => {
                    self.brackets = Brackets::Step;
                    Kind::Colon
                }
                Brackets::Begun => {
                    return Err(self.error(self.at, "unexpected colon before duration in duration expression"));
                }
                Brackets::Step | Brackets::Outside => return Err(self.stray(start, "colon")),
            },
            b',' => Kind::Comma,
            b'+' => Kind::Add,
            b'-' => Kind::Sub,
            b'*' => Kind::Mul,
            b'/' => Kind::Div,
            b'%' => Kind::Mod,
            b'^' => Kind::Pow,
            b'@' => Kind::At,
            b'=' if self.accept(b'=') => Kind::Equal,
            b'=' if self.peek() == Some(b'~') => return Err(self.after(start, "'='")),
            b'=' => Kind::Assign,
            b'!' if self.accept(b'=') => Kind::NotEqual,
            b'!' => return Err(self.after(start, "'!'")),
            b'<' if self.accept(b'=') => Kind::LessEqual,
            b'<' if self.accept(b'/') => Kind::TrimUpper,
            b'<' => Kind::Less,
            b'>' if self.accept(b'=') => Kind::GreaterEqual,
            b'>' if self.accept(b'/') => Kind::TrimLower,
            b'>' => Kind::Greater,
            _ => return Err(self.stray(start, "character:")),
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
                    let Some(escaped) = self.text[self.at..].chars().next() else {
                        return Err(self.error(start, "escape sequence not terminated"));
                    };
                    self.at += escaped.len_utf8();
                }
                Some(b'\n') if quote == b'`' => {
                    self.at += 1;
                    self.line += 1;
                    self.line_start = self.at;
                }
                None | Some(b'\n') => {
                    (self.line, self.line_start) = (line, line_start);
                    // A bad escape comes before the missing end.
                    if quote != b'`'
                        && let Err(reason) = unescape(&self.text[start + 1..self.at], quote, None)
                    {
                        return Err(self.error(start, reason));
                    }
                    let kind = if quote == b'`' { "raw" } else { "quoted" };
                    return Err(self.error(start, format!("unterminated {kind} string")));
                }
                // What stood for broken UTF-8 when the text was received; Prometheus takes it for that in any case.
                Some(0xef) if self.text[self.at..].starts_with(char::REPLACEMENT_CHARACTER) => {
                    (self.line, self.line_start) = (line, line_start);
                    return Err(self.error(start, "invalid UTF-8 rune"));
                }
                Some(_) => self.at += 1,
            }
        }
    }
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
        for (bad, read) in [
            ("1x", "1"),
            ("1.2.3", "1.2."),
            ("1..2", "1.."),
            ("1h2x", "1h2"),
            ("1mx", "1mx"),
            ("1d1y", "1d1"),
            ("0xfg", "0xf"),
            ("0b1", "0"),
            ("1e+", "1e+"),
            ("1_", "1_"),
            ("1__0", "1__"),
        ] {
            let message = Lexer::new(bad).next().unwrap_err().message;
            assert_eq!(message, format!("bad number or duration syntax: {read:?}"), "{bad}");
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
