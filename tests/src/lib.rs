//! What the tests, the demo and the benchmark stand on: the world harness.

pub mod browser;
pub mod children;
pub mod fixture;
pub mod link;
