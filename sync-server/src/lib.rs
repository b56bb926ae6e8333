//! The Carepost sync-server: the truth of many organizations, none of which sees another.

pub mod feed;
pub mod scope;
pub mod store;
