//! A card's UID as people give it: in hexadecimal. What is printed on cards is mostly something else, and is
//! explained: the same digits make two UIDs or more, so nobody guesses between them.

use carepost_protocol::badge::{UidError, bytes, check};
use zeroize::Zeroizing;

/// How many bytes a UID of a usual card has (ISO 14443-3: 4, 7 and 10; ISO 15693: 8). One with others is typed with a
/// slip more often than meant, and is issued by a tap.
const USUAL: [usize; 4] = [4, 7, 8, 10];

/// A UID out of hexadecimal digits, of either case; a colon, a dash or a blank may stand between bytes.
///
/// # Errors
/// In words: what it looks like instead, and what to do.
pub fn read(text: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    let bytes = bytes(text);
    match bytes.as_deref().map(Vec::as_slice) {
        Some(uid) if USUAL.contains(&uid.len()) => match check(uid) {
            Ok(()) => Ok(Zeroizing::new(uid.to_vec())),
            Err(random @ UidError::Random) => Err(random.to_string()),
            Err(fault) => Err(format!("{fault}, or {TAP}")),
        },
        Some(uid) => Err(printed(text).unwrap_or_else(|| {
            format!(
                "a card's UID has 4, 7, 8 or 10 bytes, and this has {}: read it again, or {TAP}",
                uid.len()
            )
        })),
        None => Err(printed(text).unwrap_or_else(|| format!("give the card's UID in hexadecimal, or {TAP}"))),
    }
}

/// What makes a UID doubtful that is taken: that its digits are a decimal number as well, or that its bytes stand in
/// the order in which some readers turn them.
#[must_use]
pub fn doubt(text: &str) -> Option<String> {
    let uid = read(text).ok()?;
    let printed =
        printed(text).map(|words| format!("taken as hexadecimal. If it is printed on the card, {words}"));
    printed.or_else(|| turned(&uid))
}

/// A UID of 8 bytes begins with E0 (ISO 15693), one of 7 or 10 with its maker's code (ISO 7816-6): mostly 04, NXP's.
fn turned(uid: &[u8]) -> Option<String> {
    let first = if uid.len() == 8 { 0xe0 } else { 0x04 };
    let is_turned = uid.len() > 4 && uid.first() != Some(&first) && uid.last() == Some(&first);
    is_turned.then(|| {
        format!(
            "its bytes may be turned around: such a UID mostly begins with {first:02X}, and this one ends with it. If \
             it came from a reader that turns them, the right one is {}. Or {TAP}",
            hex(uid.iter().rev())
        )
    })
}

const TAP: &str = "tap the card at a device and issue that (`badge issue USER --last-tap DEVICE`)";

/// What a number is that is printed on cards, and which UIDs it could stand for: the whole in decimal (10 digits
/// for 4 bytes), or in two parts, of which `150,46143` holds three bytes and `00150,46143` four.
fn printed(text: &str) -> Option<String> {
    let text = text.trim();
    // Often both stand side by side; the longer one tells more.
    let whole = text.split_whitespace().find_map(decimal).or_else(|| decimal(text));
    if let Some(uid) = whole {
        return Some(format!(
            "this looks like the decimal number printed on a card: its UID would be {}, by the order of the \
             bytes, which the number does not tell. Give the right one (`carepost-agent badge read` shows how it \
             begins and ends), or {TAP}",
            either(&uid)
        ));
    }
    let (first, second) = text.split_once([',', '.', ' ', '-', '/'])?;
    let is_part = |part: &str| part.len() <= 5 && part.bytes().all(|digit| digit.is_ascii_digit());
    let card: u16 = second.parse().ok().filter(|_| is_part(second))?;
    let most = if first.len() > 3 { u16::MAX } else { u16::from(u8::MAX) };
    let high: u16 = first.parse().ok().filter(|high| is_part(first) && *high <= most)?;
    let uid = [high.to_be_bytes(), card.to_be_bytes()].concat();
    let left_out = if first.len() > 3 { "" } else { " if the byte that it leaves out is 00" };
    Some(format!(
        "this looks like the two decimal parts printed on a card: its UID would be {}{left_out}. Give the right \
         one, or {TAP}",
        either(&uid)
    ))
}

/// The bytes of a decimal number: as few as a UID has that are enough.
fn decimal(text: &str) -> Option<Vec<u8>> {
    let number: u64 = text.parse().ok().filter(|_| text.bytes().all(|digit| digit.is_ascii_digit()))?;
    let length = match text.len() {
        6..=10 => 4,
        11..=17 => 7,
        18..=20 => 8,
        _ => return None,
    };
    let bytes = number.to_be_bytes();
    let (rest, uid) = bytes.split_at_checked(8 - length)?;
    rest.iter().all(|byte| *byte == 0).then(|| uid.to_vec())
}

/// Both orders.
fn either(uid: &[u8]) -> String {
    let (one, other) = (hex(uid.iter()), hex(uid.iter().rev()));
    if one == other { one } else { format!("{one} or {other}") }
}

fn hex<'a>(bytes: impl Iterator<Item = &'a u8>) -> String {
    bytes.map(|byte| format!("{byte:02X}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_taken_in_any_usual_form() {
        for text in ["04A1B2C3", "04:a1-B2 c3", " 04a1b2c3 "] {
            assert_eq!(**read(text).unwrap(), [0x04, 0xa1, 0xb2, 0xc3], "{text}");
        }
        for (text, length) in
            [("0096B43F", 4), ("04112233445566", 7), ("E004010012345678", 8), ("04112233445566778899", 10)]
        {
            assert_eq!(read(text).unwrap().len(), length, "{text}");
        }
        for bad in
            ["", ":", "04A1B2", "04A1B2C", "04A1B2ZZ", "+4A1B2C3", "04A1B2C3D4", "0403020104030201040302"]
        {
            let why = read(bad).unwrap_err();
            assert!(why.contains("--last-tap"), "{bad}: {why}");
        }
        assert!(read("08010203").unwrap_err().contains("another number at each tap"));
        assert!(read("04A1B2C3D4").unwrap_err().contains("and this has 5"));
        for blank in ["00000000", "ff:ff:ff:ff", "00000000000000", &"FF".repeat(8), &"00".repeat(10)] {
            let why = read(blank).unwrap_err();
            assert!(why.contains("00 or FF in every byte") && why.contains("--last-tap"), "{blank}: {why}");
        }
    }

    #[test]
    fn what_is_printed_on_a_card_is_explained_with_the_uids_that_it_could_be() {
        for (text, uids) in [
            ("0009876543", "0096B43F or 3FB49600,"),
            ("9876543", "0096B43F or 3FB49600,"),
            ("4294967295", "FFFFFFFF,"),
            ("0009876543 150,46143", "0096B43F or 3FB49600,"),
            ("150,46143", "0096B43F or 3FB49600 if the byte"),
            ("150 46143", "0096B43F or 3FB49600 if the byte"),
            ("150-46143", "0096B43F or 3FB49600 if the byte"),
            ("00150,46143", "0096B43F or 3FB49600. Give"),
            ("01193046612166246", "043D11CF84C666 or 66C684CF113D04,"),
        ] {
            let Err(why) = read(text) else { panic!("{text} is taken") };
            assert!(why.contains("printed on a card") && why.contains("--last-tap"), "{text}: {why}");
            assert!(why.contains(uids), "{text}: {why}");
        }
        for none in ["9999999999", "150,46143,1", "300000,1", "300,1", "1,2,3", "ABC,12345"] {
            assert!(!read(none).unwrap_err().contains("printed"), "{none}");
        }
    }

    #[test]
    fn a_uid_whose_digits_are_all_decimal_is_taken_and_the_doubt_told() {
        let doubt_of = |text| doubt(text).unwrap_or_default();
        assert_eq!(**read("15046143").unwrap(), [0x15, 0x04, 0x61, 0x43]);
        assert!(doubt_of("15046143").contains("00E595FF or FF95E500"), "{}", doubt_of("15046143"));
        assert_eq!(doubt("15:04:61:43"), None, "whoever writes bytes apart means bytes");
        assert_eq!(doubt("04A1B2C3"), None);
        assert_eq!(doubt("0009876543"), None, "it is not taken");
    }

    #[test]
    fn a_uid_whose_bytes_look_turned_around_is_taken_and_the_doubt_told() {
        for (text, right) in
            [("F6:E5:D4:C3:B2:A1:04", "04A1B2C3D4E5F6"), ("78563412000104E0", "E004010012345678")]
        {
            let why = doubt(text).unwrap_or_default();
            assert!(why.contains(right) && why.contains("--last-tap"), "{text}: {why}");
        }
        for good in ["04A1B2C3D4E504", "E0040100123456E0", "A1B2C304", "05A1B2C3D4E5F6"] {
            assert_eq!(doubt(good), None, "{good}");
        }
    }
}
