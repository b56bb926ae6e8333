//! Value parsers: the API's words and whole numbers as people type them on the command line. A word is taken in any
//! case and spelling, a number in digits alone; everything else is refused with what may be given.

use carepost_protocol::facility::PhiMode;
use carepost_protocol::text::{fold, odd_digit};
use carepost_protocol::unit::Units;

/// A word of the API's, and what it means where the word alone does not say.
type Word = (&'static str, &'static str);

pub(super) const ROLES: &[Word] = &[
    ("org_admin", "all facilities of the organization"),
    ("facility_admin", "one facility"),
    ("rn", "registered nurse"),
    ("lpn", "licensed practical nurse"),
    ("medical_assistant", ""),
    ("caregiver", "or nursing assistant"),
    ("family", "sees no residents yet"),
    ("auditor", "reads the audit log"),
];
pub(super) const ORGANIZATION_TYPES: &[Word] = &[
    ("HOME_HEALTH_AGENCY", ""),
    ("ALF_OPERATOR", "assisted living"),
    ("MEMORY_CARE_GROUP", ""),
    ("SNF_CHAIN", "skilled nursing"),
    ("MULTI_SITE_SYSTEM", "several kinds of care"),
    ("HOSPITAL", ""),
    ("CLINIC", ""),
    ("PHYSICIAN_GROUP", ""),
];
pub(super) const FACILITY_TYPES: &[Word] = &[
    ("HOME_HEALTH", "visiting nurses"),
    ("ALF", "assisted living"),
    ("MEMORY_CARE", ""),
    ("SNF", "skilled nursing"),
    ("HOSPICE", ""),
    ("CLINIC", ""),
    ("HOSPITAL", ""),
];
const FULL: Word = (PhiMode::Full.name(), "all of a resident");
const MINIMAL: Word = (PhiMode::Minimal.name(), "initials and room");
const FREE: Word = (PhiMode::Free.name(), "case number only");
/// The later, the less is sent.
pub(super) const PHI_MODES: &[Word] = &[FULL, MINIMAL, FREE];
pub(super) const DEVICE_PHI_MODES: &[Word] = &[FULL, MINIMAL, FREE, ("facility", "as the facility says")];
pub(super) const UNITS: &[Word] = &[
    (Units::Metric.name(), "°C, kg, cm"),
    (Units::UsCustomary.name(), "°F, lb, in"),
    (Units::AsPublished.name(), "each form's own"),
];
pub(super) const DEVICE_TYPES: &[Word] = &[
    ("RASPBERRY_PI", "wall kiosk"),
    ("TABLET", ""),
    ("LAPTOP", ""),
    ("WORKSTATION", ""),
    ("BADGE_READER", "without a screen"),
];
pub(super) const DEACTIVATIONS: &[Word] = &[
    ("lost", "somebody may have it who should not"),
    ("stolen", "as lost"),
    ("retired", "out of use, and in hand"),
    ("replaced", "another stands in its place, and it is in hand"),
];
pub(super) const SOURCES: &[Word] = &[("server", "what the server saw"), ("device", "what devices say")];
pub(super) const YES_NO: &[Word] = &[("yes", ""), ("no", "")];

/// Whether less is sent in one mode than in the other.
pub(super) fn is_narrower(mode: &str, than: &str) -> bool {
    let place = |mode: &str| PHI_MODES.iter().position(|(word, _)| *word == mode);
    place(mode) > place(than)
}

/// Takes one of these words, in any case and with blanks or hyphens for underscores, or its meaning.
pub(super) fn one_of(words: &'static [Word]) -> impl Fn(&str) -> Result<String, String> + Clone {
    move |typed| {
        let plainly = |text: &str| fold(&text.replace(['_', '-'], " "));
        let typed = plainly(typed);
        let is = |text: &str| !typed.is_empty() && plainly(text) == typed;
        let found = words.iter().find(|(word, meaning)| is(word) || is(meaning));
        found.map(|(word, _)| (*word).to_owned()).ok_or_else(|| {
            let one = |(word, meaning): &Word| match *meaning {
                "" => (*word).to_owned(),
                meaning => format!("{word} ({meaning})"),
            };
            format!("give one of {}", words.iter().map(one).collect::<Vec<_>>().join(", "))
        })
    }
}

/// Takes a whole number. What is too large for one is the largest: what there may be is the server's to say.
pub(super) fn whole(typed: &str) -> Result<u64, String> {
    let digits = fold(typed);
    if odd_digit(typed).is_some() || digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("write a whole number in digits alone, such as 48 or 1000".to_owned());
    }
    Ok(digits.parse().unwrap_or(u64::MAX))
}

/// Takes a whole number of beds, people or days.
pub(super) fn count(typed: &str) -> Result<u32, String> {
    whole(typed).map(|number| u32::try_from(number).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use carepost_protocol::device::{Deactivation, DeviceType};
    use carepost_protocol::facility::FacilityType;
    use carepost_protocol::role::Role;
    use serde::de::DeserializeOwned;

    use super::*;
    use crate::store::OrganizationType;

    /// As many of the API's words as there are.
    fn known<T: DeserializeOwned>(words: &[Word]) -> Vec<T> {
        words.iter().map(|(word, _)| serde_json::from_value((*word).into()).unwrap()).collect()
    }

    #[test]
    fn every_word_is_one_of_the_apis_and_no_role_that_can_be_given_is_left_out() {
        let roles: Vec<Role> = known(ROLES);
        assert!(Role::ALL.iter().all(|role| *role == Role::PlatformAdmin || roles.contains(role)));
        known::<OrganizationType>(ORGANIZATION_TYPES);
        known::<FacilityType>(FACILITY_TYPES);
        known::<PhiMode>(PHI_MODES);
        known::<Units>(UNITS);
        known::<DeviceType>(DEVICE_TYPES);
        known::<Deactivation>(DEACTIVATIONS);
    }

    #[test]
    fn a_word_is_taken_however_it_is_spelled_and_no_other() {
        for (typed, word) in [
            ("RN", "rn"),
            ("Registered nurse", "rn"),
            ("Facility-Admin", "facility_admin"),
            (" medical  assistant ", "medical_assistant"),
        ] {
            assert_eq!(one_of(ROLES)(typed).as_deref(), Ok(word), "{typed}");
        }
        assert_eq!(one_of(DEVICE_TYPES)("raspberry pi").as_deref(), Ok("RASPBERRY_PI"));
        for typed in ["nurse", "charge nurse", "", " ", "platform_admin"] {
            let said = one_of(ROLES)(typed).unwrap_err();
            assert!(
                said.contains("rn (registered nurse), lpn (licensed practical nurse), medical_assistant,"),
                "{said}"
            );
        }
    }

    #[test]
    fn a_whole_number_is_digits_and_what_may_be_read_in_two_ways_is_asked_for() {
        assert_eq!(count(" ４８ "), Ok(48));
        assert_eq!(count("99999999999"), Ok(u32::MAX));
        for typed in ["1,000", "1.000", "-1", "4.0", "4²", "④", "", "many"] {
            assert!(whole(typed).unwrap_err().contains("such as 48 or 1000"), "{typed}");
        }
    }
}
