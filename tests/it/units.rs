//! The systemd files: systemd itself reads them, where it is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The units, with the program each starts and the highest exposure (in tenths) that it may have.
const UNITS: &[(&str, &str, u32)] = &[
    ("carepost-agent.service", "/usr/bin/carepost-agent", 13),
    ("carepost-server.service", "/usr/bin/carepost-server", 11),
];

#[test]
fn systemd_accepts_the_units_without_a_word() {
    for (unit, program, _) in UNITS {
        let Some(output) = analyze(&["verify"], unit, |text| with_a_program_that_exists(text, program))
        else {
            return;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{unit}: {said}");
    }
}

#[test]
fn systemd_objects_to_a_misspelt_key() {
    let (unit, program, _) = UNITS[0];
    let misspelt = |text: &str| with_a_program_that_exists(text, program).replace("UMask=", "Umask=");
    if let Some(output) = analyze(&["verify"], unit, misspelt) {
        assert!(!output.stderr.is_empty(), "a key that systemd does not know should be named");
    }
}

#[test]
fn the_units_expose_little() {
    for (unit, _, most) in UNITS {
        let threshold = format!("--threshold={most}");
        let arguments = ["security", "--offline=true", "--no-pager", &threshold];
        let Some(output) = analyze(&arguments, unit, str::to_owned) else { return };
        assert!(output.status.success(), "{unit}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn the_polkit_rule_lets_in_the_user_that_the_agent_runs_as_and_nobody_else() {
    let unit = fs::read_to_string(systemd_folder().join(UNITS[0].0)).expect("the unit is in systemd/");
    let user = unit.lines().find_map(|line| line.strip_prefix("User=")).expect("the agent has a user");
    let rule = fs::read_to_string(systemd_folder().join("carepost-pcscd.rules")).expect("the rule is there");
    assert_eq!(rule.matches("subject.user == ").count(), 1);
    assert!(rule.contains(&format!("&& subject.user == \"{user}\")")), "{rule}");
}

#[test]
fn an_open_unit_is_found() {
    let arguments = ["security", "--offline=true", "--no-pager", "--threshold=13"];
    let open = |text: &str| text.replace("CapabilityBoundingSet=\n", "");
    if let Some(output) = analyze(&arguments, UNITS[0].0, open) {
        assert!(!output.status.success(), "a unit that keeps every capability should be over the threshold");
    }
}

/// Runs systemd-analyze on an edited copy of a unit; none, with a word, where systemd is not installed.
fn analyze(arguments: &[&str], unit: &str, edit: impl Fn(&str) -> String) -> Option<Output> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let copy = folder.path().join(unit);
    let text = fs::read_to_string(systemd_folder().join(unit)).expect("the unit is in systemd/");
    fs::write(&copy, edit(&text)).expect("the copy can be written");
    match Command::new("systemd-analyze").args(arguments).arg(&copy).output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: systemd-analyze is not installed");
            None
        }
        Err(error) => panic!("systemd-analyze does not start: {error}"),
    }
}

/// `verify` looks for the program, which is not installed here.
fn with_a_program_that_exists(unit: &str, program: &str) -> String {
    let installed = format!("ExecStart={program} ");
    assert!(unit.contains(&installed), "the unit starts {program}");
    unit.replace(&installed, "ExecStart=/bin/true ")
}

fn systemd_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd")
}
