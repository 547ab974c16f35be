//! Regular expressions and replacement templates, read as Go's `regexp` reads them.
//!
//! PromQL matchers, `label_replace`, relabeling and CORS origins are all written for Go. An expression here always
//! stands for the whole of a text, and its dot matches newlines: `^(?s:…)$`.

mod syntax;
mod template;

use std::fmt;

use ::regex::bytes;

use syntax::Translated;

/// Bytes that a compiled expression may take.
const MAX_COMPILED_BYTES: usize = 4 << 20;

/// Depth of groups to which any thread has the stack to compile an expression.
const SHALLOW: usize = 30;

/// Bytes of stack for deeper ones: 60 KiB for each level, several times what the engine takes without optimisation.
const DEEP_STACK_BYTES: usize = 16 << 20;

/// A compiled regular expression that stands for the whole of a text.
///
/// Two are equal if their sources are.
#[derive(Clone)]
pub struct Regex {
    source: String,
    // Bytes, as an ASCII `\B` is only to be had there. Offsets still fall between characters: no operand takes less.
    compiled: bytes::Regex,
    names: Vec<String>,
}

/// A regular expression that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid regular expression {pattern:?}: {reason}")]
pub struct RegexError {
    /// The expression as it was given.
    pub pattern: String,
    /// Go's message, without `error parsing regexp: `.
    pub reason: String,
}

impl Regex {
    /// Compiles `source`, which must be an expression by itself, as that of a PromQL matcher.
    ///
    /// # Errors
    /// If `source` is no regular expression, or compiles to more than 4 MiB.
    pub fn new(source: &str) -> Result<Self, RegexError> {
        let wrong = |reason| RegexError { pattern: source.to_owned(), reason };
        let translated = syntax::translate(source).map_err(wrong)?;
        let pattern = format!("^(?s:{})$", translated.pattern);
        Self::compile(source, &pattern, translated)
    }

    /// Compiles `source` pasted between `^(?s:` and `)$`, as those of relabeling, `label_replace` and CORS.
    ///
    /// Prometheus pastes texts, so that `a)|(b` is an expression there: it means `^(?s:a)|(b)$`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn pasted(source: &str) -> Result<Self, RegexError> {
        let whole = format!("^(?s:{source})$");
        match syntax::translate(&whole) {
            Ok(mut translated) => {
                let pattern = std::mem::take(&mut translated.pattern);
                Self::compile(source, &pattern, translated)
            }
            // The message quotes what was given, where that is wrong by itself.
            Err(reason) => {
                let reason = syntax::translate(source).err().unwrap_or(reason);
                Err(RegexError { pattern: source.to_owned(), reason })
            }
        }
    }

    fn compile(source: &str, pattern: &str, translated: Translated) -> Result<Self, RegexError> {
        let build = || {
            // A group may hold an alternation of sequences of repetitions.
            let nesting = u32::try_from(4 * syntax::MAX_NESTING).unwrap_or(u32::MAX);
            let builder = bytes::RegexBuilder::new(pattern).size_limit(MAX_COMPILED_BYTES).nest_limit(nesting).build();
            builder.map_err(|error| reason(&error))
        };
        let compiled = if translated.depth > SHALLOW { on_deep_stack(build) } else { build() };
        match compiled {
            Ok(compiled) => Ok(Self { source: source.to_owned(), compiled, names: translated.names }),
            Err(reason) => Err(RegexError { pattern: source.to_owned(), reason }),
        }
    }

    /// The expression as it was given.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Tells if the expression matches `text`.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.compiled.is_match(text.as_bytes())
    }

    /// Matches `text` and keeps the groups; `None` without a match.
    #[must_use]
    pub fn captures<'a>(&'a self, text: &'a str) -> Option<Captures<'a>> {
        let groups = self.compiled.captures(text.as_bytes())?;
        Some(Captures { regex: self, text, groups })
    }

    /// Replaces every match in `text` by `template`, in which `$1` and `${name}` stand for groups.
    #[must_use]
    pub fn replace_all(&self, text: &str, template: &str) -> String {
        let (mut out, mut end) = (String::new(), 0);
        for groups in self.compiled.captures_iter(text.as_bytes()) {
            let Some(whole) = groups.get(0).map(|found| found.range()) else { continue };
            out.push_str(text.get(end..whole.start).unwrap_or_default());
            end = whole.end;
            Captures { regex: self, text, groups }.expand(template, &mut out);
        }
        out + text.get(end..).unwrap_or_default()
    }
}

impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Regex {}

impl fmt::Debug for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.source)
    }
}

/// The groups of a match.
pub struct Captures<'a> {
    regex: &'a Regex,
    text: &'a str,
    groups: bytes::Captures<'a>,
}

impl<'a> Captures<'a> {
    /// Text of the group at `index`, 0 being the whole match; `None` if it took no part in the match.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&'a str> {
        self.text.get(self.groups.get(index)?.range())
    }

    /// Text of the first group called `name` that took part in the match.
    #[must_use]
    pub fn name(&self, name: &str) -> Option<&'a str> {
        let named = self.regex.names.iter().enumerate().filter(|(_, found)| *found == name);
        named.filter_map(|(at, _)| self.get(at + 1)).next()
    }

    /// Appends `template` to `out`, the groups filled in, as Go's `Regexp.Expand`.
    ///
    /// `$1`, `${1}`, `$name` and `${name}` stand for a group, empty if there is none; a name is as long as it can be. `$$`
    /// is a dollar, as is one that begins nothing.
    pub fn expand(&self, template: &str, out: &mut String) {
        for piece in template::Pieces::new(template) {
            out.push_str(self.piece(&piece));
        }
    }

    /// As [`expand`](Self::expand); `None` if the result would be longer than `max_bytes`.
    #[must_use]
    pub fn expand_within(&self, template: &str, max_bytes: usize) -> Option<String> {
        let mut out = String::new();
        for piece in template::Pieces::new(template) {
            let text = self.piece(&piece);
            if out.len() + text.len() > max_bytes {
                return None;
            }
            out.push_str(text);
        }
        Some(out)
    }

    fn piece<'t>(&self, piece: &template::Piece<'t>) -> &'t str
    where
        'a: 't,
    {
        match *piece {
            template::Piece::Text(text) => text,
            template::Piece::Number(index) => self.get(index).unwrap_or_default(),
            template::Piece::Name(name) => self.name(name).unwrap_or_default(),
        }
    }
}

/// Runs `build` on a thread of its own that has the stack for an expression of the greatest depth.
fn on_deep_stack<T: Send>(build: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("regex".to_owned()).stack_size(DEEP_STACK_BYTES);
        let running = thread.spawn_scoped(scope, build);
        let running = running.map_err(|error| format!("expression nests too deeply for this machine: {error}"))?;
        running.join().unwrap_or_else(|_| Err("expression nests too deeply".to_owned()))
    })
}

/// Escapes `text` so that an expression matches it and nothing else.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if "\\.+*?()|[]{}^$".contains(character) {
            out.push('\\');
        }
        out.push(character);
    }
    out
}

/// The last line of an error of the `regex` crate, which says what is wrong; the lines before it draw the place.
fn reason(error: &::regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

#[cfg(test)]
mod tests;
