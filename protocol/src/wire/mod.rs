//! The messages of protocol v1, all under `/api/v1`.
//!
//! Every type here is a promise to devices already on walls. Fields may be added, and must then be
//! optional; none is renamed, removed or given another meaning. Readers ignore fields they do not
//! know. The snapshots under `snapshots/` hold each message's form.

pub mod enroll;
pub mod heartbeat;
pub mod older;
pub mod problem;
pub mod pull;
pub mod push;

#[cfg(test)]
mod tests;

/// The protocol version that this build speaks.
pub const VERSION: u32 = 1;

/// The header in which a device says which [`VERSION`] it speaks.
pub const VERSION_HEADER: &str = "carepost-protocol";

/// The header in which a device names its process ([`crate::id::BootId`]).
pub const BOOT_HEADER: &str = "carepost-boot";

/// The header in which a process says that the server has answered it before, as the device that it is.
pub const ANSWERED_HEADER: &str = "carepost-answered";
