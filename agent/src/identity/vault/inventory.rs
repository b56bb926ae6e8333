//! The inventory: that a device was let in, and whether it began an outbox. Nothing of what it has then, and exists
//! nowhere else, is begun anew in the place of what is gone.
//!
//! It is kept from the enrollment on: a device that was not let in has keys of which nobody knows, and no outbox. Where
//! none is kept, as by an earlier agent, what is there tells.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::anew::is_under_way;
use super::{DEVICE_KEY, GRANT, MIRROR, MIRROR_KEY, OUTBOX, OUTBOX_KEY, OUTBOX_WAL, VaultError, load};
use crate::identity::seal::{SALT_FILE, Seal, SealError};
use crate::sqlite::is_gone;

pub(super) const INVENTORY: &str = "inventory";
/// What a device has once it is let in.
const ENROLLED: [&str; 3] = [OUTBOX_KEY, DEVICE_KEY, GRANT];
/// What every device has that an agent was started on.
const SECRETS: [&str; 3] = [DEVICE_KEY, MIRROR_KEY, OUTBOX_KEY];

/// What a device that was let in has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Inventory {
    pub(super) outbox: bool,
}

/// What was begun in a directory, none before the device is let in; and whether that is not kept yet.
pub(super) fn read(directory: &Path, seal: &Seal) -> Result<(Option<Inventory>, bool), VaultError> {
    let kept = match load(directory, seal, INVENTORY) {
        Err(error @ (VaultError::Seal(SealError::Damaged { .. }) | VaultError::NotUnderstood { .. })) => {
            if ENROLLED.into_iter().chain([OUTBOX]).any(|name| is_gone(&directory.join(name))) {
                return Err(VaultError::NoInventory { path: directory.join(INVENTORY) });
            }
            tracing::error!(%error, "the inventory is made anew: all that it could list is there");
            None
        }
        loaded => loaded?,
    };
    // What was begun is aside.
    if is_under_way(directory) {
        return Ok((kept, false));
    }
    let begun = found(directory, kept);
    Ok((begun, begun != kept))
}

/// Whether a device that was let in has its files in a directory, and not aside.
pub(super) fn is_enrolled(directory: &Path) -> bool {
    !is_under_way(directory) && (directory.join(INVENTORY).exists() || found(directory, None).is_some())
}

/// Whether anything of a device is in a directory.
pub(crate) fn is_begun(directory: &Path) -> bool {
    is_enrolled(directory) || SECRETS.iter().any(|name| directory.join(name).exists())
}

/// The first file that would be made anew in a directory, where nothing there says that it is not to be.
pub(crate) fn made_anew(directory: &Path) -> Option<PathBuf> {
    let is_known = is_enrolled(directory) || is_under_way(directory);
    let files = [SALT_FILE].into_iter().chain(SECRETS).map(|name| directory.join(name));
    files.filter(|_| !is_known).find(|path| is_gone(path))
}

/// The first file that a device that was let in cannot be without, and that is gone. Of an outbox the office can still
/// be told.
pub(super) fn gone(directory: &Path) -> Option<PathBuf> {
    ENROLLED.into_iter().map(|name| directory.join(name)).find(|path| is_gone(path))
}

/// What is kept, and what is there besides: an outbox is there before that it was begun can be kept. Where nothing is
/// kept, a device that has one of these was let in, and its mirror was made after its outbox.
fn found(directory: &Path, kept: Option<Inventory>) -> Option<Inventory> {
    let is_there = |name: &str| !is_gone(&directory.join(name));
    let was_begun = kept.map_or_else(|| is_there(MIRROR), |kept| kept.outbox);
    let outbox = was_begun || is_there(OUTBOX) || is_there(OUTBOX_WAL);
    (outbox || kept.is_some() || is_there(GRANT)).then_some(Inventory { outbox })
}
