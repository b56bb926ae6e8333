//! Application state: the parts of a running server, which every handler and every operation is given.

use std::ops::Deref;
use std::sync::Arc;

use crate::clone_detection::CloneDetector;
use crate::config::Config;
use crate::in_progress::InProgress;
use crate::password::Passwords;
use crate::quota::Quotas;
use crate::rate_limit::RateLimiter;
use crate::read_log::ReadLog;
use crate::refusal_log::RefusalLog;
use crate::request_rate::RequestRate;
use crate::stopping::Stopping;
use crate::store::Store;
use crate::tls::Certificate;

/// The parts of a running server, all behind one count: on its way to a handler a request clones it a dozen times.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// See [`App`].
pub struct Parts {
    /// The truth.
    pub store: Store,
    /// Checks passwords and PINs.
    pub passwords: Passwords,
    pub config: Config,
    /// Failures by address.
    pub rate_limiter: RateLimiter,
    pub quotas: Arc<Quotas>,
    /// Requests with an idempotency key that are in progress.
    pub idempotent_in_progress: Arc<InProgress>,
    /// How fast people ask.
    pub request_rate: RequestRate,
    pub read_log: ReadLog,
    pub refusal_log: RefusalLog,
    /// Who speaks as each device.
    pub clone_detector: CloneDetector,
    /// What the listeners show.
    pub certificate: Arc<Certificate>,
    /// Says that the server stops.
    pub stopping: Stopping,
}

impl App {
    /// The parts of a server that begins: it remembers nothing but what its store has.
    #[must_use]
    pub fn new(
        store: Store,
        passwords: Passwords,
        config: Config,
        certificate: Arc<Certificate>,
        stopping: Stopping,
    ) -> Self {
        Self(Arc::new(Parts {
            store,
            passwords,
            request_rate: RequestRate::new(config.requests_per_minute),
            config,
            rate_limiter: RateLimiter::default(),
            quotas: Arc::default(),
            idempotent_in_progress: Arc::default(),
            read_log: ReadLog::default(),
            refusal_log: RefusalLog::default(),
            clone_detector: CloneDetector::default(),
            certificate,
            stopping,
        }))
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
