//! HTTP: the listeners, authentication, and the one table of endpoints.
//!
//! Read [`routes`] first: it says what is served, and to whom. What is asked for is done by
//! [`crate::operations`].

pub mod api;
pub mod authentication;
pub mod body;
pub mod condition;
pub mod encoding;
pub mod extract;
pub mod idempotency;
pub mod json;
pub mod listener;
pub mod openapi;
pub mod parameters;
pub mod problem;
pub mod route;
pub mod routes;
pub mod tenant;
