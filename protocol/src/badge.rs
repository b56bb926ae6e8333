//! Badges: a card's UID in its one form, which of them may be a badge, and the keyed hash by which a facility knows
//! one. What reads cards and what issues them as badges do the same.

use std::fmt;
use std::ops::RangeInclusive;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::hex::{hex, unhex};

/// A card's UID as the card sends it, most significant byte first. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Uid(Zeroizing<Vec<u8>>);

/// How many bytes a UID has: ISO 14443-3 knows 4, 7 and 10, ISO 15693 knows 8, and cards of other kinds have what their
/// readers make of it.
const LENGTHS: RangeInclusive<usize> = 4..=10;

/// Why a card cannot be a badge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UidError {
    /// It is not in hexadecimal.
    #[error("a card's UID is given in hexadecimal digits, two for each byte")]
    NotHex,
    /// It is too short or too long to be one.
    #[error("a card's UID has 4 to 10 bytes (8 to 20 hex digits): check the number and its reader")]
    Length,
    /// It is what an empty card has, or a reader gives that failed: 00 or FF in every byte.
    #[error(
        "00 or FF in every byte is no card's UID: the card is empty, or the reader failed. Read it again"
    )]
    Blank,
    /// The card makes a new one up at each tap (ISO 14443-3: 4 bytes, the first 08).
    #[error("this card shows another number at each tap, so it cannot be a badge: use another card")]
    Random,
}

/// Whether a UID tells one card from another.
///
/// # Errors
/// Why it does not.
pub fn check(uid: &[u8]) -> Result<(), UidError> {
    let is_all = |blank: u8| uid.iter().all(|byte| *byte == blank);
    match uid {
        _ if !LENGTHS.contains(&uid.len()) => Err(UidError::Length),
        [0x08, _, _, _] => Err(UidError::Random),
        _ if is_all(0x00) || is_all(0xff) => Err(UidError::Blank),
        _ => Ok(()),
    }
}

impl Uid {
    /// From the card's bytes. One that the card made up for this tap is one as well: whoever presents it is told why it
    /// is no badge.
    ///
    /// # Errors
    /// [`UidError::Length`], [`UidError::Blank`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, UidError> {
        match check(bytes) {
            Ok(()) | Err(UidError::Random) => Ok(Self(Zeroizing::new(bytes.to_vec()))),
            Err(fault) => Err(fault),
        }
    }

    /// From hexadecimal digits of either case; a colon, a dash or a blank may stand between bytes.
    ///
    /// # Errors
    /// As [`Self::from_bytes`], and [`UidError::NotHex`].
    pub fn from_hex(text: &str) -> Result<Self, UidError> {
        Self::from_bytes(&bytes(text).ok_or(UidError::NotHex)?)
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether the card makes a new one up at each tap, so that it can be nobody's badge (P-13).
    #[must_use]
    pub fn is_random(&self) -> bool {
        check(&self.0) == Err(UidError::Random)
    }

    /// First and last byte, enough to tell a reader that turns the bytes around (P-12): `04..F6`.
    #[must_use]
    pub fn masked(&self) -> String {
        match (self.0.first(), self.0.last()) {
            (Some(first), Some(last)) => format!("{first:02X}..{last:02X}"),
            _ => String::new(),
        }
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uid({} bytes, not shown)", self.0.len())
    }
}

/// Bytes out of pairs of hexadecimal digits, however many.
#[must_use]
pub fn bytes(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(10));
    for group in text.trim().split([':', '-', ' ']) {
        for pair in group.as_bytes().chunks(2) {
            let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?;
            bytes.push(u8::from_str_radix(pair, 16).ok().filter(|_| !pair.starts_with('+'))?);
        }
    }
    Some(bytes).filter(|bytes| !bytes.is_empty())
}

/// Under what a facility knows a card: HMAC-SHA256 with its badge key over `uid:` and the UID in upper-case hexadecimal,
/// as lower-case hexadecimal.
#[must_use]
pub fn lookup(badge_key: &[u8; 32], uid: &Uid) -> String {
    let mut text = Zeroizing::new(String::with_capacity(24));
    text.push_str("uid:");
    uid.0.iter().for_each(|byte| text.push_str(&format!("{byte:02X}")));
    lay_over(badge_key, &text)
}

/// What a lookup comes to under a key that was laid over the ones before it.
#[must_use]
pub fn lay_over(key: &[u8; 32], lookup: &str) -> String {
    hex(&hmac_sha256(key, lookup.as_bytes()))
}

/// Under what else the badge may be known: each key that was laid over the badge key hashes what the ones before it came
/// to. The last comes first, and what is no key ends them.
#[must_use]
pub fn layered(lookup: &str, keys: &[String]) -> Vec<String> {
    let mut lookups = vec![lookup.to_owned()];
    for key in keys {
        let (Some(key), Some(under)) = (key_of(key), lookups.last()) else { break };
        let over = lay_over(&key, under);
        lookups.push(over);
    }
    lookups.reverse();
    lookups
}

/// A badge key out of 64 hexadecimal digits.
#[must_use]
pub fn key_of(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    unhex(text).map(Zeroizing::new)
}

/// RFC 2104. What draws keys and signs has a provider of its own; this one hashes a tap, on both sides, without I/O.
fn hmac_sha256(key: &[u8; 32], text: &[u8]) -> [u8; 32] {
    const BLOCK: usize = 64;
    let padded = |pad: u8| {
        let mut block = Zeroizing::new([pad; BLOCK]);
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha256::new().chain_update(*padded(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(*padded(0x5c)).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tells_no_card_from_another_is_known() {
        for length in 4..=10 {
            assert_eq!(check(&vec![0x00; length]), Err(UidError::Blank));
            assert_eq!(check(&vec![0xff; length]), Err(UidError::Blank));
            assert_eq!(check(&vec![0x11; length]), Ok(()));
            let mut uid = vec![0x00; length];
            uid[length - 1] = 0x01;
            assert_eq!(check(&uid), Ok(()));
            uid[0] = 0x08;
            let is_random = length == 4;
            assert_eq!(check(&uid), if is_random { Err(UidError::Random) } else { Ok(()) });
        }
        for length in [0, 1, 3, 11, 20] {
            assert_eq!(check(&vec![0x11; length]), Err(UidError::Length));
        }
    }

    #[test]
    fn one_card_has_one_form_however_it_is_written() {
        let uid = Uid::from_bytes(&[0x04, 0xA1, 0xB2, 0xC3]).unwrap();
        assert_eq!(uid.as_bytes(), [0x04, 0xA1, 0xB2, 0xC3]);
        for text in ["04A1B2C3", "04a1b2c3", "04:a1:B2:c3", "04 A1 B2 C3", "04-A1-B2-C3"] {
            assert_eq!(Uid::from_hex(text), Ok(uid.clone()), "{text}");
        }
        for text in ["", "04A1B2C", "04A1B2CX", "0-4A1B2C3", "+4A1B2C3", "ü4A1B2C3"] {
            assert_eq!(Uid::from_hex(text), Err(UidError::NotHex), "{text}");
        }
        for text in ["04A1B2", "04A1B2C3D4E5F60718293A"] {
            assert_eq!(Uid::from_hex(text), Err(UidError::Length), "{text}");
        }
        for blank in ["00".repeat(4), "FF".repeat(4), "00".repeat(7), "ff".repeat(7), "00".repeat(10)] {
            assert_eq!(Uid::from_hex(&blank), Err(UidError::Blank), "{blank}");
        }
    }

    #[test]
    fn a_lookup_is_the_hmac_that_others_compute() {
        // python3: hmac.new(bytes(range(32)), b"uid:04A1B2C3D4E5F6", "sha256").hexdigest()
        let key: [u8; 32] = std::array::from_fn(|index| index as u8);
        let uid = Uid::from_hex("04a1b2c3d4e5f6").unwrap();
        assert_eq!(lookup(&key, &uid), "351db75d1aa67d43b7f687dab4d9276c4eea88078ee6b2ef174c86cb1ece1915");
        assert_ne!(lookup(&[0; 32], &uid), lookup(&key, &uid));
        // RFC 4231, test case 2: a shorter key is one that ends in zeros.
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let of_the_rfc = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(lay_over(&key, "what do ya want for nothing?"), of_the_rfc);
    }

    #[test]
    fn keys_laid_over_the_first_hash_what_it_came_to() {
        let key: [u8; 32] = std::array::from_fn(|index| index as u8);
        let first = lookup(&key, &Uid::from_hex("04a1b2c3d4e5f6").unwrap());
        // python3: hmac.new(bytes([7] * 32), first.encode(), "sha256").hexdigest()
        let over = "0241a1617598efe8e78af1f85c43b098c311a5df544aac3b989202a679f13ca7";
        assert_eq!(layered(&first, &[]), [first.as_str()]);
        assert_eq!(layered(&first, &["07".repeat(32)]), [over, first.as_str()]);
        let twice = layered(&first, &["07".repeat(32), "08".repeat(32)]);
        assert_eq!(twice[1..], [over.to_owned(), first.clone()]);
        assert_eq!(layered(&first, &["07".repeat(31), "08".repeat(32)]), [first], "half a key is none");
    }

    #[test]
    fn random_uids_are_told_and_none_is_printed() {
        assert!(Uid::from_hex("08A1B2C3").unwrap().is_random());
        assert!(!Uid::from_hex("04A1B2C3").unwrap().is_random());
        assert!(!Uid::from_hex("08A1B2C3D4E5F6").unwrap().is_random());
        let uid = Uid::from_hex("04A1B2C3D4E5F6").unwrap();
        assert_eq!(format!("{uid:?}"), "Uid(7 bytes, not shown)");
        assert_eq!(uid.masked(), "04..F6");
    }
}
