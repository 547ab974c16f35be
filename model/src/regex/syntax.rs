//! Translation of Go's syntax (RE2) into that of the `regex` crate.
//!
//! Both know nearly the same language. Where they read a text differently, Go's reading counts: `{` that begins no
//! repetition is a character, `\d`, `\w`, `\s`, `\b` and `\B` are ASCII, `[`, `&&` and `~~` mean nothing within a class, and
//! two groups may have one name.

use std::collections::HashSet;

/// Repetitions that an expression may ask for, those of nested repetitions multiplied.
const MAX_REPEAT: u32 = 1_000;

/// Depth to which groups may nest. Go takes 1,000; the engine compiles by recursion and must not overflow its stack.
pub(super) const MAX_NESTING: usize = 250;

/// POSIX classes, as in `[[:alpha:]]`.
const POSIX_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// Scripts whose name has four letters. Every other four letters are the code of a script, which Go does not know.
const SCRIPTS_OF_FOUR: [&str; 6] = ["ahom", "cham", "kawi", "lisu", "modi", "thai"];

/// An expression for the `regex` crate.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Translated {
    /// The expression; its groups have no names.
    pub(super) pattern: String,
    /// Names of the groups from the first on, empty where a group has none.
    pub(super) names: Vec<String>,
    /// Groups that are open at once.
    pub(super) depth: usize,
}

/// Translates `source`.
///
/// # Errors
/// Go's message, without `error parsing regexp: `.
pub(super) fn translate(source: &str) -> Result<Translated, String> {
    let mut reader = Reader {
        source,
        known: HashSet::new(),
        at: 0,
        out: String::with_capacity(source.len()),
        flags: String::new(),
        names: Vec::new(),
        depth: 0,
    };
    reader.read()?;
    Ok(Translated { pattern: reader.out, names: reader.names, depth: reader.depth })
}

struct Reader<'s> {
    source: &'s str,
    /// Unicode classes found to exist.
    known: HashSet<String>,
    at: usize,
    out: String,
    /// Flags that hold from the next operand on. A repetition behind them still belongs to the operand before them.
    flags: String,
    names: Vec<String>,
    depth: usize,
}

/// A group that is open, or the whole expression.
#[derive(Default)]
struct Level {
    /// Repetitions of the operand that a repetition would apply to; `None` where there is none.
    operand: Option<u32>,
    /// The most repetitions of any operand.
    most: u32,
}

impl Level {
    fn push(&mut self, repetitions: u32) {
        self.operand = Some(repetitions);
        self.most = self.most.max(repetitions);
    }
}

fn innermost(levels: &mut [Level]) -> &mut Level {
    levels.last_mut().expect("the outermost level is never closed")
}

/// A backslash sequence, read.
enum Escape {
    /// A code point; Go admits surrogates, which match nothing.
    Character(u32),
    /// The inside of a class.
    Class(String),
}

/// A parenthesis, read.
enum Opened {
    Group,
    /// `(?i)`, which is closed already.
    Flags,
}

/// Counts of a repetition such as `{2,3}`.
#[derive(Clone, Copy)]
struct Counts {
    least: u32,
    most: Option<u32>,
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

    /// Appends `text`, behind the flags that hold for it.
    fn put(&mut self, text: &str) {
        self.out.push_str(&std::mem::take(&mut self.flags));
        self.out.push_str(text);
    }

    fn read(&mut self) -> Result<(), String> {
        let mut levels = vec![Level::default()];
        // Start of the repetition that stands directly before.
        let mut repeated = None;
        while let Some(next) = self.peek() {
            let start = self.at;
            if let Some(counts) = self.repetition()? {
                let level = innermost(&mut levels);
                let Some(operand) = level.operand else {
                    return self.fail("missing argument to repetition operator", start);
                };
                if let Some(first) = repeated {
                    return self.fail("invalid nested repetition operator", first);
                }
                let Some(repetitions) = counts.map_or(Some(operand), |counts| counts.times(operand)) else {
                    return self.fail("invalid repeat count", start);
                };
                level.push(repetitions);
                self.out.push_str(&self.source[start..self.at]);
                repeated = Some(start);
                continue;
            }
            repeated = None;
            self.at += next.len_utf8();
            match next {
                '(' => {
                    if levels.len() > MAX_NESTING {
                        return Err(format!("expression nests too deeply: `{}`", self.source));
                    }
                    if matches!(self.group(start)?, Opened::Group) {
                        levels.push(Level::default());
                        self.depth = self.depth.max(levels.len() - 1);
                    }
                }
                ')' => {
                    let inner = levels.pop().map_or(0, |level| level.most);
                    let Some(outer) = levels.last_mut() else {
                        return Err(format!("unexpected ): `{}`", self.source));
                    };
                    outer.push(inner.max(1));
                    self.put(")");
                }
                '|' => {
                    innermost(&mut levels).operand = None;
                    self.put("|");
                }
                other => {
                    if self.operand(other, start)? {
                        innermost(&mut levels).push(1);
                    }
                }
            }
        }
        if levels.len() > 1 {
            return Err(format!("missing closing ): `{}`", self.source));
        }
        Ok(())
    }

    /// Translates an operand that begins with `first`, which has been read; `false` if it is empty.
    fn operand(&mut self, first: char, start: usize) -> Result<bool, String> {
        match first {
            '[' => self.class(start)?,
            '\\' if self.rest().starts_with('Q') => return Ok(self.quotation()),
            '\\' => self.escaped(start)?,
            '{' | '}' => self.put(&format!("\\{first}")),
            _ => self.put(first.encode_utf8(&mut [0; 4])),
        }
        Ok(true)
    }

    /// `\Q…\E`; the backslash has been read. `false` if nothing stands between.
    fn quotation(&mut self) -> bool {
        self.next();
        let literal = self.rest().split("\\E").next().unwrap_or_default().to_owned();
        self.at = (self.at + literal.len() + 2).min(self.source.len());
        self.put(&::regex::escape(&literal));
        !literal.is_empty()
    }

    /// Takes `*`, `+`, `?`, `{2,3}`, and a `?` behind it; the inner value is `None` for those without counts.
    fn repetition(&mut self) -> Result<Option<Option<Counts>>, String> {
        let start = self.at;
        let mut counts = None;
        if self.accept('{') {
            counts = self.counts();
            let Some(Counts { least, most }) = counts else {
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
        Ok(Some(counts))
    }

    /// Reads what stands between `{` and `}`; `None` if it is no count.
    fn counts(&mut self) -> Option<Counts> {
        let least = self.number()?;
        let most = if !self.accept(',') {
            Some(least)
        } else if self.peek() == Some('}') {
            None
        } else {
            Some(self.number()?)
        };
        self.accept('}').then_some(Counts { least, most })
    }

    fn number(&mut self) -> Option<u32> {
        let digits: String = self.rest().chars().take_while(char::is_ascii_digit).collect();
        if digits.is_empty() || (digits.len() > 1 && digits.starts_with('0')) {
            return None;
        }
        self.at += digits.len();
        Some(digits.parse().unwrap_or(u32::MAX))
    }

    /// Takes what follows `(`: `?:`, `?i)`, `?P<name>`.
    fn group(&mut self, start: usize) -> Result<Opened, String> {
        if !self.accept('?') {
            self.names.push(String::new());
            self.put("(");
            return Ok(Opened::Group);
        }
        if self.rest().starts_with("P<") || self.rest().starts_with('<') {
            self.accept('P');
            self.accept('<');
            let Some(end) = self.rest().find('>') else {
                return Err(format!("invalid named capture: `{}`", &self.source[start..]));
            };
            let name = self.rest()[..end].to_owned();
            self.at += end + 1;
            if name.is_empty() || !name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric()) {
                return self.fail("invalid named capture", start);
            }
            self.names.push(name);
            self.put("(");
            return Ok(Opened::Group);
        }
        let (mut negative, mut any) = (false, false);
        loop {
            match self.next() {
                None => return Err(format!("missing closing ): `{}`", self.source)),
                Some('i' | 'm' | 's' | 'U') => any = true,
                Some('-') if !negative => (negative, any) = (true, false),
                Some(':') if !negative || any => {
                    let opening = self.source[start..self.at].to_owned();
                    self.put(&opening);
                    return Ok(Opened::Group);
                }
                Some(')') if !negative || any => {
                    // Go knows flags that set nothing.
                    self.flags.push_str(if any { &self.source[start..self.at] } else { "" });
                    return Ok(Opened::Flags);
                }
                Some(_) => return self.fail("invalid or unsupported Perl syntax", start),
            }
        }
    }

    /// Translates a backslash sequence outside classes; the backslash at `start` has been read.
    fn escaped(&mut self, start: usize) -> Result<(), String> {
        let assertion = match self.peek() {
            Some('A') => "\\A",
            Some('z') => "\\z",
            Some('b') => "(?-u:\\b)",
            Some('B') => "(?-u:\\B)",
            _ => {
                let text = match self.escape(start)? {
                    Escape::Character(code) => char::from_u32(code).map_or(NOTHING.to_owned(), literal),
                    Escape::Class(inside) => format!("[{inside}]"),
                };
                self.put(&text);
                return Ok(());
            }
        };
        self.next();
        self.put(assertion);
        Ok(())
    }

    /// Reads a backslash sequence that may stand anywhere; the backslash at `start` has been read.
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
            'a' => 0x07,
            'f' => 0x0c,
            'n' => 0x0a,
            'r' => 0x0d,
            't' => 0x09,
            'v' => 0x0b,
            '0' => self.octal(0),
            // Followed by no digit it would refer to a group.
            '1'..='7' if self.peek().is_some_and(|c| ('0'..='7').contains(&c)) => {
                self.octal(next.to_digit(8).unwrap_or_default())
            }
            'x' => match self.hexadecimal() {
                Some(code) => code,
                None => return self.fail("invalid escape sequence", start),
            },
            other if other.is_ascii() && !other.is_ascii_alphanumeric() => u32::from(other),
            _ => return self.fail("invalid escape sequence", start),
        };
        Ok(Escape::Character(character))
    }

    /// At most three octal digits in all, the first of them already read.
    fn octal(&mut self, first: u32) -> u32 {
        let mut value = first;
        for _ in 0..2 {
            let Some(digit) = self.peek().and_then(|c| c.to_digit(8)) else { break };
            self.at += 1;
            value = value * 8 + digit;
        }
        value
    }

    /// `41` or `{1F98D}`.
    fn hexadecimal(&mut self) -> Option<u32> {
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
        let significant = digits.trim_start_matches('0');
        let value = if significant.is_empty() { Ok(0) } else { u32::from_str_radix(significant, 16) };
        value.ok().filter(|code| all && *code <= u32::from(char::MAX))
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
        let Some(table) = self.unicode_table(bare) else {
            return self.fail("invalid character class range", start);
        };
        Ok(Escape::Class(format!("\\{}{{{table}}}", if negative { 'P' } else { 'p' })))
    }

    /// The category or script that `name` stands for, in the syntax of the `regex` crate.
    ///
    /// As in Go, case, spaces, hyphens and underscores do not count; properties, and codes of scripts, are unknown.
    fn unicode_table(&mut self, name: &str) -> Option<String> {
        let name: String =
            name.chars().filter(|c| !matches!(c, ' ' | '_' | '-')).map(|c| c.to_ascii_lowercase()).collect();
        let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase()) && !name.starts_with("is");
        if !plain {
            return None;
        }
        if matches!(name.as_str(), "any" | "ascii" | "assigned") {
            return Some(name);
        }
        let script = name.len() != 4 || SCRIPTS_OF_FOUR.contains(&name.as_str());
        let forms = [Some(format!("gc={name}")), script.then(|| format!("sc={name}"))];
        forms.into_iter().flatten().find(|form| {
            self.known.contains(form)
                || (::regex::Regex::new(&format!("\\p{{{form}}}")).is_ok() && self.known.insert(form.clone()))
        })
    }

    /// `[…]`; the bracket at `start` has been read.
    fn class(&mut self, start: usize) -> Result<(), String> {
        let unclosed = |reader: &Self| Err(format!("missing closing ]: `{}`", &reader.source[start..]));
        let negative = self.accept('^');
        let (mut inside, mut first) = (String::new(), true);
        loop {
            let item = self.at;
            let Some(next) = self.peek() else { return unclosed(self) };
            if next == ']' && !first {
                self.at += 1;
                break;
            }
            first = false;
            if let Some(rest) = self.rest().strip_prefix("[:")
                && let Some(end) = rest.find(":]")
            {
                let name = self.rest()[..end + 4].to_owned();
                self.at += name.len();
                let word = &name[2..name.len() - 2];
                if !POSIX_CLASSES.contains(&word.strip_prefix('^').unwrap_or(word)) {
                    return self.fail("invalid character class range", item);
                }
                inside.push_str(&name);
                continue;
            }
            let low = match self.class_item(item)? {
                None => return unclosed(self),
                Some(Escape::Class(class)) => {
                    inside.push_str(&class);
                    continue;
                }
                Some(Escape::Character(low)) => low,
            };
            let mut ahead = self.rest().chars();
            if ahead.next() != Some('-') || matches!(ahead.next(), Some(']') | None) {
                put_range(&mut inside, low, low);
                continue;
            }
            self.at += 1;
            match self.class_item(self.at)? {
                Some(Escape::Character(high)) if high >= low => put_range(&mut inside, low, high),
                None => return unclosed(self),
                _ => return self.fail("invalid character class range", item),
            }
        }
        let class = match (inside.is_empty(), negative) {
            (false, true) => format!("[^{inside}]"),
            (false, false) => format!("[{inside}]"),
            // Surrogates alone.
            (true, true) => ANYTHING.to_owned(),
            (true, false) => NOTHING.to_owned(),
        };
        self.put(&class);
        Ok(())
    }

    /// One character of a class, or an escape; `None` at the end.
    fn class_item(&mut self, start: usize) -> Result<Option<Escape>, String> {
        match self.next() {
            Some('\\') => self.escape(start).map(Some),
            next => Ok(next.map(|character| Escape::Character(u32::from(character)))),
        }
    }
}

impl Counts {
    /// Repetitions in all of an operand that repeats `operand` times in itself; `None` if they are too many.
    fn times(self, operand: u32) -> Option<u32> {
        let times = self.most.unwrap_or(self.least);
        if self.most == Some(0) {
            return Some(1);
        }
        let all = times.max(1).saturating_mul(operand);
        (times < 2 || all <= MAX_REPEAT).then_some(all)
    }
}

/// A class that matches no character.
const NOTHING: &str = "[^\\x00-\\x{10FFFF}]";

/// A class that matches every character.
const ANYTHING: &str = "[\\x00-\\x{10FFFF}]";

/// `character` so that it stands for itself, within a class and outside.
fn literal(character: char) -> String {
    let special = character.is_ascii_punctuation() && !matches!(character, '<' | '>' | '_');
    if special { format!("\\{character}") } else { character.to_string() }
}

/// Appends to a class the characters from `low` to `high`; surrogates between them are none.
fn put_range(inside: &mut String, low: u32, high: u32) {
    for (low, high) in [(low, high.min(0xd7ff)), (low.max(0xe000), high)] {
        let (Some(first), Some(last)) = (char::from_u32(low), char::from_u32(high)) else { continue };
        if first <= last {
            inside.push_str(&literal(first));
        }
        if first < last {
            inside.push('-');
            inside.push_str(&literal(last));
        }
    }
}

#[cfg(test)]
mod tests;
