//! Carepost.

pub mod identity;
pub mod mirror;
pub mod outbox;
pub mod sqlite;
