//! Streams: the pages of a facility's feed that go down to a device, up to its head or for as long as the connection
//! lives.

use std::time::Duration;

use carepost_protocol::device::DeviceState;
use carepost_protocol::record::Collection;
use carepost_protocol::wire::problem::ProblemKind;
use carepost_protocol::wire::pull::{Cursor, KEEP_ALIVE_SECONDS, MAX_PAGE_DOCUMENTS, SyncPosition};

use super::authenticated_device::AuthenticatedDevice;
use crate::app::App;
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

/// What a stream remembers between pages.
pub struct Pages {
    app: App,
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

impl Pages {
    /// Lets a stream begin where the device says that it stands, if it may be sent anything.
    pub async fn begin(
        app: &App,
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
        let (feeds, facility) = (app.store.feeds(), device.identity.facility());
        let listener = match until {
            Until::Closed => feeds.listen_alone(facility, device.identity.device()),
            Until::Head => feeds.listen(facility, device.identity.device()),
        };
        let turn = app.quotas.turn(device.identity.device(), Kind::Stream).await?;
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
        let pages = Self {
            app: app.clone(),
            device,
            listener,
            cursor,
            refetch,
            at_head: false,
            until,
            stopping: app.stopping.clone(),
            _turn: turn,
        };
        let stands = pages.device.facility.check_sync_position(&pages.device.identity, position).await;
        stands.map_err(|fault| pages.refusal(fault))?;
        match cursor {
            Some(cursor) => pages.check_horizon(cursor).await?,
            None => pages.device.facility.mirror_began(&pages.device.identity),
        }
        Ok(pages)
    }

    /// By what it is ended from outside: who does not take what is sent is not asked by the stream any more.
    #[must_use]
    pub fn ends(&self) -> Ends {
        self.listener.ends()
    }

    async fn check_horizon(&self, cursor: Cursor) -> Answer<()> {
        let kept = self.app.config.sync.tombstones_kept();
        let checked = self.device.facility.check_horizon(&self.device.identity, cursor, kept).await;
        checked.map_err(|fault| self.refusal(fault))
    }

    /// What goes down next; none ends the stream. An error ends it too: the device comes again and is
    /// told then.
    pub async fn next(&mut self) -> Option<Chunk> {
        if self.at_head {
            if self.until == Until::Head {
                return None;
            }
            if let Some(alive) = self.wait().await? {
                return Some(alive);
            }
        }
        // A device that is revoked while it catches up gets no further page.
        if self.listener.is_refused() {
            return None;
        }
        self.page().await.ok()
    }

    /// Waits for the feed to move: none inside when it has, a keep-alive when it has not for a while;
    /// none outside when the stream has to close.
    async fn wait(&mut self) -> Option<Option<Chunk>> {
        let patience = Duration::from_secs(KEEP_ALIVE_SECONDS);
        tokio::select! {
            wake = self.listener.wake() => match wake {
                Wake::Moved => Some(None),
                Wake::Refused => None,
            },
            () = self.stopping.wait() => None,
            () = tokio::time::sleep(patience) => {
                if !self.is_still_active().await {
                    return None;
                }
                let line = format!("{{\"keep_alive\":{{\"server_time\":\"{}\"}}}}\n", clock::now());
                Some(Some(Chunk { lines: line.into_bytes(), is_at_head: true }))
            }
        }
    }

    async fn is_still_active(&self) -> bool {
        let known = self.app.store.system().device_by_key(*self.device.key.sha256()).await;
        matches!(known, Ok(Some(identity)) if identity.state() == DeviceState::Active)
    }

    /// The next page.
    pub async fn page(&mut self) -> Answer<Chunk> {
        let page = match self.refetch.take() {
            Some(asked) => self.refetch_page(asked).await,
            None => self.page_onward().await,
        };
        let page = page.map_err(|fault| self.refusal(fault))?;
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
            most_documents: self.app.config.sync.max_documents,
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
    fn refusal(&self, fault: StoreError) -> Refusal {
        let refusal = Refusal::from(fault);
        if refusal.kind() == Some(ProblemKind::CursorRefused) {
            self.device.facility.cursor_refused(&self.device.identity);
        }
        refusal
    }
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
