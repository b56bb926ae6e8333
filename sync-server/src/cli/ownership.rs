//! File ownership in the state directory, where root runs a command. What root leaves there is given to the directory's
//! owner, the server's own user, who could not read it otherwise.

use std::io::Result;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown, lchown};
use std::path::{Path, PathBuf};

use super::show;

/// The server's own user, as sysusers.d makes it.
const USER: &str = "carepost-server";
const USERS: &str = "/etc/passwd";

/// While a command of root's works in the state directory. What it leaves there is the directory's owner's.
pub(super) struct OwnershipGuard(Option<(PathBuf, u32, u32)>);

impl OwnershipGuard {
    pub(super) fn of(directory: &Path) -> Self {
        let owner = std::fs::metadata(directory).ok().map(|it| (it.uid(), it.gid()));
        let given = owner.filter(|(uid, _)| *uid != 0 && is_root());
        Self(given.map(|(uid, gid)| (directory.to_owned(), uid, gid)))
    }

    /// The same; one that root makes is the server's own user's, where the machine has that.
    pub(super) fn made(directory: &Path) -> Result<Self> {
        if is_root()
            && !directory.exists()
            && let Some((uid, gid)) = own_user()
        {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            chown(directory, Some(uid), Some(gid))?;
        }
        Ok(Self::of(directory))
    }
}

impl Drop for OwnershipGuard {
    fn drop(&mut self) {
        let Some((directory, uid, gid)) = &self.0 else { return };
        if let Err(fault) = give(directory, *uid, *gid) {
            let directory = directory.display();
            show::say_error(&format!("{directory}: {fault}; give what is in it to its owner (chown)"));
        }
    }
}

/// Gives root's files to the owner of their directory. Others' stay: so does one that has a second name, which the
/// owner may have given to a file of root's elsewhere.
fn give(directory: &Path, uid: u32, gid: u32) -> Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let file = entry.metadata()?;
        if file.is_file() && file.uid() == 0 && file.nlink() == 1 {
            lchown(entry.path(), Some(uid), Some(gid))?;
        }
    }
    Ok(())
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn own_user() -> Option<(u32, u32)> {
    let users = std::fs::read_to_string(USERS).ok()?;
    users.lines().find_map(|line| match line.split(':').collect::<Vec<_>>().as_slice() {
        [USER, _, uid, gid, ..] => Some((uid.parse().ok()?, gid.parse().ok()?)),
        _ => None,
    })
}
