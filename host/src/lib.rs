//! What both programs ask of the machine that they run on, each asked in one way.
//!
//! [`files`] that people write and files that are nobody else's; [`sqlcipher`], the encrypted databases;
//! [`connections`] that listeners accept; [`log`]; [`systemd`], which starts them and waits for them; [`owner`], as
//! whom they go on.

pub mod connections;
pub mod files;
pub mod log;
pub mod owner;
pub mod sqlcipher;
pub mod systemd;
