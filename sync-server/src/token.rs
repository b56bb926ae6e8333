//! Tokens: drawn here and shown once; the store keeps what they hash to.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use carepost_protocol::change::PayloadHash;

use crate::clock;

/// A new one, which begins with what it is for.
#[must_use]
pub fn draw(kind: &str) -> String {
    format!("{kind}_{}", URL_SAFE_NO_PAD.encode(clock::random::<32>()))
}

/// SHA-256 of a token: what the store keeps of it.
#[must_use]
pub fn sha256(token: &str) -> [u8; 32] {
    *PayloadHash::of(token.as_bytes()).as_bytes()
}
