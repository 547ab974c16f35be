//! Case mapping letter by letter, as Go's `strings.ToLower` and `strings.ToUpper`.
//!
//! The mapping of the standard library is that of whole texts: it makes `SS` of `ß` and another `ς` at the end of a word.
//! Labels made by relabeling follow the simple mapping of Unicode, one letter for one
//! (<https://www.unicode.org/reports/tr44/#Casemapping>).

/// Maps every letter of `text` to its lower case.
#[must_use]
pub fn to_lower(text: &str) -> String {
    text.chars().map(lower).collect()
}

/// Maps every letter of `text` to its upper case.
#[must_use]
pub fn to_upper(text: &str) -> String {
    text.chars().map(upper).collect()
}

fn lower(letter: char) -> char {
    // The one letter whose full mapping is longer is İ, to i and a combining dot.
    letter.to_lowercase().next().unwrap_or(letter)
}

fn upper(letter: char) -> char {
    let mut mapped = letter.to_uppercase();
    match (mapped.next(), mapped.next()) {
        (Some(single), None) => single,
        _ => upper_of_ligature(letter),
    }
}

/// The upper case of a letter whose full mapping is more than one letter.
fn upper_of_ligature(letter: char) -> char {
    let offset = match letter {
        // Greek with an iota below, which has a letter of its own for titles.
        '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => 8,
        '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => 9,
        _ => 0,
    };
    char::from_u32(u32::from(letter) + offset).unwrap_or(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_letter_becomes_one_letter() {
        for (text, mapped) in [
            ("straße", "STRAßE"),
            ("ﬁx", "ﬁX"),
            ("ŉǰΐև", "ŉǰΐև"),
            ("ᾀᾗᾳῃῳᾈ", "ᾈᾟᾼῌῼᾈ"),
            ("ǆǅ", "ǄǄ"),
            ("ა", "Ა"),
            ("ıi", "II"),
        ] {
            assert_eq!(to_upper(text), mapped);
        }
        for (text, mapped) in [("İ", "i"), ("ΟΔΟΣ", "οδοσ"), ("ẞ", "ß"), ("ǅ", "ǆ"), ("K", "k")] {
            assert_eq!(to_lower(text), mapped);
        }
    }

    #[test]
    fn every_character_maps_to_exactly_one() {
        for character in '\0'..=char::MAX {
            let text = character.to_string();
            assert_eq!((to_lower(&text).chars().count(), to_upper(&text).chars().count()), (1, 1), "{character:?}");
        }
    }
}
