//! What others say of themselves, as it goes into logs and tables: one line, of so many characters.

/// Whether a text is one line, of at most so many characters.
#[must_use]
pub fn is_line(text: &str, most: usize) -> bool {
    text.chars().count() <= most && !text.chars().any(char::is_control)
}

/// As much of a text as is.
#[must_use]
pub fn line(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}
