//! What others say of themselves, as it goes into logs, tables and terminals: one line, of so many characters.

/// Whether a character is not read but acts: on the terminal, on the line it is in, or on the order of what is around.
#[must_use]
pub fn acts(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
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
