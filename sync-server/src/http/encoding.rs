//! Content encoding: `Content-Encoding` is gzip, zstd or identity, one of them. It is unpacked into memory that was
//! counted before, and no further than the endpoint's limit.

use std::io::{Cursor, Read as _};

use axum::body::Bytes;
use carepost_protocol::wire::problem::ProblemKind;
use flate2::read::MultiGzDecoder;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

use crate::error::{Answer, Refusal, too_large};
use crate::quota::Share;

/// What zstd needs to unpack.
const DECODER: usize = 256 * 1024;
/// What is unpacked on the spot, where no more are under way than there are threads: its decoder is not counted. What is
/// larger, packed or not, goes to another thread; gzip's members come in pieces of that size.
const SMALL: usize = 32 * 1024;

/// What is taken, as `Accept-Encoding` says it.
pub const TAKEN: &str = "gzip, zstd";

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// It is not.
    Identity,
    /// In gzip's members.
    Gzip,
    /// In one zstd frame.
    Zstd,
}

impl Encoding {
    /// What a request's head says of its body.
    ///
    /// # Errors
    /// `unsupported-encoding` for any other, and for several on top of each other.
    pub fn of(headers: &HeaderMap) -> Answer<Self> {
        let mut said = headers.get_all(CONTENT_ENCODING).iter().map(|value| value.to_str().unwrap_or("?"));
        let first = said.next().unwrap_or("identity").trim().to_ascii_lowercase();
        match (first.as_str(), said.next()) {
            ("identity", None) => Ok(Self::Identity),
            ("gzip" | "x-gzip", None) => Ok(Self::Gzip),
            ("zstd", None) => Ok(Self::Zstd),
            _ => Err(Refusal::new(
                ProblemKind::UnsupportedEncoding,
                "Send the body as it is, or packed once: with gzip or zstd.",
            )),
        }
    }

    /// A body as it was before it was packed.
    ///
    /// # Errors
    /// `too-large` for more than `most` bytes, `malformed` for what cannot be unpacked, and as [`Share::take`].
    pub async fn unpack(self, packed: Bytes, most: usize, share: &mut Share) -> Answer<Bytes> {
        match self {
            Self::Identity => Ok(packed),
            Self::Gzip => unpack_gzip(packed, most, share).await,
            Self::Zstd => unpack_zstd(packed, most, share).await,
        }
    }
}

/// Unpacks gzip's members, which do not say how large they are: a piece is counted before there is room for it.
async fn unpack_gzip(packed: Bytes, most: usize, share: &mut Share) -> Answer<Bytes> {
    let on_the_spot = packed.len() < SMALL;
    let (mut members, mut plain) = (MultiGzDecoder::new(Cursor::new(packed)), Vec::new());
    loop {
        // To one byte more than may be: only that one says that there is more.
        let piece = SMALL.min(most + 1 - plain.len());
        share.take(piece).await?;
        let unpacked = move || {
            let read = members.by_ref().take(piece as u64).read_to_end(&mut plain)?;
            std::io::Result::Ok((read, members, plain))
        };
        let unpacked = elsewhere_unless(on_the_spot, unpacked).await?;
        let read;
        (read, members, plain) = unpacked.map_err(|_| broken("gzip", most))?;
        if read < piece {
            return Ok(plain.into());
        }
        if plain.len() > most {
            return Err(too_large());
        }
        tokio::task::yield_now().await;
    }
}

/// Unpacks a zstd frame, which is counted before there is room for it: as large as the frame says, or as it
/// may be where it does not. It is unpacked into its place, without a window beside it.
async fn unpack_zstd(packed: Bytes, most: usize, share: &mut Share) -> Answer<Bytes> {
    let size = zstd::zstd_safe::get_frame_content_size(&packed).map_err(|_| broken("zstd", most))?;
    let size = size.map_or(Ok(most), usize::try_from).map_err(|_| too_large())?;
    if size > most {
        return Err(too_large());
    }
    let on_the_spot = size.max(packed.len()) < SMALL;
    share.take(if on_the_spot { size } else { size + DECODER }).await?;
    let plain = elsewhere_unless(on_the_spot, move || zstd::bulk::decompress(&packed, size)).await?;
    Ok(plain.map_err(|_| broken("zstd", most))?.into())
}

/// Unpacks on the spot, or else on a thread on which nothing else waits for it.
async fn elsewhere_unless<T: Send + 'static>(
    on_the_spot: bool,
    unpack: impl FnOnce() -> T + Send + 'static,
) -> Answer<T> {
    if on_the_spot {
        return Ok(unpack());
    }
    tokio::task::spawn_blocking(unpack).await.map_err(|fault| Refusal::internal(&fault))
}

fn broken(how: &str, most: usize) -> Refusal {
    let words = format!("The body is not {how}, whole, of at most {most} bytes unpacked; send it again.");
    Refusal::new(ProblemKind::Malformed, words)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use futures_util::FutureExt as _;

    use super::*;
    use crate::quota::{Asker, Quotas};

    #[tokio::test]
    async fn members_that_unpack_to_nothing_hold_up_nobody() {
        let empty = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best()).finish().unwrap();
        let packed = Bytes::from(empty.repeat(4 * SMALL / empty.len()));
        let quotas = Arc::new(Quotas::default());
        let mut share = quotas.share(Asker::Address(Ipv4Addr::LOCALHOST.into()));
        let mut unpacking = Box::pin(Encoding::Gzip.unpack(packed, SMALL, &mut share));
        assert!((&mut unpacking).now_or_never().is_none(), "it is unpacked before anybody else has a turn");
        assert!(unpacking.await.unwrap().is_empty());
    }
}
