//! The device's identity: its hardware label, its key, and how its secrets rest on its disk.
//!
//! The key is the identity; the hardware UUID is a label that anybody can copy. Read [`factors`],
//! [`key`], [`seal`], then [`vault`], which puts them together in the state directory. `exposure` measures how
//! well they rest there.

mod durable;
pub(crate) mod exposure;
pub mod factors;
pub mod key;
pub mod seal;
pub mod vault;

pub use factors::Factors;
pub use key::DeviceKey;
pub use seal::Seal;
pub use vault::Vault;
