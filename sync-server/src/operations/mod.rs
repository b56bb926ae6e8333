//! Operations: what people and devices can do, one module for each kind of thing.
//!
//! An operation takes the [person](person::Person) or the [device](authenticated_device::AuthenticatedDevice) that asks (the key, before it is a
//! device's) and what is asked, whose fields are public and may say anything. It finds all that is wrong with that at
//! once (by `TryFrom` into what the store takes, where nothing else has to be known), decides, writes with its audit
//! event, and gives back the model, or a [refusal](crate::error::Refusal). Whoever calls it only reads and renders.

pub mod audit_log;
pub mod authenticated_device;
pub mod badges;
pub mod changes;
pub mod devices;
pub mod enrollments;
pub mod facilities;
pub mod merge;
pub mod organizations;
pub mod paging;
pub mod patients;
pub mod person;
pub mod reviews;
pub mod sessions;
pub mod stream;
pub mod sync;
pub mod users;
pub mod workflows;

use carepost_protocol::role::{Permit, ReadPatients};
/// What only who may read patients gets to see, with the proof of that.
pub type Permitted<T> = (Permit<ReadPatients>, T);
