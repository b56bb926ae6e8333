//! Connection limits. Connections are counted by whom they are of, and where there are too many the oldest of whoever
//! has the most makes room: a flood pushes out itself. Where nobody has more than others, it is a limit's to say
//! whether the oldest of all does.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::network::site;

/// Whose a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    /// An address's, as [`client_network`](crate::network::client_network) counts it.
    Block(IpAddr),
    /// A device's, by its key.
    Key([u8; 32]),
}

impl Holder {
    fn site(self) -> Option<IpAddr> {
        match self {
            Self::Block(network) => Some(site(network)),
            Self::Key(_) => None,
        }
    }
}

/// A connection from outside: what it has under way, and the word that it has to end.
#[derive(Debug, Default)]
pub(super) struct Connection {
    open: AtomicUsize,
    begun: AtomicU64,
    ends: Notify,
}

/// A request under way on a connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Busy(Arc<Connection>);

impl Connection {
    pub(super) fn busy(self: &Arc<Self>) -> Busy {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// Waits until the connection has to make room for another.
    pub(super) async fn ended(&self) {
        self.ends.notified().await;
    }

    /// Waits until nothing was under way for `a_while`, or up to twice as long: one look each while is all
    /// that it costs.
    pub(super) async fn idled(&self, a_while: Duration) {
        let mut begun = 0;
        loop {
            tokio::time::sleep(a_while).await;
            let before = std::mem::replace(&mut begun, self.begun.load(Ordering::Relaxed));
            if begun == before && self.open.load(Ordering::Relaxed) == 0 {
                return;
            }
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// So many connections at once, and so many of them for each holder.
#[derive(Debug)]
pub(super) struct ConnectionLimit {
    most: usize,
    each: usize,
    /// How many a site has, however many networks are its.
    site: usize,
    /// Whether who has one slot alone may have to give it up.
    passing: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The connections of each, with when they came: the oldest first.
    held: HashMap<Holder, VecDeque<(u64, Arc<Connection>)>>,
    taken: usize,
    came: u64,
}

/// A connection that counts, until it is dropped.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    limit: Arc<ConnectionLimit>,
    holder: Holder,
    connection: Arc<Connection>,
}

impl ConnectionLimit {
    pub(super) fn new(most: usize, each: usize) -> Arc<Self> {
        Self::with(most, each, false)
    }

    /// For what is soon over: who stays the longest has no business there.
    pub(super) fn passing(most: usize, each: usize) -> Arc<Self> {
        Self::with(most, each, true)
    }

    fn with(most: usize, each: usize, passing: bool) -> Arc<Self> {
        let (most, each) = (most.max(1), each.max(1));
        Arc::new(Self { most, each, site: each.max(most / 2), passing, state: Mutex::default() })
    }

    /// A slot for a connection. A holder who has all that one may have gives up the oldest, and where a site has all
    /// that one may have, whoever has the most there; where all are taken it is whoever has the most. Where nobody has
    /// more than the one who asks would, there is none, or for what is soon over it is the oldest of their own, or else
    /// of all.
    pub(super) fn enter(
        self: &Arc<Self>,
        holder: Holder,
        connection: &Arc<Connection>,
    ) -> Option<ConnectionSlot> {
        let mut state = self.locked();
        let own = state.held.get(&holder).map_or(0, VecDeque::len);
        if own >= self.each {
            state.end_oldest(holder);
        } else if let Some(most) = state.most_at_full_site(holder, self.site) {
            state.end_oldest(most);
        } else if state.taken >= self.most {
            let (most, connections) = state.held.iter().max_by_key(|(_, connections)| connections.len())?;
            let makes_room = if connections.len() > own + 1 {
                *most
            } else if !self.passing {
                return None;
            } else if own > 0 {
                holder
            } else {
                state.oldest()?
            };
            state.end_oldest(makes_room);
        }
        let came = state.came;
        state.came += 1;
        state.held.entry(holder).or_default().push_back((came, Arc::clone(connection)));
        state.taken += 1;
        drop(state);
        Some(ConnectionSlot { limit: Arc::clone(self), holder, connection: Arc::clone(connection) })
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Who has the most at the holder's site, where the site has all that one may have.
    fn most_at_full_site(&self, holder: Holder, most: usize) -> Option<Holder> {
        let own = holder.site()?;
        let there = || self.held.iter().filter(|(other, _)| other.site() == Some(own));
        let held: usize = there().map(|(_, connections)| connections.len()).sum();
        let most = (held >= most).then(|| there().max_by_key(|(_, connections)| connections.len()));
        most.flatten().map(|(holder, _)| *holder)
    }

    fn oldest(&self) -> Option<Holder> {
        let came = |connections: &VecDeque<(u64, _)>| connections.front().map(|(came, _)| *came);
        self.held.iter().min_by_key(|(_, connections)| came(connections)).map(|(holder, _)| *holder)
    }

    fn end_oldest(&mut self, holder: Holder) {
        if let Some((_, oldest)) = self.held.get(&holder).and_then(|connections| connections.front()).cloned()
        {
            oldest.ends.notify_one();
            self.leave(holder, &oldest);
        }
    }

    fn leave(&mut self, holder: Holder, connection: &Arc<Connection>) {
        let Some(connections) = self.held.get_mut(&holder) else { return };
        // Whoever had to make room has left already.
        if let Some(at) = connections.iter().position(|(_, held)| Arc::ptr_eq(held, connection)) {
            connections.remove(at);
            self.taken -= 1;
        }
        if connections.is_empty() {
            self.held.remove(&holder);
        }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.limit.locked().leave(self.holder, &self.connection);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::client_network;

    fn holder(text: &str) -> Holder {
        Holder::Block(client_network(text.parse().unwrap()))
    }

    fn enter(limit: &Arc<ConnectionLimit>, who: &str) -> Option<(Arc<Connection>, ConnectionSlot)> {
        let connection = Arc::default();
        let slot = limit.enter(holder(who), &connection)?;
        Some((connection, slot))
    }

    async fn has_ended(connection: &Connection) -> bool {
        tokio::time::timeout(Duration::ZERO, connection.ended()).await.is_ok()
    }

    #[tokio::test]
    async fn a_flood_pushes_out_itself() {
        let limit = ConnectionLimit::new(6, 4);
        let (quiet, _quiet_slot) = enter(&limit, "192.0.2.1").unwrap();
        let flood: Vec<_> = (0..100).map(|_| enter(&limit, "192.0.2.2").unwrap()).collect();
        assert_eq!(limit.locked().taken, 5, "four of one holder's, and the quiet one's");
        for (connection, _) in &flood[..96] {
            assert!(has_ended(connection).await);
        }
        let third = enter(&limit, "192.0.2.3").unwrap();
        assert_eq!(limit.locked().taken, 6);
        let fourth = enter(&limit, "192.0.2.4").unwrap();
        assert!(has_ended(&flood[96].0).await, "who has the most makes room");
        for connection in [&quiet, &third.0, &fourth.0, &flood[97].0] {
            assert!(!has_ended(connection).await);
        }
        drop((flood, third, fourth));
        assert_eq!(limit.locked().taken, 1, "what had to make room is not counted twice");
    }

    #[tokio::test]
    async fn whoever_has_a_site_of_networks_leaves_half_to_others() {
        let limit = ConnectionLimit::new(8, 2);
        let quiet: Vec<_> = (1..=4).map(|n| enter(&limit, &format!("192.0.2.{n}")).unwrap()).collect();
        let networks = (0..100).map(|n| enter(&limit, &format!("2001:db8:1:{n:x}::1")).unwrap());
        let flood: Vec<_> = networks.collect();
        for (connection, _) in &quiet {
            assert!(!has_ended(connection).await);
        }
        let mut open = 0;
        for (connection, _) in &flood {
            open += usize::from(!has_ended(connection).await);
        }
        assert_eq!((open, limit.locked().taken), (4, 8));
        assert!(enter(&limit, "2001:db8:2:1::1").is_none(), "another site has what is free, as anybody else");
        drop(flood);
        assert!(enter(&limit, "2001:db8:2:1::1").is_some());
    }

    #[tokio::test]
    async fn of_what_is_soon_over_the_oldest_of_all_makes_room_where_nobody_has_more() {
        let limit = ConnectionLimit::passing(3, 2);
        let [first, second, third] =
            ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|who| enter(&limit, who).unwrap());
        let again = enter(&limit, "192.0.2.2").unwrap();
        assert!(has_ended(&second.0).await, "who comes once more pushes out their own");
        let fourth = enter(&limit, "192.0.2.4").unwrap();
        assert!(has_ended(&first.0).await);
        for connection in [&third.0, &again.0, &fourth.0] {
            assert!(!has_ended(connection).await);
        }
        let _fifth = enter(&limit, "192.0.2.5").unwrap();
        assert!(has_ended(&third.0).await);
        assert_eq!(limit.locked().taken, 3);
    }

    #[test]
    fn where_nobody_has_more_than_another_who_comes_later_is_refused() {
        let limit = ConnectionLimit::new(2, 2);
        let (first, second) = (enter(&limit, "192.0.2.1"), enter(&limit, "192.0.2.2"));
        assert!(first.is_some() && second.is_some() && enter(&limit, "192.0.2.3").is_none());
        drop(first);
        assert!(enter(&limit, "192.0.2.3").is_some());
        assert!(limit.locked().held.len() == 1, "who left is forgotten");
    }
}
