//! Enrolling anew: where a device's key was refused for good, what exists nowhere else is set aside with all that
//! opens it, and what the server can give again goes.

use std::fs::File;
use std::path::{Path, PathBuf};

use carepost_protocol::time::Timestamp;

use super::inventory::INVENTORY;
use super::{
    DEVICE_KEY, GRANT, MIRROR, OUTBOX, OUTBOX_KEY, OUTBOX_WAL, RECOVERY, Vault, VaultError, refused,
};
use crate::identity::durable;
use crate::identity::factors::Factors;
use crate::identity::seal::{Credential, SALT_FILE};

/// What is set aside: the outbox, what opens it here and elsewhere, and whose it was. The inventory goes before what it
/// lists.
pub(super) const ASIDE: [&str; 8] =
    [INVENTORY, GRANT, OUTBOX, OUTBOX_WAL, "outbox.db-shm", OUTBOX_KEY, RECOVERY, DEVICE_KEY];
/// How the names of what was set aside begin; a time follows.
const REVOKED: &str = "revoked-";
/// Where it gathers.
pub(super) const UNDER_WAY: &str = "revoked.new";
/// What goes: the copy, with what belongs to it and what was set aside of it, and its key.
const MIRROR_AND_KEY: &str = "mirror.";

impl Vault {
    /// Sets aside what was made under the refused key, in a directory of its own that opens on this hardware
    /// as this one does. What is left has a new device key, new file keys and no grant. After a power cut in
    /// the middle, do it again.
    ///
    /// # Errors
    /// When the disk refuses: then nothing is lost, and it is not done.
    pub fn set_aside(
        self,
        factors: &Factors,
        credential: Option<&Credential>,
        now: Timestamp,
    ) -> Result<Self, VaultError> {
        // First: on a full disk it makes the room that the rest needs.
        self.remove_mirror()?;
        self.keep_kiosk_cookie()?;
        set_aside(&self.directory, now).map_err(|source| refused(self.directory.clone(), source))?;
        Self::unsealed(&self.directory, factors, credential, self.lock)
    }

    /// Removes the mirror's files, which the server can give again. Their key stays.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn remove_mirror(&self) -> Result<(), VaultError> {
        remove(&self.directory, |name| name.starts_with(MIRROR))
            .map_err(|source| refused(self.directory.clone(), source))
    }
}

fn set_aside(directory: &Path, now: Timestamp) -> std::io::Result<()> {
    let gathering = directory.join(UNDER_WAY);
    if !directory.join(GRANT).exists() && !gathering.exists() {
        // Nothing was ever charted under this key, or all of it is aside already.
        return remove(directory, |name| name == DEVICE_KEY || name.starts_with(MIRROR_AND_KEY));
    }
    durable::directory(&gathering)?;
    if let Some(salt) = durable::read(&directory.join(SALT_FILE))? {
        durable::replace(&gathering.join(SALT_FILE), &salt)?;
    }
    for name in ASIDE {
        let (from, to) = (directory.join(name), gathering.join(name));
        // What is there already is the old one; one in its place here was made since, by opening.
        if from.exists() && !to.exists() {
            std::fs::rename(from, to)?;
            // A cut does not bring an inventory back whose files are aside.
            File::open(directory)?.sync_all()?;
        }
    }
    File::open(&gathering)?.sync_all()?;
    remove(directory, |name| name.starts_with(MIRROR_AND_KEY))?;
    std::fs::rename(&gathering, directory.join(format!("{REVOKED}{}", now.as_millis() / 1_000)))?;
    File::open(directory)?.sync_all()
}

/// Whether it was begun, and a power cut may have come in between.
pub(super) fn is_under_way(directory: &Path) -> bool {
    directory.join(UNDER_WAY).exists()
}

fn remove(directory: &Path, which: impl Fn(&str) -> bool) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(&which) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// What was set aside in a state directory, oldest first.
#[must_use]
pub fn aside(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let named = entries.filter(|entry| entry.file_name().to_str().is_some_and(|it| it.starts_with(REVOKED)));
    let mut found: Vec<PathBuf> = named.map(|entry| entry.path()).collect();
    found.sort();
    found
}
