//! What a card on the virtual reader does when it is powered and asked.

use std::fmt;
use std::str::FromStr;

/// How the card behaves from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Manner {
    /// Answers its UID.
    #[default]
    Good,
    /// Never answers: the command stays under way until the card is removed or its manner changes.
    Hang,
    /// The command fails in the reader, as when a card stops answering.
    Silent,
    /// `6A 81`: function not supported.
    Refuse,
    /// `63 00`: operation failed.
    Fail,
    /// One byte, half a status word.
    Short,
    /// No byte at all, reported as success.
    Empty,
    /// Bytes that end in no known status word.
    Garbage,
    /// More than any UID and more than a short answer's buffer.
    Oversize,
    /// A good status word with no UID before it.
    Bare,
    /// The card is pulled away while the command is under way.
    Pull,
    /// Does not power up.
    Mute,
    /// Powers up with an answer to reset that means nothing.
    BadAtr,
}

impl Manner {
    /// Every manner with its word on the command line.
    pub const ALL: [(&'static str, Manner); 13] = [
        ("good", Manner::Good),
        ("hang", Manner::Hang),
        ("silent", Manner::Silent),
        ("6a81", Manner::Refuse),
        ("6300", Manner::Fail),
        ("short", Manner::Short),
        ("empty", Manner::Empty),
        ("garbage", Manner::Garbage),
        ("oversize", Manner::Oversize),
        ("bare", Manner::Bare),
        ("pull", Manner::Pull),
        ("mute", Manner::Mute),
        ("bad-atr", Manner::BadAtr),
    ];
}

impl fmt::Display for Manner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Manner::ALL.iter().find(|(_, manner)| manner == self).map_or("good", |(word, _)| word);
        f.write_str(word)
    }
}

/// A word that names no manner.
#[derive(Debug, thiserror::Error)]
#[error(
    "a card cannot be `{0}`: name one of good, hang, silent, 6a81, 6300, short, empty, garbage, oversize, bare, pull, mute, bad-atr"
)]
pub struct UnknownManner(String);

impl FromStr for Manner {
    type Err = UnknownManner;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Manner::ALL
            .iter()
            .find(|(known, _)| *known == word)
            .map(|(_, manner)| *manner)
            .ok_or_else(|| UnknownManner(word.to_owned()))
    }
}

/// What comes of powering a card up.
pub(crate) enum Power {
    Atr(&'static [u8]),
    Nothing,
}

/// Powers up a card of this manner.
pub(crate) fn power_up(manner: Manner) -> Power {
    match manner {
        Manner::Mute => Power::Nothing,
        Manner::BadAtr => Power::Atr(&[0xFF; 33]),
        Manner::Good
        | Manner::Hang
        | Manner::Silent
        | Manner::Refuse
        | Manner::Fail
        | Manner::Short
        | Manner::Empty
        | Manner::Garbage
        | Manner::Oversize
        | Manner::Bare
        | Manner::Pull => Power::Atr(&STORAGE_CARD),
    }
}

/// What comes of one command.
pub(crate) enum Answer {
    Bytes(Vec<u8>),
    Failure,
    Hang,
    PulledAway,
}

/// Answers GET DATA (UID) in this manner, and any other command with "instruction not supported".
pub(crate) fn answer(manner: Manner, uid: &[u8], command: &[u8]) -> Answer {
    match manner {
        Manner::Hang => Answer::Hang,
        Manner::Silent | Manner::Mute => Answer::Failure,
        Manner::Pull => Answer::PulledAway,
        Manner::Refuse => Answer::Bytes(vec![0x6A, 0x81]),
        Manner::Fail => Answer::Bytes(vec![0x63, 0x00]),
        Manner::Short => Answer::Bytes(vec![0x90]),
        Manner::Empty => Answer::Bytes(Vec::new()),
        Manner::Garbage => Answer::Bytes(vec![0xDE, 0xAD, 0xBE, 0xEF, 0x42]),
        Manner::Oversize => Answer::Bytes([&[0x55; 600][..], &SUCCESS].concat()),
        Manner::Bare => Answer::Bytes(SUCCESS.to_vec()),
        Manner::Good | Manner::BadAtr => match command {
            [0xFF, 0xCA, 0x00, 0x00, ..] => Answer::Bytes([uid, &SUCCESS].concat()),
            _ => Answer::Bytes(vec![0x6D, 0x00]),
        },
    }
}

/// The status word of success.
pub(crate) const SUCCESS: [u8; 2] = [0x90, 0x00];

/// Whether a command speaks to the reader's lights and buzzer rather than to the card: the ACR122U's
/// `FF 00 40`.
pub(crate) fn is_signal(command: &[u8]) -> bool {
    command.starts_with(&[0xFF, 0x00, 0x40])
}

/// The answer to reset that contactless readers make up for a MIFARE Classic 1K (PC/SC part 3).
const STORAGE_CARD: [u8; 20] = [
    0x3B, 0x8F, 0x80, 0x01, 0x80, 0x4F, 0x0C, 0xA0, 0x00, 0x00, 0x03, 0x06, 0x03, 0x00, 0x01, 0x00, 0x00,
    0x00, 0x00, 0x6A,
];

/// Bytes as upper-case hex.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Hex of 1 to 16 bytes; colons, dashes and spaces between bytes are ignored.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|letter| !matches!(letter, ':' | '-' | ' '))
        .map(|letter| letter.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    if digits.is_empty() || !digits.len().is_multiple_of(2) || digits.len() > 32 {
        return None;
    }
    Some(digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}
