//! The Carepost agent: what runs on a care facility's device.

pub mod desk;
pub mod kiosk;
