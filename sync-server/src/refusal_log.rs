//! The refusal log: what was refused is written down once and then counted, for whoever tries on must not fill the
//! disk.
//!
//! The first refusal of somebody at an endpoint is an event at once. Those that follow within ten minutes
//! are counted, and told by one event when that time is over, or when the server stops. Only a crash loses
//! what was counted and not told yet.

use std::collections::HashMap;
use std::mem;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use carepost_protocol::audit::{AuditEvent, AuditEventType};
use carepost_protocol::id::{DeviceId, OrganizationId, UserId};
use carepost_protocol::time::Timestamp;
use serde_json::json;

use crate::audit::TOLD_AT_ONCE;
use crate::clock;
use crate::store::{StoreError, SystemStore};

/// For how long refusals are counted after the first.
const COUNTED: Duration = Duration::from_secs(10 * 60);
/// The most that are counted apart, of those who are known and of strangers each; who comes then is counted
/// together with others.
const MOST: usize = 2_048;
/// How many of the things that were asked for an event of counted refusals names.
const NAMED: usize = 8;

/// Of how many names that were given from one network refusals are counted apart.
const NAMES: usize = 64;

/// Who was refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Principal {
    /// Somebody who is signed in.
    User(UserId),
    /// A device, by its key.
    Device(DeviceId),
    /// Somebody unknown, from there, who gave that name, whether somebody has it or not.
    Stranger(Option<IpAddr>, Option<String>),
}

/// What is counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    /// None for all that found no place of their own.
    principal: Option<Principal>,
    endpoint: Option<String>,
    event_type: AuditEventType,
    organization: Option<OrganizationId>,
}

impl Key {
    /// Itself where there is a place for it, else what counts it together with others.
    fn within(mut self, places: &HashMap<Self, Counted>) -> Self {
        if places.contains_key(&self) {
            return self;
        }
        if let Some(Principal::Stranger(network, name)) = &mut self.principal
            && places.keys().filter(|key| key.is_from(*network)).count() >= NAMES
        {
            (*name, self.organization) = (None, None);
        }
        if places.len() >= MOST && !places.contains_key(&self) {
            (self.principal, self.organization) = (None, None);
        }
        self
    }

    fn is_from(&self, network: Option<IpAddr>) -> bool {
        matches!(&self.principal, Some(Principal::Stranger(from, Some(_))) if *from == network)
    }
}

#[derive(Debug)]
struct Counted {
    first: AuditEvent,
    since: Timestamp,
    untold: u64,
    /// What else was asked for.
    also: Vec<String>,
}

/// An event to be written, and how many refusals it tells.
#[derive(Debug)]
pub struct Told {
    key: Key,
    count: u64,
    event: AuditEvent,
}

/// The refusals of one server since it started.
#[derive(Debug, Default)]
pub struct RefusalLog(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    known: HashMap<Key, Counted>,
    strangers: HashMap<Key, Counted>,
}

impl RefusalLog {
    /// Writes a refusal down, or counts it.
    ///
    /// # Errors
    /// When its event could not be made durable: it is counted then, and told later.
    pub async fn keep(
        &self,
        store: &SystemStore,
        by: Principal,
        refused: AuditEvent,
    ) -> Result<(), StoreError> {
        self.tell(store, self.note(by, refused.refused(), clock::now())).await
    }

    /// Tells what was counted and whose time is over.
    pub async fn tell_over(&self, store: &SystemStore) {
        self.tell_or_log(store, self.over(clock::now())).await;
    }

    /// Tells all that was counted: the server stops.
    pub async fn tell_all(&self, store: &SystemStore) {
        self.tell_or_log(store, self.all(clock::now())).await;
    }

    async fn tell_or_log(&self, store: &SystemStore, told: Vec<Told>) {
        if let Err(fault) = self.tell(store, told).await {
            tracing::error!(%fault, "counted refusals could not be written down; they are told later");
        }
    }

    async fn tell(&self, store: &SystemStore, mut told: Vec<Told>) -> Result<(), StoreError> {
        while !told.is_empty() {
            let mut rest = told.split_off(told.len().min(TOLD_AT_ONCE));
            let written = store.audit(told.iter().map(|told| told.event.clone()).collect()).await;
            if written.is_err() {
                told.append(&mut rest);
                self.take_back(told);
                return written;
            }
            told = rest;
        }
        Ok(())
    }

    /// Counts a refusal; gives what is to be written because of it: its event, if it is the first.
    fn note(&self, by: Principal, event: AuditEvent, now: Timestamp) -> Vec<Told> {
        let mut kept = self.kept();
        let places = match &by {
            Principal::User(_) | Principal::Device(_) => &mut kept.known,
            Principal::Stranger(..) => &mut kept.strangers,
        };
        let key = Key {
            principal: Some(by),
            endpoint: event.endpoint.clone(),
            event_type: event.event_type,
            organization: event.organization_id,
        };
        let key = key.within(places);
        let mut told = Vec::new();
        if let Some(counted) = places.get_mut(&key) {
            if !clock::is_over(counted.since, COUNTED, now) {
                counted.count(&event);
                return told;
            }
            told.extend(places.remove_entry(&key).and_then(|(key, counted)| counted.told(key, now)));
        }
        let counted = Counted { first: event.clone(), since: now, untold: 0, also: Vec::new() };
        places.insert(key.clone(), counted);
        told.push(Told { key, count: 1, event });
        told
    }

    /// What was counted and whose time is over.
    fn over(&self, now: Timestamp) -> Vec<Told> {
        let mut kept = self.kept();
        let Kept { known, strangers } = &mut *kept;
        let over = [known, strangers]
            .into_iter()
            .flat_map(|places| places.extract_if(|_, counted| clock::is_over(counted.since, COUNTED, now)));
        over.filter_map(|(key, counted)| counted.told(key, now)).collect()
    }

    fn all(&self, now: Timestamp) -> Vec<Told> {
        let Kept { known, strangers } = mem::take(&mut *self.kept());
        known.into_iter().chain(strangers).filter_map(|(key, counted)| counted.told(key, now)).collect()
    }

    /// What could not be written is counted again.
    fn take_back(&self, told: Vec<Told>) {
        let mut kept = self.kept();
        for Told { key, count, event } in told {
            let places = match key.principal {
                Some(Principal::Stranger(..)) => &mut kept.strangers,
                Some(Principal::User(_) | Principal::Device(_)) | None => &mut kept.known,
            };
            let since = event.timestamp;
            // Others may have come meanwhile.
            let counted = places.entry(key.within(places));
            let counted = counted.or_insert(Counted { first: event, since, untold: 0, also: Vec::new() });
            counted.untold = counted.untold.saturating_add(count);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // A panic elsewhere cannot leave it half-written: each change is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    fn count(&mut self, event: &AuditEvent) {
        self.untold = self.untold.saturating_add(1);
        if let Some(id) = &event.resource_id
            && self.also.len() < NAMED
            && self.first.resource_id.as_ref() != Some(id)
            && !self.also.contains(id)
        {
            self.also.push(id.clone());
        }
    }

    /// The event that tells the count; none where there is nothing to tell.
    fn told(self, key: Key, now: Timestamp) -> Option<Told> {
        let Self { first, since, untold, also } = self;
        if untold == 0 {
            return None;
        }
        let mut event = AuditEvent {
            id: clock::audit_id(now, clock::random()),
            timestamp: now,
            resource_id: None,
            ..first
        };
        event.details.clear();
        event.details.insert("refused_since".to_owned(), json!(since));
        event.details.insert("count".to_owned(), json!(untold));
        if !also.is_empty() {
            event.details.insert("also".to_owned(), json!(also));
        }
        if matches!(key.principal, None | Some(Principal::Stranger(_, None))) {
            // Of many, perhaps: it names none of them.
            event = AuditEvent {
                organization_id: None,
                facility_id: None,
                device_id: None,
                user_id: None,
                session_id: None,
                username: None,
                ip_address: event.ip_address.filter(|_| key.principal.is_some()),
                user_agent: None,
                ..event
            };
        }
        Some(Told { key, count: untold, event })
    }
}

#[cfg(test)]
mod tests {
    use carepost_protocol::audit::AuditAction;

    use super::*;
    use crate::audit::Client;
    use crate::testing;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(1_777_622_400_000 + second * 1_000)
    }

    fn event(id: &str) -> AuditEvent {
        let client =
            Client { ip: None, user_agent: None, endpoint: "GET /api/v1/patients/{patient_id}".into() };
        client.event(AuditEventType::ApiAccess, AuditAction::Execute, "patients").on(id)
    }

    fn user(n: u8) -> Principal {
        Principal::User(UserId::new(Timestamp::EPOCH, [n; 10]))
    }

    fn stranger(network: u8, name: &str) -> Principal {
        Principal::Stranger(Some(IpAddr::from([192, 0, 2, network])), Some(name.to_owned()))
    }

    fn counts(told: &[Told]) -> Vec<u64> {
        told.iter().filter_map(|told| told.event.details.get("count")?.as_u64()).collect()
    }

    #[test]
    fn the_first_is_told_at_once_and_the_others_are_counted_to_the_last() {
        let refusals = RefusalLog::default();
        assert_eq!(refusals.note(user(1), event("a"), at(0)).len(), 1);
        for n in 0..999 {
            assert!(refusals.note(user(1), event(&format!("id {}", n % 3)), at(1)).is_empty());
        }
        assert_eq!(refusals.note(user(2), event("a"), at(2)).len(), 1, "somebody else");
        assert!(refusals.over(at(599)).is_empty());
        let told = refusals.over(at(600));
        assert_eq!(counts(&told), [999]);
        let details = &told[0].event.details;
        assert_eq!(details["also"], json!(["id 0", "id 1", "id 2"]));
        assert_eq!(told[0].event.resource_id, None);
        assert!(refusals.all(at(601)).is_empty(), "nothing is told twice");
    }

    #[test]
    fn the_next_after_ten_minutes_is_told_with_the_count_of_those_before() {
        let refusals = RefusalLog::default();
        for second in [0, 1, 2] {
            refusals.note(user(1), event("a"), at(second));
        }
        let told = refusals.note(user(1), event("a"), at(600));
        assert_eq!((told.len(), counts(&told)), (2, vec![2]));
        assert!(refusals.note(user(1), event("a"), at(601)).is_empty());
        assert_eq!(counts(&refusals.all(at(602))), [1], "the server stops");
    }

    #[test]
    fn where_the_clock_was_set_back_the_next_is_told_at_once() {
        let refusals = RefusalLog::default();
        for second in [4_000, 4_001] {
            refusals.note(user(1), event("a"), at(second));
        }
        assert_eq!(counts(&refusals.over(at(0))), [1]);
        assert_eq!(refusals.note(user(1), event("a"), at(0)).len(), 1);
    }

    #[test]
    fn what_could_not_be_written_is_told_later() {
        let refusals = RefusalLog::default();
        let first = refusals.note(user(1), event("a"), at(0));
        refusals.note(user(1), event("a"), at(1));
        refusals.take_back(first);
        let told = refusals.over(at(600));
        assert_eq!(counts(&told), [2]);
        refusals.take_back(told);
        assert_eq!(counts(&refusals.all(at(601))), [2]);
    }

    #[test]
    fn memory_and_rows_are_bounded_and_no_count_is_lost() {
        let refusals = RefusalLog::default();
        let mut rows = 0;
        // A network that tries names, networks without end, and somebody known meanwhile.
        for n in 0..500 {
            rows += refusals.note(stranger(1, &format!("name {n}")), event("a"), at(0)).len();
        }
        assert_eq!(rows, NAMES + 1, "those beyond are counted together");
        for n in 0..5_000_u32 {
            let network = Some(IpAddr::from(n.to_be_bytes()));
            rows += refusals.note(Principal::Stranger(network, None), event("a"), at(1)).len();
        }
        assert_eq!(rows, MOST + 1);
        assert_eq!(refusals.kept().strangers.len(), MOST + 1);
        assert_eq!(refusals.note(user(1), event("a"), at(2)).len(), 1, "no stranger takes a user's place");
        let told = refusals.over(at(700));
        let counted: u64 = counts(&told).iter().sum();
        assert_eq!(rows as u64 + counted, 5_500);
        assert!(told.iter().all(|told| told.event.user_id.is_none()), "what is of many names nobody");
    }

    /// One write of another is answered in the midst of them.
    #[tokio::test]
    async fn counts_of_many_are_told_in_portions_between_which_others_write() {
        let (_folder, store) = testing::store();
        let (refusals, system) = (RefusalLog::default(), store.system());
        for n in (0..2_000_u32).chain(0..2_000) {
            let network = Some(IpAddr::from(n.to_be_bytes()));
            refusals.note(Principal::Stranger(network, None), event("a"), at(0));
        }
        let told = refusals.over(at(600));
        assert_eq!((told.len(), counts(&told).iter().sum::<u64>()), (2_000, 2_000));
        testing::is_answered_meanwhile(&store, refusals.tell(&system, told)).await.unwrap();
        assert!(refusals.all(at(601)).is_empty(), "each is told once");
    }

    #[test]
    fn while_nothing_can_be_written_what_is_kept_is_bounded_and_no_count_is_lost() {
        let refusals = RefusalLog::default();
        let mut come = 0_u32;
        let mut flood = |second: i64| {
            for _ in 0..3_000 {
                let network = Some(IpAddr::from(come.to_be_bytes()));
                come += 1;
                let first = refusals.note(Principal::Stranger(network, None), event("a"), at(second));
                refusals.take_back(first);
            }
        };
        for round in 0..3 {
            flood(round * 1_000);
            let told = refusals.over(at(round * 1_000 + 700));
            // Some come while that is tried.
            flood(round * 1_000 + 701);
            refusals.take_back(told);
            assert!(refusals.kept().strangers.len() <= MOST + 1);
        }
        let told = refusals.all(at(9_000));
        assert_eq!(counts(&told).iter().sum::<u64>(), u64::from(come));
    }
}
