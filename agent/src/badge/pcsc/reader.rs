//! The two threads of one reader: one reads its cards, one works its lights.

use std::ffi::CString;
use std::io;
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use pcsc::{Context, Error, ReaderState, Scope, State};

use super::card;
use super::{Crew, Gone, Note, WAIT, display};
use crate::badge::{BadgeEvent, Feedback, Unreadable};

/// What the coordinator knows of a reader's thread.
pub(super) struct Worker {
    pub(super) reader: String,
    /// Whether the reader works; none until it was seen.
    pub(super) usable: Option<bool>,
    pub(super) hired: Instant,
    pulse: Arc<Mutex<Pulse>>,
}

/// What a reader's thread is doing.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pulse {
    /// Waiting for a card.
    Waiting,
    /// Speaking to one.
    Reading { since: Instant },
}

/// The way to a reader's lights.
pub(super) struct Lights(SyncSender<Feedback>);

/// The reader's count is 16 bits wide.
const COUNT_MASK: u32 = 0xFFFF;
/// How many signals may wait for a slow reader; more are dropped, they would only confuse.
const SIGNALS: usize = 2;

impl Worker {
    /// Starts the threads of a reader.
    pub(super) fn hire(number: u64, reader: &CString, crew: Crew) -> io::Result<(Worker, Lights)> {
        let lights = Lights::lit(reader.clone(), crew.clone())?;
        let name = display(reader);
        let pulse = Arc::new(Mutex::new(Pulse::Waiting));
        let watch = Watch {
            number,
            reader: reader.clone(),
            name: name.clone(),
            pulse: Arc::clone(&pulse),
            crew,
            lying: Lying::Unseen,
            count: Count::default(),
        };
        thread::Builder::new().name("badge-reader".to_owned()).spawn(move || watch.run())?;
        Ok((Worker { reader: name, usable: None, hired: Instant::now(), pulse }, lights))
    }

    pub(super) fn pulse(&self) -> Pulse {
        *self.pulse.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lights {
    fn lit(reader: CString, crew: Crew) -> io::Result<Lights> {
        let (sender, wanted) = mpsc::sync_channel(SIGNALS);
        thread::Builder::new().name("badge-lights".to_owned()).spawn(move || {
            // Held so that stopping waits for this thread too; it ends when the coordinator drops the sender.
            let _crew = crew;
            for feedback in wanted {
                if let Err(error) = card::show(&reader, feedback) {
                    tracing::debug!(%error, "the badge reader shows no feedback");
                }
            }
        })?;
        Ok(Lights(sender))
    }

    /// Never waits.
    pub(super) fn show(&self, feedback: Feedback) {
        if self.0.try_send(feedback).is_err() {
            tracing::debug!("the badge reader is still busy with earlier feedback");
        }
    }
}

/// What lay on the reader when it was last looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lying {
    /// It was not looked at, or was away: a card on it may have been lying there for hours.
    Unseen,
    Nothing,
    Card,
}

struct Watch {
    number: u64,
    reader: CString,
    name: String,
    pulse: Arc<Mutex<Pulse>>,
    crew: Crew,
    lying: Lying,
    count: Count,
}

/// The reader's count of cards laid down and taken away at the last look.
///
/// pcscd changes a reader's state first and its count a moment later. So a state that flipped without an odd
/// count, or stayed without an even one, is one ahead of its count, and this has what pcscd's will come to.
#[derive(Default)]
struct Count {
    ahead: u32,
    /// pcscd's was seen again since, and had not risen yet.
    behind: bool,
}

impl Count {
    /// How many cards were laid down and taken away since the last look, where the state flipped, or did not;
    /// none where it was not looked at before.
    fn since(&mut self, count: u32, flipped: Option<bool>) -> u32 {
        let happened = count.wrapping_sub(self.ahead) & COUNT_MASK;
        self.behind = flipped.is_some() && happened == COUNT_MASK;
        if self.behind {
            return 0;
        }
        let ahead = u32::from(flipped.is_some_and(|flipped| flipped == happened.is_multiple_of(2)));
        self.ahead = count.wrapping_add(ahead);
        happened + ahead
    }

    /// From which count to wait for a change. Not pcscd's own where that is about to rise: libpcsclite compares
    /// only counts that are not 0, so a card seen before its count rose from there would hide the card after
    /// it. But pcscd's own once it was seen to be behind, or the wait would return at once until it rises.
    fn to_wait_from(&self) -> u32 {
        self.ahead.wrapping_sub(u32::from(self.behind)) & COUNT_MASK
    }
}

impl Watch {
    fn run(mut self) {
        let watched = self.watch();
        // The last card's end is told whatever ended the watch, and then that it has ended; when nobody listens
        // there is nobody to tell.
        let _gone = watched
            .and_then(|()| self.taken_away())
            .and_then(|()| self.crew.note(Note::Ended { worker: self.number }));
    }

    /// Returns when the reader or the service has gone or the source stops.
    fn watch(&mut self) -> Result<(), Gone> {
        let Ok(context) = Context::establish(Scope::User) else { return Ok(()) };
        let mut known = State::UNAWARE;
        while !self.crew.stopping() {
            let mut states = [ReaderState::new(self.reader.clone(), self.counted(known))];
            match context.get_status_change(WAIT, &mut states) {
                Ok(()) => {}
                Err(Error::Timeout) => continue,
                Err(_) => return Ok(()),
            }
            for state in &states {
                known = state.event_state() - State::CHANGED;
                if known.intersects(State::UNKNOWN | State::IGNORE) {
                    return Ok(());
                }
                self.see(&context, state)?;
            }
        }
        Ok(())
    }

    /// What to wait for a change from.
    fn counted(&self, known: State) -> State {
        State::from_bits_retain(known.bits() | (pcsc::ffi::DWORD::from(self.count.to_wait_from()) << 16))
    }

    fn see(&mut self, context: &Context, state: &ReaderState) -> Result<(), Gone> {
        let now = state.event_state();
        let usable = !now.contains(State::UNAVAILABLE);
        // Noted each time: the coordinator may have given the reader up for stuck.
        self.crew.note(Note::Reader { worker: self.number, usable })?;
        if !usable {
            self.taken_away()?;
            // An absent reader has no count.
            (self.lying, self.count) = (Lying::Unseen, Count::default());
            return Ok(());
        }
        let present = now.contains(State::PRESENT);
        let flipped = match self.lying {
            Lying::Unseen => None,
            Lying::Nothing => Some(present),
            Lying::Card => Some(!present),
        };
        let happened = self.count.since(state.event_count(), flipped);
        match (self.lying, present) {
            (Lying::Unseen, true) => {
                self.lying = Lying::Card;
                self.unreadable(Unreadable::LyingThere)
            }
            (Lying::Unseen, false) => {
                self.lying = Lying::Nothing;
                Ok(())
            }
            (Lying::Card, true) if happened == 0 => Ok(()),
            (Lying::Card | Lying::Nothing, true) => {
                // A card before as well: it was lifted and laid down between two looks.
                self.taken_away()?;
                self.lying = Lying::Card;
                self.read(context, state)
            }
            (Lying::Card | Lying::Nothing, false) => {
                self.taken_away()?;
                // A card came and went between two looks.
                if happened > 1 { self.unreadable(Unreadable::PulledAway) } else { Ok(()) }
            }
        }
    }

    fn read(&mut self, context: &Context, state: &ReaderState) -> Result<(), Gone> {
        self.beat(Pulse::Reading { since: Instant::now() });
        let read = if state.event_state().contains(State::MUTE) {
            Err(Unreadable::Mute)
        } else {
            card::read_uid(context, &self.reader)
        };
        self.beat(Pulse::Waiting);
        match read {
            Ok(uid) => {
                let atr = state.atr().to_vec();
                self.crew.tell(BadgeEvent::Presented { reader: self.name.clone(), uid, atr })?;
            }
            Err(why) => self.unreadable(why)?,
        }
        // It has answered, if it was given up for stuck meanwhile.
        self.crew.note(Note::Reader { worker: self.number, usable: true })
    }

    fn unreadable(&self, why: Unreadable) -> Result<(), Gone> {
        self.crew.tell(BadgeEvent::Unreadable { reader: self.name.clone(), why })
    }

    fn taken_away(&mut self) -> Result<(), Gone> {
        match std::mem::replace(&mut self.lying, Lying::Nothing) {
            Lying::Card => self.crew.tell(BadgeEvent::Removed { reader: self.name.clone() }),
            Lying::Unseen | Lying::Nothing => Ok(()),
        }
    }

    fn beat(&self, pulse: Pulse) {
        *self.pulse.lock().unwrap_or_else(PoisonError::into_inner) = pulse;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What pcscd says of a card that is laid down and pulled away, each time before its count has risen, and
    /// once more before it has, as it does when the card hung: one card came, and one went.
    #[test]
    fn a_count_that_comes_late_counts_once() {
        for first in [1, 176, COUNT_MASK - 1, COUNT_MASK] {
            let mut count = Count::default();
            count.since(first, None);
            let next = |by: u32| first.wrapping_add(by) & COUNT_MASK;
            assert_eq!(count.since(first, Some(true)), 1, "laid down, and not counted yet");
            assert_eq!(count.to_wait_from(), next(1));
            assert_eq!(count.since(first, Some(false)), 0, "still not");
            assert_eq!(count.to_wait_from(), first, "the wait would not wait");
            assert_eq!(count.since(next(1), Some(false)), 0, "counted now: nothing more has happened");
            assert_eq!(count.since(next(2), Some(true)), 1, "taken away");
            assert_eq!(count.since(next(4), Some(false)), 2, "one came and went between two looks");
            assert_eq!(count.since(next(5), Some(false)), 2, "another, whose going is not counted yet");
            assert_eq!(count.since(next(6), Some(false)), 0);
        }
    }
}
