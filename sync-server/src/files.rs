//! Files that people and their programs write.

use std::io::{Error, ErrorKind, Result};
use std::path::Path;

use zeroize::{Zeroize as _, Zeroizing};

/// What some editors begin a text with, and nobody can type.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

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

/// How many bytes are free where a file or directory is, for whoever is not root.
///
/// # Errors
/// When the file system does not say.
pub fn room(path: &Path) -> std::io::Result<u64> {
    let there = rustix::fs::statvfs(path)?;
    Ok(there.f_bavail.saturating_mul(there.f_frsize))
}
