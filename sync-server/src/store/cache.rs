//! The read cache: what was read is kept until something is written that it was read from. What is kept is forgotten
//! by a commit before anybody hears of it: who was told that a device is deactivated finds it refused.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The most that are kept. Beyond that, all are forgotten: it is a tenth of a second's work to have them
/// again.
const MOST: usize = 20_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Cache<K, V> {
    state: Mutex<State<K, V>>,
}

#[derive(Debug)]
struct State<K, V> {
    /// Counts what was forgotten: what was read before is not kept after.
    generation: u64,
    values: HashMap<K, V>,
}

impl<K, V> Default for Cache<K, V> {
    fn default() -> Self {
        Self { state: Mutex::new(State { generation: 0, values: HashMap::new() }) }
    }
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    /// The value, if it is known; else the generation to keep it under.
    pub(super) fn find(&self, key: &K) -> Result<V, u64> {
        let state = self.locked();
        state.values.get(key).cloned().ok_or(state.generation)
    }

    /// Keeps a value that was read under that generation.
    pub(super) fn keep(&self, key: K, value: &V, generation: u64) {
        let mut state = self.locked();
        if state.generation != generation {
            return;
        }
        if state.values.len() >= MOST {
            state.values.clear();
        }
        state.values.insert(key, value.clone());
    }

    /// Something was written that the value is read from.
    pub(super) fn forget(&self, key: &K) {
        self.forgetting().values.remove(key);
    }

    /// Something was written that any of them may be read from.
    pub(super) fn forget_all(&self) {
        self.forgetting().values.clear();
    }

    fn forgetting(&self) -> MutexGuard<'_, State<K, V>> {
        let mut state = self.locked();
        state.generation = state.generation.wrapping_add(1);
        state
    }

    fn locked(&self) -> MutexGuard<'_, State<K, V>> {
        // A panic elsewhere cannot leave it half-written: each change is one call.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
