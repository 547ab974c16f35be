//! Regular expressions: checked as Go does, in its words, and written anew for the engine that runs them.
//!
//! Both know nearly the same language. Where they read a text differently, Go's reading counts: `{` that begins no
//! repetition is a character, `\d`, `\w` and `\s` are ASCII, and `[`, `&&` and `~~` mean nothing within a class.

use std::collections::HashSet;

/// Repetitions that an expression may ask for.
const MAX_REPEAT: u32 = 1_000;

/// How deep groups may nest.
const MAX_NESTING: usize = 1_000;

/// Classes that may stand in classes, as `[:alpha:]`.
const NAMED_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// Reads `source` and writes it for the `regex` crate.
///
/// # Errors
/// What Go says is wrong with it, without `error parsing regexp: `.
pub fn translate(source: &str) -> Result<String, String> {
    let mut reader = Reader { source, known: HashSet::new(), at: 0, out: String::with_capacity(source.len()) };
    reader.read()?;
    Ok(reader.out)
}

struct Reader<'s> {
    source: &'s str,
    /// Names of Unicode classes that exist.
    known: HashSet<String>,
    at: usize,
    out: String,
}

/// What a class holds, or the character that an escape stands for.
enum Escape {
    Character(char),
    /// The inside of a class.
    Class(String),
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.source[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn accept(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += if found { wanted.len_utf8() } else { 0 };
        found
    }

    fn fail<T>(&self, what: &str, from: usize) -> Result<T, String> {
        Err(format!("{what}: `{}`", &self.source[from..self.at]))
    }

    fn read(&mut self) -> Result<(), String> {
        let mut depth = 0usize;
        // Whether something stands before that can be repeated, and where a repetition of it begins.
        let (mut operand, mut repeated) = (false, None);
        while let Some(next) = self.peek() {
            let start = self.at;
            if let Some(nested) = self.repetition()? {
                if !operand {
                    return self.fail("missing argument to repetition operator", start);
                }
                if let Some(first) = repeated {
                    return self.fail("invalid nested repetition operator", first);
                }
                self.out.push_str(&nested);
                repeated = Some(start);
                continue;
            }
            repeated = None;
            self.at += next.len_utf8();
            operand = true;
            match next {
                '(' => {
                    depth += 1;
                    if depth > MAX_NESTING {
                        return Err(format!("expression nests too deeply: `{}`", self.source));
                    }
                    operand = false;
                    depth -= usize::from(self.group(start)?);
                }
                ')' => {
                    let left = depth.checked_sub(1);
                    depth = left.ok_or_else(|| format!("unexpected ): `{}`", self.source))?;
                    self.out.push(')');
                }
                '|' => {
                    operand = false;
                    self.out.push('|');
                }
                '[' => self.class(start)?,
                '\\' => self.escaped(start)?,
                '{' | '}' => self.out.extend(['\\', next]),
                _ => self.out.push(next),
            }
        }
        if depth > 0 {
            return Err(format!("missing closing ): `{}`", self.source));
        }
        Ok(())
    }

    /// Takes `*`, `+`, `?`, `{2,3}`, and a `?` behind it; `None` if there is none.
    fn repetition(&mut self) -> Result<Option<String>, String> {
        let start = self.at;
        if self.accept('{') {
            let Some((least, most)) = self.counts() else {
                self.at = start;
                return Ok(None);
            };
            if least > MAX_REPEAT || most.is_some_and(|most| most > MAX_REPEAT || most < least) {
                return self.fail("invalid repeat count", start);
            }
        } else if !(self.accept('*') || self.accept('+') || self.accept('?')) {
            return Ok(None);
        }
        self.accept('?');
        Ok(Some(self.source[start..self.at].to_owned()))
    }

    /// What stands between `{` and `}`, if it says how often something is repeated.
    fn counts(&mut self) -> Option<(u32, Option<u32>)> {
        let least = self.number()?;
        let most = if !self.accept(',') {
            Some(least)
        } else if self.peek() == Some('}') {
            None
        } else {
            Some(self.number()?)
        };
        self.accept('}').then_some((least, most))
    }

    fn number(&mut self) -> Option<u32> {
        let digits: String = self.rest().chars().take_while(char::is_ascii_digit).collect();
        if digits.is_empty() || (digits.len() > 1 && digits.starts_with('0')) {
            return None;
        }
        self.at += digits.len();
        Some(digits.parse().unwrap_or(u32::MAX))
    }

    /// Takes what may follow `(`: `?:`, `?i)`, `?P<name>`. Whether the group is closed already.
    fn group(&mut self, start: usize) -> Result<bool, String> {
        if !self.accept('?') {
            self.out.push('(');
            return Ok(false);
        }
        if self.rest().starts_with("P<") || self.rest().starts_with('<') {
            self.accept('P');
            self.accept('<');
            let Some(end) = self.rest().find('>') else {
                return Err(format!("invalid named capture: `{}`", &self.source[start..]));
            };
            let name = self.rest()[..end].to_owned();
            self.at += end + 1;
            let is_name = !name.is_empty() && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric());
            if !is_name {
                return self.fail("invalid named capture", start);
            }
            // Rust has stricter rules for names.
            let known = !name.starts_with(|c: char| c.is_ascii_digit());
            self.out.push_str(if known { "(?P<" } else { "(" });
            self.out.push_str(if known { &name } else { "" });
            self.out.push_str(if known { ">" } else { "" });
            return Ok(false);
        }
        let (mut negative, mut any) = (false, false);
        loop {
            match self.next() {
                None => return Err(format!("missing closing ): `{}`", self.source)),
                Some('i' | 'm' | 's' | 'U') => any = true,
                Some('-') if !negative => (negative, any) = (true, false),
                Some(end @ (':' | ')')) if !negative || any => {
                    // Go knows flags that set nothing.
                    if any || end == ':' {
                        self.out.push_str(&self.source[start..self.at]);
                    }
                    return Ok(end == ')');
                }
                Some(_) => return self.fail("invalid or unsupported Perl syntax", start),
            }
        }
    }

    /// What a backslash at `start` begins, outside classes.
    fn escaped(&mut self, start: usize) -> Result<(), String> {
        match self.peek() {
            Some('A' | 'z' | 'B') => {
                self.next();
                self.out.push_str(&self.source[start..self.at]);
            }
            Some('b') => {
                self.next();
                self.out.push_str("(?-u:\\b)");
            }
            Some('Q') => {
                self.next();
                let literal = self.rest().split("\\E").next().unwrap_or_default().to_owned();
                self.at = (self.at + literal.len() + 2).min(self.source.len());
                self.out.push_str(&::regex::escape(&literal));
            }
            _ => match self.escape(start)? {
                Escape::Character(character) => put(&mut self.out, character),
                Escape::Class(inside) => {
                    self.out.push('[');
                    self.out.push_str(&inside);
                    self.out.push(']');
                }
            },
        }
        Ok(())
    }

    /// What a backslash at `start` begins, anywhere.
    fn escape(&mut self, start: usize) -> Result<Escape, String> {
        let Some(next) = self.next() else { return Err("trailing backslash at end of expression: ``".into()) };
        let character = match next {
            'd' => return Ok(Escape::Class("0-9".into())),
            'D' => return Ok(Escape::Class("[^0-9]".into())),
            's' => return Ok(Escape::Class("\\t\\n\\x0C\\r ".into())),
            'S' => return Ok(Escape::Class("[^\\t\\n\\x0C\\r ]".into())),
            'w' => return Ok(Escape::Class("0-9A-Za-z_".into())),
            'W' => return Ok(Escape::Class("[^0-9A-Za-z_]".into())),
            'p' | 'P' => return self.unicode_class(start),
            'a' => '\x07',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            '0' => self.octal(0),
            // Followed by no digit it would refer to a group.
            '1'..='7' if self.peek().is_some_and(|c| ('0'..='7').contains(&c)) => {
                self.octal(next.to_digit(8).unwrap_or_default())
            }
            'x' => match self.hexadecimal() {
                Some(character) => character,
                None => return self.fail("invalid escape sequence", start),
            },
            other if other.is_ascii() && !other.is_ascii_alphanumeric() => other,
            _ => return self.fail("invalid escape sequence", start),
        };
        Ok(Escape::Character(character))
    }

    /// At most three octal digits in all, the first of them already read.
    fn octal(&mut self, first: u32) -> char {
        let mut value = first;
        for _ in 0..2 {
            let Some(digit) = self.peek().and_then(|c| c.to_digit(8)) else { break };
            self.at += 1;
            value = value * 8 + digit;
        }
        char::from_u32(value).unwrap_or_default()
    }

    /// `41` or `{1F98D}`.
    fn hexadecimal(&mut self) -> Option<char> {
        let digits = if self.accept('{') {
            let end = self.rest().find('}')?;
            let digits = self.rest()[..end].to_owned();
            self.at += end + 1;
            digits
        } else {
            let digits: String = self.rest().chars().take(2).collect();
            self.at += digits.len();
            if digits.chars().count() < 2 {
                return None;
            }
            digits
        };
        let all = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_hexdigit());
        all.then(|| u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32)).flatten()
    }

    /// `\pL`, `\p{Greek}`, `\P{^Greek}`.
    fn unicode_class(&mut self, start: usize) -> Result<Escape, String> {
        let mut negative = self.source[start..].starts_with("\\P");
        let name = if self.accept('{') {
            let Some(end) = self.rest().find('}') else {
                return Err(format!("invalid character class range: `{}`", &self.source[start..]));
            };
            let name = self.rest()[..end].to_owned();
            self.at += end + 1;
            name
        } else {
            self.next().map(String::from).unwrap_or_default()
        };
        let bare = name.strip_prefix('^').unwrap_or(&name);
        negative ^= bare.len() != name.len();
        let class = format!("\\{}{{{bare}}}", if negative { 'P' } else { 'p' });
        if !self.known.contains(bare) {
            if bare != "Any" && ::regex::Regex::new(&class).is_err() {
                return self.fail("invalid character class range", start);
            }
            self.known.insert(bare.to_owned());
        }
        Ok(Escape::Class(class))
    }

    /// `[…]`; the bracket at `start` has been read.
    fn class(&mut self, start: usize) -> Result<(), String> {
        let unclosed = |reader: &Self| Err(format!("missing closing ]: `{}`", &reader.source[start..]));
        self.out.push('[');
        if self.accept('^') {
            self.out.push('^');
        }
        let mut first = true;
        loop {
            let item = self.at;
            let Some(next) = self.peek() else { return unclosed(self) };
            if next == ']' && !first {
                self.at += 1;
                self.out.push(']');
                return Ok(());
            }
            // A hyphen may stand first or last only.
            if next == '-' && !first && !self.rest()[1..].starts_with(']') {
                let bad: String = self.rest().chars().take(2).collect();
                if bad.len() < 2 {
                    return unclosed(self);
                }
                return Err(format!("invalid character class range: `{bad}`"));
            }
            first = false;
            if let Some(rest) = self.rest().strip_prefix("[:")
                && let Some(end) = rest.find(":]")
            {
                let name = self.rest()[..end + 4].to_owned();
                self.at += name.len();
                let word = name[2..name.len() - 2].trim_start_matches('^');
                if !NAMED_CLASSES.contains(&word) {
                    return self.fail("invalid character class range", item);
                }
                self.out.push_str(&name);
                continue;
            }
            let low = match self.class_item(item)? {
                None => return unclosed(self),
                Some(Escape::Class(inside)) => {
                    self.out.push_str(&inside);
                    continue;
                }
                Some(Escape::Character(low)) => low,
            };
            let mut ahead = self.rest().chars();
            if ahead.next() != Some('-') || matches!(ahead.next(), Some(']') | None) {
                put(&mut self.out, low);
                continue;
            }
            self.at += 1;
            let high = match self.class_item(self.at)? {
                Some(Escape::Character(high)) if high >= low => high,
                None => return unclosed(self),
                _ => return self.fail("invalid character class range", item),
            };
            put(&mut self.out, low);
            self.out.push('-');
            put(&mut self.out, high);
        }
    }

    /// One character of a class, or an escape; `None` at the end.
    fn class_item(&mut self, start: usize) -> Result<Option<Escape>, String> {
        match self.next() {
            Some('\\') => self.escape(start).map(Some),
            next => Ok(next.map(Escape::Character)),
        }
    }
}

/// Appends a character so that it stands for itself, within a class and outside.
fn put(out: &mut String, character: char) {
    if character.is_ascii_punctuation() && !matches!(character, '<' | '>' | '_') {
        out.push('\\');
    }
    out.push(character);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_reads_otherwise_is_written_anew() {
        for (go, rust) in [
            ("a.*|b+?", "a.*|b+?"),
            ("a{2,3}?", "a{2,3}?"),
            ("a{", "a\\{"),
            ("a{,3}{x}", "a\\{,3\\}\\{x\\}"),
            ("\\d\\W", "[0-9][[^0-9A-Za-z_]]"),
            ("[\\w-]", "[0-9A-Za-z_\\-]"),
            ("[[&&~~]", "[\\[\\&\\&\\~\\~]"),
            ("[[:]", "[\\[\\:]"),
            ("[]a-c^]", "[\\]a-c\\^]"),
            ("[^[:alpha:]\\.]", "[^[:alpha:]\\.]"),
            ("\\Qa.b\\Ec", "a\\.bc"),
            ("\\x41\\x{1F98D}\\101\\<", "A🦍A<"),
            ("(?i:a)(?P<n>b)(?s)(?)", "(?i:a)(?P<n>b)(?s)"),
            ("\\bx\\z", "(?-u:\\b)x\\z"),
            ("\\p{Greek}\\PL", "[\\p{Greek}][\\P{L}]"),
        ] {
            let translated = translate(go).unwrap();
            assert_eq!(translated, rust, "{go}");
            assert!(::regex::Regex::new(&translated).is_ok(), "{go}");
        }
    }

    #[test]
    fn errors_are_in_the_words_of_go() {
        for (source, message) in [
            ("[ab", "missing closing ]: `[ab`"),
            ("x(a", "missing closing ): `x(a`"),
            ("a)b", "unexpected ): `a)b`"),
            ("*a", "missing argument to repetition operator: `*`"),
            ("a|+", "missing argument to repetition operator: `+`"),
            ("a**", "invalid nested repetition operator: `**`"),
            ("a{1001}", "invalid repeat count: `{1001}`"),
            ("a{3,2}", "invalid repeat count: `{3,2}`"),
            ("\\q", "invalid escape sequence: `\\q`"),
            ("(a)\\1", "invalid escape sequence: `\\1`"),
            ("a\\", "trailing backslash at end of expression: ``"),
            ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
            ("(?x)a", "invalid or unsupported Perl syntax: `(?x`"),
            ("(?P<a b>c)", "invalid named capture: `(?P<a b>`"),
            ("[z-a]", "invalid character class range: `z-a`"),
            ("[a-b-c]", "invalid character class range: `-c`"),
            ("\\p{Nope}", "invalid character class range: `\\p{Nope}`"),
            ("[[:nope:]]", "invalid character class range: `[:nope:]`"),
        ] {
            assert_eq!(translate(source).unwrap_err(), message, "{source}");
        }
    }
}
