//! The session's notices and roles, in words for whoever stands before the screen.

use agent_core::session::{Notice, SessionPolicy};
use carepost_agent_core as agent_core;
use carepost_protocol::role::Role;
use carepost_protocol::time::Timestamp;

/// What the screen says.
pub(super) fn notice(notice: Notice, now: Timestamp) -> String {
    match notice {
        Notice::UnknownBadge => {
            "This badge is not known here. Ask your charge nurse to have it added.".to_owned()
        }
        Notice::RevokedBadge => {
            "This badge was switched off. Use your new badge, or ask your charge nurse.".to_owned()
        }
        Notice::InactiveUser => "This account is switched off. Ask an administrator.".to_owned(),
        Notice::RandomUid => {
            "This card shows another number each time, so it cannot be a badge. Use your work badge."
                .to_owned()
        }
        Notice::Unreadable => "The badge could not be read. Hold it still for a moment longer.".to_owned(),
        Notice::LeftOnReader => "Take the badge off the reader, then tap it again.".to_owned(),
        Notice::StillLoading => {
            "This device is still loading its first copy. Tap again in a minute, or use another device."
                .to_owned()
        }
        Notice::NoPin => "You have no PIN yet. Ask an administrator to set your first one.".to_owned(),
        Notice::PinExpired => {
            "Your old PIN no longer works: a device that knew it was lost more than seven days ago. Ask an \
             administrator to set a new PIN."
                .to_owned()
        }
        Notice::NotANewPin(why) => format!("Not accepted: {why}."),
        Notice::NewPinUncertain => {
            "It is not certain that your new PIN was saved. Tap again and type the new one; if it is wrong, type the old \
             one."
                .to_owned()
        }
        Notice::Busy => "One moment: a PIN is being checked. Tap again.".to_owned(),
        Notice::NotAPin => "A PIN has 6 to 12 digits. Type all of them, then press OK.".to_owned(),
        Notice::WrongPin => "That PIN is wrong. Try again.".to_owned(),
        Notice::PinReplaced => {
            "Your PIN was changed. Tap again and use the new one. Ask an administrator if you do not know it."
                .to_owned()
        }
        Notice::LockedOut { until } => {
            format!(
                "Too many wrong PINs. Try again in {}. If you do not know your PIN, ask an administrator for a new \
                 one: it works as soon as this device has it.",
                minutes(until, now)
            )
        }
        Notice::DevicePaused { until } => {
            format!("Too many wrong PINs on this device. Wait {}.", minutes(until, now))
        }
        Notice::Deactivated => {
            "This account was switched off. What was typed is kept. Ask an administrator.".to_owned()
        }
    }
}

/// No pause is longer than a lock-out, though the clock may have been set back since the notice was made.
fn minutes(until: Timestamp, now: Timestamp) -> String {
    match until.since(now).min(SessionPolicy::default().lockout).as_secs().div_ceil(60) {
        0 | 1 => "1 minute".to_owned(),
        minutes => format!("{minutes} minutes"),
    }
}

/// A role as people say it.
pub(super) const fn role(role: Role) -> &'static str {
    match role {
        Role::PlatformAdmin => "Platform administrator",
        Role::OrgAdmin => "Organization administrator",
        Role::FacilityAdmin => "Facility administrator",
        Role::Rn => "Registered nurse",
        Role::Lpn => "Licensed practical nurse",
        Role::MedicalAssistant => "Medical assistant",
        Role::Caregiver => "Caregiver",
        Role::Family => "Family",
        Role::Auditor => "Auditor",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_back_makes_no_pause_longer_than_a_lock_out() {
        let now: Timestamp = "2026-05-01T14:10:00Z".parse().unwrap();
        let until: Timestamp = "2029-05-01T14:10:00Z".parse().unwrap();
        let said = notice(Notice::LockedOut { until }, now);
        assert!(said.contains("Try again in 30 minutes"), "{said}");
    }
}
