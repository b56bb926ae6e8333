//! Carepost.

pub mod badge;
