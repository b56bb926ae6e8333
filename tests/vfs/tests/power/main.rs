//! The plug is pulled, and the disk fails, under the agent's outbox and mirror and the server's store:
//! the code that ships, on the disk of this crate.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test that cannot go on should stop where it stands and say so"
)]

mod begun;
mod cuts;
mod device;
mod failing_device;
mod failing_store;
mod faults;
mod mirror;
mod outbox;
mod server;
mod store;
