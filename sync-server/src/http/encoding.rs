//! Content encoding: `Content-Encoding` is gzip, zstd or identity, one of them. It is unpacked into memory that was
//! counted before, and no further than the endpoint's limit.

use std::io::Read as _;

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
/// larger goes to another thread, or comes in pieces of that size.
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
            Self::Gzip => unpack_gzip(&packed, most, share).await,
            Self::Zstd => unpack_zstd(packed, most, share).await,
        }
    }
}

/// Unpacks gzip's members, which do not say how large they are: a piece is counted before there is room for it.
async fn unpack_gzip(packed: &[u8], most: usize, share: &mut Share) -> Answer<Bytes> {
    let (mut members, mut plain) = (MultiGzDecoder::new(packed), Vec::new());
    loop {
        // To one byte more than may be: only that one says that there is more.
        let piece = SMALL.min(most + 1 - plain.len());
        share.take(piece).await?;
        let read = members.by_ref().take(piece as u64).read_to_end(&mut plain);
        if read.map_err(|_| broken("gzip", most))? < piece {
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
    let on_the_spot = size < SMALL;
    share.take(if on_the_spot { size } else { size + DECODER }).await?;
    let unpacked = move || zstd::bulk::decompress(&packed, size);
    let plain = if on_the_spot {
        unpacked()
    } else {
        tokio::task::spawn_blocking(unpacked).await.map_err(|fault| Refusal::internal(&fault))?
    };
    Ok(plain.map_err(|_| broken("zstd", most))?.into())
}

fn broken(how: &str, most: usize) -> Refusal {
    let words = format!("The body is not {how}, whole, of at most {most} bytes unpacked; send it again.");
    Refusal::new(ProblemKind::Malformed, words)
}
