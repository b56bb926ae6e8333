//! What the tests, the demo and the benchmark stand on: the world harness.

pub mod api;
pub mod appetite;
pub mod browser;
pub mod children;
pub mod clock;
pub mod device;
pub mod fixture;
pub mod kiosk;
pub mod ledger;
pub mod link;
pub mod peer;
pub mod scene;
pub mod simulation;
pub mod soak;
pub mod world;
