//! `docs/requirements.md` promises only what a test shows.

use super::tree::{self, File};
use super::{assert_found, assert_kept};
use std::collections::BTreeSet;

const REQUIREMENTS: &str = "docs/requirements.md";

#[test]
fn every_requirement_met_names_a_test_that_exists() {
    let files = tree::project();
    assert!(rows(&files).count() > 0, "{REQUIREMENTS} has no rows");
    assert_kept(&unshown(&files));
}

#[test]
fn a_planted_promise_is_found() {
    let planted = |row: &str| {
        unshown(&[
            File::planted(REQUIREMENTS, &format!("| Row | Asks | Shown by |\n|---|---|---|\n{row}\n")),
            File::planted(
                "protocol/src/facility.rs",
                "    #[test]\n    fn beds_are_counted() {}\nfn not_a_test() {}",
            ),
            File::planted(
                "tests/it/story.rs",
                "#[tokio::test(flavor = \"multi_thread\")]\nasync fn story() {}",
            ),
        ])
    };
    assert_kept(&planted("| S1-17 | beds | `protocol::facility::tests::beds_are_counted` |"));
    assert_kept(&planted("| S1-17 | beds | `beds_are_counted`, `it::story::story` |"));
    assert_found(
        &planted("| S1-17 | beds | `protocol::facility::tests::beds_are_painted` |"),
        "beds_are_painted",
    );
    assert_found(&planted("| S1-17 | beds | `not_a_test` |"), "not_a_test");
    assert_found(&planted("| S1-17 | beds | by looking |"), "S1-17");
}

/// Rows that name no test, and tests named that no source defines.
fn unshown(files: &[File]) -> Vec<String> {
    let tests: BTreeSet<&str> =
        files.iter().filter(|file| file.is("rs")).flat_map(|file| tests(&file.text)).collect();
    let mut breaches = Vec::new();
    for (row, shown_by) in rows(files) {
        let named: Vec<&str> = shown_by.split('`').skip(1).step_by(2).collect();
        if named.is_empty() {
            breaches.push(format!("{REQUIREMENTS}: {row} names no test"));
        }
        let missing = named.iter().filter(|path| !tests.contains(path.rsplit("::").next().unwrap_or(path)));
        breaches.extend(missing.map(|path| format!("{REQUIREMENTS}: {row} names {path}, which is no test")));
    }
    breaches
}

/// The number and the last cell of each row of the document's tables.
fn rows(files: &[File]) -> impl Iterator<Item = (&str, &str)> {
    let document = files.iter().filter(|file| file.path == REQUIREMENTS);
    document.flat_map(|file| file.text.lines()).filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim).collect();
        let (number, shown_by) = (*cells.first()?, *cells.last()?);
        number.contains(|c: char| c.is_ascii_digit()).then_some((number, shown_by))
    })
}

/// The names of the functions that a source marks as tests.
fn tests(source: &str) -> impl Iterator<Item = &str> {
    let mut marked = false;
    source.lines().map(str::trim_start).filter_map(move |line| {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            marked = true;
        }
        let name = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")?;
        let is_test = std::mem::take(&mut marked);
        let end = name.find(|c: char| !c.is_alphanumeric() && c != '_')?;
        is_test.then_some(&name[..end])
    })
}
