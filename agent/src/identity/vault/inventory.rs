//! The inventory: which files that exist nowhere else were begun in a state directory. None of them that is gone is
//! begun anew in its place.
//!
//! It is kept from the enrollment on. What is not listed yet is nobody's loss: a device that was not let in has keys of
//! which nobody knows, and no outbox. A directory without one is an agent's that kept none: then what is there tells.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::anew::is_under_way;
use super::{DEVICE_KEY, GRANT, MIRROR, OUTBOX, OUTBOX_KEY, VaultError, load};
use crate::identity::seal::{Seal, SealError};
use crate::sqlite::{is_gone, sidecar};

pub(super) const INVENTORY: &str = "inventory";
/// What a device has once it is let in.
pub(super) const ENROLLED: [&str; 3] = [OUTBOX_KEY, DEVICE_KEY, GRANT];

/// The names of the files that were begun.
pub(super) type Inventory = BTreeSet<String>;

/// What was begun in a directory, and whether it is to be kept because that is not kept yet.
pub(super) fn read(directory: &Path, seal: &Seal) -> Result<(Inventory, bool), VaultError> {
    match load(directory, seal, INVENTORY) {
        Ok(Some(kept)) => Ok((kept, false)),
        // What was begun is aside.
        Ok(None) if is_under_way(directory) => Ok((Inventory::new(), false)),
        Ok(None) => {
            let found = found(directory);
            let is_new = !found.is_empty();
            Ok((found, is_new))
        }
        Err(VaultError::Seal(SealError::Damaged { .. }) | VaultError::NotUnderstood { .. }) => {
            Err(VaultError::NoInventory { path: directory.join(INVENTORY) })
        }
        Err(error) => Err(error),
    }
}

/// Whether a device that was let in has its files in a directory, and not aside.
pub(super) fn is_enrolled(directory: &Path) -> bool {
    !is_under_way(directory) && (directory.join(INVENTORY).exists() || !found(directory).is_empty())
}

/// The first file that a device cannot be without, and that is gone. Of an outbox the office can still be told.
pub(super) fn gone(directory: &Path, begun: &Inventory) -> Option<PathBuf> {
    let mut needed = begun.iter().filter(|name| *name != OUTBOX).map(|name| directory.join(name));
    needed.find(|path| is_gone(path))
}

/// What was begun, by what is there: a device that has one of these was let in, and the mirror is made after the
/// outbox.
fn found(directory: &Path) -> Inventory {
    let is_there = |path: &PathBuf| !is_gone(path);
    let outbox = directory.join(OUTBOX);
    let has_outbox = [sidecar(&outbox, "-wal"), directory.join(MIRROR), outbox].iter().any(is_there);
    let is_let_in = has_outbox || is_there(&directory.join(GRANT));
    let names = ENROLLED.into_iter().filter(|_| is_let_in).chain(has_outbox.then_some(OUTBOX));
    names.map(ToOwned::to_owned).collect()
}
