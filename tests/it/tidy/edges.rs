//! Who may know whom: crates by `cargo metadata`, rooms of one crate by their imports.

use super::tree::{self, File, has_word};
use super::{assert_found, assert_kept};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::iter;
use std::process::Command;

/// A member of the workspace, and the members that it may know.
struct Member {
    name: &'static str,
    may_know: &'static [&'static str],
    may_test_with: &'static [&'static str],
}

const MEMBERS: &[Member] = &[
    Member { name: "carepost-protocol", may_know: &[], may_test_with: &[] },
    Member { name: "carepost-agent-core", may_know: &["carepost-protocol"], may_test_with: &[] },
    Member { name: "carepost-host", may_know: &[], may_test_with: &[] },
    Member {
        name: "carepost-agent",
        may_know: &["carepost-protocol", "carepost-agent-core", "carepost-host"],
        may_test_with: &["carepost-reader"],
    },
    Member { name: "carepost-server", may_know: &["carepost-protocol", "carepost-host"], may_test_with: &[] },
    Member { name: "carepost-reader", may_know: &[], may_test_with: &[] },
    Member {
        name: "carepost-vfs",
        may_know: &[],
        may_test_with: &["carepost-protocol", "carepost-host", "carepost-agent", "carepost-server"],
    },
    Member {
        name: "carepost-tests",
        may_know: &[
            "carepost-protocol",
            "carepost-agent-core",
            "carepost-host",
            "carepost-agent",
            "carepost-server",
            "carepost-reader",
        ],
        may_test_with: &[],
    },
];

/// The crates that decide and touch nothing.
const PURE: &[&str] = &["carepost-protocol", "carepost-agent-core"];

/// What would give a pure crate a file, a socket, a thread, a clock or a die, however indirectly.
const IMPURE: &[&str] = &[
    "axum",
    "chrono",
    "getrandom",
    "hyper",
    "mio",
    "pcsc",
    "rand",
    "rand_core",
    "reqwest",
    "ring",
    "rusqlite",
    "rustls",
    "socket2",
    "tokio",
];

/// ring is the one cryptographic provider; a second one doubles what must be trusted and watched.
const BANNED: &[&str] = &["aws-lc-rs", "aws-lc-sys", "boring", "native-tls", "openssl", "openssl-sys"];

/// Rooms that must not know another: where, but for which part of it, and the paths that must not be used there.
const ROOMS: &[(&str, Option<&str>, &[&str])] = &[
    ("agent/src/kiosk/", None, &["upstream::"]),
    ("agent/src/badge/", None, &["mirror::", "outbox::", "upstream::"]),
    // The workspace's four parts, of which each knows only those before it.
    ("agent/src/workspace/audit_trail.rs", None, &["reader::", "session_host::", "forms::"]),
    ("agent/src/workspace/audit_trail/", None, &["reader::", "session_host::", "forms::"]),
    ("agent/src/workspace/reader/", None, &["session_host::", "forms::"]),
    ("agent/src/workspace/session_host/", None, &["forms::"]),
    ("sync-server/src/", Some("sync-server/src/store/engine/sqlite/"), &["rusqlite::"]),
    ("sync-server/src/cli/", None, &["operations::"]),
    ("sync-server/src/operations/", None, &["axum::", "http::"]),
    // The file and its folder.
    ("sync-server/src/quota", None, &["axum::", "http::", "operations::"]),
    ("sync-server/src/store/", None, &["axum::", "http::", "operations::"]),
    (
        "sync-server/src/store/rules/",
        None,
        &["handles::", "FacilityStore", "OrganizationStore", "SystemStore", "AuditedWrite"],
    ),
    (
        "sync-server/src/store/engine/",
        None,
        &["handles::", "rules::", "model::", "column::", "commits::", "feed::"],
    ),
];

#[test]
fn crates_know_only_whom_they_may() {
    let metadata = cargo(&["metadata", "--format-version", "1", "--no-deps"]);
    assert_kept(&forbidden_members(&serde_json::from_str(&metadata).expect("cargo metadata prints JSON")));
}

#[test]
fn pure_crates_reach_nothing_impure() {
    for name in PURE {
        // The tree of this crate alone: what other members switch on in a shared dependency is not its doing.
        let tree =
            cargo(&["tree", "-p", name, "--all-features", "--edges", "normal,build", "--prefix", "none"]);
        assert!(tree.starts_with(name), "cargo tree prints the crate itself first: {tree}");
        assert_kept(&impure_dependencies(name, &tree));
    }
}

#[test]
fn no_second_crypto_provider_is_locked() {
    let lock = std::fs::read_to_string(tree::root().join("Cargo.lock")).expect("the lock file is committed");
    assert_kept(&banned_packages(&lock));
}

#[test]
fn rooms_know_only_whom_they_may() {
    tree::assert_there(ROOMS.iter().flat_map(|(room, but, _)| iter::once(*room).chain(*but)));
    assert_kept(&forbidden_imports(&tree::project()));
}

#[test]
fn a_planted_edge_is_found() {
    let edge = |from: &str, to: &str, kind: Value| {
        let dependency = json!({"name": to, "kind": kind});
        forbidden_members(&json!({"packages": [{"name": from, "dependencies": [dependency]}]}))
    };
    let (normal, dev) = (Value::Null, json!("dev"));
    assert_found(&edge("carepost-agent", "carepost-server", normal.clone()), "carepost-server");
    assert_found(&edge("carepost-server", "carepost-agent", dev.clone()), "carepost-agent");
    assert_found(&edge("carepost-agent-core", "carepost-agent", normal.clone()), "carepost-agent");
    assert_found(&edge("carepost-agent", "carepost-reader", normal.clone()), "carepost-reader");
    assert_found(&edge("carepost-host", "carepost-protocol", normal.clone()), "carepost-protocol");
    assert_kept(&edge("carepost-agent", "carepost-reader", dev));
    assert_kept(&edge("carepost-agent", "carepost-agent-core", normal.clone()));
    assert_found(&edge("carepost-extra", "serde", normal), "carepost-extra");
}

#[test]
fn a_planted_impure_dependency_is_found() {
    let tree = "carepost-protocol v0.1.0 (protocol)\nuuid v1.29.1\ngetrandom v0.4.3\ngetrandom v0.4.3 (*)\n";
    assert_found(&impure_dependencies("carepost-protocol", tree), "getrandom");
    assert_kept(&impure_dependencies("carepost-protocol", "serde v1.0.229\nrandom-names v1.0.0\n"));
}

#[test]
fn a_planted_banned_package_is_found() {
    assert_found(&banned_packages("[[package]]\nname = \"native-tls\"\nversion = \"1\"\n"), "native-tls");
    assert_kept(&banned_packages("[[package]]\nname = \"openssl-probe\"\nversion = \"1\"\n"));
}

#[test]
fn a_planted_import_is_found() {
    let planted = |path: &str, line: &str| forbidden_imports(&[File::planted(path, line)]);
    assert_found(
        &planted("agent/src/kiosk/mod.rs", "use crate::{workspace, upstream::Upstream};"),
        "upstream::",
    );
    for file in ["http/api/users.rs", "store/rules/push/mod.rs", "store/engine/writer.rs"] {
        let planted = planted(&format!("sync-server/src/{file}"), "rusqlite::params![]");
        assert_found(&planted, "rusqlite::");
    }
    assert_kept(&planted("sync-server/src/store/engine/sqlite/row.rs", "rusqlite::Row"));
    for (part, later) in [
        ("audit_trail.rs", "reader::"),
        ("reader/mod.rs", "session_host::"),
        ("session_host/mod.rs", "forms::"),
    ] {
        let line = format!("use super::{later}Part;");
        assert_found(&planted(&format!("agent/src/workspace/{part}"), &line), later);
    }
    assert_kept(&planted("agent/src/workspace/forms/save.rs", "use crate::workspace::reader::Reader;"));
    assert_found(&planted("sync-server/src/cli/people.rs", "use crate::operations::users;"), "operations::");
    assert_found(&planted("sync-server/src/operations/users.rs", "use http::StatusCode;"), "http::");
    assert_found(&planted("sync-server/src/quota.rs", "pub fn of(extensions: &http::Extensions)"), "http::");
    assert_found(&planted("sync-server/src/store/rules/page.rs", "crate::operations::users"), "operations::");
    assert_found(
        &planted("sync-server/src/store/engine/tables.rs", "use crate::store::rules::page;"),
        "rules::",
    );
    for (line, handle) in
        [("impl FacilityStore {", "FacilityStore"), ("use crate::store::handles::organization;", "handles::")]
    {
        assert_found(&planted("sync-server/src/store/rules/page.rs", line), handle);
    }
    assert_kept(&planted("sync-server/src/http/api/users.rs", "use crate::operations::users;"));
    assert_kept(&planted("agent/src/kiosk/mod.rs", "// crate::upstream::Upstream fetches"));
    assert_kept(&planted("agent/src/workspace/mod.rs", "use crate::mirror::Mirror;"));
}

/// Edges between members that [`MEMBERS`] does not allow, of every kind, and members it does not name.
fn forbidden_members(metadata: &Value) -> Vec<String> {
    let mut breaches = Vec::new();
    for package in list(&metadata["packages"]) {
        let name = text(&package["name"]);
        let Some(member) = MEMBERS.iter().find(|member| member.name == name) else {
            breaches.push(format!("{name} is not in the table of members: say whom it may know"));
            continue;
        };
        for dependency in list(&package["dependencies"]) {
            let (known, kind) = (text(&dependency["name"]), &dependency["kind"]);
            let allowed = member.may_know.contains(&known)
                || (kind == "dev" && member.may_test_with.contains(&known))
                || MEMBERS.iter().all(|other| other.name != known);
            if !allowed {
                breaches.push(format!("{name} must not depend on {known}"));
            }
        }
    }
    breaches
}

/// What a pure crate reaches, by its dependency tree with one package a line, and must not.
fn impure_dependencies(name: &str, tree: &str) -> Vec<String> {
    let reached: BTreeSet<&str> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let impure = reached.into_iter().filter(|reached| IMPURE.contains(reached));
    impure.map(|reached| format!("{name} is pure and must not reach {reached}")).collect()
}

/// Packages of the lock file, which covers every target and feature, that nothing may depend on.
fn banned_packages(lock: &str) -> Vec<String> {
    let locked = lock.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    locked.filter(|name| BANNED.contains(name)).map(|name| format!("{name} is locked")).collect()
}

/// Paths used in a room that must not know them.
fn forbidden_imports(files: &[File]) -> Vec<String> {
    let mut breaches = Vec::new();
    for file in files {
        let within = |room: &&str| file.path.starts_with(*room);
        for (_, _, paths) in
            ROOMS.iter().filter(|(room, but, _)| within(room) && !but.as_ref().is_some_and(within))
        {
            for (number, line) in file.code_lines() {
                let used = paths
                    .iter()
                    .filter(|path| has_word(line, path.trim_end_matches(':')) && line.contains(**path));
                breaches.extend(used.map(|path| format!("{}:{number} must not use {path}", file.path)));
            }
        }
    }
    breaches
}

/// What a cargo command prints, without touching the lock file or the network.
fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .args(["--locked", "--offline"])
        .current_dir(tree::root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo prints UTF-8")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
