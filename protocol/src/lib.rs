//! What a Carepost device and its server must agree on.
//!
//! This crate is pure: no I/O, no clock, no random source; time and randomness are arguments
//! (`clippy.toml` and the tidy test enforce it). Read it in this order:
//!
//! 1. [`id`] and [`time`]: the names of things and of moments.
//! 2. [`facility`], [`device`]: figures and states that are functions of stored facts.
//! 3. [`role`]: who may do what, and the [`role::Permit`] that proves it was asked.
//! 4. [`text`], [`number`], [`day`]: what people type, in the one form in which it is stored; [`mod@unit`]: in which
//!    units they do; [`zone`]: what a clock on the wall shows, and which moments a time on it may mean.
//! 5. [`workflow`]: the schemas that forms are rendered from and records are checked against;
//!    [`patient`]: the fields of a resident.
//! 6. [`record`]: the documents a device mirrors.
//! 7. [`change`]: what a device made, its place in the device's chain, the server's verdict.
//! 8. [`merge`], [`amend`]: how edits and corrections made side by side come together.
//! 9. [`digest`]: how two copies are proven equal.
//! 10. [`pin`]: what a PIN must be, and what becomes of one that a thief may know; [`verifier`]: what it, or a
//!     password, is checked against.
//! 11. [`audit`]: what is written down about who did what.
//! 12. [`wire`]: the messages of protocol v1.
//!
//! [`hex`] is for whoever writes bytes as text, [`badge`] for whoever reads cards or issues them.

#![warn(missing_docs)]

pub mod amend;
pub mod audit;
pub mod badge;
pub mod change;
pub mod day;
pub mod device;
pub mod digest;
pub mod facility;
pub mod hex;
pub mod id;
pub mod merge;
pub mod number;
pub mod patient;
pub mod pin;
pub mod record;
pub mod role;
pub mod text;
pub mod time;
pub mod unit;
pub mod verifier;
pub mod wire;
pub mod workflow;
pub mod zone;
