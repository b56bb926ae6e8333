//! The read log: what people read is written down once in ten minutes, for whoever reads the same again and again
//! must not fill the disk.
//!
//! What somebody sees is an event before it is shown: whose records, through which endpoint, in which session. The
//! same again within ten minutes is counted, and one event for each endpoint and session tells how often, when that
//! time is over or the server stops. Only a crash loses counts, and never who saw whom. What is remembered for that is
//! bounded over all people together; what is read beyond is written each time.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use carepost_protocol::audit::AuditEvent;
use carepost_protocol::change::PayloadHash;
use carepost_protocol::id::{AuditId, UserId};
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::problem::ProblemKind;
use serde_json::{Map, json};

use crate::audit::TOLD_AT_ONCE;
use crate::clock;
use crate::error::{Answer, Refusal};
use crate::store::SystemStore;

/// For how long what is read again is counted.
const COUNTED: Duration = Duration::from_secs(10 * 60);
/// How many reads of one person are written in that time at most: a resident every sixteenth of a second.
const MOST: usize = 10_000;
/// Of how many things, of all people together, it is known that they were read: what is read beyond is written each
/// time.
const KNOWN: usize = 100_000;
/// How many counts are kept, of all people together, also those that wait for a disk that is full.
const COUNTS: usize = 10_000;

/// What people read on one server since it started.
#[derive(Debug, Default)]
pub struct ReadLog(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    people: HashMap<UserId, Seen>,
    /// Events that tell counts, to be written.
    told: Vec<AuditEvent>,
}

/// What one person saw since.
#[derive(Debug)]
struct Seen {
    since: Timestamp,
    /// How many reads of it were written.
    written: usize,
    things: HashSet<[u8; 32]>,
    /// How often there was a read that differs from another in what was seen alone, with the first of them.
    again: HashMap<[u8; 32], (AuditEvent, u64)>,
}

impl ReadLog {
    /// Whether the event of a read has to be written before anything is shown; it is counted otherwise. Then
    /// [`Self::written`] says that it was.
    ///
    /// # Errors
    /// `over-quota` for whoever reads more than people do.
    pub fn is_new(&self, by: UserId, event: &AuditEvent, now: Timestamp) -> Answer<bool> {
        let (thing, way) = (thing(event)?, way(event)?);
        let mut kept = self.kept();
        if kept.people.get(&by).is_some_and(|seen| clock::is_over(seen.since, COUNTED, now)) {
            let over = kept.people.remove(&by);
            kept.told.extend(over.into_iter().flat_map(|seen| seen.tell(now)));
        }
        let has_room = kept.counts() < COUNTS;
        let nothing = || Seen { since: now, written: 0, things: HashSet::new(), again: HashMap::new() };
        let seen = kept.people.entry(by).or_insert_with(nothing);
        if seen.things.contains(&thing) && (has_room || seen.again.contains_key(&way)) {
            seen.again.entry(way).or_insert_with(|| (event.clone(), 0)).1 += 1;
            return Ok(false);
        }
        if seen.written >= MOST {
            let words = format!("You read {MOST} things within ten minutes: go on when they are over.");
            let over = COUNTED.saturating_sub(now.since(seen.since));
            return Err(Refusal::new(ProblemKind::OverQuota, words).retry_after(over.as_secs().max(1)));
        }
        Ok(true)
    }

    /// The event is durable: nobody is shown anything on the strength of one that is not.
    pub fn written(&self, by: UserId, event: &AuditEvent) {
        let mut kept = self.kept();
        let has_room = kept.people.values().map(|seen| seen.things.len()).sum::<usize>() < KNOWN;
        if let (Ok(thing), Some(seen)) = (thing(event), kept.people.get_mut(&by)) {
            seen.written += 1;
            if has_room {
                seen.things.insert(thing);
            }
        }
    }

    /// Tells what was counted and whose time is over, or all of it where the server stops.
    pub async fn tell(&self, store: &SystemStore, all: bool) {
        let mut told = self.over(clock::now(), all);
        while !told.is_empty() {
            let rest = told.split_off(told.len().min(TOLD_AT_ONCE));
            if let Err(fault) = store.audit(told.clone()).await {
                tracing::error!(%fault, "how often things were read again could not be written down; it is told later");
                // Under new names: it may be written all the same.
                let again =
                    |event| AuditEvent { id: clock::audit_id(clock::now(), clock::random()), ..event };
                self.kept().told.extend(told.into_iter().map(again).chain(rest));
                return;
            }
            told = rest;
        }
    }

    fn over(&self, now: Timestamp, all: bool) -> Vec<AuditEvent> {
        let mut kept = self.kept();
        let Kept { people, told } = &mut *kept;
        let over = people.extract_if(|_, seen| all || clock::is_over(seen.since, COUNTED, now));
        told.extend(over.flat_map(|(_, seen)| seen.tell(now)));
        mem::take(told)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn counts(&self) -> usize {
        self.people.values().map(|seen| seen.again.len()).sum::<usize>() + self.told.len()
    }
}

impl Seen {
    /// One event for each endpoint, session and place. It names no patient: who that was is in the events of before.
    fn tell(self, now: Timestamp) -> impl Iterator<Item = AuditEvent> {
        let since = self.since;
        self.again.into_values().map(move |(event, count)| {
            let details = [("read_again_since", json!(since)), ("count", json!(count))];
            let details = details.map(|(key, value)| (key.to_owned(), value)).into_iter().collect();
            AuditEvent {
                id: clock::audit_id(now, clock::random()),
                timestamp: now,
                details,
                ..unnamed(event)
            }
        })
    }
}

/// What was seen, by whom and how: the event without its name and time.
fn thing(event: &AuditEvent) -> Answer<[u8; 32]> {
    let bare = AuditEvent { id: AuditId::from_bytes([0; 16]), timestamp: Timestamp::EPOCH, ..event.clone() };
    let text = serde_json::to_vec(&bare).map_err(|fault| Refusal::internal(&fault))?;
    Ok(*PayloadHash::of(&text).as_bytes())
}

/// By whom and how: through which endpoint, in which session, from where.
fn way(event: &AuditEvent) -> Answer<[u8; 32]> {
    thing(&AuditEvent { details: Map::new(), ..unnamed(event.clone()) })
}

fn unnamed(event: AuditEvent) -> AuditEvent {
    AuditEvent { resource_id: None, patient_id: None, ..event }
}

#[cfg(test)]
mod tests {
    use carepost_protocol::audit::{AuditAction, AuditEventType};

    use carepost_protocol::id::SessionId;

    use super::*;
    use crate::audit::Client;
    use crate::testing;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(1_777_622_400_000 + second * 1_000)
    }

    fn user(n: u8) -> UserId {
        UserId::new(Timestamp::EPOCH, [n; 10])
    }

    fn view(of: impl std::fmt::Display) -> AuditEvent {
        let client = Client { ip: None, user_agent: None, endpoint: "GET /x".into() };
        client.event(AuditEventType::PhiAccess, AuditAction::View, "patient").on(of)
    }

    /// Whether it had to be written, and was.
    fn reads(of: &ReadLog, by: u8, what: &str, second: i64) -> bool {
        let is_new = of.is_new(user(by), &view(what), at(second)).unwrap();
        if is_new {
            of.written(user(by), &view(what));
        }
        is_new
    }

    #[test]
    fn each_thing_is_written_once_in_ten_minutes_for_each_person_and_the_rest_is_counted() {
        let kept = ReadLog::default();
        let new = |by, of: &str, second| reads(&kept, by, of, second);
        assert!(new(1, "a", 0) && new(1, "b", 1) && new(2, "a", 1), "everybody's and each");
        for second in 2..502 {
            assert!(!new(1, "a", second) && !new(1, "b", second));
        }
        assert!(kept.over(at(599), false).is_empty());
        assert!(new(1, "a", 600), "ten minutes later it is written again");
        let told = kept.over(at(600), false);
        let counts: Vec<_> = told.iter().map(|event| event.details["count"].clone()).collect();
        assert_eq!((counts, &told[0].resource_id), (vec![json!(1_000)], &None));
        assert!(!new(1, "a", 601));
        assert_eq!(kept.over(at(602), true).len(), 1, "the server stops");
        assert!(kept.kept().people.is_empty());
    }

    #[test]
    fn what_another_session_read_again_is_told_apart() {
        let kept = ReadLog::default();
        let of = |session: u8| AuditEvent {
            session_id: Some(SessionId::new(Timestamp::EPOCH, [session; 10])),
            ..view("a")
        };
        for (session, times) in [(1, 3), (2, 5)] {
            for n in 0..times {
                assert_eq!(kept.is_new(user(1), &of(session), at(n)).unwrap(), n == 0);
                kept.written(user(1), &of(session));
            }
        }
        let told = kept.over(at(9), true);
        let mut counts: Vec<_> =
            told.iter().map(|event| (event.session_id, event.details["count"].clone())).collect();
        counts.sort_by_key(|(session, _)| *session);
        assert_eq!(counts, [(of(1).session_id, json!(2)), (of(2).session_id, json!(4))]);
    }

    #[tokio::test]
    async fn counts_that_could_not_be_written_are_told_later() {
        let (_folder, store) = testing::store();
        store.close();
        let kept = ReadLog::default();
        assert!(reads(&kept, 1, "a", 0) && !reads(&kept, 1, "a", 1));
        kept.tell(&store.system(), true).await;
        assert_eq!(kept.over(at(2), false).len(), 1);
    }

    /// The most counts that there may be. One write of another is answered in the midst of them.
    #[tokio::test]
    async fn counts_are_told_in_portions_between_which_others_write() {
        let (_folder, store) = testing::store();
        let (kept, system) = (ReadLog::default(), store.system());
        for n in (0..COUNTS).chain(0..COUNTS) {
            let read = AuditEvent { user_agent: Some(n.to_string()), ..view("a") };
            if kept.is_new(user(1), &read, at(0)).unwrap() {
                kept.written(user(1), &read);
            }
        }
        testing::is_answered_meanwhile(&store, kept.tell(&system, true)).await;
        assert!(kept.over(at(1), true).is_empty(), "each is told once");
    }

    #[test]
    fn where_the_clock_was_set_back_what_is_read_is_written_anew() {
        let kept = ReadLog::default();
        assert!(reads(&kept, 1, "a", 4_000) && !reads(&kept, 1, "a", 4_001));
        assert!(reads(&kept, 1, "a", 0), "by that clock it was not read yet");
        assert_eq!(kept.over(at(0), false).len(), 1, "and what was counted is told");
    }

    #[test]
    fn what_could_not_be_written_is_new_again_and_nobody_reads_without_end() {
        let kept = ReadLog::default();
        assert!(kept.is_new(user(1), &view("0"), at(0)).unwrap(), "and that was not written");
        for n in 0..MOST {
            assert!(reads(&kept, 1, &n.to_string(), 0));
        }
        let refused = kept.is_new(user(1), &view("z"), at(1)).unwrap_err();
        assert_eq!(refused.kind(), Some(ProblemKind::OverQuota));
        assert!(!reads(&kept, 1, "0", 1), "what was seen is seen");
        assert!(reads(&kept, 2, "z", 1) && reads(&kept, 1, "z", 600));
    }

    #[test]
    fn what_is_remembered_of_all_people_is_bounded_and_what_is_beyond_is_written_each_time() {
        let kept = ReadLog::default();
        for person in 0..11 {
            for n in 0..MOST {
                assert!(reads(&kept, person, &n.to_string(), 0), "{person} {n}");
            }
        }
        let remembered: usize = kept.kept().people.values().map(|seen| seen.things.len()).sum();
        assert_eq!(remembered, KNOWN);
        assert!(!reads(&kept, 0, "0", 1), "who came first");
        for _ in 0..MOST {
            assert!(reads(&kept, 11, "0", 1));
        }
        assert!(kept.is_new(user(11), &view("0"), at(1)).is_err(), "and nobody fills the disk");
    }

    #[test]
    fn counts_are_bounded_also_while_none_can_be_written() {
        let kept = ReadLog::default();
        let by = |n: usize| AuditEvent { user_agent: Some(n.to_string()), ..view("a") };
        let read = |person: u8, n: usize, second: i64| {
            let is_new = kept.is_new(user(person), &by(n), at(second)).unwrap();
            if is_new {
                kept.written(user(person), &by(n));
            }
            is_new
        };
        let again = |person: u8, second: i64| {
            (0..6_000).map(|n| (read(person, n, second), read(person, n, second))).filter(|it| !it.1).count()
        };
        assert_eq!(again(1, 0), 6_000);
        // Their time is over, and the disk is full.
        let told = kept.over(at(600), false);
        kept.kept().told.extend(told);
        assert_eq!(again(2, 601), 4_000, "the rest is written each time");
        assert_eq!(kept.over(at(1_300), false).len(), 10_000);
        assert_eq!(again(3, 1_301), 6_000);
    }
}
