//! What a Carepost device decides.
//!
//! Small machines: a closed enum of events goes in together with the time and random bytes, effects
//! come out, and nothing here does I/O. Machines hold ids and counts; the device's two files hold
//! payloads. `clippy.toml` forbids clocks and random sources. Read it in this order:
//!
//! 1. [`session`]: who is signed in at the screen, and the only maker of permits on a device.
//! 2. [`enrollment`]: how a device comes to be let in.
//! 3. [`outbox`]: what becomes of a change, until the server's receipt and after.
//! 4. [`sync`]: when to push, and how to hold the live stream.
//! 5. [`heartbeat`], [`backoff`], [`clock`]: when to say "I live", how long to wait, what time it is.

#![warn(missing_docs)]

pub mod backoff;
pub mod clock;
pub mod enrollment;
pub mod heartbeat;
pub mod outbox;
pub mod session;
pub mod sync;
