//! What people can do: one module for each kind of thing.
//!
//! An operation takes the [person](person::Person) who asks and what is asked. It finds all that is wrong with that
//! at once, decides, writes with its audit event, and gives back the model, or a [refusal](crate::error::Refusal).
//! Whoever calls it only reads and renders.

pub mod paging;
pub mod person;
pub mod workflows;
