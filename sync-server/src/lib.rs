//! Carepost.
