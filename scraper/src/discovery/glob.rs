//! Files that a pattern of the configuration names, as Go's `path/filepath` reads patterns.

use std::path::{Path, PathBuf};

/// A pattern that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}: syntax error in pattern")]
pub struct BadPattern(String);

/// Files and folders that match `pattern`, sorted: `*`, `?`, `[a-z]`, `[^a]`, and `\` before a character that stands for
/// itself. None of them crosses a slash. Folders that cannot be read match nothing.
///
/// # Errors
/// If the pattern is malformed.
pub fn matching_files(pattern: &Path) -> Result<Vec<PathBuf>, BadPattern> {
    let text = pattern.to_string_lossy();
    // Malformed parts are found even when no file gets so far.
    matches(&text, "").ok_or_else(|| BadPattern(text.clone().into_owned()))?;
    Ok(expand(&text))
}

/// Expands a sound pattern, the folder first.
fn expand(pattern: &str) -> Vec<PathBuf> {
    if !has_meta(pattern) {
        let path = PathBuf::from(pattern);
        return if path.symlink_metadata().is_ok() { vec![path] } else { Vec::new() };
    }
    let (folder, name) = match pattern.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some((folder, name)) => (folder, name),
        None => ("", pattern),
    };
    let folders = if has_meta(folder) { expand(folder) } else { vec![PathBuf::from(folder)] };
    folders.iter().flat_map(|folder| names_in(folder, name)).collect()
}

fn has_meta(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
}

/// Paths of the entries of `folder` whose names match, sorted.
fn names_in(folder: &Path, pattern: &str) -> Vec<PathBuf> {
    let listed = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(entries) = std::fs::read_dir(listed) else { return Vec::new() };
    let names = entries.filter_map(Result::ok).map(|entry| entry.file_name());
    let mut found: Vec<PathBuf> = names
        .filter(|name| matches(pattern, &name.to_string_lossy()) == Some(true))
        .map(|name| folder.join(name))
        .collect();
    found.sort();
    found
}

/// Matches all of `name`; `None` if the pattern is malformed anywhere.
fn matches(pattern: &str, name: &str) -> Option<bool> {
    let mut items = Vec::new();
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        items.push(match c {
            '*' => Item::Any,
            '?' => Item::One(Class { is_negated: true, ranges: vec![('/', '/')] }),
            '[' => Item::One(class(&mut rest)?),
            '\\' => Item::One(Class::only(next(&mut rest)?)),
            c => Item::One(Class::only(c)),
        });
    }
    let name: Vec<char> = name.chars().collect();
    // `reach[i]` says whether the items so far match the first i characters.
    let mut reach = vec![false; name.len() + 1];
    reach[0] = true;
    for item in &items {
        match item {
            Item::Any => {
                for i in 0..name.len() {
                    reach[i + 1] |= reach[i] && name[i] != '/';
                }
            }
            Item::One(class) => {
                for i in (0..name.len()).rev() {
                    reach[i + 1] = reach[i] && class.contains(name[i]);
                }
                reach[0] = false;
            }
        }
    }
    reach.last().copied()
}

enum Item {
    /// Any number of characters.
    Any,
    One(Class),
}

/// Characters that may stand at one place.
struct Class {
    is_negated: bool,
    ranges: Vec<(char, char)>,
}

impl Class {
    fn only(c: char) -> Self {
        Self { is_negated: false, ranges: vec![(c, c)] }
    }

    fn contains(&self, c: char) -> bool {
        self.ranges.iter().any(|&(from, to)| (from..=to).contains(&c)) != self.is_negated
    }
}

/// Reads a class after its opening bracket.
fn class(rest: &mut &str) -> Option<Class> {
    let negated = rest.strip_prefix('^');
    let is_negated = negated.is_some();
    *rest = negated.unwrap_or(rest);
    let mut ranges = Vec::new();
    loop {
        if let Some(after) = rest.strip_prefix(']').filter(|_| !ranges.is_empty()) {
            *rest = after;
            return Some(Class { is_negated, ranges });
        }
        let from = bound(rest)?;
        let to = match rest.strip_prefix('-') {
            Some(after) => {
                *rest = after;
                bound(rest)?
            }
            None => from,
        };
        ranges.push((from, to));
    }
}

/// Reads one end of a range.
fn bound(rest: &mut &str) -> Option<char> {
    match next(rest)? {
        '-' | ']' => None,
        '\\' => next(rest),
        c => Some(c),
    }
}

fn next(rest: &mut &str) -> Option<char> {
    let c = rest.chars().next()?;
    *rest = &rest[c.len_utf8()..];
    Some(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_go() {
        for (pattern, name, expected) in [
            ("abc", "abc", Some(true)),
            ("*", "abc", Some(true)),
            ("*c", "abc", Some(true)),
            ("a*", "ab/c", Some(false)),
            ("a*/b", "abc/b", Some(true)),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", Some(true)),
            ("a*b?c*x", "abxbbxdbxebxczzx", Some(true)),
            ("a*b?c*x", "abxbbxdbxebxczzy", Some(false)),
            ("a**c", "abbc", Some(true)),
            ("ab[c]", "abc", Some(true)),
            ("ab[b-d]", "abc", Some(true)),
            ("ab[^c]", "abc", Some(false)),
            ("ab[^e-g]", "abc", Some(true)),
            ("ab[!c]", "abc", Some(true)),
            ("ab[!c]", "abd", Some(false)),
            ("a\\*b", "a*b", Some(true)),
            ("a\\*b", "ab", Some(false)),
            ("a?b", "a☺b", Some(true)),
            ("a???b", "a☺b", Some(false)),
            ("a[^a]b", "a☺b", Some(true)),
            ("[\\]a]", "]", Some(true)),
            ("[\\-x]", "-", Some(true)),
            ("[]a]", "]", None),
            ("[-]", "-", None),
            ("[x-]", "x", None),
            ("[-x]", "x", None),
            ("[", "a", None),
            ("[^bc", "a", None),
            ("a[", "a", None),
            ("a\\", "a", None),
            ("a]", "a]", Some(true)),
            ("a?b", "a/b", Some(false)),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn files_are_found_sorted_and_hidden_ones_too() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.yml", "a.yml", ".hidden.yml", "c.json", "[x].yml"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        std::fs::write(folder.path().join("sub/d.yml"), "").unwrap();
        let found = |pattern: &str| -> Vec<String> {
            let paths = matching_files(&folder.path().join(pattern)).unwrap();
            paths.iter().map(|p| p.strip_prefix(folder.path()).unwrap().display().to_string()).collect()
        };
        assert_eq!(found("*.yml"), [".hidden.yml", "[x].yml", "a.yml", "b.yml"]);
        assert_eq!(found("[^a.]*.yml"), ["[x].yml", "b.yml"]);
        assert_eq!(found("s?b/*.yml"), ["sub/d.yml"]);
        assert_eq!(found("\\[x\\].yml"), ["[x].yml"]);
        assert_eq!(found("a.yml"), ["a.yml"]);
        assert_eq!(found("none.yml"), [""; 0]);
        assert!(matching_files(Path::new("/tmp/[")).is_err());
    }
}
