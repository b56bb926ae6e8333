//! What a Carepost device and its server must agree on.
//!
//! This crate is pure: no I/O, no clock, no random source; time and randomness are arguments
//! (`clippy.toml` and the tidy test enforce it). Read it in this order:
//!
//! 1. [`id`] and [`time`]: the names of things and of moments.
//! 2. [`facility`], [`device`]: figures and states that are functions of stored facts.
//! 3. [`role`]: who may do what, and the [`role::Permit`] that proves it was asked.
//! 4. [`workflow`]: the schemas that forms are rendered from and records are checked against.
//! 5. [`record`]: the documents a device mirrors.
//! 6. [`change`]: what a device made, its place in the device's chain, the server's verdict.
//! 7. [`merge`], [`amend`]: how edits and corrections made side by side come together.
//! 8. [`digest`]: how two copies are proven equal.
//! 9. [`pin`]: what a PIN must be, and what becomes of one that a thief may know.
//! 10. [`audit`]: what is written down about who did what.
//! 11. [`wire`]: the messages of protocol v1.
//!
//! [`hex`] is for whoever writes bytes as text.

pub mod amend;
pub mod audit;
pub mod change;
pub mod device;
pub mod digest;
pub mod facility;
pub mod hex;
pub mod id;
pub mod merge;
pub mod pin;
pub mod record;
pub mod role;
pub mod time;
pub mod wire;
pub mod workflow;
