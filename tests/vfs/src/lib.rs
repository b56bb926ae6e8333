//! A disk that remembers, loses power and fails, for tests of the agent's and the server's files.
//!
//! [`Watch::over`] a directory, then let production code open its databases there: a VFS of this crate
//! is the process's default from then on, so that no line of that code is other than what ships.
//! - **Power cuts.** Every write, truncation, sync and deletion is recorded. A [`Disk`] takes a
//!   [`Recording`] to any moment and leaves in a fresh directory what could be found there after the
//!   plug was pulled: all that was synced, and of the rest what an [`Outcome`] and the [`Dice`] say, in
//!   sectors of 512 bytes. A file is in its directory for sure once SQLite has synced the directory.
//!   The WAL's index (`-shm`) is memory, and is gone.
//! - **Faults.** [`Watch::fail`] lets the operation that a [`Fault`] counts to answer EIO or ENOSPC.
//!   After a sync that failed, what it should have written is lost for good, though still readable
//!   until the power goes: so does Linux.
//! - **The control.** [`Watch::weaken`] makes `PRAGMA synchronous = FULL` mean `NORMAL`. A harness that
//!   then loses nothing proves nothing.
//!
//! `tests/power` cuts each recording at a number of moments that keeps it quick. `CAREPOST_CUTS=n` cuts
//! n times as often (from 5 on every single operation fails once, not one in five), and `CAREPOST_SEED`
//! repeats the dice of a run that failed.
//!
//! Here, as in `tests/reader`, is `unsafe`: SQLite calls a VFS from C, and hands it pointers. All of it
//! is in `shim`; nothing of this crate is in a program that ships.

mod dice;
mod disk;
mod recording;
mod shim;
mod watch;

pub use dice::Dice;
pub use disk::{Disk, Outcome};
pub use recording::Recording;
pub use watch::{Fault, Trouble, Watch};
