//! Streams: the pages of a facility's feed that go down to a device, up to its head or for as long as the connection
//! lives.

use std::time::Duration;

use carepost_protocol::record::Collection;
use carepost_protocol::wire::problem::ProblemKind;
use carepost_protocol::wire::pull::{Cursor, KEEP_ALIVE_SECONDS, MAX_PAGE_DOCUMENTS, SyncPosition};

use super::authenticated_device::AuthenticatedDevice;
use crate::clock;
use crate::error::{Answer, Refusal};
use crate::feed::{Ends, Listener, Wake};
use crate::quota::{Kind, Turn};
use crate::stopping::Stopping;
use crate::store::{Page, PageRequest, RefetchRequest, StoreError};

/// When a stream ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// At the head of the feed.
    Head,
    /// When either side closes it.
    Closed,
}

/// A stream of a facility's feed to a device: what it remembers between pages.
pub struct FeedStream {
    device: AuthenticatedDevice,
    listener: Listener,
    cursor: Option<Cursor>,
    refetch: Option<RefetchRequest>,
    at_head: bool,
    until: Until,
    /// The app's is everybody's, and waiting changes it.
    stopping: Stopping,
    _turn: Turn,
}

/// What goes down next, as NDJSON.
pub struct Chunk {
    /// Its lines.
    pub lines: Vec<u8>,
    /// Whether the device has all that there is then.
    pub is_at_head: bool,
}

/// What waiting for the feed comes to.
enum Waited {
    Moved,
    /// It has not moved for a while.
    Quiet,
    /// The stream has to close.
    Ended,
}

impl FeedStream {
    /// Lets a stream begin where the device says that it stands, if it may be sent anything.
    pub async fn begin(
        mut device: AuthenticatedDevice,
        position: &SyncPosition,
        until: Until,
    ) -> Answer<Self> {
        let cursor = match (position.epoch, position.seq) {
            (None, None) => None,
            (Some(epoch), Some(seq)) => Some(Cursor { epoch, seq }),
            (Some(_), None) | (None, Some(_)) => {
                return Err(Refusal::field("seq", "give epoch and seq together, or neither"));
            }
        };
        let refetch = collections(position.refetch.as_deref().unwrap_or_default());
        // Listen first and read after: then no commit falls between the two, and no change of what the
        // device may see.
        let (feeds, facility) = (device.app.store.feeds(), device.identity.facility());
        let listener = match until {
            Until::Closed => feeds.listen_alone(facility, device.id()),
            Until::Head => feeds.listen(facility, device.id()),
        };
        let turn = device.turn(Kind::Stream).await?;
        device.speaks_for(position.incarnation).await?;
        device.identity = device.known().await?;
        device.may_be_sent(position.encrypted == Some(true))?;
        // Without a cursor everything is sent anyway.
        let refetch = cursor.filter(|_| !refetch.is_empty()).map(|cursor| RefetchRequest {
            collections: refetch,
            cursor,
            after: 0,
            limit: MAX_PAGE_DOCUMENTS,
            view: device.identity.view(),
            view_changes: device.identity.view_changes(),
        });
        let stream = Self {
            stopping: device.app.stopping.clone(),
            device,
            listener,
            cursor,
            refetch,
            at_head: false,
            until,
            _turn: turn,
        };
        stream.check(position).await.map_err(|fault| stream.note_refused(fault))?;
        Ok(stream)
    }

    /// By what it is ended from outside: who does not take what is sent is not asked by the stream any more.
    #[must_use]
    pub fn ends(&self) -> Ends {
        self.listener.ends()
    }

    /// Whether the device may go on from where it says that it stands. Without a cursor, it begins its mirror.
    async fn check(&self, position: &SyncPosition) -> Result<(), StoreError> {
        let (facility, identity) = (&self.device.facility, &self.device.identity);
        facility.check_sync_position(identity, position).await?;
        let Some(cursor) = self.cursor else {
            facility.mirror_began(identity);
            return Ok(());
        };
        facility.check_horizon(identity, cursor, self.device.app.config.sync.tombstones_kept()).await
    }

    /// What goes down next; none ends the stream. An error ends it too: the device comes again and is
    /// told then.
    pub async fn next(&mut self) -> Option<Chunk> {
        if self.at_head {
            if self.until == Until::Head {
                return None;
            }
            match self.wait().await {
                Waited::Moved => {}
                Waited::Quiet => return Some(keep_alive()),
                Waited::Ended => return None,
            }
        }
        // A device that is revoked while it catches up gets no further page.
        if self.listener.is_refused() {
            return None;
        }
        self.page().await.ok()
    }

    /// Waits for the feed to move, for as long as a device may hear nothing.
    async fn wait(&mut self) -> Waited {
        let patience = Duration::from_secs(KEEP_ALIVE_SECONDS);
        tokio::select! {
            wake = self.listener.wake() => match wake {
                Wake::Moved => Waited::Moved,
                Wake::Refused => Waited::Ended,
            },
            () = self.stopping.wait() => Waited::Ended,
            () = tokio::time::sleep(patience) => match self.device.known().await {
                Ok(_) => Waited::Quiet,
                Err(_) => Waited::Ended,
            },
        }
    }

    /// The next page.
    pub async fn page(&mut self) -> Answer<Chunk> {
        let page = match self.refetch.take() {
            Some(asked) => self.refetch_page(asked).await,
            None => self.page_onward().await,
        };
        let page = page.map_err(|fault| self.note_refused(fault))?;
        Ok(Chunk { lines: page.lines, is_at_head: self.at_head })
    }

    /// The next page of collections that the device wants again; after the last one, the stream goes on
    /// from the cursor, with a page that tells every digest.
    async fn refetch_page(&mut self, mut asked: RefetchRequest) -> Result<Page, StoreError> {
        let (page, after) = self.device.facility.refetch_page(asked.clone()).await?;
        if page.end.refetched.is_empty() {
            asked.after = after;
            self.refetch = Some(asked);
        }
        Ok(page)
    }

    async fn page_onward(&mut self) -> Result<Page, StoreError> {
        let identity = &self.device.identity;
        let asked = PageRequest {
            view: identity.view(),
            view_changes: identity.view_changes(),
            most_documents: self.device.app.config.sync.max_documents,
            after: self.cursor,
            limit: MAX_PAGE_DOCUMENTS,
            was_at_head: self.at_head,
        };
        let page = self.device.facility.page(asked).await?;
        self.cursor = Some(page.end.cursor);
        self.at_head = page.end.reaches_head();
        if self.at_head {
            self.device.facility.cursor_served(&self.device.identity);
        }
        Ok(page)
    }

    /// A refused cursor shows to administrators until the device has synced again.
    fn note_refused(&self, fault: StoreError) -> Refusal {
        let refusal = Refusal::from(fault);
        if refusal.kind() == Some(ProblemKind::CursorRefused) {
            self.device.facility.cursor_refused(&self.device.identity);
        }
        refusal
    }
}

/// What says that a stream lives on which nothing moves.
fn keep_alive() -> Chunk {
    let line = format!("{{\"keep_alive\":{{\"server_time\":\"{}\"}}}}\n", clock::now());
    Chunk { lines: line.into_bytes(), is_at_head: true }
}

/// The collections that a device wants again, by their names. Others are a newer agent's: this server has
/// nothing of theirs to send again.
fn collections(names: &str) -> Vec<Collection> {
    let mut found = Vec::new();
    for collection in names.split(',').filter_map(Collection::from_name) {
        if !found.contains(&collection) {
            found.push(collection);
        }
    }
    found
}
