//! `docs/glossary.md` says which words are used, where each lives, and which are not used; `ARCHITECTURE.md` lists
//! every decision.

use super::tree::{self, File, has_word};
use super::{assert_found, assert_kept};

const GLOSSARY: &str = "docs/glossary.md";

#[test]
fn every_word_of_the_glossary_lives_where_it_says() {
    let files = tree::project();
    assert!(rows(&files, 3).count() >= 30, "the glossary has its words");
    assert_kept(&homeless(&files));
}

#[test]
fn no_word_stands_that_the_glossary_rules_out() {
    let files = tree::project();
    assert!(rows(&files, 2).count() >= 3, "the glossary rules words out");
    assert_kept(&ruled_out(&files));
}

#[test]
fn every_decision_is_in_the_list_of_them() {
    assert_kept(&unlisted(&tree::project()));
}

#[test]
fn a_planted_word_without_a_home_is_found() {
    let planted = |home: &str| {
        homeless(&[
            glossary(&format!(
                "| Word | What it is | In the code |\n|---|---|---|\n| Lane | A queue. | {home} |\n"
            )),
            File::planted("protocol/src/change.rs", "/// A lane, no Verdict.\npub enum Lane {}\n"),
        ])
    };
    assert_kept(&planted("`protocol/src/change.rs`: `Lane`"));
    assert_found(&planted("`protocol/src/lane.rs`: `Lane`"), "protocol/src/lane.rs");
    assert_found(&planted("`protocol/src/change.rs`: `Verdict`"), "Verdict");
    assert_found(&planted("everywhere"), "Lane");
}

#[test]
fn a_planted_word_that_is_ruled_out_is_found() {
    let planted = |path: &str, text: &str| {
        let table = "| Not | But |\n|---|---|\n| wedged | rejected |\n| life of its outbox | incarnation |\n";
        ruled_out(&[glossary(table), File::planted(path, text)])
    };
    assert_found(&planted("agent/src/outbox/mod.rs", "let wedged = 1;"), "agent/src/outbox/mod.rs:1");
    assert_found(
        &planted("agent/src/outbox/mod.rs", "\n// One that is wedged.\n"),
        "agent/src/outbox/mod.rs:2",
    );
    assert_found(&planted("agent/src/outbox/mod.rs", "Progress::Wedged => 1,"), "rejected");
    assert_found(&planted("docs/sync.md", "In which life of its outbox."), "docs/sync.md:1");
    // What is on the wire or in a column keeps its name.
    assert_kept(&planted(
        "agent/src/outbox/mod.rs",
        "#[serde(rename = \"wedged\")]\nrejected: u64, // '\"'\n",
    ));
    assert_kept(&planted(
        "agent/src/outbox/mod.rs",
        "let sql = \"SELECT\n    wedged FROM a\";\nlet quote = '\"';\n",
    ));
    assert_kept(&planted("docs/sync.md", "Keyboard-wedge readers."));
}

#[test]
fn a_planted_decision_that_is_not_listed_is_found() {
    let planted = |list: &str| {
        unlisted(&[
            File::planted("ARCHITECTURE.md", list),
            File::planted("docs/adr/0001-one.md", "# 1. One\n\nAccepted.\n"),
        ])
    };
    assert_kept(&planted("1. [One](docs/adr/0001-one.md)\n"));
    assert_found(&planted("1. [Another](docs/adr/0001-one.md)\n"), "docs/adr/0001-one.md");
}

fn glossary(text: &str) -> File {
    File::planted(GLOSSARY, text)
}

/// The rows of the glossary's tables that have so many cells, without their heads.
fn rows(files: &[File], cells: usize) -> impl Iterator<Item = Vec<&str>> {
    let text = files.iter().find(|file| file.path == GLOSSARY).map_or("", |file| file.text.as_str());
    let mut in_body = false;
    text.lines().filter_map(move |line| {
        let is_rule = line.starts_with("|---");
        let row =
            line.strip_prefix('|').and_then(|line| line.strip_suffix('|')).filter(|_| in_body && !is_rule);
        in_body = is_rule || (in_body && line.starts_with('|'));
        let row: Vec<&str> = row?.split('|').map(str::trim).collect();
        (row.len() == cells).then_some(row)
    })
}

/// Words whose file is not there, or does not have the names that stand beside it.
fn homeless(files: &[File]) -> Vec<String> {
    let mut breaches = Vec::new();
    for row in rows(files, 3) {
        let mut names = row[2].split('`').skip(1).step_by(2);
        let Some(path) = names.next() else {
            breaches.push(format!("{}: it is said nowhere in which file it lives", row[0]));
            continue;
        };
        let Some(file) = files.iter().find(|file| file.path == path) else {
            breaches.push(format!("{}: there is no {path}", row[0]));
            continue;
        };
        let missing = names.filter(|name| !file.code_lines().any(|(_, line)| has_word(line, name)));
        breaches.extend(missing.map(|name| format!("{}: {path} has no {name}", row[0])));
    }
    breaches
}

/// Lines with a word that the glossary rules out, in the project's documents, and in its sources outside of strings.
fn ruled_out(files: &[File]) -> Vec<String> {
    let words: Vec<(String, &str)> = rows(files, 2).map(|row| (row[0].to_lowercase(), row[1])).collect();
    let mut breaches = Vec::new();
    for file in files.iter().filter(|file| file.path != GLOSSARY) {
        let text = match (file.is("rs"), file.is("md")) {
            (true, _) => without_strings(&file.text),
            (_, true) => file.text.clone(),
            (false, false) => continue,
        };
        for (number, line) in (1..).zip(text.to_lowercase().lines()) {
            let found = words.iter().filter(|(word, _)| has_word(line, word));
            breaches.extend(found.map(|(word, but)| format!("{}:{number}: {word}: say {but}", file.path)));
        }
    }
    breaches
}

/// Decisions that the list of them does not name by their titles.
fn unlisted(files: &[File]) -> Vec<String> {
    let list = files.iter().find(|file| file.path == "ARCHITECTURE.md").map_or("", |file| file.text.as_str());
    let decisions = files.iter().filter(|file| file.path.starts_with("docs/adr/"));
    let missing = decisions.filter(|file| {
        let title = file.text.lines().next().and_then(|line| line.strip_prefix("# ")?.split_once(". "));
        title.is_none_or(|(number, title)| !list.contains(&format!("{number}. [{title}]({})", file.path)))
    });
    missing.map(|file| format!("{} is not in ARCHITECTURE.md's list under its title", file.path)).collect()
}

/// A source with its strings emptied, and everything else on the line that it was on.
fn without_strings(source: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(source.len()), source);
    while let Some(at) = rest.find(['"', '\'', '/']) {
        let (before, tail) = rest.split_at(at);
        out.push_str(before);
        let hashes = before.len() - before.trim_end_matches('#').len();
        let is_raw = before.trim_end_matches('#').ends_with('r') && (hashes > 0 || tail.starts_with('"'));
        let length = if tail.starts_with("//") {
            // A comment stays, with whatever quotes are in it.
            let length = tail.find('\n').unwrap_or(tail.len());
            out.push_str(&tail[..length]);
            rest = &tail[length..];
            continue;
        } else if tail.starts_with('"') && is_raw {
            let end = format!("\"{}", "#".repeat(hashes));
            tail[1..].find(&end).map(|at| 1 + at + end.len())
        } else if tail.starts_with('"') {
            closing(tail, '"')
        } else if tail.starts_with("'\"'") || tail.starts_with("'\\") {
            closing(tail, '\'')
        } else {
            Some(1)
        };
        let length = length.unwrap_or(tail.len());
        out.extend(tail[..length].chars().filter(|c| *c == '\n'));
        rest = &tail[length..];
    }
    out.push_str(rest);
    out
}

/// How long a literal is that ends with the quote that it begins with.
fn closing(tail: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    let end = tail.char_indices().skip(1).find(|(_, c)| {
        let is_end = !escaped && *c == quote;
        escaped = !escaped && *c == '\\';
        is_end
    });
    end.map(|(at, _)| at + 1)
}
