//! Carepost.

pub mod identity;
pub mod sqlite;
