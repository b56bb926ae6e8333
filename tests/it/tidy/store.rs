//! Rules about the stores: migrations without gaps, base tables behind their views, statements that every engine
//! understands.

use super::tree::{self, File, has_word};
use super::{assert_found, assert_kept};
use std::collections::{BTreeMap, BTreeSet};

/// Where numbered migrations live, in folders named `migrations`.
const STORES: &[&str] = &["sync-server/src/store/", "agent/src/"];

/// How the name of a table begins that only the engine's views and triggers reach: they are made from the list of
/// tables, and name none.
const BASE: &str = "base_";

/// The server's store, and its rooms whose statements one engine understands.
const SERVER_STORE: &str = "sync-server/src/store/";
const OF_ONE_ENGINE: &[&str] = &["sync-server/src/store/engine/", "sync-server/src/store/tests/"];

/// What SQLite understands in a statement and PostgreSQL does not, or otherwise.
const OF_SQLITE_ALONE: &[&str] = &[
    "ATTACH",
    "AUTOINCREMENT",
    "COLLATE",
    "EXPLAIN",
    "GLOB",
    "INDEXED BY",
    "INSERT OR",
    "LIKE",
    "PRAGMA",
    "UPDATE OR",
    "VACUUM",
    "datetime",
    "group_concat",
    "ifnull",
    "iif",
    "instr",
    "json_each",
    "json_extract",
    "julianday",
    "last_insert_rowid",
    "rowid",
    "sqlite_master",
    "sqlite_schema",
    "strftime",
    "typeof",
    "unixepoch",
];

#[test]
fn migrations_have_no_gaps() {
    tree::assert_there(STORES.iter().copied());
    assert_kept(&migration_gaps(&tree::project()));
}

#[test]
fn base_tables_are_reached_through_views_only() {
    assert_kept(&base_tables_named(&tree::project()));
}

#[test]
fn statements_are_said_as_every_engine_understands_them() {
    tree::assert_there(OF_ONE_ENGINE.iter().copied());
    assert_kept(&dialects(&tree::project()));
}

#[test]
fn a_planted_dialect_is_found() {
    let planted = |path: &str, sql: &str| {
        let line = format!("let quote = '\"'; // max(a, b)\nlet sql =\n    \"{sql}\";\n");
        dialects(&[File::planted(&format!("{SERVER_STORE}{path}"), &line)])
    };
    let rule = |sql: &str| planted("rules/page.rs", sql);
    for word in OF_SQLITE_ALONE {
        assert_found(&rule(&format!("SELECT 1 FROM feeds WHERE {word} (seq)")), word);
    }
    assert_found(&rule("UPDATE feeds SET horizon = max(coalesce(horizon, 0), ?1)"), "page.rs:3: max");
    assert_found(&rule("UPDATE feeds\n SET horizon = min(?1, horizon)"), "page.rs:3: min");
    assert_found(&rule("SELECT 1 FROM users WHERE email IS ?1"), "IS");
    assert_found(&rule("SELECT 1 FROM users WHERE email IS NOT ?1"), "IS NOT");
    assert_found(&rule("SELECT 1 FROM users AS u, badges AS b WHERE u.facility_id IS b.facility_id"), "IS");
    assert_found(&rule("SELECT 1 FROM documents d CROSS JOIN reviews r ON r.id = d.id"), "CROSS JOIN");
    assert_kept(&rule(
        "SELECT max(n), min(n) FROM changes WHERE n IS NOT NULL AND seq IS NULL AND id IS NOT DISTINCT FROM ?1",
    ));
    assert_kept(&rule("SELECT 1 FROM documents d CROSS JOIN reviews r WHERE r.id = d.id"));
    assert_kept(&planted("engine/sqlite/copy.rs", "PRAGMA integrity_check"));
}

#[test]
fn a_planted_gap_is_found() {
    let planted = |names: &[&str]| {
        let files = names.iter().map(|name| {
            File::planted(&format!("{SERVER_STORE}engine/sqlite/migrations/{name}"), "SELECT 1;")
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
        "sync-server/src/store/engine/sqlite/migrations/V1__first.sql",
        "CREATE TABLE base_patients (\n id TEXT);\nCREATE TABLE IF NOT EXISTS base_users (id TEXT);",
    );
    let planted = |path: &str, line: &str| {
        let migration = File::planted(&migration.path, &migration.text);
        base_tables_named(&[migration, File::planted(path, line)])
    };
    let query = "\"SELECT id FROM base_users\"";
    for file in ["store/handles/system.rs", "store/engine/sqlite/security.rs"] {
        assert_found(&planted(&format!("sync-server/src/{file}"), query), "base_users");
    }
    assert_found(&planted("tests/it/isolation.rs", "SELECT * FROM base_patients"), "base_patients");
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

/// Base tables named outside the migrations.
fn base_tables_named(files: &[File]) -> Vec<String> {
    let (migrations, others): (Vec<&File>, Vec<&File>) =
        files.iter().partition(|file| file.path.contains("/migrations/"));
    let tables: BTreeSet<&str> = migrations.iter().flat_map(|file| base_tables(&file.text)).collect();
    let mut breaches = Vec::new();
    for file in others.into_iter().filter(|file| file.is("rs") || file.is("sql")) {
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

/// What statements of the server's store say in the words of one engine.
fn dialects(files: &[File]) -> Vec<String> {
    let of_store = |file: &&File| {
        file.is("rs")
            && file.path.starts_with(SERVER_STORE)
            && !OF_ONE_ENGINE.iter().any(|room| file.path.starts_with(room))
    };
    let mut breaches = Vec::new();
    for file in files.iter().filter(of_store) {
        for (number, text) in texts(&file.text) {
            let words = OF_SQLITE_ALONE.iter().copied().filter(|word| has_word(text, word));
            let said = words.chain(of_one_engine(text));
            breaches.extend(said.map(|word| {
                format!("{}:{number}: {word} is SQLite's own: say it as PostgreSQL does too", file.path)
            }));
        }
    }
    breaches
}

/// What is of one engine by what stands beside it.
fn of_one_engine(sql: &str) -> impl Iterator<Item = &'static str> {
    let beside = |word: &'static str| {
        sql.match_indices(word).filter(|(start, _)| {
            !sql[..*start].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '.')
        })
    };
    let of_two =
        |word: &'static str| beside(word).any(|(start, _)| has_two_parts(&sql[start + word.len()..]));
    let compares = |word: &'static str| {
        beside(word).any(|(start, _)| {
            let next = sql[start + word.len()..].trim_start();
            !["NULL", "NOT", "DISTINCT"].iter().any(|known| next.starts_with(known))
        })
    };
    let is_crossed = beside("CROSS JOIN ").any(|(start, _)| {
        let joined = &sql[start..];
        let end = joined.find("WHERE").unwrap_or(joined.len());
        has_word(&joined[..end], "ON")
    });
    let found = [
        ("max", of_two("max(")),
        ("min", of_two("min(")),
        ("IS NOT", compares("IS NOT ")),
        ("IS", compares("IS ")),
        ("CROSS JOIN", is_crossed),
    ];
    found.into_iter().filter_map(|(word, is_said)| is_said.then_some(word))
}

/// Whether more than one part stands before the parenthesis that closes.
fn has_two_parts(rest: &str) -> bool {
    let mut depth = 0;
    for c in rest.chars() {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => return false,
            ')' => depth -= 1,
            ',' if depth == 0 => return true,
            _ => {}
        }
    }
    false
}

/// The texts between quotes in a source, each with the line that it begins on.
pub(super) fn texts(source: &str) -> Vec<(usize, &str)> {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(next) = source[at..].find(['"', '/', '\'']).map(|next| at + next) {
        let rest = &source[next..];
        if rest.starts_with("//") {
            at = next + rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("'\"'") {
            at = next + 3;
        } else if rest.starts_with('"') {
            let end = text_end(rest);
            found.push((source[..next].matches('\n').count() + 1, &rest[1..end]));
            at = (next + end + 1).min(source.len());
        } else {
            at = next + 1;
        }
    }
    found
}

/// Where the quote stands that ends a text which begins with one.
fn text_end(text: &str) -> usize {
    let mut is_escaped = true;
    let end = text.char_indices().find(|(_, c)| {
        let ends = *c == '"' && !is_escaped;
        is_escaped = *c == '\\' && !is_escaped;
        ends
    });
    end.map_or(text.len(), |(at, _)| at)
}
