//! Connections to encrypted SQLite files.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Once;

use rusqlite::{Connection, OpenFlags, Result};
use zeroize::Zeroizing;

/// A connection without its key yet. SQLite calls itself ready a moment before SQLCipher is, and whoever gave a key
/// in that moment would be told that it is none: the first connection of a process is made alone.
///
/// # Errors
/// When the file cannot be opened.
pub fn connect(path: &Path, flags: OpenFlags) -> Result<Connection> {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| drop(Connection::open_in_memory()));
    Connection::open_with_flags(path, flags)
}

/// Gives a connection its key, before anything of the file is read. A raw one: no stretching on each open. Whether it
/// is the right one shows at the first read.
///
/// # Errors
/// When SQLCipher refuses the statement.
pub fn give_key(connection: &Connection, key: &[u8; 32]) -> Result<()> {
    // With room for all of it, so that nothing of the key is left behind where it grew.
    let mut pragma = Zeroizing::new(String::with_capacity(256));
    pragma.push_str("PRAGMA cipher_log_level = NONE; PRAGMA key = \"x'");
    for byte in key {
        // Writing to a String cannot fail.
        let _ = write!(pragma, "{byte:02x}");
    }
    pragma.push_str("'\"; PRAGMA cipher_page_size = 4096;");
    connection.execute_batch(&pragma)
}
