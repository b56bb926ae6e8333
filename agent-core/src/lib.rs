//! What a Carepost device decides.
//!
//! Small machines: a closed enum of events goes in together with the time and random bytes, effects
//! come out, and nothing here does I/O. Machines hold ids and counts; the device's two files hold
//! payloads. `clippy.toml` forbids clocks and random sources. Read it in this order:
//!
//! 1. [`session`]: who is signed in at the screen, and the only maker of permits on a device.

pub mod backoff;
pub mod clock;
pub mod heartbeat;
pub mod outbox;
pub mod session;
