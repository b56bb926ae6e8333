//! The refusal log: what is refused is written down and then counted, for whoever tries on must not fill the disk.
//!
//! The first refusal of a session at a page or an action is an event at once, and so are the first three of a card.
//! Those that follow within ten minutes are counted, and told by one event when that time or the session is over, or
//! when the agent stops. Only a crash loses what was counted and not told yet.

use std::time::Duration;

use carepost_protocol::audit::{AuditEvent, AuditEventType};
use carepost_protocol::id::{AuditId, SessionId};
use carepost_protocol::time::{ClockQuality, Timestamp};
use serde_json::json;

use crate::clock::Clock;

/// For how long refusals are counted after the first.
const COUNTED: Duration = Duration::from_secs(10 * 60);
/// How many taps of a card are written down before they are counted.
const TAPS: u64 = 3;
/// The most that are counted apart, of sessions and of cards each; what comes then is counted together with others.
const MOST: usize = 256;

/// The refusals of a run of the agent.
#[derive(Debug, Default)]
pub(super) struct RefusalLog(Vec<Counted>);

#[derive(Debug)]
struct Counted {
    /// What is counted together.
    refused: AuditEvent,
    /// When it came first, on both clocks.
    first: Timestamp,
    since: Duration,
    written: u64,
    untold: u64,
}

impl RefusalLog {
    /// Counts a refusal; gives what is to be written because of it. Anything else is written as it is, and so is each
    /// try at a PIN: wrong ones lock.
    pub(super) fn note(&mut self, event: AuditEvent, clock: &Clock, now: Duration) -> Vec<AuditEvent> {
        if event.success || !matches!(event.event_type, AuditEventType::PhiAccess | AuditEventType::Badge) {
            return vec![event];
        }
        let mut told = self.over(clock, now);
        let refused = self.place_of(&event);
        let at_first = if event.event_type == AuditEventType::Badge { TAPS } else { 1 };
        match self.0.iter_mut().find(|counted| counted.refused == refused) {
            Some(counted) if counted.written >= at_first => counted.untold = counted.untold.saturating_add(1),
            Some(counted) => {
                counted.written += 1;
                told.push(event);
            }
            None => {
                self.0.push(Counted { refused, first: event.timestamp, since: now, written: 1, untold: 0 });
                told.push(event);
            }
        }
        told
    }

    /// Tells what was counted and whose time is over.
    pub(super) fn over(&mut self, clock: &Clock, now: Duration) -> Vec<AuditEvent> {
        self.tell(clock, |counted| now.saturating_sub(counted.since) >= COUNTED)
    }

    /// Tells what was counted of a session: it is over.
    pub(super) fn of_session(&mut self, clock: &Clock, session: SessionId) -> Vec<AuditEvent> {
        self.tell(clock, |counted| counted.refused.session_id == Some(session))
    }

    /// Tells all that was counted: the agent stops.
    pub(super) fn all(&mut self, clock: &Clock) -> Vec<AuditEvent> {
        self.tell(clock, |_| true)
    }

    fn tell(&mut self, clock: &Clock, is_told: impl Fn(&Counted) -> bool) -> Vec<AuditEvent> {
        let told = self.0.extract_if(.., |counted| is_told(counted));
        told.filter_map(|counted| counted.told(clock)).collect()
    }

    /// What it is counted under: the same but for when, where there is a place for it; else what counts it together
    /// with others, and names none of them. Cards take no place of a session's.
    fn place_of(&self, event: &AuditEvent) -> AuditEvent {
        let (id, timestamp) = (AuditId::from_bytes([0; 16]), Timestamp::EPOCH);
        let own = AuditEvent { id, timestamp, clock_quality: ClockQuality::Unset, ..event.clone() };
        let is_of_session = own.session_id.is_some();
        let beside = self.0.iter().filter(|counted| counted.refused.session_id.is_some() == is_of_session);
        if beside.count() < MOST || self.0.iter().any(|counted| counted.refused == own) {
            return own;
        }
        let user_id = own.user_id.filter(|_| is_of_session);
        let mut many = AuditEvent { user_id, resource_id: None, patient_id: None, ip_address: None, ..own };
        many.details.retain(|key, _| key == "reason");
        many
    }
}

impl Counted {
    /// The event that tells the count; none where there is nothing to tell.
    fn told(self, clock: &Clock) -> Option<AuditEvent> {
        let Self { refused, first, untold, .. } = self;
        let (timestamp, clock_quality) = clock.stamp();
        let id = AuditId::new(timestamp, clock.random::<10>());
        let event = AuditEvent { id, timestamp, clock_quality, ..refused };
        (untold > 0).then(|| event.detail("refused_since", json!(first)).detail("count", untold))
    }
}

#[cfg(test)]
mod tests {
    use carepost_protocol::audit::AuditAction;
    use carepost_protocol::id::{PatientId, UserId};

    use super::*;

    const ONE: SessionId = SessionId::from_bytes([1; 16]);
    const OTHER: SessionId = SessionId::from_bytes([2; 16]);

    struct Log(RefusalLog, Clock);

    impl Log {
        fn new() -> Self {
            Self(RefusalLog::default(), Clock::new(None))
        }

        /// How many events a refusal is written as.
        fn note(&mut self, event: AuditEvent, second: u64) -> usize {
            self.0.note(event, &self.1, at(second)).len()
        }

        /// The counts that are told then.
        fn over(&mut self, second: u64) -> Vec<u64> {
            counts(&self.0.over(&self.1, at(second)))
        }

        fn all(&mut self) -> Vec<AuditEvent> {
            self.0.all(&self.1)
        }
    }

    fn at(second: u64) -> Duration {
        Duration::from_secs(50_000 + second)
    }

    fn event(event_type: AuditEventType, endpoint: &str) -> AuditEvent {
        let moment = (Timestamp::from_millis(1_777_622_400_000), ClockQuality::Synced);
        let id = AuditId::new(moment.0, Clock::new(None).random());
        let event = AuditEvent::new(id, moment, event_type, AuditAction::View, "patient");
        AuditEvent { endpoint: Some(endpoint.to_owned()), ..event.refused() }
    }

    fn page(session: SessionId, resident: u16) -> AuditEvent {
        let user = UserId::from_bytes(*session.as_bytes());
        let mut id = [0; 16];
        id[..2].copy_from_slice(&resident.to_be_bytes());
        let patient_id = Some(PatientId::from_bytes(id));
        AuditEvent { patient_id, ..event(AuditEventType::PhiAccess, "/residents").by(user, Some(session)) }
    }

    fn tap(card: u16) -> AuditEvent {
        let event = event(AuditEventType::Badge, "").detail("reason", "unknown_badge");
        event.detail("reader", "hall").detail("badge", format!("{card:08x}..."))
    }

    fn counts(told: &[AuditEvent]) -> Vec<u64> {
        told.iter().filter_map(|told| told.details.get("count")?.as_u64()).collect()
    }

    #[test]
    fn the_first_is_told_at_once_and_the_others_are_counted_to_the_last() {
        let mut log = Log::new();
        assert_eq!(log.note(page(ONE, 1), 0), 1);
        let written: usize = (0..999).map(|_| log.note(page(ONE, 1), 1)).sum();
        assert_eq!(written, 0);
        assert_eq!(
            [log.note(page(ONE, 2), 2), log.note(page(OTHER, 1), 2)],
            [1, 1],
            "another, and another's"
        );
        assert!(log.over(599).is_empty());
        let told = log.0.over(&log.1, at(600));
        assert_eq!(counts(&told), [999]);
        let (event, asked) = (&told[0], page(ONE, 1));
        assert_eq!((event.session_id, event.patient_id), (asked.session_id, asked.patient_id));
        assert_eq!(event.details["refused_since"], json!(asked.timestamp));
        assert_ne!(event.id, asked.id);
        assert!(log.all().is_empty(), "nothing is told twice");
    }

    #[test]
    fn the_next_after_ten_minutes_is_told_with_the_count_of_those_before() {
        let mut log = Log::new();
        let written = [0, 1, 2, 600, 601].map(|second| log.note(page(ONE, 1), second));
        assert_eq!(written, [1, 0, 0, 2, 0]);
        assert_eq!(counts(&log.all()), [1], "the agent stops");
    }

    #[test]
    fn what_was_counted_of_a_session_is_told_when_that_is_over() {
        let mut log = Log::new();
        for session in [ONE, OTHER, ONE, ONE, OTHER] {
            log.note(page(session, 1), 0);
        }
        assert_eq!(counts(&log.0.of_session(&log.1, ONE)), [2]);
        assert!(log.0.of_session(&log.1, ONE).is_empty());
        assert_eq!(counts(&log.all()), [1]);
    }

    #[test]
    fn the_first_three_taps_of_a_card_are_written_and_the_others_counted() {
        let mut log = Log::new();
        let written = [1, 2, 1, 2, 1, 2, 1, 2, 1, 2].map(|card| log.note(tap(card), 0));
        assert_eq!(written, [1, 1, 1, 1, 1, 1, 0, 0, 0, 0]);
        let told = log.all();
        assert_eq!(counts(&told), [2, 2]);
        assert_eq!(told[0].details["badge"], tap(1).details["badge"]);
    }

    #[test]
    fn what_is_done_and_each_try_at_a_pin_is_written_each_time() {
        let mut log = Log::new();
        for _ in 0..9 {
            assert_eq!(log.note(event(AuditEventType::Login, ""), 0), 1);
            assert_eq!(log.note(AuditEvent { success: true, ..page(ONE, 1) }, 0), 1);
        }
        assert!(log.all().is_empty());
    }

    #[test]
    fn memory_and_rows_are_bounded_and_no_count_is_lost() {
        let mut log = Log::new();
        let cards: usize = (0..2_000).map(|card| log.note(tap(card), 0)).sum();
        assert_eq!(cards, MOST + 3, "those beyond are counted together");
        assert_eq!(log.note(page(ONE, 7), 0), 1, "no card takes a session's place");
        assert_eq!(log.note(page(ONE, 7), 0), 0);
        let pages: usize = (0..2_000).map(|resident| log.note(page(ONE, resident), 0)).sum();
        assert_eq!(pages, MOST, "all but the one that came before, and one for the others");
        assert_eq!(log.0.0.len(), 2 * (MOST + 1));
        let told = log.all();
        assert_eq!(cards + 1 + pages + usize::try_from(counts(&told).iter().sum::<u64>()).unwrap(), 4_002);
        let of_many: Vec<_> = told.iter().filter(|told| told.details["count"].as_u64() > Some(100)).collect();
        assert_eq!(of_many.len(), 2);
        for told in of_many {
            assert!(told.patient_id.is_none() && told.details.get("badge").is_none(), "{told:?}");
        }
    }
}
