//! The Carepost sync-server: the truth of many organizations, none of which sees another.

pub mod audit;
pub mod body;
pub mod clock;
pub mod config;
pub mod error;
pub mod feed;
pub mod listener;
pub mod password;
pub mod scope;
pub mod store;
pub mod tls;
pub mod tries;
