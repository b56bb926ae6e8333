//! Dropping privileges: as whom a program that root started goes on.

use std::io::Error;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

/// Goes on as the owner of the state directory where root was asked: that owner could not read what root leaves
/// there. It comes back only with why that failed.
#[must_use]
pub fn become_owner(directory: &Path) -> Option<Error> {
    let is_root = rustix::process::geteuid().is_root();
    let directory = std::fs::metadata(directory).ok().filter(|it| is_root && it.uid() != 0)?;
    let again = |program| {
        let arguments = std::env::args_os().skip(1);
        Command::new(program).args(arguments).uid(directory.uid()).gid(directory.gid()).exec()
    };
    Some(std::env::current_exe().map_or_else(|error| error, again))
}
