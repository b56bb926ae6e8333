//! Local time: in which zone times are shown and read here, and the times in a filled-in form.

use carepost_protocol::day::parse_datetime;
use carepost_protocol::record::FacilityDocument;
use carepost_protocol::workflow::{FieldError, FieldType, Workflow};
use carepost_protocol::zone::Zone;
use serde_json::{Map, Value};

use super::view::form::OFFSET;

/// The zone in which times are shown and read here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeHere {
    pub zone: Zone,
    pub whose: Whose,
}

/// Whose a time zone is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    Facility,
    /// The device's own, before it has a facility.
    Device,
    /// The device's own, before what its facility says of itself has come.
    Coming,
    /// The device's own: nobody has set the facility's.
    Unset,
    /// The device's own: this build does not know the facility's, of that name.
    Unknown(String),
}

impl TimeHere {
    /// The facility's zone, or the device's own where that is not known, or has not come yet.
    #[must_use]
    pub fn of(facility: Option<&FacilityDocument>, own: Zone) -> Self {
        let device = |whose| Self { zone: own, whose };
        match facility.map(|facility| facility.time_zone.as_deref()) {
            None => device(Whose::Coming),
            Some(None) => device(Whose::Unset),
            Some(Some(name)) => match Zone::named(name) {
                Some(zone) => Self { zone, whose: Whose::Facility },
                None => device(Whose::Unknown(name.to_owned())),
            },
        }
    }
}

const ONE_TIME: &str = "give one time by this facility's clock, without a range or another zone's offset";

/// A form's answers with each time as it is stored, without what was said to tell two of them apart; and what is
/// wrong with the times.
pub(super) fn settled<'a>(
    zone: &Zone,
    workflow: &Workflow,
    filled: &Map<String, Value>,
    answers: impl Iterator<Item = &'a (String, String)> + Clone,
) -> (Vec<(&'a str, String)>, Vec<FieldError>) {
    let mut faults = Vec::new();
    let is_time = |key: &str| {
        workflow.fields.iter().any(|field| field.key == key && field.field_type == FieldType::Datetime)
    };
    let said = |key: &str| {
        let mut given = answers.clone().filter(|(name, _)| name.strip_prefix(OFFSET) == Some(key));
        given.next().map(|(_, text)| text.as_str())
    };
    let asked = answers.clone().filter(|(key, _)| !key.starts_with(OFFSET));
    let settled = asked.map(|(key, text)| {
        // What is no time at all is for the form's own rules to refuse.
        let Some(time) = parse_datetime(text).ok().filter(|_| is_time(key)) else {
            return (key.as_str(), text.clone());
        };
        // What was left as it was shown stays what it was, from before times had offsets too.
        let kept = filled.get(key).and_then(Value::as_str);
        let is_own = zone.is_own(&time, text);
        let is_left =
            |kept: &&str| if is_own { said(key).is_none() && zone.wall(kept) == time } else { *kept == text };
        if let Some(kept) = kept.filter(is_left) {
            return (key.as_str(), kept.to_owned());
        }
        let settled = zone.settle(&time, said(key)).map_err(|error| error.to_string());
        let stored = if is_own { settled } else { Err(ONE_TIME.to_owned()) };
        let stored = stored.unwrap_or_else(|error| {
            faults.push(FieldError::new(key, error));
            time
        });
        (key.as_str(), stored)
    });
    (settled.collect(), faults)
}

#[cfg(test)]
mod tests {
    use carepost_protocol::workflow::Field;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_time_from_before_offsets_stays_while_it_is_left_as_it_was_shown() {
        let zone = Zone::named("America/Chicago").unwrap();
        let field = json!(Field::new("taken_at", "Taken at", FieldType::Datetime));
        let form = json!({"id": "019a0000-0000-7000-8000-000000000001", "key": "vitals", "label": "Vitals",
            "version": 1, "enabled": true, "fields": [field]});
        let form: Workflow = serde_json::from_value(form).unwrap();
        let filled = |text: &str| Map::from_iter([("taken_at".to_owned(), json!(text))]);
        for (was, typed, stored) in [
            ("2026-03-08T02:30", "2026-03-08T02:30", Some("2026-03-08T02:30")),
            ("2026-11-01T01:30", "2026-11-01T01:30", Some("2026-11-01T01:30")),
            ("2026-05-01T22:30", "2026-05-01T22:31", Some("2026-05-01T22:31-05:00")),
            ("2026-05-01T22:30", "2026-03-08T02:30", None),
            ("2026-05-01T22:30", "2026-11-01T01:30-06:00", Some("2026-11-01T01:30-06:00")),
            // Two times are not one with an offset, unless that is what was filled in.
            ("2026-05-01T22:30", "12/10/2026 09:00-10:00", None),
            ("2026-05-01T22:30", "12/10/2026 09:00–10:00", None),
            ("2026-05-01T22:30", "12/10/2026 09:00 -10:00", None),
            ("2026-05-01T22:30", "12/10/2026 05:00-06:00", None),
            ("2026-12-10T05:00-06:00", "12/10/2026 05:00-06:00", None),
            ("2026-05-01T22:30", "2026-12-10T05:00:09-06:00", Some("2026-12-10T05:00-06:00")),
            ("2026-12-10T09:00-10:00", "2026-12-10T09:00-10:00", Some("2026-12-10T09:00-10:00")),
            ("2026-12-10T09:00-10:00", "12/10/2026 13:00", Some("2026-12-10T09:00-10:00")),
        ] {
            let typed = [("taken_at".to_owned(), typed.to_owned())];
            let (settled, faults) = settled(&zone, &form, &filled(was), typed.iter());
            assert_eq!(faults.is_empty(), stored.is_some(), "{was}: {faults:?}");
            assert!(stored.is_none_or(|stored| settled == [("taken_at", stored.to_owned())]), "{settled:?}");
        }
    }
}
