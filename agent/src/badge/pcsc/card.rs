//! One card on one reader: its UID, and the reader's light and buzzer.

use std::ffi::CStr;

use carepost_protocol::badge::Uid;
use pcsc::{Card, Context, Disposition, Error, Protocols, Scope, ShareMode};

use crate::badge::{Feedback, Unreadable, signal};

/// Reads the UID of the card on this reader. The card is left as it is, powered and not reset, so that other
/// programs' sessions with it live on and the next read is quick.
pub(super) fn read_uid(context: &Context, reader: &CStr) -> Result<Uid, Unreadable> {
    let card = context.connect(reader, ShareMode::Shared, Protocols::ANY).map_err(unreadable)?;
    let mut buffer = [0; ANSWER];
    let answer = card.transmit(&GET_UID, &mut buffer).map_err(unreadable).and_then(uid_of);
    leave(card);
    answer
}

/// Lights and sounds, once, by the reader's escape command or else in the shape of a command to the card.
pub(super) fn show(reader: &CStr, feedback: Feedback) -> Result<(), Error> {
    let context = Context::establish(Scope::User)?;
    let command = signal::command(feedback);
    let mut buffer = [0; ANSWER];
    let direct = context.connect(reader, ShareMode::Direct, Protocols::UNDEFINED)?;
    let escaped = direct.control(pcsc::ctl_code(ESCAPE), &command, &mut buffer).map(drop);
    leave(direct);
    if escaped.is_ok() {
        return Ok(());
    }
    let card = context.connect(reader, ShareMode::Shared, Protocols::ANY)?;
    let sent = card.transmit(&command, &mut buffer).map(drop);
    leave(card);
    sent
}

/// PC/SC part 3, GET DATA: the reader asks a contactless card for its UID.
const GET_UID: [u8; 5] = [0xFF, 0xCA, 0x00, 0x00, 0x00];
/// The longest short answer and its status word.
const ANSWER: usize = 258;
/// The CCID driver's escape (`IOCTL_SMARTCARD_VENDOR_IFD_EXCHANGE`).
const ESCAPE: pcsc::ffi::DWORD = 1;

/// Without this a dropped card is reset. What is left to go wrong is a card that is gone already.
fn leave(card: Card) {
    let _gone = card.disconnect(Disposition::LeaveCard);
}

fn uid_of(answer: &[u8]) -> Result<Uid, Unreadable> {
    match answer {
        // A card pulled away while it is asked can look like a success without a byte.
        [] => Err(Unreadable::PulledAway),
        [uid @ .., 0x90, 0x00] => Uid::from_bytes(uid).map_err(|_| Unreadable::Malformed(answer.len())),
        [first, second] => Err(Unreadable::Refused(u16::from_be_bytes([*first, *second]))),
        _ => Err(Unreadable::Malformed(answer.len())),
    }
}

#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "a list of another crate's, most of it the same to a nurse"
)]
fn unreadable(error: Error) -> Unreadable {
    match error {
        Error::NoSmartcard | Error::RemovedCard => Unreadable::PulledAway,
        Error::InsufficientBuffer => Unreadable::Malformed(ANSWER),
        Error::ProtoMismatch | Error::UnresponsiveCard | Error::UnsupportedCard | Error::UnpoweredCard => {
            Unreadable::Mute
        }
        other => Unreadable::Failed(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_uid_and_a_good_status_is_a_badge() {
        assert_eq!(uid_of(&[4, 1, 2, 3, 0x90, 0]), Ok(Uid::from_bytes(&[4, 1, 2, 3]).unwrap()));
        assert_eq!(uid_of(&[]), Err(Unreadable::PulledAway));
        assert_eq!(uid_of(&[0x90]), Err(Unreadable::Malformed(1)));
        assert_eq!(uid_of(&[0, 0, 0, 0, 0x90, 0]), Err(Unreadable::Malformed(6)));
        assert_eq!(uid_of(&[0x90, 0]), Err(Unreadable::Malformed(2)));
        assert_eq!(uid_of(&[0x6A, 0x81]), Err(Unreadable::Refused(0x6A81)));
        assert_eq!(uid_of(&[4, 1, 2, 3, 0x63, 0]), Err(Unreadable::Malformed(6)));
        assert_eq!(uid_of(&[[7; 11].as_slice(), &[0x90, 0]].concat()), Err(Unreadable::Malformed(13)));
    }
}
