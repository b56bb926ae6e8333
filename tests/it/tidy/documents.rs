//! `docs/requirements.md` and `docs/threats.md` promise only what a test shows.

use super::tree::{self, File};
use super::{assert_found, assert_kept};
use std::collections::BTreeSet;

const REQUIREMENTS: &str = "docs/requirements.md";
const DOCUMENTS: [&str; 2] = [REQUIREMENTS, "docs/threats.md"];

#[test]
fn every_requirement_met_and_every_wall_names_a_test_that_exists() {
    let files = tree::project();
    for document in DOCUMENTS {
        assert!(rows(&files).any(|row| row.document == document), "{document} has no rows");
    }
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
    for Row { document, first, shown_by } in rows(files) {
        let named: Vec<&str> = shown_by.split('`').skip(1).step_by(2).collect();
        if named.is_empty() {
            breaches.push(format!("{document}: {first} names no test"));
        }
        let missing = named.iter().filter(|path| !tests.contains(path.rsplit("::").next().unwrap_or(path)));
        breaches.extend(missing.map(|path| format!("{document}: {first} names {path}, which is no test")));
    }
    breaches
}

struct Row<'a> {
    document: &'a str,
    first: &'a str,
    shown_by: &'a str,
}

/// The first and the last cell of each row of the documents' tables, whose heads end with a line of dashes.
fn rows(files: &[File]) -> impl Iterator<Item = Row<'_>> {
    let documents = files.iter().filter(|file| DOCUMENTS.contains(&file.path.as_str()));
    documents.flat_map(|file| {
        let mut in_body = false;
        file.text.lines().filter_map(move |line| {
            let Some(line) = line.strip_prefix('|') else {
                in_body = false;
                return None;
            };
            if line.starts_with("---") {
                in_body = true;
                return None;
            }
            let cells: Vec<&str> = line.strip_suffix('|')?.split('|').map(str::trim).collect();
            let (first, shown_by) = (*cells.first()?, *cells.last()?);
            in_body.then_some(Row { document: &file.path, first, shown_by })
        })
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
