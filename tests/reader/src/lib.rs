//! A virtual badge reader, so that a tap in a test or the demo goes through the real pcscd and the
//! `pcsc` crate exactly as with hardware.
//!
//! Three parts, in reading order: [`card`] says what a card on the reader does, [`tap`] is the client
//! that lays cards on a reader (the tool `carepost-tap` is a thin shell around it), [`pcscd`] starts a
//! private pcscd that loads this crate's own `cdylib` as its driver. The driver itself is `reader` (its
//! state), `control` (its socket) and `ifd` (the functions pcscd calls, the only `unsafe` here).

pub mod card;
mod control;
mod ifd;
pub mod pcscd;
mod reader;
pub mod tap;

pub use card::Manner;
pub use pcscd::Pcscd;
pub use tap::Reader;
