//! Output: tables, and one value a line for a single thing.

use std::io::Write as _;

use carepost_protocol::number::plain;
use serde_json::Value;

use crate::text::acts;

/// A list as a table of these columns, and whether there is more of it; a single thing as lines; without columns,
/// all of a thing.
pub(super) fn table(thing: &Value, columns: &[&str]) -> String {
    let Some(items) = thing.get("items").and_then(Value::as_array) else {
        return lines(thing, columns);
    };
    if items.is_empty() {
        return "(none)".to_owned();
    }
    let cell = |item: &Value, column: &str| item.get(column).map(word).unwrap_or_default();
    let widths: Vec<usize> = columns
        .iter()
        .map(|column| {
            let widest = items.iter().map(|item| cell(item, column).chars().count()).max().unwrap_or(0);
            widest.max(heading(column).len())
        })
        .collect();
    let row = |cells: Vec<String>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let head = row(columns.iter().map(|column| heading(column).to_uppercase()).collect());
    let body = items.iter().map(|item| row(columns.iter().map(|column| cell(item, column)).collect()));
    let more = thing.get("next").and_then(Value::as_str);
    let more = more.map(|place| format!("There is more: give --page {place}"));
    std::iter::once(head).chain(body).chain(more).collect::<Vec<_>>().join("\n")
}

fn lines(thing: &Value, columns: &[&str]) -> String {
    let members = thing.as_object().into_iter().flatten();
    members
        .filter(|(key, value)| (columns.is_empty() || columns.contains(&key.as_str())) && !value.is_null())
        .map(|(key, value)| format!("{:20} {}", heading(key), word(value)))
        .collect::<Vec<_>>()
        .join("\n")
}

/// What people read over a column: nobody counts the residents of a facility, it is what was reported.
fn heading(key: &str) -> &str {
    if key == "current_census" { "reported_census" } else { key }
}

fn word(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => plain(number).to_string(),
        Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    // A device that waits chooses its own host name: it must not add a line to the list.
    text.chars().filter(|c| !acts(*c)).collect()
}

/// A text as a terminal may get it, whoever chose its words: what would move the cursor, or turn the order of what
/// is around, is written as JSON writes it, so that JSON stays what it says.
pub(super) fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if acts(c) && c != '\n' {
            shown.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            shown.push(c);
        }
    }
    shown
}

pub(super) fn say(line: &str) {
    // A reader that has closed its end of a pipe has read enough.
    let _ = writeln!(std::io::stdout(), "{}", harmless(line));
}

pub(super) fn say_error(line: &str) {
    let _ = writeln!(std::io::stderr(), "{}", harmless(line));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{harmless, table};

    #[test]
    fn nothing_that_others_said_writes_on_the_terminal() {
        let said = "Hall\u{9b}2J\u{1b}[31m\u{7f}\r\nState";
        let device = json!({"name": said, "mac_addresses": [said], "encryption": {"where": said}});
        for shown in [table(&device, &[]), table(&json!({"items": [device]}), &["name", "mac_addresses"])] {
            let lines = if shown.starts_with("NAME") { 2 } else { 3 };
            assert_eq!(shown.lines().count(), lines, "{shown:?}");
            assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
        }
        let shown = harmless(&json!({"a": "x\u{9b}2J\u{202e}y\u{7f}"}).to_string());
        assert_eq!(shown, r#"{"a":"x\u009b2J\u202ey\u007f"}"#);
        assert_eq!(harmless("Ö\n\u{1b}[2J"), "Ö\n\\u001b[2J");
    }

    #[test]
    fn lists_are_aligned_and_single_things_are_lines() {
        let list = json!({"items": [{"name": "Riverside", "beds": 48}, {"name": "Ö", "beds": null}]});
        assert_eq!(table(&list, &["name", "beds"]), "NAME       BEDS\nRiverside  48\nÖ");
        let begun = json!({"items": [{"name": "A"}], "next": "Wzcs"});
        assert_eq!(table(&begun, &["name"]), "NAME\nA\nThere is more: give --page Wzcs");
        assert_eq!(table(&json!({"items": []}), &["name"]), "(none)");
        assert_eq!(table(&json!({"name": "A", "x": null}), &[]), "name                 A");
    }
}
