//! Files: those that people and their programs write, and those that are nobody else's.

use std::fs::{OpenOptions, Permissions};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use zeroize::{Zeroize as _, Zeroizing};

/// What some editors begin a text with, and nobody can type.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// What of a file's mode lets others than its owner in.
const OTHERS: u32 = 0o077;

/// Takes others' access away from a file, whatever the umask is; makes it where it is not there. One that is there is
/// not opened for it: by closing it again a process would lose the locks that it has on it.
///
/// # Errors
/// When it cannot be made, or others have access and it is another user's.
pub fn make_private(path: &Path) -> Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(fault) if fault.kind() != ErrorKind::AlreadyExists => return Err(fault),
        Ok(_) | Err(_) => {}
    }
    keep_private(path)
}

/// Takes others' access to a file that is there away.
///
/// # Errors
/// When it is not there, or others have access and it is another user's.
pub fn keep_private(path: &Path) -> Result<()> {
    let mode = std::fs::metadata(path)?.permissions().mode();
    if mode & OTHERS == 0 {
        Ok(())
    } else {
        std::fs::set_permissions(path, Permissions::from_mode(mode & 0o700))
    }
}

/// The bytes of a file, without the byte order mark that it may begin with.
///
/// # Errors
/// When it cannot be read.
pub fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(std::fs::read(path)?);
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    Ok(bytes)
}

/// The same of a file that is text in UTF-8.
///
/// # Errors
/// When it cannot be read, or is something else.
pub fn read_text(path: &Path) -> Result<Zeroizing<String>> {
    let text = String::from_utf8(std::mem::take(&mut *read(path)?));
    text.map(Zeroizing::new).map_err(|fault| {
        fault.into_bytes().zeroize();
        Error::new(ErrorKind::InvalidData, "it is no text in UTF-8; save it as UTF-8")
    })
}

/// Whether a file that could not be read is so until somebody puts it right, and no later try finds it better.
#[must_use]
pub fn stays_unread(fault: &Error) -> bool {
    use ErrorKind::{InvalidData, IsADirectory, NotADirectory, NotFound, PermissionDenied};
    [NotFound, PermissionDenied, InvalidData, IsADirectory, NotADirectory].contains(&fault.kind())
}

/// How many bytes are free where a file or directory is, for whoever is not root.
///
/// # Errors
/// When the file system does not say.
pub fn room(path: &Path) -> std::io::Result<u64> {
    let there = rustix::fs::statvfs(path)?;
    Ok(there.f_bavail.saturating_mul(there.f_frsize))
}
