//! Rules about the sources themselves: clocks and dice, length, names, and where they were written.

use super::store::texts;
use super::tree::{self, File, has_word};
use super::{assert_found, assert_kept};
use std::path::Path;

/// A file that grows past this has more than one subject.
const MOST_LINES: usize = 600;

/// Where a pure crate's sources are.
const PURE: &[&str] = &["protocol/src/", "agent-core/src/"];

/// What reads a clock or throws a die. Clippy knows the methods' paths; this also sees macros and traits.
const CLOCKS_AND_DICE: &[&str] = &[
    "Instant::now",
    "OffsetDateTime::now_local",
    "OffsetDateTime::now_utc",
    "OsRng",
    "RandomState",
    "SystemRandom",
    "SystemTime::now",
    "TimeZone::system",
    "TimeZone::try_system",
    "Timestamp::now",
    "Uuid::new_v4",
    "Uuid::now_v6",
    "Uuid::now_v7",
    "fastrand",
    "getrandom",
    "thread_rng",
];

/// Names that say nothing about what a thing is for.
const EMPTY_NAMES: &[&str] =
    &["manager", "managers", "service", "services", "helper", "helpers", "util", "utils", "data"];

/// First folders of paths that exist on one machine only.
const MACHINE_FOLDERS: &[&str] = &["work", "root", "farm"];

/// Where the command line says which words of the API's it has others for.
const CLIENT: &str = "sync-server/src/cli/client.rs";

/// The crates that C calls: a driver for pcscd, and file operations for SQLite. Their lints are the
/// workspace's but for `unsafe`, which the workspace's forbid everywhere else.
const CALLED_FROM_C: &[&str] = &["tests/reader/Cargo.toml", "tests/vfs/Cargo.toml"];

#[test]
fn no_crate_allows_unsafe_that_c_does_not_call() {
    tree::assert_there(CALLED_FROM_C.iter().copied());
    assert_kept(&lints_of_their_own(&tree::project()));
}

#[test]
fn planted_lints_are_found() {
    let planted = |path: &str, lints: &str| {
        lints_of_their_own(&[File::planted(path, &format!("[package]\nname = \"a\"\n{lints}"))])
    };
    let own = "[lints.rust]\nunsafe_code = \"deny\"\n";
    assert_found(&planted("agent/Cargo.toml", own), "agent/Cargo.toml");
    assert_found(&planted("agent/Cargo.toml", ""), "agent/Cargo.toml");
    assert_kept(&planted("agent/Cargo.toml", "[lints]\nworkspace = true\n"));
    assert_kept(&planted("tests/reader/Cargo.toml", own));
}

#[test]
fn pure_crates_read_no_clock_and_throw_no_dice() {
    tree::assert_there(PURE.iter().copied());
    assert_kept(&clocks_and_dice(&tree::project()));
}

#[test]
fn no_rust_file_is_too_long() {
    assert_kept(&too_long(&tree::project()));
}

#[test]
fn names_say_what_a_thing_is_for() {
    assert_kept(&empty_names(&tree::project()));
}

#[test]
fn the_project_stands_alone() {
    assert_kept(&machine_paths(&tree::project()));
}

#[test]
fn no_file_has_a_merge_left_undone() {
    assert_kept(&merges_left(&tree::project()));
}

#[test]
fn the_command_line_replaces_words_that_the_api_says() {
    assert_kept(&unsaid(&tree::project()));
}

#[test]
fn planted_words_that_nobody_says_are_found() {
    let client = "const OPTIONS: &[(&str, &str)] = &[\n    (\"name: give one\", \"--name\"),\n];";
    let planted = |said: &str| {
        let client = File::planted(CLIENT, client);
        unsaid(&[client, File::planted("sync-server/src/operations/users.rs", said)])
    };
    assert_kept(&planted("(\"name\", \"give \\\n    one, or none\")"));
    assert_found(&planted("(\"name\", \"choose one\") // give one"), "give one");
    assert_found(&unsaid(&[File::planted(CLIENT, "const WORDS: &[&str] = &[];")]), "OPTIONS");
}

#[test]
fn a_planted_half_merge_is_found() {
    let mark = "<".repeat(7);
    assert_found(
        &merges_left(&[File::planted("bootstrap.sh", &format!("a\n{mark} HEAD\nb\n"))]),
        "bootstrap.sh:2",
    );
    assert_kept(&merges_left(&[File::planted("bootstrap.sh", &format!("echo '{mark} HEAD'\n"))]));
}

#[test]
fn a_planted_clock_is_found() {
    let planted = |path: &str, line: &str| clocks_and_dice(&[File::planted(path, line)]);
    assert_found(&planted("agent-core/src/session.rs", "let now = Instant::now();"), "Instant::now");
    assert_found(&planted("protocol/src/id.rs", "Uuid::now_v7()"), "Uuid::now_v7");
    assert_kept(&planted("agent/src/clock.rs", "SystemTime::now()"));
    assert_kept(&planted("protocol/src/id.rs", "/// Unlike `Uuid::now_v7`, this takes the time."));
}

#[test]
fn a_planted_long_file_is_found() {
    let lines = |count| too_long(&[File::planted("agent/src/run.rs", &"\n".repeat(count))]);
    assert_found(&lines(MOST_LINES + 1), "agent/src/run.rs");
    assert_kept(&lines(MOST_LINES));
}

#[test]
fn a_planted_empty_name_is_found() {
    let planted = |path: &str, line: &str| empty_names(&[File::planted(path, line)]);
    assert_found(&planted("agent/src/string_utils.rs", ""), "string_utils");
    assert_found(&planted("sync-server/src/store/data.rs", ""), "data");
    assert_found(&planted("agent/src/run.rs", "pub(crate) struct SessionManager {"), "SessionManager");
    assert_kept(&planted("agent/src/metadata.rs", "struct Database;"));
    assert_kept(&planted("systemd/carepost-agent.service", "[Service]"));
}

#[test]
fn a_planted_machine_path_is_found() {
    for folder in MACHINE_FOLDERS {
        let path = format!("see /{folder}/notes");
        assert_found(&machine_paths(&[File::planted("README.md", &path)]), "README.md:1");
        let inside = format!("target/{folder}/a https://example.test/{folder}/a");
        assert_kept(&machine_paths(&[File::planted("README.md", &inside)]));
    }
}

/// Clocks and dice named in a pure crate, outside its comments.
fn clocks_and_dice(files: &[File]) -> Vec<String> {
    let mut breaches = Vec::new();
    for file in
        files.iter().filter(|file| PURE.iter().any(|room| file.path.starts_with(room)) && file.is("rs"))
    {
        for (number, line) in file.code_lines() {
            let named = CLOCKS_AND_DICE.iter().filter(|name| has_word(line, name));
            breaches.extend(named.map(|name| {
                format!("{}:{number} is pure: take what {name} gives as an argument", file.path)
            }));
        }
    }
    breaches
}

/// Manifests of crates that do not keep the workspace's lints.
fn lints_of_their_own(files: &[File]) -> Vec<String> {
    let crates = files.iter().filter(|file| file.path.ends_with("Cargo.toml"));
    let crates = crates.filter(|file| file.text.contains("[package]\n"));
    let own = crates.filter(|file| {
        !file.text.contains("[lints]\nworkspace = true") && !CALLED_FROM_C.contains(&file.path.as_str())
    });
    own.map(|file| format!("{} must keep the workspace's lints", file.path)).collect()
}

/// Rust files with more than [`MOST_LINES`] lines.
fn too_long(files: &[File]) -> Vec<String> {
    files
        .iter()
        .filter(|file| file.is("rs"))
        .map(|file| (file, file.text.lines().count()))
        .filter(|(_, lines)| *lines > MOST_LINES)
        .map(|(file, lines)| {
            format!("{} has {lines} lines, more than {MOST_LINES}: split it by subject", file.path)
        })
        .collect()
}

/// Modules and types whose name says nothing.
fn empty_names(files: &[File]) -> Vec<String> {
    let mut breaches = Vec::new();
    for file in files.iter().filter(|file| file.is("rs")) {
        let modules = Path::new(&file.path).with_extension("");
        let modules = modules.iter().filter_map(|part| part.to_str());
        let empty = modules.filter(|part| part.split('_').any(is_empty_name));
        breaches.extend(empty.map(|part| format!("{}: {part} says nothing", file.path)));
        for (number, line) in file.code_lines() {
            let types =
                defined_type(line).filter(|name| camel_words(name).iter().any(|word| is_empty_name(word)));
            breaches.extend(types.map(|name| format!("{}:{number}: {name} says nothing", file.path)));
        }
    }
    breaches
}

fn is_empty_name(word: &str) -> bool {
    EMPTY_NAMES.contains(&word.to_ascii_lowercase().as_str())
}

/// The name of the struct, enum or trait that a line begins to define.
fn defined_type(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub"));
    if !matches!(words.next()?, "struct" | "enum" | "trait") {
        return None;
    }
    words.next()?.split(|c: char| !c.is_alphanumeric() && c != '_').next()
}

fn camel_words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for letter in name.chars() {
        match words.last_mut() {
            Some(word) if !letter.is_uppercase() => word.push(letter),
            _ => words.push(letter.to_string()),
        }
    }
    words
}

/// Absolute paths that mean something on one machine only.
fn machine_paths(files: &[File]) -> Vec<String> {
    let of_path = |c: char| c.is_alphanumeric() || "._-~})>".contains(c);
    let mut breaches = Vec::new();
    for file in files {
        for (index, line) in file.text.lines().enumerate() {
            let named = MACHINE_FOLDERS.iter().map(|folder| format!("/{folder}/")).find(|path| {
                line.match_indices(path.as_str()).any(|(start, _)| !line[..start].ends_with(of_path))
            });
            breaches.extend(named.map(|path| format!("{}:{} names {path}", file.path, index + 1)));
        }
    }
    breaches
}

/// Lines that git wrote where two changes met.
fn merges_left(files: &[File]) -> Vec<String> {
    let marks = ["<", ">"].map(|mark| mark.repeat(7));
    let mut breaches = Vec::new();
    for file in files {
        for (number, line) in (1..).zip(file.text.lines()) {
            if marks.iter().any(|mark| line.starts_with(&format!("{mark} "))) {
                breaches.push(format!("{}:{number} is left of a merge", file.path));
            }
        }
    }
    breaches
}

/// Phrases for which the command line has others, and that no source has between quotes: of a fault, the field and
/// what is said of it, each by itself.
fn unsaid(files: &[File]) -> Vec<String> {
    let client = files.iter().find(|file| file.path == CLIENT).map_or("", |file| file.text.as_str());
    let list = client.split_once("const OPTIONS").and_then(|(_, list)| list.split_once("\n];"));
    let Some((list, _)) = list else {
        return vec![format!("{CLIENT} has no OPTIONS: say where they are now")];
    };
    let sources = ["protocol/src/", "sync-server/src/"];
    let of_api = |file: &&File| {
        let is_source = sources.iter().any(|folder| file.path.starts_with(folder));
        file.is("rs") && is_source && !file.path.starts_with("sync-server/src/cli/")
    };
    let said = files.iter().filter(of_api).flat_map(|file| texts(&file.text));
    let said: Vec<String> = said.map(|(_, text)| in_one_line(text)).collect();
    let phrases = texts(list).into_iter().step_by(2).map(|(_, phrase)| in_one_line(phrase));
    let is_said = |phrase: &str| phrase.split(": ").all(|part| said.iter().any(|text| text.contains(part)));
    let unsaid = phrases.filter(|phrase| !is_said(phrase));
    unsaid.map(|phrase| format!("{CLIENT}: nothing says {phrase:?} any more")).collect()
}

/// A text without the breaks that its source has in it.
fn in_one_line(text: &str) -> String {
    let mut lines = text.split("\\\n");
    let first = lines.next().unwrap_or_default().to_owned();
    lines.fold(first, |joined, line| joined + line.trim_start())
}
