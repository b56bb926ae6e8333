//! Fair queueing of hashes. Whoever asks waits in a lane, which has one turn at a time; lanes are served in turn
//! within their kind, and so are the kinds: however many come of one, others wait for one of them.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use carepost_protocol::id::{OrganizationId, UserId};
use tokio::sync::oneshot;

use crate::network::site;

/// How long who asks waits for a turn.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many have a place in a lane, with the one whose turn it is: whoever comes then is told at once to come
/// back.
pub(super) const PLACES: usize = 8;
/// How many lanes there are of a kind, but for those that rest. On two cores the last of so many is served within
/// [`PATIENCE`] while nobody of the other kinds asks, and later, or not, where they do.
pub(super) const LANES: usize = 256;
/// How many of them are fellows': one organization's, or of strangers one site's.
const FELLOWS: usize = LANES / 4;

/// For whom something is hashed: the lane to wait in. No organization is the platform's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Caller {
    /// A person who is signed in.
    Person(Option<OrganizationId>, UserId),
    /// Whoever is at a network from which somebody of that organization signed in of late.
    Known(Option<OrganizationId>, Option<IpAddr>),
    /// Whoever is at another.
    Stranger(Option<IpAddr>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Person,
    Known,
    Stranger,
}

impl Caller {
    const fn kind(self) -> Kind {
        match self {
            Self::Person(..) => Kind::Person,
            Self::Known(..) => Kind::Known,
            Self::Stranger(_) => Kind::Stranger,
        }
    }

    /// Whether two of a kind are of one organization, or of one site.
    fn is_fellow(self, other: Self) -> bool {
        match (self, other) {
            (Self::Person(one, _), Self::Person(another, _)) => one == another,
            (Self::Known(one, _), Self::Known(another, _)) => one == another,
            (Self::Stranger(one), Self::Stranger(another)) => one.map(site) == another.map(site),
            (Self::Person(..) | Self::Known(..) | Self::Stranger(_), _) => false,
        }
    }
}

/// So many turns at once.
pub(super) struct Turns {
    at_once: usize,
    state: Mutex<State>,
}

struct State {
    taken: usize,
    /// That whose turn is longest ago first.
    queues: VecDeque<Queue>,
}

/// Who waits of one kind.
struct Queue {
    kind: Kind,
    lanes: HashMap<Caller, Lane>,
    /// The lanes where somebody waits and nobody has a turn.
    ready: VecDeque<Caller>,
}

#[derive(Default)]
struct Lane {
    waiting: VecDeque<oneshot::Sender<Turn>>,
    taken: bool,
    /// Whoever comes does not wait for it.
    rests: bool,
}

/// A turn, until it is dropped.
pub(super) struct Turn {
    turns: Arc<Turns>,
    caller: Caller,
    works: bool,
}

impl Turns {
    pub(super) fn new(at_once: usize) -> Arc<Self> {
        let queue = |kind| Queue { kind, lanes: HashMap::new(), ready: VecDeque::new() };
        let queues = [Kind::Person, Kind::Known, Kind::Stranger].map(queue).into();
        Arc::new(Self { at_once, state: Mutex::new(State { taken: 0, queues }) })
    }

    /// Waits for a turn; none where there is no place, or it takes too long.
    pub(super) async fn take(self: &Arc<Self>, caller: Caller) -> Option<Turn> {
        let (waiting, given) = oneshot::channel();
        if !self.locked().enter(caller, waiting) {
            return None;
        }
        self.serve();
        tokio::time::timeout(PATIENCE, given).await.ok()?.ok()
    }

    fn serve(self: &Arc<Self>) {
        loop {
            let next = self.locked().next(self.at_once);
            let Some((caller, waiting)) = next else { return };
            // Who has gone just now gives it back by this.
            drop(waiting.send(Turn { turns: Arc::clone(self), caller, works: true }));
        }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn enter(&mut self, caller: Caller, waiting: oneshot::Sender<Turn>) -> bool {
        let Some(queue) = self.queue(caller) else { return false };
        if !queue.lanes.contains_key(&caller) && !queue.has_room(caller) {
            return false;
        }
        let lane = queue.lanes.entry(caller).or_default();
        let was_ready = lane.is_ready();
        lane.waiting.retain(|waiting| !waiting.is_closed());
        if lane.waiting.len() + usize::from(lane.taken) >= PLACES {
            return false;
        }
        lane.waiting.push_back(waiting);
        if !was_ready && lane.is_ready() {
            queue.ready.push_back(caller);
        }
        true
    }

    /// Whoever has a turn next, where one is free.
    fn next(&mut self, at_once: usize) -> Option<(Caller, oneshot::Sender<Turn>)> {
        if self.taken >= at_once {
            return None;
        }
        let (at, next) =
            self.queues.iter_mut().enumerate().find_map(|(at, queue)| Some((at, queue.next()?)))?;
        if let Some(served) = self.queues.remove(at) {
            self.queues.push_back(served);
        }
        self.taken += 1;
        Some(next)
    }

    fn leave(&mut self, caller: Caller) {
        let Some(queue) = self.queue(caller) else { return };
        let Some(lane) = queue.lanes.get_mut(&caller) else { return };
        (lane.taken, lane.rests) = (false, false);
        if lane.is_ready() {
            queue.ready.push_back(caller);
        } else {
            queue.lanes.remove(&caller);
        }
    }

    fn queue(&mut self, caller: Caller) -> Option<&mut Queue> {
        self.queues.iter_mut().find(|queue| queue.kind == caller.kind())
    }
}

impl Queue {
    /// Whether there is a lane more for whom has none.
    fn has_room(&self, caller: Caller) -> bool {
        let others = || self.lanes.iter().filter(|(_, lane)| !lane.rests).map(|(other, _)| other);
        others().count() < LANES && others().filter(|other| other.is_fellow(caller)).count() < FELLOWS
    }

    fn next(&mut self) -> Option<(Caller, oneshot::Sender<Turn>)> {
        while let Some(caller) = self.ready.pop_front() {
            let Some(lane) = self.lanes.get_mut(&caller) else { continue };
            while let Some(waiting) = lane.waiting.pop_front() {
                if !waiting.is_closed() {
                    lane.taken = true;
                    return Some((caller, waiting));
                }
            }
            self.lanes.remove(&caller);
        }
        None
    }
}

impl Lane {
    fn is_ready(&self) -> bool {
        !self.taken && !self.waiting.is_empty()
    }
}

impl Turn {
    /// Lets others work, and keeps the lane for a while.
    pub(super) fn rest(mut self, a_while: Duration) {
        self.works = false;
        let mut state = self.turns.locked();
        state.taken -= 1;
        if let Some(lane) = state.queue(self.caller).and_then(|queue| queue.lanes.get_mut(&self.caller)) {
            lane.rests = true;
        }
        drop(state);
        self.turns.serve();
        tokio::spawn(async move {
            tokio::time::sleep(a_while).await;
            drop(self);
        });
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.turns.locked();
        if self.works {
            state.taken -= 1;
        }
        state.leave(self.caller);
        drop(state);
        self.turns.serve();
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinHandle;

    use super::*;

    fn person(n: u8) -> Caller {
        Caller::Person(None, UserId::from_bytes([n; 16]))
    }

    fn network(n: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, n]))
    }

    fn known(organization: u8, network: Option<IpAddr>) -> Caller {
        Caller::Known(Some(OrganizationId::from_bytes([organization; 16])), network)
    }

    fn places(turns: &Arc<Turns>, caller: Caller) -> usize {
        let mut state = turns.locked();
        let lane = state.queue(caller).and_then(|queue| queue.lanes.get(&caller));
        lane.map_or(0, |lane| lane.waiting.len() + usize::from(lane.taken))
    }

    /// Who asks for a turn and has a place.
    async fn asks(turns: &Arc<Turns>, caller: Caller) -> JoinHandle<Option<Turn>> {
        let (before, asker) = (places(turns, caller), Arc::clone(turns));
        let asking = tokio::spawn(async move { asker.take(caller).await });
        while places(turns, caller) == before {
            tokio::task::yield_now().await;
        }
        asking
    }

    #[tokio::test]
    async fn kinds_are_served_in_turn_and_within_a_kind_lanes_are() {
        let turns = Turns::new(1);
        let first = turns.take(Caller::Stranger(network(1))).await.unwrap();
        let mut asked = Vec::new();
        for n in 1..=20 {
            for _ in 0..3 {
                let stranger = Caller::Stranger(network(n));
                asked.push((stranger, asks(&turns, stranger).await));
            }
        }
        for caller in [person(1), person(1), person(1), person(2), known(1, network(30))] {
            asked.push((caller, asks(&turns, caller).await));
        }
        drop(first);
        let mut served = Vec::new();
        while served.len() < 7 {
            tokio::task::yield_now().await;
            while let Some(at) = asked.iter().position(|(_, asking)| asking.is_finished()) {
                let (caller, asking) = asked.swap_remove(at);
                served.push(caller);
                drop(asking.await.unwrap());
            }
        }
        let stranger = |n| Caller::Stranger(network(n));
        let fair =
            [person(1), known(1, network(30)), stranger(2), person(2), stranger(3), person(1), stranger(4)];
        assert_eq!(served, fair);
        asked.iter().for_each(|(_, asking)| asking.abort());
    }

    #[tokio::test]
    async fn a_lane_has_few_places_and_who_has_gone_has_none() {
        let (turns, flood) = (Turns::new(4), Caller::Stranger(network(1)));
        let turn = turns.take(flood).await.unwrap();
        let mut waiting = Vec::new();
        for _ in 1..PLACES {
            waiting.push(asks(&turns, flood).await);
        }
        assert!(turns.take(flood).await.is_none(), "one too many");
        drop(turns.take(Caller::Stranger(network(2))).await.unwrap());
        waiting.iter().for_each(JoinHandle::abort);
        for gone in waiting {
            assert!(gone.await.is_err());
        }
        let next = asks(&turns, flood).await;
        drop(turn);
        drop(next.await.unwrap().unwrap());
        assert!(turns.locked().queues.iter().all(|queue| queue.lanes.is_empty()), "nobody is remembered");
        assert_eq!(turns.locked().taken, 0);
    }

    #[tokio::test]
    async fn there_are_so_many_lanes_of_strangers_and_others_have_theirs() {
        let turns = Turns::new(1);
        let _turn = turns.take(person(1)).await.unwrap();
        let stranger =
            |n: usize| Caller::Stranger(Some(IpAddr::from(u32::try_from(n).unwrap().to_be_bytes())));
        let mut waiting = Vec::new();
        for n in 0..LANES {
            waiting.push(asks(&turns, stranger(n)).await);
        }
        assert!(turns.take(stranger(LANES)).await.is_none());
        for caller in [person(2), known(1, network(1)), stranger(7)] {
            waiting.push(asks(&turns, caller).await);
        }
        waiting.iter().for_each(JoinHandle::abort);
    }

    #[tokio::test]
    async fn no_organization_and_no_site_takes_all_lanes_of_a_kind() {
        let turns = Turns::new(1);
        let _turn = turns.take(Caller::Stranger(None)).await.unwrap();
        let six = |site: u16, n: u8| Some(IpAddr::from([0x2001, 0xdb8, site, n.into(), 0, 0, 0, 0]));
        let admin = |organization: u8, n: u8| {
            let organization = OrganizationId::from_bytes([organization; 16]);
            Caller::Person(Some(organization), UserId::from_bytes([n; 16]))
        };
        let crowds: [(&dyn Fn(u8) -> Caller, Caller); 3] = [
            (&|n| known(1, network(n)), known(2, network(1))),
            (&|n| admin(1, n), admin(2, 1)),
            (&|n| Caller::Stranger(six(1, n)), Caller::Stranger(six(2, 1))),
        ];
        let mut waiting = Vec::new();
        for (crowd, other) in crowds {
            for n in 0..64 {
                waiting.push(asks(&turns, crowd(n)).await);
            }
            assert!(!turns.locked().enter(crowd(64), oneshot::channel().0), "{other:?}");
            waiting.push(asks(&turns, crowd(7)).await);
            waiting.push(asks(&turns, other).await);
        }
        waiting.iter().for_each(JoinHandle::abort);
    }

    #[tokio::test]
    async fn lanes_that_rest_take_nobodys_place() {
        let turns = Turns::new(1);
        let stranger =
            |n: usize| Caller::Stranger(Some(IpAddr::from(u32::try_from(n).unwrap().to_be_bytes())));
        for n in 0..LANES {
            turns.take(stranger(n)).await.unwrap().rest(Duration::from_secs(3_600));
        }
        let turn = turns.take(stranger(LANES)).await.expect("nothing is hashed, and nobody waits");
        let mut waiting = Vec::new();
        for n in 1..LANES {
            waiting.push(asks(&turns, stranger(LANES + n)).await);
        }
        assert!(turns.take(stranger(0)).await.is_none(), "one of those that rest, as all places are taken");
        assert!(turns.take(stranger(2 * LANES)).await.is_none());
        drop(turn);
        waiting.iter().for_each(JoinHandle::abort);
    }

    #[tokio::test]
    async fn a_lane_that_rests_holds_up_nobody_else() {
        let (turns, flood) = (Turns::new(1), Caller::Stranger(network(1)));
        turns.take(flood).await.unwrap().rest(Duration::from_millis(200));
        let next = asks(&turns, flood).await;
        drop(turns.take(Caller::Stranger(network(2))).await.unwrap());
        assert!(!next.is_finished());
        assert!(next.await.unwrap().is_some());
    }
}
