//! The Carepost agent: what runs on each device of a care facility.
//!
//! Start at [`run`]: it puts the rooms together and holds the one loop.

pub mod config;
pub mod upstream;
