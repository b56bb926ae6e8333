//! A card's UID: which may be a badge. What reads cards and what issues them as badges refuse the same.

use std::ops::RangeInclusive;

/// How many bytes a UID has: ISO 14443-3 knows 4, 7 and 10, ISO 15693 knows 8, and cards of other kinds have what their
/// readers make of it.
const LENGTHS: RangeInclusive<usize> = 4..=10;

/// Why a card cannot be a badge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UidError {
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
}
