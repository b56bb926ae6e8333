//! The Carepost agent: what runs on each device of a care facility.
//!
//! Start at [`run`]: it puts the rooms together and holds the one loop.

mod audit;
pub mod badge;
pub mod cli;
pub mod clock;
pub mod config;
pub mod desk;
pub mod identity;
mod interface;
pub mod kiosk;
pub mod mirror;
pub mod outbox;
pub mod run;
pub mod sqlite;
pub mod upstream;
