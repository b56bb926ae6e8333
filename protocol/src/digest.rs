//! The mirror's digest: how a device's copy of a collection is proven equal to the server's.
//!
//! It is a count and the sum, modulo 2^128, of a hash of each document: its collection, id, `seq` and
//! exact bytes as that device is sent them. A sum does not depend on order, and each write moves it by
//! the documents it touches, so both sides keep it up to date at the cost of one hash a document. It
//! finds what was lost, damaged or edited; it is no proof against somebody who chooses documents to
//! collide, which nobody on the device's side of the server's TLS can gain by.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::record::Collection;

/// One document's part in a [`Digest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Element(u128);

impl Element {
    /// The part of a document with these exact bytes.
    #[must_use]
    pub fn of(collection: Collection, id: &[u8; 16], seq: u64, body: &[u8]) -> Self {
        let mut growing = Growing::of(collection.name(), id, seq);
        growing.update(body);
        growing.end()
    }

    /// The part that these bytes are.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// The sixteen bytes that a database stores.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

/// The [`Element`] of a document whose bytes come piece by piece.
#[derive(Clone)]
pub struct Growing(Sha256);

impl Growing {
    /// Of a document with no bytes yet.
    #[must_use]
    pub fn of(collection: &str, id: &[u8; 16], seq: u64) -> Self {
        let mut hash = Sha256::new();
        hash.update(collection);
        hash.update([0]);
        hash.update(id);
        hash.update(seq.to_be_bytes());
        Self(hash)
    }

    /// More of its bytes.
    pub fn update(&mut self, body: &[u8]) {
        self.0.update(body);
    }

    /// That was all.
    #[must_use]
    pub fn end(self) -> Element {
        let hash: [u8; 32] = self.0.finalize().into();
        Element(hash.first_chunk().map_or(0, |half| u128::from_be_bytes(*half)))
    }
}

/// What a copy of a collection comes to.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Digest {
    /// How many documents there are.
    pub count: u64,
    /// The sum of their parts: 32 hexadecimal digits.
    #[serde(with = "hexadecimal")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    sum: u128,
}

impl Digest {
    /// The digest of so many documents with that sum.
    #[must_use]
    pub const fn from_parts(count: u64, sum: [u8; 16]) -> Self {
        Self { count, sum: u128::from_be_bytes(sum) }
    }

    /// The sum as a database stores it.
    #[must_use]
    pub const fn sum_bytes(&self) -> [u8; 16] {
        self.sum.to_be_bytes()
    }

    /// A document came.
    pub const fn add(&mut self, element: Element) {
        self.count = self.count.saturating_add(1);
        self.sum = self.sum.wrapping_add(element.0);
    }

    /// A document went.
    pub const fn remove(&mut self, element: Element) {
        self.count = self.count.saturating_sub(1);
        self.sum = self.sum.wrapping_sub(element.0);
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({} documents, {:032x})", self.count, self.sum)
    }
}

mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(sum: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{sum:032x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let sum = u128::from_str_radix(&text, 16).ok().filter(|_| digits);
        sum.ok_or_else(|| D::Error::custom("a digest's sum is 32 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digest<'a>(documents: impl IntoIterator<Item = &'a (u8, u64, Vec<u8>)>) -> Digest {
        let mut digest = Digest::default();
        for (id, seq, body) in documents {
            digest.add(Element::of(Collection::Patients, &[*id; 16], *seq, body));
        }
        digest
    }

    proptest! {
        #[test]
        fn order_does_not_matter_and_what_goes_leaves_no_trace(
            mut documents in prop::collection::vec((any::<u8>(), any::<u64>(), any::<Vec<u8>>()), 0..20)
        ) {
            let whole = digest(&documents);
            documents.reverse();
            prop_assert_eq!(whole, digest(&documents));
            let mut emptied = whole;
            for (id, seq, body) in &documents {
                emptied.remove(Element::of(Collection::Patients, &[*id; 16], *seq, body));
            }
            prop_assert_eq!(emptied, Digest::default());
        }

        #[test]
        fn one_bit_shows(body in prop::collection::vec(any::<u8>(), 1..50), at in any::<prop::sample::Index>()) {
            let honest = digest(&[(1, 7, body.clone())]);
            let mut edited = body.clone();
            edited[at.index(body.len())] ^= 1;
            prop_assert_ne!(honest, digest(&[(1, 7, edited)]));
            prop_assert_ne!(honest, digest(&[(2, 7, body.clone())]));
            prop_assert_ne!(honest, digest(&[(1, 8, body)]));
        }
    }

    #[test]
    fn an_element_is_what_databases_have() {
        // python3: hashlib.sha256(b"patients\0" + b"\x01" * 16 + struct.pack(">Q", 7) + body).hexdigest()[:32]
        let stored = "027e89779f12ece5cde05d1c2049cf6d";
        let element = Element::of(Collection::Patients, &[1; 16], 7, br#"{"name":"Ada Example"}"#);
        assert_eq!(crate::hex::hex(&element.to_bytes()), stored);
        assert_eq!(Element::from_bytes(element.to_bytes()), element);
    }

    #[test]
    fn a_digest_survives_text_and_bytes() {
        let digest = digest(&[(1, 2, b"three".to_vec())]);
        let text = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&text).unwrap(), digest, "{text}");
        assert_eq!(Digest::from_parts(digest.count, digest.sum_bytes()), digest);
        assert_eq!(
            format!("{digest:?}"),
            format!("Digest(1 documents, {})", crate::hex::hex(&digest.sum_bytes()))
        );
        for bad in ["+1", "1", "", "0x00000000000000000000000000000001", "+0000000000000000000000000000001"] {
            let text = format!(r#"{{"count":1,"sum":"{bad}"}}"#);
            assert!(serde_json::from_str::<Digest>(&text).is_err(), "{bad}");
        }
    }
}
