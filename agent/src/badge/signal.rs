//! Reader signals: light and sound, in the ACR122U's command, which several readers understand.

use super::Feedback;

/// The command that says this: `FF 00 40 P2 04 T1 T2 repetitions buzzer`, times in tenths of a second.
pub(super) fn command(feedback: Feedback) -> [u8; 9] {
    match feedback {
        // Green for 0.2 s with a beep, then dark.
        Feedback::Accept => [0xFF, 0x00, 0x40, 0xAC, 0x04, 0x02, 0x00, 0x01, 0x01],
        // Red three times, 0.1 s each, with beeps.
        Feedback::Deny => [0xFF, 0x00, 0x40, 0x5C, 0x04, 0x01, 0x01, 0x03, 0x01],
    }
}
