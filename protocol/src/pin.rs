//! PINs: what one must be, and how one that a thief may know is replaced.
//!
//! A device that falls into a thief's hands held the verifiers of its facility's PINs, and a PIN is short
//! enough to be found by trying all. Such a PIN is *exposed*: it opens nothing but the way to choosing
//! another, and after [`EXPOSED_FOR`] not even that.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::text::fold;
use crate::time::Timestamp;
use crate::verifier;

/// How long an exposed PIN may still be used to choose another.
pub const EXPOSED_FOR: Duration = Duration::from_hours(7 * 24);

/// The longest verifier, in bytes.
const LONGEST_VERIFIER: usize = 128;

/// What a user says who chose a PIN on a device: the fields of a `patch` of her own document.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChosenPin {
    /// The new PIN's verifier, made on the device.
    pub pin_verifier: String,
    /// Since when the PIN was exposed that it takes the place of.
    pub exposed_at: Timestamp,
}

impl fmt::Debug for ChosenPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChosenPin").field("exposed_at", &self.exposed_at).finish_non_exhaustive()
    }
}

impl ChosenPin {
    /// As a change's fields.
    #[must_use]
    pub fn fields(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) | Err(_) => Map::new(),
        }
    }

    /// Out of a change's fields; none when they are not these, or the verifier is not one that every kiosk
    /// can check.
    #[must_use]
    pub fn from_fields(fields: &Map<String, Value>) -> Option<Self> {
        let chosen: Self = serde_json::from_value(Value::Object(fields.clone())).ok()?;
        let made = &chosen.pin_verifier;
        // It is checked on every kiosk, so none may cost more.
        (made.starts_with(verifier::BEGINS) && made.len() <= LONGEST_VERIFIER).then_some(chosen)
    }
}

/// Whether a PIN that is exposed since then opens nothing any more.
#[must_use]
pub fn is_expired(exposed_at: Timestamp, now: Timestamp) -> bool {
    now.since(exposed_at) >= EXPOSED_FOR
}

/// A PIN as it was typed: digits are understood as those of numbers are, and blanks around are none.
#[must_use]
pub fn typed(text: &str) -> String {
    fold(text)
}

/// Whether a text can be a PIN at all. What cannot is no guess.
#[must_use]
pub fn is_one(text: &str) -> bool {
    (6..=12).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Checks a new PIN: at least six digits, and not one that a thief tries first.
///
/// # Errors
/// What is wrong with it, for whoever chose it.
pub fn check(pin: &str) -> Result<(), &'static str> {
    if !is_one(pin) {
        return Err("a PIN has 6 to 12 digits and nothing else");
    }
    let digits = pin.as_bytes();
    if (1..=digits.len() / 2).any(|period| repeats(digits, period)) {
        return Err("this PIN repeats itself; choose one that is harder to guess");
    }
    let mut steps = digits.to_vec();
    steps.dedup();
    if counts(&steps, 1) || counts(&steps, 9) {
        return Err("this PIN counts up or down; choose one that is harder to guess");
    }
    Ok(())
}

/// Whether the digits are one group of `period` digits over and over.
fn repeats(digits: &[u8], period: usize) -> bool {
    digits.iter().zip(digits.iter().skip(period)).all(|(early, late)| early == late)
}

/// Whether each digit is `step` more than the one before, with 0 after 9.
fn counts(digits: &[u8], step: u8) -> bool {
    let value = |digit: &u8| digit.saturating_sub(b'0');
    digits.iter().zip(digits.iter().skip(1)).all(|(a, b)| (value(a) + step) % 10 == value(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trivial_pins_are_refused_and_others_are_not() {
        for bad in [
            "12345",
            "123456",
            "654321",
            "111111",
            "121212",
            "123123",
            "112233",
            "890123",
            "1234567890123",
            "12345a",
            "",
            "１２３４５６",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
        for good in ["482913", "100200", "90210421", "135790"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        assert_eq!(typed(" ４８２913\u{3000}"), "482913");
        assert_eq!(typed("٤٨٢۹१३"), "482913");
        assert_eq!(typed("48a/:"), "48a/:");
    }

    #[test]
    fn an_exposed_pin_is_good_for_seven_days() {
        let exposed = Timestamp::from_millis(1_777_622_400_000);
        assert!(!is_expired(exposed, exposed));
        assert!(!is_expired(exposed, exposed.after(EXPOSED_FOR).plus_millis(-1)));
        assert!(is_expired(exposed, exposed.after(EXPOSED_FOR)));
        assert_eq!(EXPOSED_FOR, Duration::from_hours(168));
    }

    #[test]
    fn a_verifier_that_would_stall_a_kiosk_is_none() {
        let chosen = |verifier: &str| ChosenPin {
            pin_verifier: verifier.to_owned(),
            exposed_at: Timestamp::from_millis(1_777_622_400_000),
        };
        let good = chosen("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2g");
        assert_eq!(ChosenPin::from_fields(&good.fields()), Some(good.clone()));
        let printed = format!("{good:?}");
        assert!(printed.contains("exposed_at") && !printed.contains("argon2id"), "{printed}");
        let long = format!("{}{}", verifier::BEGINS, "A".repeat(LONGEST_VERIFIER));
        for bad in ["", "482913", "$argon2id$v=19$m=4194304,t=2,p=1$c2FsdA$aGFzaA", long.as_str()] {
            assert_eq!(ChosenPin::from_fields(&chosen(bad).fields()), None, "{bad}");
        }
        assert_eq!(ChosenPin::from_fields(&Map::new()), None);
    }
}
