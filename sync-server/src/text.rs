//! Log lines: what others say of themselves, as it goes into logs, tables and terminals: one line, of so many
//! characters. And counts, in words.

/// Whether a character is not read but acts: on the terminal, on the line it is in, or on the order of what is around.
#[must_use]
pub fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a text is one line, of at most so many characters.
#[must_use]
pub fn is_line(text: &str, most: usize) -> bool {
    text.chars().count() <= most && !text.chars().any(acts)
}

/// As much of a text as is.
#[must_use]
pub fn line(text: &str, most: usize) -> String {
    text.chars().filter(|c| !acts(*c)).take(most).collect()
}

/// So many of something, in its words for one and for several.
#[must_use]
pub fn counted(number: u64, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_that_turn_the_order_of_letters_act_and_letters_do_not() {
        let marks = ['\u{61c}', '\u{200e}', '\u{200f}', '\u{202e}', '\u{2066}', '\u{2028}', '\u{9b}'];
        assert!(marks.into_iter().all(acts));
        for read in ['é', 'ש', 'ع', '\u{200d}', ' '] {
            assert!(!acts(read), "{read:?}");
        }
    }

    #[test]
    fn one_is_not_several() {
        let pins = [0, 1, 2].map(|pins| counted(pins, "PIN counts", "PINs count"));
        assert_eq!(pins, ["0 PINs count", "1 PIN counts", "2 PINs count"]);
    }
}
