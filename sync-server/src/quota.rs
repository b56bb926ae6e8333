//! Quotas: what one may have of the server, of its memory and its time at once, and of its disk in an hour.
//!
//! Nothing is lost by it: whoever asks for more is told when to come again. Bytes are counted before they
//! are held, by whose they are, so that no device takes what its organization needs, and no organization
//! what the others do.

mod charge;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use carepost_protocol::id::{DeviceId, OrganizationId, UserId};
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::problem::ProblemKind;
use tokio::sync::Notify;

use crate::error::{Answer, Refusal, too_large};
pub use charge::Charge;

const MIB: usize = 1024 * 1024;
/// The most bytes of requests under way, packed, unpacked and parsed, on the whole server.
const ALL: usize = 192 * MIB;
/// The most of them that are one organization's, the platform's, or nobody's yet.
const TENANT: usize = ALL / 4;
/// The most of them that are one device's: more than the largest push comes to, and a third of what its
/// organization has.
const DEVICE: usize = TENANT / 3;
/// The most of them that are one person's: more than the largest form comes to, read, unpacked and parsed.
const PERSON: usize = 4 * MIB;
/// The most of them that are of one address where nobody has said who is there: fourteen sign-ins at their
/// largest, a hundred as they are, and hundreds of addresses at it before they have all that is nobody's.
const STRANGER: usize = 128 * 1024;
/// How many requests of one person are under way at once: each may read whatever the person may see. The store has a
/// reader more than that.
const PERSON_AT_ONCE: usize = 4;
/// How long who asks for more waits for others to finish, before being told to come again.
const PATIENCE: Duration = Duration::from_secs(2);
/// After how long who was told to come again should.
const COME_AGAIN: u64 = 5;
/// The longest that a device is told to wait because it sent too much.
const LONGEST: Duration = Duration::from_secs(5 * 60);

/// Of what a device has so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Pushes: one of each lane.
    Push,
    /// Streams: `live`, and a `pull` beside it.
    Stream,
    /// Heartbeats: each may be answered with what was revoked, which is looked for among all staff.
    Heartbeat,
}

impl Kind {
    /// How many a device has at once.
    const fn at_once(self) -> usize {
        match self {
            Self::Push | Self::Stream => 2,
            Self::Heartbeat => 1,
        }
    }
}

/// What is under way on a server, and what devices sent of late.
#[derive(Debug, Default)]
pub struct Quotas {
    bodies: Mutex<HashMap<Holder, usize>>,
    devices: Mutex<HashMap<DeviceId, Usage>>,
    people: Mutex<HashMap<UserId, usize>>,
    freed: Notify,
}

/// Whose bytes they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Holder {
    Everybody,
    Organization(OrganizationId),
    /// All of the platform's people.
    Platform,
    /// All whom nobody knows yet.
    Strangers,
    Device(DeviceId),
    User(UserId),
    Address(IpAddr),
}

/// So much in an hour, and so much at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// What each hour covers.
    pub per_hour: u64,
    /// What may be had before an hour has covered it.
    pub at_once: u64,
}

/// What a device may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowances {
    /// Changes of both lanes, of up to 1 KiB each: the disk's.
    pub changes: Allowance,
    /// The documents that they make, which every device of the facility has to hold.
    pub documents: Allowance,
}

/// The most documents that a change makes, but one that brings an old thread back: itself, and a review of it.
pub const MADE_BY_ONE: u64 = 2;

/// What a device does, and did of late.
#[derive(Debug)]
struct Usage {
    pushes: usize,
    streams: usize,
    heartbeats: usize,
    changes: Meter,
    documents: Meter,
    at: Instant,
    /// Since when it sends unusually much.
    unusual: Option<Timestamp>,
}

/// What was had, less what an hour's allowance has covered since: times the milliseconds of an hour, so that
/// what a millisecond covers is a whole number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Meter(u64);

/// The milliseconds of an hour.
const HOUR: u64 = 3_600_000;

impl Meter {
    const fn take(&mut self, more: u64) {
        self.0 = self.0.saturating_add(more.saturating_mul(HOUR));
    }

    const fn give_back(&mut self, less: u64) {
        self.0 = self.0.saturating_sub(less.saturating_mul(HOUR));
    }

    /// How long until so much more may be had; none where it may be now.
    fn wait(self, more: u64, of: Allowance) -> Option<Duration> {
        let most = of.at_once.saturating_sub(more).saturating_mul(HOUR);
        let over = self.0.saturating_sub(most);
        let wait = Duration::from_millis(over / of.per_hour.max(1));
        (over > 0).then(|| wait.clamp(Duration::from_secs(1), LONGEST))
    }

    const fn is_unusual(self, of: Allowance) -> bool {
        self.0 > of.per_hour.saturating_mul(HOUR)
    }
}

impl Usage {
    fn new() -> Self {
        let (changes, documents, at) = (Meter::default(), Meter::default(), Instant::now());
        Self { pushes: 0, streams: 0, heartbeats: 0, changes, documents, at, unusual: None }
    }

    fn settle(&mut self, allowances: Allowances, now: Instant) {
        let passed = now.saturating_duration_since(std::mem::replace(&mut self.at, now));
        let passed = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        let covered = |meter: &mut Meter, of: Allowance| {
            meter.0 = meter.0.saturating_sub(passed.saturating_mul(of.per_hour));
        };
        covered(&mut self.changes, allowances.changes);
        covered(&mut self.documents, allowances.documents);
        if self.owes_nothing() {
            self.unusual = None;
        }
    }

    fn owes_nothing(&self) -> bool {
        [self.changes, self.documents] == [Meter::default(); 2]
    }

    const fn of(&mut self, kind: Kind) -> &mut usize {
        match kind {
            Kind::Push => &mut self.pushes,
            Kind::Stream => &mut self.streams,
            Kind::Heartbeat => &mut self.heartbeats,
        }
    }
}

impl Quotas {
    /// A device's turn at something. Where all are taken it waits a moment: what it does now may be what ends
    /// one of them.
    ///
    /// # Errors
    /// `over-quota`.
    pub async fn turn(self: &Arc<Self>, device: DeviceId, kind: Kind) -> Answer<Turn> {
        let turn = self.within_patience(|| self.try_turn(device, kind)).await;
        turn.ok_or_else(|| {
            let words = match kind {
                Kind::Push => "This device has two pushes under way: send the next when one is answered.",
                Kind::Stream => "This device has two streams open: close one of them first.",
                Kind::Heartbeat => {
                    "This device has a heartbeat under way: send the next when it is answered."
                }
            };
            Refusal::new(ProblemKind::OverQuota, words).retry_after(COME_AGAIN)
        })
    }

    fn try_turn(self: &Arc<Self>, device: DeviceId, kind: Kind) -> Option<Turn> {
        let mut devices = self.devices();
        let taken = devices.entry(device).or_insert_with(Usage::new).of(kind);
        if *taken >= kind.at_once() {
            return None;
        }
        *taken += 1;
        drop(devices);
        Some(Turn { quotas: Arc::clone(self), of: TurnOf::Device(device, kind) })
    }

    /// A person's turn at a request. Where all are taken it waits a moment.
    ///
    /// # Errors
    /// `over-quota`.
    pub async fn turn_of_person(self: &Arc<Self>, person: UserId) -> Answer<Turn> {
        let turn = self.within_patience(|| {
            let mut people = self.people();
            let taken = people.entry(person).or_default();
            if *taken >= PERSON_AT_ONCE {
                return None;
            }
            *taken += 1;
            drop(people);
            Some(Turn { quotas: Arc::clone(self), of: TurnOf::Person(person) })
        });
        turn.await.ok_or_else(|| {
            let words = "You have four requests under way: send the next when one is answered.";
            Refusal::new(ProblemKind::OverQuota, words).retry_after(COME_AGAIN)
        })
    }

    /// The bytes of a request: none so far.
    #[must_use]
    pub fn share(self: &Arc<Self>, of: Asker) -> Share {
        let (own, with) = match of {
            Asker::Device(device, organization) => {
                ((Holder::Device(device), DEVICE), Holder::Organization(organization))
            }
            Asker::Person(user, organization) => {
                let with = organization.map_or(Holder::Platform, Holder::Organization);
                ((Holder::User(user), PERSON), with)
            }
            Asker::Address(address) => ((Holder::Address(address), STRANGER), Holder::Strangers),
        };
        let holders = [own, (with, TENANT), (Holder::Everybody, ALL)];
        Share { quotas: Arc::clone(self), holders, taken: 0 }
    }

    /// Whether a device may send more.
    ///
    /// # Errors
    /// `over-quota`, with when it may.
    pub fn may_send(&self, device: DeviceId, allowances: Allowances, now: Instant) -> Answer<()> {
        let mut devices = self.devices();
        let Some(usage) = devices.get_mut(&device) else { return Ok(()) };
        usage.settle(allowances, now);
        let of = allowances.changes;
        let wait = usage.changes.wait(0, of);
        wait.map_or(Ok(()), |wait| Err(sent_too_much(&format!("{} changes", of.per_hour), wait)))
    }

    /// Since when a device sends unusually much, if it does.
    #[must_use]
    pub fn unusual_since(&self, device: DeviceId) -> Option<Timestamp> {
        self.devices().get(&device)?.unusual
    }

    /// What `attempt` gives, as soon as it does.
    async fn within_patience<T>(&self, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
        if let Some(got) = attempt() {
            return Some(got);
        }
        let trying = async {
            loop {
                let freed = self.freed.notified();
                if let Some(got) = attempt() {
                    return got;
                }
                freed.await;
            }
        };
        tokio::time::timeout(PATIENCE, trying).await.ok()
    }

    fn device_is_done(&self, device: DeviceId, kind: Kind) {
        let mut devices = self.devices();
        if let Some(usage) = devices.get_mut(&device) {
            *usage.of(kind) -= 1;
            // What it sent is remembered until its allowance has covered it, and it comes again.
            if usage.pushes + usage.streams + usage.heartbeats == 0 && usage.owes_nothing() {
                devices.remove(&device);
            }
        }
    }

    fn person_is_done(&self, person: UserId) {
        let mut people = self.people();
        if let Some(taken) = people.get_mut(&person) {
            *taken -= 1;
            if *taken == 0 {
                people.remove(&person);
            }
        }
    }

    fn devices(&self) -> MutexGuard<'_, HashMap<DeviceId, Usage>> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn people(&self) -> MutexGuard<'_, HashMap<UserId, usize>> {
        self.people.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bodies(&self) -> MutexGuard<'_, HashMap<Holder, usize>> {
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sent_too_much(allowance: &str, wait: Duration) -> Refusal {
    let words =
        format!("This device sent far more than {allowance} an hour: nothing is lost, the rest comes later.");
    Refusal::new(ProblemKind::OverQuota, words).retry_after(wait.as_secs())
}

#[derive(Debug, Clone, Copy)]
enum TurnOf {
    Device(DeviceId, Kind),
    Person(UserId),
}

/// A turn: something that a device or a person has under way, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    quotas: Arc<Quotas>,
    of: TurnOf,
}

impl Drop for Turn {
    fn drop(&mut self) {
        match self.of {
            TurnOf::Device(device, kind) => self.quotas.device_is_done(device, kind),
            TurnOf::Person(person) => self.quotas.person_is_done(person),
        }
        self.quotas.freed.notify_waiters();
    }
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Asker {
    Device(DeviceId, OrganizationId),
    /// A person; none is the platform's.
    Person(UserId, Option<OrganizationId>),
    /// Whoever is at an address, as addresses are counted.
    Address(IpAddr),
}

/// The bytes that a request holds, until it is dropped.
#[derive(Debug)]
pub struct Share {
    quotas: Arc<Quotas>,
    holders: [(Holder, usize); 3],
    taken: usize,
}

impl Share {
    /// Counts so many bytes more, before they are held.
    ///
    /// # Errors
    /// `too-large` for what could never be had; `unavailable` when others hold too much for too long.
    pub async fn take(&mut self, more: usize) -> Answer<()> {
        if self.holders.iter().any(|(_, most)| self.taken.saturating_add(more) > *most) {
            return Err(too_large());
        }
        if self.quotas.within_patience(|| self.try_take(more)).await.is_none() {
            let words = "The server has too many requests under way for this one.";
            return Err(Refusal::new(ProblemKind::Unavailable, words).retry_after(COME_AGAIN));
        }
        self.taken += more;
        Ok(())
    }

    /// How many bytes it holds.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.taken
    }

    fn try_take(&self, more: usize) -> Option<()> {
        let mut bodies = self.quotas.bodies();
        let held = |bodies: &HashMap<Holder, usize>, holder| bodies.get(holder).copied().unwrap_or(0);
        if self.holders.iter().any(|(holder, most)| held(&bodies, holder) + more > *most) {
            return None;
        }
        for (holder, _) in &self.holders {
            *bodies.entry(*holder).or_default() += more;
        }
        Some(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.taken == 0 {
            return;
        }
        let mut bodies = self.quotas.bodies();
        for (holder, _) in &self.holders {
            if let Some(held) = bodies.get_mut(holder) {
                *held -= self.taken;
                if *held == 0 {
                    bodies.remove(holder);
                }
            }
        }
        drop(bodies);
        self.quotas.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn device(n: u8) -> DeviceId {
        DeviceId::new(Timestamp::EPOCH, [n; 10])
    }

    fn organization(n: u8) -> OrganizationId {
        OrganizationId::new(Timestamp::EPOCH, [n; 10])
    }

    #[tokio::test]
    async fn a_device_has_two_of_each_kind_at_once() {
        let quotas = Arc::new(Quotas::default());
        let first = quotas.turn(device(1), Kind::Push).await.unwrap();
        let _second = quotas.turn(device(1), Kind::Push).await.unwrap();
        let refused = quotas.turn(device(1), Kind::Push).await.unwrap_err();
        assert_eq!((refused.kind(), refused.problem().status), (Some(ProblemKind::OverQuota), 429));
        let _stream = quotas.turn(device(1), Kind::Stream).await.unwrap();
        let _another = quotas.turn(device(2), Kind::Push).await.unwrap();
        let third = tokio::spawn({
            let quotas = Arc::clone(&quotas);
            async move { quotas.turn(device(1), Kind::Push).await }
        });
        tokio::task::yield_now().await;
        drop(first);
        let third = third.await.unwrap().expect("it waits for its turn");
        drop((third, _second, _stream));
        assert!(!quotas.devices().contains_key(&device(1)), "who has nothing under way is forgotten");
    }

    #[tokio::test]
    async fn a_person_has_four_requests_at_once() {
        let quotas = Arc::new(Quotas::default());
        let (one, other) = ([1, 2].map(|n| UserId::new(Timestamp::EPOCH, [n; 10]))).into();
        let mut held = Vec::new();
        for _ in 0..PERSON_AT_ONCE {
            held.push(quotas.turn_of_person(one).await.unwrap());
        }
        assert_eq!(quotas.turn_of_person(one).await.unwrap_err().kind(), Some(ProblemKind::OverQuota));
        drop(quotas.turn_of_person(other).await.unwrap());
        let next = tokio::spawn({
            let quotas = Arc::clone(&quotas);
            async move { quotas.turn_of_person(one).await }
        });
        tokio::task::yield_now().await;
        held.pop();
        drop((next.await.unwrap().expect("it waits for its turn"), held));
        assert!(quotas.people().is_empty(), "who has nothing under way is forgotten");
    }

    #[tokio::test]
    async fn bytes_are_counted_for_the_device_its_organization_and_all() {
        let quotas = Arc::new(Quotas::default());
        let share = |n, of| quotas.share(Asker::Device(device(n), organization(of)));
        let mut one = share(1, 1);
        assert_eq!(one.take(DEVICE + 1).await.unwrap_err().kind(), Some(ProblemKind::TooLarge));
        one.take(DEVICE).await.unwrap();
        assert_eq!(share(1, 1).take(1).await.unwrap_err().kind(), Some(ProblemKind::Unavailable));
        let (mut two, mut three) = (share(2, 1), share(3, 1));
        two.take(DEVICE).await.unwrap();
        three.take(DEVICE).await.unwrap();
        assert_eq!(share(4, 1).take(1).await.unwrap_err().kind(), Some(ProblemKind::Unavailable));
        share(5, 2).take(1).await.expect("another organization is not held up");
        let mut waiting = share(4, 1);
        let (waited, ()) = tokio::join!(waiting.take(MIB), async { drop(two) });
        waited.expect("who waits goes on when others are done");
        drop((one, three, waiting));
        assert!(quotas.bodies().is_empty());
    }

    #[tokio::test]
    async fn a_few_addresses_do_not_hold_all_that_is_for_those_whom_nobody_knows() {
        let quotas = Arc::new(Quotas::default());
        let stranger = |n| quotas.share(Asker::Address(Ipv4Addr::new(192, 0, 2, n).into()));
        let mut held = Vec::new();
        for n in 0..30 {
            let mut share = stranger(n);
            // As much as it is given, bit by bit.
            while share.take(16 * 1024).await.is_ok() {}
            held.push(share);
        }
        stranger(30).take(4 * 1024).await.expect("somebody who comes later is heard");
        let mut same = stranger(0);
        assert_eq!(same.take(1).await.unwrap_err().kind(), Some(ProblemKind::Unavailable));
        let mut person = quotas.share(Asker::Person(UserId::new(Timestamp::EPOCH, [1; 10]), None));
        person.take(PERSON).await.expect("and whoever has signed in");
        assert_eq!(person.take(1).await.unwrap_err().kind(), Some(ProblemKind::TooLarge));
        // Addresses enough for all that strangers have: the platform's people are not among those.
        for n in 0..384_u32 {
            let mut share = quotas.share(Asker::Address(Ipv4Addr::from(n).into()));
            while share.try_take(16 * 1024).is_some() {
                share.taken += 16 * 1024;
            }
            held.push(share);
        }
        assert_eq!(stranger(200).take(1).await.unwrap_err().kind(), Some(ProblemKind::Unavailable));
        let mut root = quotas.share(Asker::Person(UserId::new(Timestamp::EPOCH, [2; 10]), None));
        root.take(PERSON).await.expect("whoever runs the platform");
    }
}
