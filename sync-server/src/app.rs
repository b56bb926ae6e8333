//! What every handler and every operation can reach.

use std::sync::Arc;

use crate::clone_detection::CloneDetector;
use crate::config::Config;
use crate::in_progress::InProgress;
use crate::pace::Pace;
use crate::password::Passwords;
use crate::quota::Quotas;
use crate::rate_limit::RateLimiter;
use crate::reads::Reads;
use crate::refusals::Refusals;
use crate::shown::Shown;
use crate::stopping::Stopping;
use crate::store::Store;
use crate::tls::Certificate;

/// The parts of a running server. Cloning it is cheap.
#[derive(Clone)]
pub struct App {
    /// The truth.
    pub store: Store,
    /// Checks passwords and PINs.
    pub passwords: Passwords,
    /// The configuration.
    pub config: Arc<Config>,
    /// Failures by address.
    pub rate_limiter: Arc<RateLimiter>,
    /// What is under way, by whose it is.
    pub quotas: Arc<Quotas>,
    /// Requests with an idempotency key that are in progress.
    pub idempotent_in_progress: Arc<InProgress>,
    /// How fast people ask.
    pub pace: Arc<Pace>,
    /// What of residents people have seen.
    pub shown: Arc<Shown>,
    /// What was read, counted.
    pub reads: Arc<Reads>,
    /// What was refused, counted.
    pub refusals: Arc<Refusals>,
    /// Who speaks as each device.
    pub clone_detector: Arc<CloneDetector>,
    /// What the listeners show.
    pub certificate: Arc<Certificate>,
    /// Says that the server stops.
    pub stopping: Stopping,
}
