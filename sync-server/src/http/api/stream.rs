//! Pull and live: what goes down to devices, packed.

use std::io::Write as _;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use carepost_protocol::wire::problem::Problem;
use carepost_protocol::wire::pull::SyncPosition;
use futures_util::stream;
use http::HeaderMap;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use zstd::stream::write::Encoder;

use crate::error::{Answer, Refusal};
use crate::http::extract::Params;
use crate::operations::authenticated_device::AuthenticatedDevice;
use crate::operations::stream::{Chunk, FeedStream, Until};

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
    device: AuthenticatedDevice,
    Params(position): Params<SyncPosition>,
    headers: HeaderMap,
) -> Answer<Response> {
    open(device, position, &headers, Until::Head).await
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
    device: AuthenticatedDevice,
    Params(position): Params<SyncPosition>,
    headers: HeaderMap,
) -> Answer<Response> {
    open(device, position, &headers, Until::Closed).await
}

async fn open(
    device: AuthenticatedDevice,
    position: SyncPosition,
    headers: &HeaderMap,
    until: Until,
) -> Answer<Response> {
    let zstd =
        headers.get(ACCEPT_ENCODING).is_some_and(|value| value.as_bytes().windows(4).any(|it| it == b"zstd"));
    let mut pages = FeedStream::begin(device, &position, until).await?;
    let mut packer = Packer { zstd, catching_up: None };
    // The first page is read before anything is answered, so that a cursor that is not served any more
    // is a problem document and not a broken stream.
    let first = packer.pack(pages.page().await?).await?;
    let ends = pages.ends();
    let body = stream::unfold((pages, packer, Some(first)), |(mut pages, mut packer, first)| async move {
        let chunk = match first {
            Some(first) => first,
            None => packer.pack(pages.next().await?).await.ok()?,
        };
        Some((Ok::<_, std::io::Error>(chunk), (pages, packer, None)))
    });
    let mut response = Body::from_stream(body).into_response();
    response.extensions_mut().insert(ends);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    if zstd {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("zstd"));
    }
    Ok(response)
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
    /// Packs a chunk so that all of it can be read at the other end, a large one on another thread.
    async fn pack(&mut self, chunk: Chunk) -> Answer<Bytes> {
        let packed = if chunk.lines.len() < SMALL {
            self.pack_here(chunk)
        } else {
            let mut packer = std::mem::take(self);
            let packing = tokio::task::spawn_blocking(move || {
                let packed = packer.pack_here(chunk);
                (packer, packed)
            });
            let (packer, packed) = packing.await.map_err(|fault| Refusal::internal(&fault))?;
            *self = packer;
            packed
        };
        packed.map_err(|fault| Refusal::internal(&fault))
    }

    /// At the head, the frame is closed.
    fn pack_here(&mut self, Chunk { lines, is_at_head }: Chunk) -> std::io::Result<Bytes> {
        if !self.zstd {
            return Ok(Bytes::from(lines));
        }
        let mut encoder = match self.catching_up.take() {
            Some(encoder) => encoder,
            None if is_at_head => return zstd::bulk::compress(&lines, LEVEL).map(Bytes::from),
            None => {
                let mut encoder = Encoder::new(Vec::new(), LEVEL)?;
                encoder.window_log(WINDOW_LOG)?;
                encoder
            }
        };
        encoder.write_all(&lines)?;
        if is_at_head {
            return encoder.finish().map(Bytes::from);
        }
        encoder.flush()?;
        let packed = std::mem::take(encoder.get_mut());
        self.catching_up = Some(encoder);
        Ok(Bytes::from(packed))
    }
}
