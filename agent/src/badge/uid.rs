//! A badge's UID, the canonical form and the keyed hash under which it is stored.

use std::fmt;

use carepost_protocol::hex::{hex, unhex};
use carepost_protocol::uid::{self, UidError};
use ring::hmac;
use zeroize::Zeroizing;

/// A card's UID as the card sends it, most significant byte first: 4 to 10 bytes. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Uid(Zeroizing<Vec<u8>>);

/// Bytes that are no UID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a badge's UID has 4 to 10 bytes (8 to 20 hex digits), and not 00 or FF in all of them: check the number and its reader"
)]
pub struct NotAUid;

impl Uid {
    /// From the card's bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Uid, NotAUid> {
        match uid::check(bytes) {
            // Whoever presents it is told why it is no badge.
            Ok(()) | Err(UidError::Random) => Ok(Uid(Zeroizing::new(bytes.to_vec()))),
            Err(UidError::Length | UidError::Blank) => Err(NotAUid),
        }
    }

    /// From hex of either case; colons, dashes and spaces are ignored.
    pub fn from_hex(text: &str) -> Result<Uid, NotAUid> {
        let mut digits = Zeroizing::new(Vec::with_capacity(20));
        for letter in text.chars().filter(|letter| !matches!(letter, ':' | '-' | ' ')) {
            let digit = letter.to_digit(16).and_then(|digit| u8::try_from(digit).ok()).ok_or(NotAUid)?;
            if digits.len() == 20 {
                return Err(NotAUid);
            }
            digits.push(digit);
        }
        if !digits.len().is_multiple_of(2) {
            return Err(NotAUid);
        }
        let bytes: Zeroizing<Vec<u8>> = Zeroizing::new(
            digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect(),
        );
        Uid::from_bytes(&bytes)
    }

    /// How many bytes it has.
    pub fn length(&self) -> usize {
        self.0.len()
    }

    /// Whether the card makes a new UID up at each tap (ISO 14443-3: 4 bytes, the first 08), so that it can
    /// be nobody's badge. REQUIREMENTS P-13.
    pub fn is_random(&self) -> bool {
        uid::check(&self.0) == Err(UidError::Random)
    }

    /// First and last byte, enough to tell a reader that turns the bytes around (P-12): `04..F6`.
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

/// Under what a facility stores this badge: HMAC-SHA256 with the facility's badge key over `uid:` and the UID in
/// upper-case hex, as lower-case hex. The server computes the same.
pub fn lookup(badge_key: &[u8; 32], uid: &Uid) -> String {
    let mut text = Zeroizing::new(String::with_capacity(24));
    text.push_str("uid:");
    uid.0.iter().for_each(|byte| text.push_str(&format!("{byte:02X}")));
    keyed(badge_key, text.as_bytes())
}

/// Under what else the badge may be stored: each key that was laid over the badge key hashes what the ones
/// before it came to. The last comes first, and what is no key ends them.
pub fn layered(lookup: &str, keys: &[String]) -> Vec<String> {
    let mut lookups = vec![lookup.to_owned()];
    for key in keys {
        let (Some(key), Some(under)) = (key_of(key), lookups.last()) else { break };
        let over = keyed(&key, under.as_bytes());
        lookups.push(over);
    }
    lookups.reverse();
    lookups
}

/// A badge key out of 64 hex digits.
pub fn key_of(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    unhex(text).map(Zeroizing::new)
}

fn keyed(key: &[u8; 32], text: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hex(hmac::sign(&key, text).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_card_has_one_form_however_it_is_written() {
        let uid = Uid::from_bytes(&[0x04, 0xA1, 0xB2, 0xC3]).unwrap();
        for text in ["04A1B2C3", "04a1b2c3", "04:a1:B2:c3", "04 A1 B2 C3", "04-A1-B2-C3"] {
            assert_eq!(Uid::from_hex(text), Ok(uid.clone()), "{text}");
        }
        for text in ["", "04A1B2", "04A1B2C", "04A1B2CX", "04A1B2C3D4E5F60718293A", "ü4A1B2C3"] {
            assert_eq!(Uid::from_hex(text), Err(NotAUid), "{text}");
        }
        for blank in ["00".repeat(4), "FF".repeat(4), "00".repeat(7), "ff".repeat(7), "00".repeat(10)] {
            assert_eq!(Uid::from_hex(&blank), Err(NotAUid), "{blank}");
        }
    }

    #[test]
    fn the_lookup_is_what_the_server_stores() {
        // python3: hmac.new(bytes(range(32)), b"uid:04A1B2C3D4E5F6", "sha256").hexdigest()
        let key: [u8; 32] = std::array::from_fn(|index| index as u8);
        let uid = Uid::from_hex("04a1b2c3d4e5f6").unwrap();
        assert_eq!(lookup(&key, &uid), "351db75d1aa67d43b7f687dab4d9276c4eea88078ee6b2ef174c86cb1ece1915");
        assert_ne!(lookup(&[0; 32], &uid), lookup(&key, &uid));
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
