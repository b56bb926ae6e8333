//! Rules about the stores: migrations without gaps, base tables behind their views.

use super::tree::{self, File, has_word};
use super::{assert_found, assert_kept};
use std::collections::{BTreeMap, BTreeSet};

/// Where numbered migrations live, in folders named `migrations`.
const STORES: &[&str] = &["sync-server/src/store/", "agent/src/"];

/// How the name of a table that only views and triggers may reach begins.
const BASE: &str = "base_";

/// The files beside the migrations that define the scoped views, and so name base tables.
const VIEW_DEFINITIONS: &[&str] = &["views.rs", "views.sql"];

#[test]
fn migrations_have_no_gaps() {
    assert_kept(&migration_gaps(&tree::project()));
}

#[test]
fn base_tables_are_reached_through_views_only() {
    assert_kept(&base_tables_named(&tree::project()));
}

#[test]
fn a_planted_gap_is_found() {
    let planted = |names: &[&str]| {
        let files = names.iter().map(|name| {
            File::planted(&format!("sync-server/src/store/sqlite/migrations/{name}"), "SELECT 1;")
        });
        migration_gaps(&files.collect::<Vec<_>>())
    };
    assert_kept(&planted(&["V1__first.sql", "V2__second.sql", "V10__tenth.sql"][..2]));
    assert_kept(&planted(&["0001_first.sql", "0002_second.sql"]));
    assert_found(&planted(&["V1__first.sql", "V3__third.sql"]), "V3__third.sql");
    assert_found(&planted(&["V1__first.sql", "V1__again.sql"]), "V1__first.sql");
    assert_found(&planted(&["V2__second.sql"]), "V2__second.sql");
    assert_found(&planted(&["V1__first.sql", "notes.sql"]), "notes.sql");
}

#[test]
fn a_planted_base_table_is_found() {
    let migration = File::planted(
        "sync-server/src/store/sqlite/migrations/V1__first.sql",
        "CREATE TABLE base_patients (\n id TEXT);\nCREATE TABLE IF NOT EXISTS base_users (id TEXT);",
    );
    let planted = |path: &str, line: &str| {
        let migration = File::planted(&migration.path, &migration.text);
        base_tables_named(&[migration, File::planted(path, line)])
    };
    let query = "\"SELECT id FROM base_users\"";
    assert_found(&planted("sync-server/src/store/scoped.rs", query), "base_users");
    assert_found(&planted("tests/it/isolation.rs", "SELECT * FROM base_patients"), "base_patients");
    assert_kept(&planted("sync-server/src/store/sqlite/views.rs", query));
    assert_kept(&planted("protocol/src/change.rs", "base_seq: u64, base_users_of: u8"));
}

/// Migrations whose number is not one more than that of the one before, beginning with one.
fn migration_gaps(files: &[File]) -> Vec<String> {
    let mut folders: BTreeMap<&str, Vec<(Option<u32>, &str)>> = BTreeMap::new();
    for file in files.iter().filter(|file| STORES.iter().any(|store| file.path.starts_with(store))) {
        if let Some((folder, name)) = file.path.rsplit_once('/')
            && folder.ends_with("/migrations")
            && file.is("sql")
        {
            folders.entry(folder).or_default().push((number(name), name));
        }
    }
    let mut breaches = Vec::new();
    for (folder, mut migrations) in folders {
        migrations.sort_unstable();
        let unnumbered = migrations.iter().filter(|(number, _)| number.is_none());
        breaches.extend(unnumbered.map(|(_, name)| format!("{folder}/{name} has no number")));
        let numbered = migrations.iter().filter_map(|(number, name)| Some(((*number)?, *name)));
        let out_of_step = (1..).zip(numbered).find(|(expected, (number, _))| expected != number);
        breaches.extend(
            out_of_step.map(|(expected, (_, name))| {
                format!("{folder}/{name} stands where number {expected} belongs")
            }),
        );
    }
    breaches
}

/// The number that a migration's name begins with: `V12__badges.sql` and `0012_badges.sql` are 12.
fn number(name: &str) -> Option<u32> {
    let name = name.trim_start_matches('V');
    let digits = name.find(|c: char| !c.is_ascii_digit())?;
    name[..digits].parse().ok()
}

/// Base tables named outside the migrations and the view definitions of the store.
fn base_tables_named(files: &[File]) -> Vec<String> {
    let (migrations, others): (Vec<&File>, Vec<&File>) =
        files.iter().partition(|file| file.path.contains("/migrations/"));
    let tables: BTreeSet<&str> = migrations.iter().flat_map(|file| base_tables(&file.text)).collect();
    let mut breaches = Vec::new();
    for file in others.into_iter().filter(|file| file.is("rs") || file.is("sql")) {
        let in_store = STORES.iter().any(|store| file.path.starts_with(store));
        if in_store && VIEW_DEFINITIONS.iter().any(|name| file.path.ends_with(&format!("/{name}"))) {
            continue;
        }
        for (number, line) in file.text.lines().enumerate() {
            // This file's own planted breaches are words in quotes, not queries.
            let named =
                tables.iter().find(|table| has_word(line, table) && !file.path.ends_with("tidy/store.rs"));
            breaches.extend(named.map(|table| format!("{}:{} names {table}", file.path, number + 1)));
        }
    }
    breaches
}

/// The base tables that a migration creates.
fn base_tables(migration: &str) -> impl Iterator<Item = &str> {
    migration.match_indices("TABLE").filter_map(|(start, keyword)| {
        let rest = migration[start + keyword.len()..].trim_start();
        let rest = rest.strip_prefix("IF NOT EXISTS").unwrap_or(rest).trim_start();
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        rest[..end].starts_with(BASE).then_some(&rest[..end])
    })
}
