//! The one integration binary: the stories, and the rules of the house.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test that cannot go on should stop where it stands and say so"
)]

mod administrators;
mod admissions;
mod anew;
mod asked;
mod attacks;
mod attention;
mod bad_input;
mod bad_push;
mod badges;
mod browser;
mod claims;
mod cli;
mod clinics;
mod clocks;
mod clones;
mod corrected;
mod device_word;
mod digest;
mod documents;
mod done_once;
mod drafts;
mod edits;
mod encryption;
mod figures;
mod flood;
mod forms;
mod full_disk;
mod isolation;
mod issued;
mod kills;
mod known;
mod lobby;
mod main_job;
mod memory;
mod metric;
mod named;
mod offline;
mod own_browser;
mod pages;
mod plaintext;
mod power_loss;
mod presets;
mod proxied;
mod reach;
mod restored;
mod revocation;
mod rollback;
mod running;
mod serving;
mod sessions;
mod simulation;
mod soak;
mod stolen;
mod tidy;
mod units;
mod unopened;
mod versions;
mod views;
mod window;
mod written;
mod zones;

/// TLS needs a provider of cryptography before the first connection; the second call changes nothing.
fn install_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
