//! The state of one virtual reader, shared by the threads of pcscd and of the control socket.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use crate::card::{self, Answer, Manner, Power};

/// One reader: what lies on it, how that behaves, and who has noticed.
#[derive(Debug, Default)]
pub(crate) struct VirtualReader {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    card: Option<Vec<u8>>,
    manner: Manner,
    unplugged: bool,
    closed: bool,
    /// Counts what happened to the reader: how much of it pcscd has looked at, and how much it has dealt with, which
    /// it shows by coming back to wait.
    happened: u64,
    looked: u64,
    noticed: u64,
    /// pcscd's thread that waits for changes: only what it looks at is noticed, for only it tells pcscd's clients.
    watcher: Option<ThreadId>,
    /// pcscd asked its waiting thread to return.
    interrupted: bool,
    signals: Vec<Vec<u8>>,
    /// How many commands the cards on it have answered.
    reads: u64,
}

/// What pcscd finds when it looks.
pub(crate) enum Presence {
    Card,
    Empty,
    Unplugged,
}

/// A command's outcome for pcscd.
pub(crate) enum Outcome {
    Bytes(Vec<u8>),
    Failed,
    NoCard,
}

/// How long a change waits for pcscd to notice the one before it, so that a short tap cannot fall between
/// two of its looks even on a busy machine.
const NOTICE: Duration = Duration::from_secs(5);
/// How many signals are remembered.
const SIGNALS: usize = 64;

impl VirtualReader {
    // What the control socket does.

    pub(crate) fn present(&self, uid: Vec<u8>) {
        self.remove();
        self.change(|state| state.card = Some(uid));
        self.wait_until_noticed();
    }

    pub(crate) fn remove(&self) {
        self.wait_until_noticed();
        if self.lock().card.is_some() {
            self.change(|state| state.card = None);
            self.wait_until_noticed();
        }
    }

    pub(crate) fn unplug(&self) {
        self.change(|state| state.unplugged = true);
        self.wait_until_noticed();
    }

    pub(crate) fn plug(&self) {
        self.change(|state| state.unplugged = false);
        self.wait_until_noticed();
    }

    pub(crate) fn behave(&self, manner: Manner) {
        self.lock().manner = manner;
        self.changed.notify_all();
    }

    pub(crate) fn signals(&self) -> Vec<Vec<u8>> {
        self.lock().signals.clone()
    }

    pub(crate) fn reads(&self) -> u64 {
        self.lock().reads
    }

    // What pcscd asks.

    pub(crate) fn look(&self) -> Presence {
        let mut state = self.lock();
        if state.watcher.is_none_or(|watcher| watcher == thread::current().id()) {
            state.looked = state.happened;
        }
        match (state.unplugged, &state.card) {
            (true, _) => Presence::Unplugged,
            (false, Some(_)) => Presence::Card,
            (false, None) => Presence::Empty,
        }
    }

    /// Returns when something happened that pcscd has not looked at, or it interrupts, or time is up.
    pub(crate) fn wait(&self, patience: Duration) {
        let mut state = self.lock();
        state.watcher = Some(thread::current().id());
        state.noticed = state.looked;
        self.changed.notify_all();
        let (mut state, _) = self
            .changed
            .wait_timeout_while(state, patience, |state| {
                state.happened == state.looked && !state.interrupted && !state.closed
            })
            .unwrap_or_else(PoisonError::into_inner);
        state.interrupted = false;
    }

    pub(crate) fn interrupt(&self) {
        self.lock().interrupted = true;
        self.changed.notify_all();
    }

    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    pub(crate) fn power_up(&self) -> Power {
        let state = self.lock();
        match (&state.card, state.unplugged) {
            (Some(_), false) => card::power_up(state.manner),
            (None, _) | (Some(_), true) => Power::Nothing,
        }
    }

    /// A command to the card, or to the reader in the shape of one.
    pub(crate) fn transmit(&self, command: &[u8]) -> Outcome {
        if card::is_signal(command) {
            return Outcome::Bytes(self.signal(command));
        }
        let mut state = self.lock();
        loop {
            if state.unplugged || state.closed {
                return Outcome::Failed;
            }
            let Some(uid) = &state.card else { return Outcome::NoCard };
            match card::answer(state.manner, uid, command) {
                Answer::Bytes(bytes) => {
                    state.reads += 1;
                    return Outcome::Bytes(bytes);
                }
                Answer::Failure => return Outcome::Failed,
                Answer::Hang => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Answer::PulledAway => {
                    state.card = None;
                    state.happened += 1;
                    self.changed.notify_all();
                    return Outcome::Bytes(Vec::new());
                }
            }
        }
    }

    /// Lights and buzzer: remembered, and answered with success.
    pub(crate) fn signal(&self, command: &[u8]) -> Vec<u8> {
        let mut state = self.lock();
        if state.signals.len() == SIGNALS {
            state.signals.remove(0);
        }
        state.signals.push(command.to_vec());
        card::SUCCESS.to_vec()
    }

    fn change(&self, what: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        what(&mut state);
        state.happened += 1;
        self.changed.notify_all();
    }

    fn wait_until_noticed(&self) {
        // When pcscd is stopped or busy with a hung card there is no noticing to wait for.
        let _outcome = self.changed.wait_timeout_while(self.lock(), NOTICE, |state| {
            state.happened != state.noticed && !state.closed
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
