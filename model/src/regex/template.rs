//! Replacement templates: `$1`, `${name}` and `$$` between other text.

use std::sync::OnceLock;

/// A part of a template.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'t> {
    Text(&'t str),
    /// `$1` or `${1}`
    Number(usize),
    /// `$name` or `${name}`
    Name(&'t str),
}

/// The parts of a template in order; does not allocate.
pub(super) struct Pieces<'t>(&'t str);

impl<'t> Pieces<'t> {
    pub(super) fn new(template: &'t str) -> Self {
        Self(template)
    }
}

impl<'t> Iterator for Pieces<'t> {
    type Item = Piece<'t>;

    fn next(&mut self) -> Option<Piece<'t>> {
        let rest = self.0;
        let piece = match rest.find('$') {
            None if rest.is_empty() => return None,
            None => (Piece::Text(rest), ""),
            Some(0) => match reference(&rest[1..]) {
                Some(found) => found,
                // A dollar; of two, one.
                None => (Piece::Text("$"), rest[1..].strip_prefix('$').unwrap_or(&rest[1..])),
            },
            Some(dollar) => (Piece::Text(&rest[..dollar]), &rest[dollar..]),
        };
        self.0 = piece.1;
        Some(piece.0)
    }
}

/// The reference that `text`, which follows a dollar, begins with, and the text behind it.
fn reference(text: &str) -> Option<(Piece<'_>, &str)> {
    let inner = text.strip_prefix('{');
    let from = inner.unwrap_or(text);
    let end = from.find(|c| !is_name_character(c)).unwrap_or(from.len());
    let (name, mut rest) = from.split_at(end);
    if inner.is_some() {
        rest = rest.strip_prefix('}')?;
    }
    if name.is_empty() {
        return None;
    }
    // Go takes numbers up to a hundred million; a leading zero makes a name.
    let number = name.bytes().all(|b| b.is_ascii_digit()) && name.len() <= 9 && (name == "0" || !name.starts_with('0'));
    match name.parse() {
        Ok(index) if number => Some((Piece::Number(index), rest)),
        _ => Some((Piece::Name(name), rest)),
    }
}

/// Letters, decimal digits and the underscore, of all scripts.
fn is_name_character(character: char) -> bool {
    static LETTERS_AND_DIGITS: OnceLock<::regex::Regex> = OnceLock::new();
    if character.is_ascii() {
        return character.is_ascii_alphanumeric() || character == '_';
    }
    let class =
        LETTERS_AND_DIGITS.get_or_init(|| ::regex::Regex::new("[\\p{L}\\p{Nd}]").expect("the class is constant"));
    class.is_match(character.encode_utf8(&mut [0; 4]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_cut_as_go_cuts_them() {
        use Piece::{Name, Number, Text};
        for (template, pieces) in [
            ("", vec![]),
            ("a$1b", vec![Text("a"), Name("1b")]),
            ("${1}b", vec![Number(1), Text("b")]),
            ("$$1", vec![Text("$"), Text("1")]),
            ("$$$1", vec![Text("$"), Number(1)]),
            ("a$", vec![Text("a"), Text("$")]),
            ("${a", vec![Text("$"), Text("{a")]),
            ("${}", vec![Text("$"), Text("{}")]),
            ("${a-b}$a-b", vec![Text("$"), Text("{a-b}"), Name("a"), Text("-b")]),
            ("$01$0", vec![Name("01"), Number(0)]),
            ("$ä1½$٣", vec![Name("ä1"), Text("½"), Name("٣")]),
            ("$1_$_1", vec![Name("1_"), Name("_1")]),
        ] {
            assert_eq!(Pieces::new(template).collect::<Vec<_>>(), pieces, "{template}");
        }
    }
}
