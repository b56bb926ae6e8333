//! Pull and live: what goes down to devices, the pages of their facility's feed, up to its head or for as long as the
//! connection lives.

use std::io::Write as _;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use carepost_protocol::device::DeviceState;
use carepost_protocol::record::Collection;
use carepost_protocol::wire::problem::{Problem, ProblemKind};
use carepost_protocol::wire::pull::{Cursor, KEEP_ALIVE_SECONDS, MAX_PAGE_DOCUMENTS, SyncPosition};
use futures_util::stream;
use http::HeaderMap;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use zstd::stream::write::Encoder;

use crate::app::App;
use crate::clock;
use crate::error::{Answer, Refusal};
use crate::feed::{Listener, Wake};
use crate::http::authentication::Device;
use crate::http::extract::Params;
use crate::quota::{Kind, Turn};
use crate::stopping::Stopping;
use crate::store::{Page, PageRequest, RefetchRequest, StoreError};

/// zstd's level for what goes down: level 3 halves level 1's bytes on charting data at little cost.
const LEVEL: i32 = 3;
/// The window of the compression, as a power of two: 1 MiB, held for each stream while it catches up and
/// given back once it has.
const WINDOW_LOG: u32 = 20;
/// A chunk smaller than this is packed on the spot.
const SMALL: usize = 32 * 1024;

/// Sends the pages from where the device stands up to the head of the feed, as NDJSON.
#[utoipa::path(get, path = "/api/v1/sync/pull", operation_id = "pull", tag = "sync",
    params(("epoch" = Option<u64>, Query, description = "The cursor's epoch; without epoch and seq, from the beginning"),
        ("seq" = Option<u64>, Query, description = "The cursor's place"),
        ("incarnation" = Option<String>, Query, description = "The incarnation of the device's outbox"),
        ("care" = Option<u64>, Query, description = "The last number of its care lane that was acknowledged"),
        ("audit" = Option<u64>, Query, description = "The last number of its audit lane that was acknowledged"),
        ("proof" = Option<String>, Query, description = "The proof that came with the cursor"),
        ("encrypted" = Option<bool>, Query, description = "Whether the device has measured that it is encrypted; a facility may demand it"),
        ("refetch" = Option<String>, Query, description = "Collections to be sent again from their beginning, with commas between; unknown names are ignored")),
    responses((status = 200, content_type = "application/x-ndjson", description = "Documents and the ends of pages"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 410, body = Problem), (status = 422, body = Problem), (status = 429, body = Problem)))]
pub async fn pull(
    State(app): State<App>,
    device: Device,
    Params(position): Params<SyncPosition>,
    headers: HeaderMap,
) -> Answer<Response> {
    open(&app, device, position, &headers, Until::Head).await
}

/// Sends the pages from where the device stands and stays open: each page as it is committed, and a
/// keep-alive when nothing happens. A device has one such stream: a newer one ends the older.
#[utoipa::path(get, path = "/api/v1/sync/live", operation_id = "live", tag = "sync",
    params(("epoch" = Option<u64>, Query, description = "As for pull, like all of them"),
        ("seq" = Option<u64>, Query), ("incarnation" = Option<String>, Query), ("care" = Option<u64>, Query),
        ("audit" = Option<u64>, Query), ("proof" = Option<String>, Query), ("encrypted" = Option<bool>, Query),
        ("refetch" = Option<String>, Query)),
    responses((status = 200, content_type = "application/x-ndjson", description = "Documents, the ends of pages, keep-alives"), (status = 401, body = Problem), (status = 403, body = Problem), (status = 410, body = Problem), (status = 422, body = Problem), (status = 429, body = Problem)))]
pub async fn live(
    State(app): State<App>,
    device: Device,
    Params(position): Params<SyncPosition>,
    headers: HeaderMap,
) -> Answer<Response> {
    open(&app, device, position, &headers, Until::Closed).await
}

/// When a stream ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    Head,
    Closed,
}

/// What a stream remembers between pages.
struct Pages {
    app: App,
    device: Device,
    listener: Listener,
    cursor: Option<Cursor>,
    refetch: Option<RefetchRequest>,
    at_head: bool,
    until: Until,
    packer: Packer,
    /// The app's is everybody's, and waiting changes it.
    stopping: Stopping,
    _turn: Turn,
}

async fn open(
    app: &App,
    device: Device,
    position: SyncPosition,
    headers: &HeaderMap,
    until: Until,
) -> Answer<Response> {
    let zstd =
        headers.get(ACCEPT_ENCODING).is_some_and(|value| value.as_bytes().windows(4).any(|it| it == b"zstd"));
    let mut pages = Pages::begin(app, device, &position, until, zstd).await?;
    // The first page is read before anything is answered, so that a cursor that is not served any more
    // is a problem document and not a broken stream.
    let first = pages.page().await?;
    let ends = pages.listener.ends();
    let body = stream::unfold((pages, Some(first)), |(mut pages, first)| async move {
        let next = match first {
            Some(first) => Some(first),
            None => pages.next().await,
        };
        next.map(|chunk| (Ok::<_, std::io::Error>(chunk), (pages, None)))
    });
    let mut response = Body::from_stream(body).into_response();
    // Who does not take what is sent is not asked by the stream any more: it ends from outside.
    response.extensions_mut().insert(ends);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    if zstd {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("zstd"));
    }
    Ok(response)
}

impl Pages {
    async fn begin(
        app: &App,
        mut device: Device,
        position: &SyncPosition,
        until: Until,
        zstd: bool,
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
        device.speaks_for(app, position.incarnation).await?;
        device.may_still_read(app).await?;
        if device.identity.require_encryption() && position.encrypted != Some(true) {
            return Err(not_encrypted());
        }
        // Without a cursor everything is sent anyway.
        let refetch = cursor.filter(|_| !refetch.is_empty()).map(|cursor| RefetchRequest {
            collections: refetch,
            cursor,
            after: 0,
            limit: MAX_PAGE_DOCUMENTS,
            view: device.identity.view(),
            view_changes: device.identity.view_changes(),
        });
        let packer = Packer { zstd, catching_up: None };
        let pages = Self {
            app: app.clone(),
            device,
            listener,
            cursor,
            refetch,
            at_head: false,
            until,
            packer,
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

    async fn check_horizon(&self, cursor: Cursor) -> Answer<()> {
        let kept = self.app.config.sync.tombstones_kept();
        let checked = self.device.facility.check_horizon(&self.device.identity, cursor, kept).await;
        checked.map_err(|fault| self.refusal(fault))
    }

    /// What goes down next; none ends the stream. An error ends it too: the device comes again and is
    /// told then.
    async fn next(&mut self) -> Option<Bytes> {
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
    async fn wait(&mut self) -> Option<Option<Bytes>> {
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
                self.packer.pack(line.into_bytes(), true).ok().map(Some)
            }
        }
    }

    async fn is_still_active(&self) -> bool {
        let known = self.app.store.system().device_by_key(*self.device.key.sha256()).await;
        matches!(known, Ok(Some(identity)) if identity.state() == DeviceState::Active)
    }

    async fn page(&mut self) -> Answer<Bytes> {
        let page = match self.refetch.take() {
            Some(asked) => self.refetch_page(asked).await,
            None => self.page_onward().await,
        };
        let page = page.map_err(|fault| self.refusal(fault))?;
        let (mut packer, last) = (std::mem::take(&mut self.packer), self.at_head);
        let small = page.lines.len() < SMALL;
        let pack = move || {
            let packed = packer.pack(page.lines, last);
            (packer, packed)
        };
        let (packer, packed) = if small {
            pack()
        } else {
            tokio::task::spawn_blocking(pack).await.map_err(|fault| Refusal::internal(&fault))?
        };
        self.packer = packer;
        packed.map_err(|fault| Refusal::internal(&fault))
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

/// Nothing is sent to a device that does not say that it is encrypted, where its facility demands it.
pub(super) fn not_encrypted() -> Refusal {
    Refusal::new(
        ProblemKind::NotEncrypted,
        "This facility serves encrypted devices only, and this one is not encrypted or does not say. Run \
         carepost-agent doctor on it and do what it says, or update its agent. What it charts is taken.",
    )
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

/// Packs what goes down. While a device catches up, all pages are one zstd frame, so that the second
/// costs a fraction of the first; once it has, each chunk is a small frame of its own, so that an idle
/// stream holds no compressor.
#[derive(Default)]
struct Packer {
    zstd: bool,
    catching_up: Option<Encoder<'static, Vec<u8>>>,
}

impl Packer {
    /// Packs a chunk so that all of it can be read at the other end; `last` closes the frame.
    fn pack(&mut self, lines: Vec<u8>, last: bool) -> std::io::Result<Bytes> {
        if !self.zstd {
            return Ok(Bytes::from(lines));
        }
        let mut encoder = match self.catching_up.take() {
            Some(encoder) => encoder,
            None if last => return zstd::bulk::compress(&lines, LEVEL).map(Bytes::from),
            None => {
                let mut encoder = Encoder::new(Vec::new(), LEVEL)?;
                encoder.window_log(WINDOW_LOG)?;
                encoder
            }
        };
        encoder.write_all(&lines)?;
        if last {
            return encoder.finish().map(Bytes::from);
        }
        encoder.flush()?;
        let packed = std::mem::take(encoder.get_mut());
        self.catching_up = Some(encoder);
        Ok(Bytes::from(packed))
    }
}
