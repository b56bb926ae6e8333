//! Requests with an idempotency key that are in progress: of two with one key, the second is told to wait.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use carepost_protocol::wire::problem::ProblemKind;

use crate::error::{Answer, Refusal};

/// By what their keys come to.
#[derive(Debug, Default)]
pub struct InProgress(Mutex<HashSet<[u8; 16]>>);

/// One of them, until it is answered.
pub struct Begun {
    all: Arc<InProgress>,
    id: [u8; 16],
}

impl InProgress {
    /// # Errors
    /// `idempotency-key-in-use` while another with that key is in progress.
    pub fn begin(all: &Arc<Self>, id: [u8; 16]) -> Answer<Begun> {
        if all.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id) {
            return Ok(Begun { all: Arc::clone(all), id });
        }
        let words = "The first request with this key is under way; send it again when that is answered.";
        Err(Refusal::new(ProblemKind::IdempotencyKeyInUse, words).retry_after(1))
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.all.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}
