use super::*;
use age::secrecy::ExposeSecret;
use carepost_protocol::device::DeviceType;
use carepost_protocol::id::{AssignmentId, DeviceId, FacilityId, OrganizationId};
use carepost_protocol::time::Timestamp;
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc;

const HERE: &str = "0f2c6e1d9b8a4c7e8d5f3a2b1c0d9e8f";
const ELSEWHERE: &str = "9e8f0f2c6e1d9b8a4c7e8d5f3a2b1c0d";

fn factors(machine_id: &str) -> Factors {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("etc")).unwrap();
    std::fs::write(root.path().join("etc/machine-id"), machine_id).unwrap();
    Factors::read(root.path()).unwrap()
}

fn grant(recipient: &age::x25519::Identity) -> Grant {
    Grant {
        device_id: DeviceId::from_bytes([1; 16]),
        assignment_id: AssignmentId::from_bytes([2; 16]),
        organization_id: OrganizationId::from_bytes([3; 16]),
        facility_id: FacilityId::from_bytes([4; 16]),
        facility_name: "Rosewood House".into(),
        device_name: "Hall".into(),
        device_type: DeviceType::RaspberryPi,
        badge_key: "5e".repeat(32),
        recovery_recipient: recipient.to_public().to_string(),
        server_time: Timestamp::from_millis(1_777_644_600_000),
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn a_reopened_directory_is_the_same_device() {
    let state = tempfile::tempdir().unwrap();
    let directory = state.path().join("carepost");
    let vault = Vault::open(&directory, &factors(HERE), None).unwrap();
    let (public, mirror) = (vault.device_key().public_key_sha256(), vault.mirror_key().clone());
    assert_ne!(vault.mirror_key(), vault.outbox_key());
    drop(vault);
    let vault = Vault::open(&directory, &factors(HERE), None).unwrap();
    assert_eq!(vault.device_key().public_key_sha256(), public);
    assert_eq!(*vault.mirror_key(), mirror);
}

#[test]
fn an_agent_that_starts_waits_for_commands_that_write() {
    let directory = tempfile::tempdir().unwrap();
    let commands = [(); 2].map(|()| lock_for_command(directory.path()).unwrap());
    assert!(!is_held(directory.path()), "no agent runs");
    let (path, (done, opened)) = (directory.path().to_owned(), mpsc::channel());
    thread::spawn(move || drop(done.send(Vault::open(&path, &factors(HERE), None))));
    assert!(opened.recv_timeout(Duration::from_secs(1)).is_err(), "it does not wait");
    drop(commands);
    let vault = opened.recv_timeout(Duration::from_secs(60)).unwrap().unwrap();
    assert!(lock_for_command(directory.path()).is_none(), "an agent runs");
    drop(vault);
}

#[test]
fn only_one_agent_runs_on_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let vault = Vault::open(directory.path(), &factors(HERE), None).unwrap();
    let second = Vault::open(directory.path(), &factors(HERE), None);
    assert!(matches!(second, Err(VaultError::InUse { .. })));
    drop(vault);
    assert!(Vault::open(directory.path(), &factors(HERE), None).is_ok());
}

#[test]
fn a_copied_directory_does_not_open_on_other_hardware() {
    let (directory, stolen) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(Vault::open(directory.path(), &factors(HERE), None).unwrap());
    copy(directory.path(), stolen.path());
    let error = Vault::open(stolen.path(), &factors(ELSEWHERE), None).unwrap_err();
    assert!(matches!(error, VaultError::Seal(SealError::OtherHardware { .. })));
    assert!(error.to_string().contains("recovery key"));
}

#[test]
fn the_recovery_key_opens_the_outbox_key() {
    let directory = tempfile::tempdir().unwrap();
    let recovery = age::x25519::Identity::generate();
    let vault = Vault::open(directory.path(), &factors(HERE), None).unwrap();
    assert!(!directory.path().join(RECOVERY).exists());
    vault.keep_grant(&grant(&recovery)).unwrap();
    let wrapped = std::fs::read(directory.path().join(RECOVERY)).unwrap();
    // What an administrator holds is the text of the identity.
    let text = recovery.to_string();
    let identity: age::x25519::Identity = text.expose_secret().parse().unwrap();
    let opened = age::decrypt(&identity, &wrapped).unwrap();
    assert_eq!(opened, vault.outbox_key().to_hex().as_bytes());
    assert!(age::decrypt(&age::x25519::Identity::generate(), &wrapped).is_err());
}

#[test]
fn a_grant_is_kept_and_its_recovery_key_pinned() {
    let directory = tempfile::tempdir().unwrap();
    let recovery = age::x25519::Identity::generate();
    let vault = Vault::open(directory.path(), &factors(HERE), None).unwrap();
    assert_eq!(vault.grant().unwrap(), None);
    let first = grant(&recovery);
    vault.keep_grant(&first).unwrap();
    vault.keep_grant(&first).unwrap();
    drop(vault);
    let vault = Vault::open(directory.path(), &factors(HERE), None).unwrap();
    assert_eq!(vault.grant().unwrap(), Some(first));
    let other = grant(&age::x25519::Identity::generate());
    assert!(matches!(vault.keep_grant(&other), Err(VaultError::RecipientChanged)));
    let bad = Grant { recovery_recipient: "nobody".into(), ..other };
    let fresh = tempfile::tempdir().unwrap();
    let vault = Vault::open(fresh.path(), &factors(HERE), None).unwrap();
    assert!(matches!(vault.keep_grant(&bad), Err(VaultError::NotARecipient(_))));
    assert_eq!(vault.grant().unwrap(), None, "no grant without a way to salvage");
}

#[test]
fn documents_come_back_and_nothing_is_readable_on_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let vault = Vault::open(directory.path(), &factors(HERE), None).unwrap();
    vault.keep_grant(&grant(&age::x25519::Identity::generate())).unwrap();
    assert_eq!(vault.kept::<Vec<String>>(Kept::Enrollment).unwrap(), None);
    vault.keep(Kept::Enrollment, &vec!["planted-marker"]).unwrap();
    vault.keep(Kept::Clock, &17).unwrap();
    assert_eq!(vault.kept::<Vec<String>>(Kept::Enrollment).unwrap().unwrap(), ["planted-marker"]);
    assert_eq!(vault.kept::<i64>(Kept::Clock).unwrap(), Some(17));
    assert!(matches!(vault.kept::<i64>(Kept::Enrollment), Err(VaultError::NotUnderstood { .. })));
    let mode = std::fs::metadata(directory.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let secrets: [&[u8]; 4] =
        [b"planted-marker", b"5e5e5e5e", vault.outbox_key().as_bytes(), &vault.device_key().pkcs8()[40..60]];
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let path = entry.unwrap().path();
        let content = std::fs::read(&path).unwrap();
        for secret in secrets {
            let found = content.windows(secret.len()).any(|window| window == secret);
            assert!(!found, "{}", path.display());
        }
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
}

#[test]
fn a_lost_salt_or_a_swapped_file_is_named() {
    let directory = tempfile::tempdir().unwrap();
    drop(Vault::open(directory.path(), &factors(HERE), None).unwrap());
    let (mirror, outbox) = (directory.path().join(MIRROR_KEY), directory.path().join(OUTBOX_KEY));
    let kept = std::fs::read(&mirror).unwrap();
    std::fs::copy(&outbox, &mirror).unwrap();
    let error = Vault::open(directory.path(), &factors(HERE), None).unwrap_err();
    assert!(error.to_string().contains(MIRROR_KEY));
    std::fs::write(&mirror, kept).unwrap();
    std::fs::remove_file(directory.path().join(SALT_FILE)).unwrap();
    let error = Vault::open(directory.path(), &factors(HERE), None).unwrap_err();
    assert!(matches!(error, VaultError::Seal(SealError::NoSalt { .. })));
}

#[test]
fn power_loss_in_the_middle_of_a_write_leaves_the_old_content() {
    let directory = tempfile::tempdir().unwrap();
    let vault = Vault::open(directory.path(), &factors(HERE), None).unwrap();
    vault.keep(Kept::Clock, &1).unwrap();
    // What a cut leaves: half of the new content, not yet renamed.
    std::fs::write(directory.path().join("clock.new"), b"CPS1 half").unwrap();
    assert_eq!(vault.kept::<i64>(Kept::Clock).unwrap(), Some(1));
    vault.keep(Kept::Clock, &2).unwrap();
    assert_eq!(vault.kept::<i64>(Kept::Clock).unwrap(), Some(2));
}

#[test]
fn what_a_refused_device_had_is_set_aside_whole_after_a_power_cut_anywhere() {
    let now = Timestamp::from_millis(1_777_644_600_000);
    for cut in 0..=anew::ASIDE.len() {
        let state = tempfile::tempdir().unwrap();
        let directory = state.path();
        let vault = Vault::open(directory, &factors(HERE), None).unwrap();
        let recovery = age::x25519::Identity::generate();
        vault.keep_grant(&grant(&recovery)).unwrap();
        std::fs::write(vault.outbox_path(), "never sent").unwrap();
        vault.keep_begun_outbox().unwrap();
        std::fs::write(vault.mirror_path(), "what the server has").unwrap();
        let (key, outbox) = (vault.device_key().public_key_sha256(), vault.outbox_key().clone());
        let cookie = vault.kiosk_cookie().expose_secret().to_owned();
        // As a power cut leaves it after so many steps.
        vault.keep_kiosk_cookie().unwrap();
        drop(vault);
        std::fs::create_dir(directory.join(anew::UNDER_WAY)).unwrap();
        for name in &anew::ASIDE[..cut] {
            let _ = std::fs::rename(directory.join(name), directory.join(anew::UNDER_WAY).join(name));
        }
        let vault = Vault::open(directory, &factors(HERE), None).unwrap();
        let vault = vault.set_aside(&factors(HERE), None, now).unwrap();
        assert_ne!(vault.device_key().public_key_sha256(), key, "after {cut}");
        assert!(*vault.outbox_key() != outbox && vault.grant().unwrap().is_none(), "after {cut}");
        assert_eq!(vault.kiosk_cookie().expose_secret(), cookie, "its browser is known, after {cut}");
        assert!(!vault.outbox_path().exists() && !vault.mirror_path().exists(), "after {cut}");
        let found = aside(directory);
        assert_eq!(found, [directory.join("revoked-1777644600")], "after {cut}");
        assert_eq!(std::fs::read(found[0].join("outbox.db")).unwrap(), b"never sent");
        assert!(found[0].join(RECOVERY).exists());
        let old = Vault::beside(&found[0], &factors(HERE), None).unwrap().unwrap();
        assert!(*old.outbox_key() == outbox && old.grant().unwrap().is_some(), "after {cut}");
        assert!(old.has_begun_outbox() && !vault.has_begun_outbox(), "after {cut}");
        // Once more, as after a cut before that was written down: nothing is set aside twice.
        let vault = vault.set_aside(&factors(HERE), None, now.plus_millis(1_000)).unwrap();
        assert_eq!(aside(vault.directory()).len(), 1, "after {cut}");
    }
}

/// An enrolled device's directory, with an outbox; whether its agent kept an inventory.
fn enrolled(keeps_inventory: bool) -> (tempfile::TempDir, FileKey) {
    let state = tempfile::tempdir().unwrap();
    let vault = Vault::open(state.path(), &factors(HERE), None).unwrap();
    vault.keep_grant(&grant(&age::x25519::Identity::generate())).unwrap();
    std::fs::write(vault.outbox_path(), "never sent").unwrap();
    vault.keep_begun_outbox().unwrap();
    let outbox = vault.outbox_key().clone();
    drop(vault);
    if !keeps_inventory {
        std::fs::remove_file(state.path().join(INVENTORY)).unwrap();
    }
    (state, outbox)
}

#[test]
fn what_was_begun_is_not_begun_anew_in_its_place() {
    for keeps_inventory in [true, false] {
        let (state, outbox) = enrolled(keeps_inventory);
        let directory = state.path();
        for name in [OUTBOX_KEY, DEVICE_KEY, GRANT, SALT_FILE] {
            let (path, aside) = (directory.join(name), directory.join("aside"));
            std::fs::rename(&path, &aside).unwrap();
            for error in [
                Vault::open(directory, &factors(HERE), None).unwrap_err(),
                Vault::beside(directory, &factors(HERE), None).unwrap_err(),
            ] {
                assert!(error.to_string().contains(&format!("{} is missing", path.display())), "{error}");
            }
            assert!(!path.exists(), "{name} was made anew");
            std::fs::rename(&aside, &path).unwrap();
        }
        assert_eq!(directory.join(INVENTORY).exists(), keeps_inventory, "it did not open");
        let vault = Vault::open(directory, &factors(HERE), None).unwrap();
        assert!(*vault.outbox_key() == outbox && vault.has_begun_outbox());
        assert!(directory.join(INVENTORY).exists(), "from now on it is kept");
        drop(vault);
        std::fs::remove_file(directory.join(OUTBOX)).unwrap();
        let vault = Vault::open(directory, &factors(HERE), None).unwrap();
        assert!(vault.has_begun_outbox(), "nobody says that it was not");
    }
}

#[test]
fn a_device_that_was_not_let_in_makes_what_it_lacks() {
    let state = tempfile::tempdir().unwrap();
    for name in [OUTBOX_KEY, DEVICE_KEY, MIRROR_KEY] {
        let vault = Vault::open(state.path(), &factors(HERE), None).unwrap();
        assert!(!vault.has_begun_outbox() && !state.path().join(INVENTORY).exists());
        drop(vault);
        std::fs::remove_file(state.path().join(name)).unwrap();
        let beside = Vault::beside(state.path(), &factors(HERE), None);
        assert!(name == MIRROR_KEY || beside.unwrap().is_none(), "{name} is the agent's to make");
    }
}

#[test]
fn without_inventory_and_outbox_the_copy_tells_that_there_was_one() {
    for had_outbox in [true, false] {
        let (state, _) = enrolled(false);
        std::fs::remove_file(state.path().join(OUTBOX)).unwrap();
        if had_outbox {
            std::fs::write(state.path().join(MIRROR), "what the server has").unwrap();
        }
        let vault = Vault::open(state.path(), &factors(HERE), None).unwrap();
        assert_eq!(vault.has_begun_outbox(), had_outbox);
    }
}

#[test]
fn a_damaged_inventory_is_made_anew_while_all_is_there_and_named_otherwise() {
    let (state, outbox) = enrolled(true);
    let (inventory, log) = (state.path().join(INVENTORY), state.path().join(OUTBOX_WAL));
    std::fs::write(&inventory, "damaged").unwrap();
    std::fs::rename(state.path().join(OUTBOX), &log).unwrap();
    let error = Vault::open(state.path(), &factors(HERE), None).unwrap_err();
    assert!(matches!(&error, VaultError::NoInventory { path } if *path == inventory), "{error}");
    assert_eq!(std::fs::read(&inventory).unwrap(), b"damaged");
    std::fs::rename(&log, state.path().join(OUTBOX)).unwrap();
    let vault = Vault::open(state.path(), &factors(HERE), None).unwrap();
    assert!(*vault.outbox_key() == outbox && vault.has_begun_outbox());
    // In a form that this build does not know.
    vault.store(INVENTORY, &[OUTBOX]).unwrap();
    drop(vault);
    drop(Vault::open(state.path(), &factors(HERE), None).unwrap());
    std::fs::remove_file(state.path().join(OUTBOX)).unwrap();
    assert!(Vault::open(state.path(), &factors(HERE), None).unwrap().has_begun_outbox(), "it was kept");
}

#[test]
fn an_outbox_that_is_there_was_begun_whatever_the_inventory_says() {
    for name in [OUTBOX, OUTBOX_WAL] {
        let state = tempfile::tempdir().unwrap();
        let open = || Vault::open(state.path(), &factors(HERE), None).unwrap();
        let vault = open();
        vault.keep_grant(&grant(&age::x25519::Identity::generate())).unwrap();
        drop(vault);
        assert!(!open().has_begun_outbox() && state.path().join(INVENTORY).exists());
        // The mirror alone tells nothing beside an inventory.
        std::fs::write(state.path().join(MIRROR), "what the server has").unwrap();
        assert!(!open().has_begun_outbox());
        std::fs::write(state.path().join(name), "begun before that was kept").unwrap();
        assert!(open().has_begun_outbox(), "{name}");
        std::fs::remove_file(state.path().join(name)).unwrap();
        assert!(open().has_begun_outbox(), "it was kept, of {name}");
    }
}

#[test]
fn an_outbox_that_is_there_opens_though_that_it_was_begun_cannot_be_kept() {
    let (state, _) = enrolled(false);
    std::fs::create_dir(state.path().join("inventory.new")).unwrap();
    let vault = Vault::open(state.path(), &factors(HERE), None).unwrap();
    assert!(vault.has_begun_outbox() && vault.keep_begun_outbox().is_ok());
    assert!(!state.path().join(INVENTORY).exists());
}

#[test]
fn beside_an_agent_that_begins_to_set_its_files_aside_none_is_missing() {
    let (state, _) = enrolled(true);
    let beside = || Vault::beside(state.path(), &factors(HERE), None);
    std::fs::rename(state.path().join(GRANT), state.path().join("aside")).unwrap();
    assert!(matches!(beside(), Err(VaultError::Missing { .. })));
    std::fs::create_dir(state.path().join(anew::UNDER_WAY)).unwrap();
    assert!(beside().unwrap().is_none());
}
