//! Rules: what holds in the store, whoever asks, the statements, each in the dialect that engines share, and what they
//! come to. A rule works in a transaction that a handle has begun, and so in its scope.

pub(super) mod archive;
pub(super) mod audit;
pub(super) mod badge_keys;
pub(super) mod budget;
pub(super) mod changes;
pub(super) mod chart;
pub(super) mod enrollment;
pub(super) mod feed_writer;
pub(super) mod horizon;
pub(super) mod idempotency;
pub(super) mod older;
pub(super) mod page;
pub(super) mod patient;
pub(super) mod push;
pub(super) mod quarantine;
pub(super) mod review;
pub(super) mod revoked;
pub(super) mod sign_in;
pub(super) mod sorted;
pub(super) mod superseded;
pub(super) mod sync_position;
pub(super) mod user;
pub(super) mod view;
