//! Time parsing: moments as people type them. What has no offset is read by the clock of a zone, and asked about where
//! it comes twice.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use carepost_protocol::day::{DayError, parse_date, parse_to_the_second};
use carepost_protocol::text::{fold, odd_digit};
use carepost_protocol::time::Timestamp;
use carepost_protocol::zone::{Reading, WallClock, Zone};
use serde_json::Value;

/// A time as it was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TimeSpec {
    /// With its offset.
    At(Timestamp),
    /// So long ago.
    Ago(Duration),
    /// A day on the wall, from its beginning on.
    Day(String),
    /// A day and time on the wall, with what that time is called there, such as `cst`, where it was said.
    Wall { minute: String, seconds: u64, of: Option<String> },
}

impl FromStr for TimeSpec {
    type Err = String;

    fn from_str(typed: &str) -> Result<Self, String> {
        if let Ok(at) = typed.trim().to_uppercase().parse() {
            return Ok(Self::At(at));
        }
        if let Some(duration) = ago(&fold(typed)).filter(|_| odd_digit(typed).is_none()) {
            return Ok(Self::Ago(duration));
        }
        let day = match parse_date(typed) {
            Err(DayError::Unread) => None,
            day => Some(day.map(Self::Day)),
        };
        let wall = |text: &str, of: Option<&str>| -> Result<Self, DayError> {
            let (minute, seconds) = parse_to_the_second(text)?;
            let at = moment(&minute).map(|at| Self::At(at.after(Duration::from_secs(seconds))));
            Ok(at.unwrap_or(Self::Wall { minute, seconds, of: of.map(fold) }))
        };
        // As these commands show a moment: by which of its zone's clocks stands last.
        let named = || {
            let (text, of) = typed.trim_end().rsplit_once(' ')?;
            wall(text, Some(of)).ok().filter(|it| matches!(it, Self::Wall { .. }))
        };
        let read = day.unwrap_or_else(|| wall(typed, None).or_else(|error| named().ok_or(error)));
        read.map_err(|error| error.or(RULE))
    }
}

impl TimeSpec {
    /// Which moment that is, by the clock of a zone.
    pub(super) fn within(&self, zone: &Zone, now: Timestamp) -> anyhow::Result<Timestamp> {
        let (wall, seconds, of) = match self {
            Self::At(at) => return Ok(*at),
            Self::Ago(duration) => return Ok(now.before(*duration)),
            // Where clocks are set ahead over midnight, the day begins later.
            Self::Day(day) => {
                (["00:00", "00:30", "01:00"].map(|time| format!("{day}T{time}")).to_vec(), 0, None)
            }
            Self::Wall { minute, seconds, of } => (vec![minute.clone()], *seconds, of.as_deref()),
        };
        // What belongs to no facility is shown by it.
        let zone = if of == Some("utc") { &Zone::UTC } else { zone };
        let readings = wall.iter().map(|wall| zone.readings(wall)).find(|readings| !readings.is_empty());
        let readings = readings.unwrap_or_default();
        let is_said = |reading: &&Reading| of.is_none_or(|of| fold(&reading.of) == of);
        let stored = match (&readings.iter().filter(is_said).collect::<Vec<_>>()[..], readings.first()) {
            ([first, second], _) if matches!(self, Self::Wall { .. }) => {
                bail!("that time comes twice: write {} or {}", first.stored, second.stored)
            }
            ([first, ..], _) => &first.stored,
            ([], Some(other)) => {
                bail!("clocks there show {} then: write that behind the time, or nothing", other.of)
            }
            ([], None) => bail!("there is no such time: clocks are set ahead over it that day"),
        };
        Ok(moment(stored).context("that is no time")?.after(Duration::from_secs(seconds)))
    }
}

const RULE: &str = "write a day such as 2026-05-01, a time such as \"2026-05-01 14:10\", with an offset where it is \
    another zone's, as in 2026-05-01T14:10:00Z, or how long ago, such as 30min, 2h or 3d";

/// How long ago a folded text says that something was.
fn ago(typed: &str) -> Option<Duration> {
    let typed = typed.strip_suffix("ago").unwrap_or(typed);
    let (count, unit) = typed.split_at(typed.find(|c: char| !c.is_ascii_digit())?);
    let seconds = match unit.trim() {
        "min" | "minute" | "minutes" => 60,
        "h" | "hour" | "hours" => 3_600,
        "d" | "day" | "days" => 86_400,
        "w" | "week" | "weeks" => 604_800,
        _ => return None,
    };
    Some(Duration::from_secs(u64::from(count.parse::<u32>().ok()?) * seconds))
}

/// The moment of a wall time that is stored with its offset: `2026-05-01T14:10-05:00`.
fn moment(stored: &str) -> Option<Timestamp> {
    let (wall, offset) = stored.split_at_checked("2026-05-01T14:10".len())?;
    format!("{wall}:00{offset}").parse().ok()
}

/// A facility's time zone; UTC where it has none, and for what happened in no facility.
pub(super) fn zone_of(facilities: &Value, id: Option<&Value>) -> Zone {
    let mut items = facilities.get("items").and_then(Value::as_array).into_iter().flatten();
    let facility = id.and_then(|id| items.find(|facility| facility.get("id") == Some(id)));
    let name = facility.and_then(|facility| facility.get("time_zone")).and_then(Value::as_str);
    name.and_then(Zone::named).unwrap_or(Zone::UTC)
}

/// A moment by the clock of a zone, which it names.
pub(super) fn by_clock(zone: &Zone, at: Timestamp) -> String {
    let WallClock { day, time, of, .. } = zone.clock(at);
    format!("{day} {time} {of}")
}

/// Puts every moment of a thing of the API's, or of a list, as people read it: by the clock of the facility to which the
/// thing belongs, else of UTC. What a device sent stays as it is.
pub(super) fn put_by_clock(thing: &mut Value, facilities: &Value, around: &Zone) {
    match thing {
        Value::String(text) => {
            if let Some(at) = moment_of(text) {
                *text = by_clock(around, at);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| put_by_clock(item, facilities, around)),
        Value::Object(members) => {
            let own = match (members.get("facility_id"), members.get("time_zone")) {
                (id @ Some(Value::String(_)), _) => Some(zone_of(facilities, id)),
                (_, Some(Value::String(zone))) => Zone::named(zone),
                _ => None,
            };
            let zone = own.as_ref().unwrap_or(around);
            let shown = members.iter_mut().filter(|(key, _)| *key != "payload");
            shown.for_each(|(_, member)| put_by_clock(member, facilities, zone));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Whether there is a moment in what is shown: in these columns of a thing or of a list's, in all where there are none.
pub(super) fn shows_moment(thing: &Value, columns: &[&str]) -> bool {
    let in_columns = |item: &Value| columns.iter().filter_map(|column| item.get(column)).any(has_moment);
    match thing.get("items").and_then(Value::as_array) {
        _ if columns.is_empty() => has_moment(thing),
        Some(items) => items.iter().any(in_columns),
        None => in_columns(thing),
    }
}

fn has_moment(thing: &Value) -> bool {
    match thing {
        Value::String(text) => moment_of(text).is_some(),
        Value::Array(items) => items.iter().any(has_moment),
        Value::Object(members) => members.values().any(has_moment),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A moment as the API writes it.
fn moment_of(text: &str) -> Option<Timestamp> {
    let at: Timestamp = text.parse().ok()?;
    (at.to_string() == text).then_some(at)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_moment_is_shown_by_the_clock_of_its_facility_and_else_of_utc() {
        let facilities = json!({"items": [{"id": "1", "time_zone": "America/Chicago"}, {"id": "2"}]});
        let at = "2026-11-28T18:00:05.000Z";
        let mut list = json!({"items": [
            {"facility_id": "1", "last_seen": at, "unknown_tap": {"at": at}, "name": "2026"},
            {"facility_id": "2", "last_seen": at},
            {"id": "1", "time_zone": "America/Chicago", "created_at": at},
            {"facility_id": null, "at": at, "payload": {"at": at}},
        ]});
        assert!(has_moment(&list) && !has_moment(&facilities));
        let created = json!({"name": "Golden Years", "created_at": at});
        for (shown, has) in [(&["name", "created_at"][..], true), (&[], true), (&["name"], false)] {
            assert_eq!(shows_moment(&created, shown), has, "nothing is looked up for what is not shown");
            assert_eq!(shows_moment(&json!({ "items": [created] }), shown), has);
        }
        put_by_clock(&mut list, &facilities, &Zone::UTC);
        let (there, utc) = ("2026-11-28 12:00:05 CST", "2026-11-28 18:00:05 UTC");
        assert_eq!(
            list,
            json!({"items": [
                {"facility_id": "1", "last_seen": there, "unknown_tap": {"at": there}, "name": "2026"},
                {"facility_id": "2", "last_seen": utc},
                {"id": "1", "time_zone": "America/Chicago", "created_at": there},
                {"facility_id": null, "at": utc, "payload": {"at": at}},
            ]})
        );
    }

    #[test]
    fn a_moment_is_a_day_a_time_on_the_wall_or_how_long_ago() {
        let chicago = Zone::named("America/Chicago").unwrap();
        let now = "2026-11-28T18:00:00Z".parse().unwrap();
        for (typed, is) in [
            ("2026-11-28T14:30:05Z", "2026-11-28T14:30:05.000Z"),
            ("2026-11-28t14:30:05z", "2026-11-28T14:30:05.000Z"),
            ("2026-11-28T14:30+01:00", "2026-11-28T13:30:00.000Z"),
            ("2026-11-28", "2026-11-28T06:00:00.000Z"),
            ("11/28/2026", "2026-11-28T06:00:00.000Z"),
            (" 2026-05-01 14:10 ", "2026-05-01T19:10:00.000Z"),
            ("05/01/2026 02:10 PM", "2026-05-01T19:10:00.000Z"),
            ("2026-11-28 12:00:05 CST", "2026-11-28T18:00:05.000Z"),
            ("11/28/2026 12:00 pm cst", "2026-11-28T18:00:00.000Z"),
            ("2026-11-28 18:00:05 UTC", "2026-11-28T18:00:05.000Z"),
            ("2026-11-28 12:00:05", "2026-11-28T18:00:05.000Z"),
            ("11/28/2026 12:00:05 -05:30", "2026-11-28T17:30:05.000Z"),
            ("2026-11-28 12:00 -05:30", "2026-11-28T17:30:00.000Z"),
            ("2h", "2026-11-28T16:00:00.000Z"),
            ("3 days ago", "2026-11-25T18:00:00.000Z"),
            ("30min", "2026-11-28T17:30:00.000Z"),
            ("1W", "2026-11-21T18:00:00.000Z"),
        ] {
            let moment: TimeSpec = typed.parse().unwrap();
            assert_eq!(moment.within(&chicago, now).unwrap().to_string(), is, "{typed}");
        }
        for wrong in ["", "yesterday", "3", "3 m", "h", "-2h", "2²h", "2026-11", "14"] {
            assert_eq!(wrong.parse::<TimeSpec>(), Err(RULE.to_owned()), "{wrong}");
        }
        let alone = "14:30".parse::<TimeSpec>().unwrap_err();
        assert!(alone.starts_with("write the day as well"), "{alone}");
        assert_eq!(
            "2026-02-30".parse::<TimeSpec>(),
            Err("February 2026 has 28 days: check the day".to_owned())
        );
    }

    #[test]
    fn a_time_that_a_command_says_is_taken_as_that_very_one() {
        let at: Timestamp = "2026-11-28T18:00:00.123Z".parse().unwrap();
        // As a withdrawal that broke off says how to go on, whenever that is.
        assert_eq!(at.to_string().parse(), Ok(TimeSpec::At(at)));
        // And as lists show it, whichever of two it is.
        for zone in ["America/Chicago", "America/Sao_Paulo", "UTC"].map(|name| Zone::named(name).unwrap()) {
            for at in ["2026-11-01T06:30:05Z", "2026-11-01T07:30:05Z"].map(|at| at.parse().unwrap()) {
                let moment: TimeSpec = by_clock(&zone, at).parse().unwrap();
                assert_eq!(moment.within(&zone, at).unwrap(), at, "{moment:?}");
            }
        }
    }

    #[test]
    fn what_comes_twice_is_asked_about_and_a_day_begins_where_its_clocks_do() {
        let now = "2026-11-28T18:00:00Z".parse().unwrap();
        let within = |zone: &str, typed: &str| {
            typed
                .parse::<TimeSpec>()
                .unwrap()
                .within(&Zone::named(zone).unwrap(), now)
                .map(|at| at.to_string())
        };
        let twice = within("America/Chicago", "2026-11-01 01:30").unwrap_err().to_string();
        assert_eq!(twice, "that time comes twice: write 2026-11-01T01:30-05:00 or 2026-11-01T01:30-06:00");
        let second = within("America/Chicago", "2026-11-01T01:30-06:00").unwrap();
        assert_eq!(second, "2026-11-01T07:30:00.000Z");
        let other = within("America/Chicago", "2026-11-28 12:00 CDT").unwrap_err().to_string();
        assert_eq!(other, "clocks there show CST then: write that behind the time, or nothing");
        let skipped = within("America/Chicago", "2026-03-08 02:30").unwrap_err().to_string();
        assert!(skipped.contains("there is no such time"), "{skipped}");
        // Midnight is set ahead to one o'clock in the one, and comes twice in the other.
        assert_eq!(within("America/Santiago", "2026-09-06").unwrap(), "2026-09-06T04:00:00.000Z");
        assert_eq!(within("America/Havana", "2026-11-01").unwrap(), "2026-11-01T04:00:00.000Z");
    }
}
