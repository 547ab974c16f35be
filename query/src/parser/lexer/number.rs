//! Numbers and durations, as far as the lexer tells them from what they are not.

use super::super::ParseError;
use super::{Brackets, Kind, Lexer};

impl Lexer<'_> {
    /// A number, or something that begins like a duration such as `1h30m`.
    pub(super) fn number(&mut self) -> Result<Kind, ParseError> {
        let start = self.at;
        if self.brackets == Brackets::Begun {
            self.brackets = Brackets::Range;
        }
        if self.digits() {
            return Ok(Kind::Number);
        }
        if self.units() {
            return Ok(Kind::Duration);
        }
        Err(self.error(start, format!("bad number or duration syntax: {:?}", &self.text[start..self.at])))
    }

    fn accept_any(&mut self, bytes: &[u8]) -> bool {
        let found = self.peek().is_some_and(|b| bytes.contains(&b));
        self.at += usize::from(found);
        found
    }

    /// Passes over digits with at most a point and an exponent, `_` between digits; whether they may be a number that
    /// ends there. `1e-` may, and turns out to be none later, as in Prometheus.
    fn digits(&mut self) -> bool {
        let hex = self.accept(b'0') && self.accept_any(b"xX");
        if hex {
            self.accept(b'_');
        }
        self.accept(b'.');
        let (mut point, mut exponent) = (false, false);
        while let Some(byte) = self.peek() {
            // What may not follow the byte.
            let excluded: &[u8] = match byte {
                b'0'..=b'9' => b"",
                b'a'..=b'f' | b'A'..=b'F' if hex => b"",
                b'.' => b"_.",
                b'_' | b'e' | b'E' => b"._eE",
                _ => break,
            };
            self.at += 1;
            if excluded.is_empty() {
                continue;
            }
            let repeated = match byte {
                b'.' => std::mem::replace(&mut point, true) || exponent || hex,
                b'_' => false,
                _ => std::mem::replace(&mut exponent, true),
            };
            if !matches!(byte, b'.' | b'_') {
                self.accept_any(b"+-");
            }
            let at_end = byte != b'.' && self.peek().is_none();
            if repeated || at_end || self.accept_any(excluded) {
                return false;
            }
        }
        !self.peek().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
    }

    /// Passes over the unit after a number, and over further numbers with units; whether they end there.
    fn units(&mut self) -> bool {
        if !self.accept_any(b"smhdwy") {
            return false;
        }
        self.accept(b's');
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.take_while(|b| b.is_ascii_digit());
            // Years only come first.
            if !self.accept_any(b"smhdw") {
                return false;
            }
            self.accept(b's');
        }
        let more = self.peek().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
        self.at += usize::from(more);
        !more
    }
}
