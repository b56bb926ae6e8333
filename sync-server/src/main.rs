//! Carepost.
fn main() {}
