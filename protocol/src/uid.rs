//! A card's UID: which of them tell one card from another. What reads cards and what issues them as badges refuse the
//! same.

/// Whether the card makes a new one up at each tap (ISO 14443-3: 4 bytes, the first 08).
#[must_use]
pub const fn is_random(uid: &[u8]) -> bool {
    matches!(uid, [0x08, _, _, _])
}

/// Whether it is what an empty card has, or a reader gives that failed: 00 or FF in every byte.
#[must_use]
pub fn is_blank(uid: &[u8]) -> bool {
    [0x00, 0xff].iter().any(|blank| uid.iter().all(|byte| byte == blank))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tells_no_card_from_another_is_known() {
        for length in [4, 7, 8, 10] {
            assert!(is_blank(&vec![0x00; length]) && is_blank(&vec![0xff; length]));
            let mut uid = vec![0x00; length];
            uid[length - 1] = 0x01;
            assert!(!is_blank(&uid) && !is_blank(&vec![0x11; length]));
            uid[0] = 0x08;
            assert_eq!(is_random(&uid), length == 4);
        }
    }
}
