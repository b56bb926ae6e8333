//! Time zones: what a clock on a facility's wall shows, and which moments a time on it may mean.
//!
//! The rules of every zone are in the program, so that a device without `tzdata` knows them. A wall time is
//! `YYYY-MM-DDTHH:MM` ([`crate::day::parse_datetime`]). It is stored with the offset that a zone gave it:
//! `2026-11-01T01:30-05:00`. One from before facilities had zones has none, and stays as it is.

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase};

use crate::day;
use crate::time::Timestamp;

/// The length of a wall time, and of its day.
const WALL: usize = 16;
const DAY: usize = 10;

/// A time zone with its rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

/// What a clock on the wall shows at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WallClock {
    /// `2026-05-01`.
    pub day: String,
    /// `22:30:05`.
    pub time: String,
    /// Which time that is: `CDT`, or `UTC-03` where it has no name.
    pub of: String,
    /// Whether it shows the same at another moment as well.
    pub is_twice: bool,
}

/// A moment that a wall time may mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The wall time with its offset, as it is stored.
    pub stored: String,
    /// Which time that is: `CDT`.
    pub of: String,
    /// Whether it is daylight saving time.
    pub is_daylight: bool,
}

/// Why a wall time means no moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WallError {
    /// Clocks jump over it.
    #[error("there is no such time: clocks are set ahead over it that day. Check the time")]
    Skipped,
    /// Clocks show it twice.
    #[error("this time comes twice: clocks are set back that day. Choose First or Second")]
    Twice,
}

impl From<TimeZone> for Zone {
    fn from(zone: TimeZone) -> Self {
        Self(zone)
    }
}

impl Zone {
    /// Universal time.
    pub const UTC: Self = Self(TimeZone::UTC);

    /// The zone of that IANA name, in whatever case; none where this build knows none.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        TimeZoneDatabase::bundled().get(name).ok().filter(|zone| !zone.is_unknown()).map(Self)
    }

    /// Its IANA name; a device's own zone may have none.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0.iana_name()
    }

    /// What a clock on the wall shows at that moment.
    #[must_use]
    pub fn clock(&self, at: Timestamp) -> WallClock {
        let moment = jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or(jiff::Timestamp::MAX);
        let info = self.0.to_offset_info(moment);
        let wall = info.offset().to_datetime(moment);
        WallClock {
            day: iso(wall),
            time: format!("{:02}:{:02}:{:02}", wall.hour(), wall.minute(), wall.second()),
            of: spoken(info.abbreviation()),
            is_twice: matches!(self.0.to_ambiguous_timestamp(wall).offset(), AmbiguousOffset::Fold { .. }),
        }
    }

    /// How far that wall is ahead of universal time then, in minutes.
    pub(crate) fn ahead(&self, at: Timestamp) -> i32 {
        let moment = jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or(jiff::Timestamp::MAX);
        minutes(self.0.to_offset(moment))
    }

    /// What it shows then in a few words: `2026-05-01 22:30 CDT`.
    #[must_use]
    pub fn shown(&self, at: Timestamp) -> String {
        let WallClock { day, time, of, .. } = self.clock(at);
        format!("{day} {} {of}", time.get(..5).unwrap_or_default())
    }

    /// The moments that a wall time may mean, in their order: none for one that does not exist, two for one that
    /// comes twice.
    #[must_use]
    pub fn readings(&self, wall: &str) -> Vec<Reading> {
        let Some((at, None)) = parts(wall) else { return Vec::new() };
        let offsets = match self.0.to_ambiguous_timestamp(at).offset() {
            AmbiguousOffset::Unambiguous { offset } => vec![offset],
            AmbiguousOffset::Gap { .. } => Vec::new(),
            AmbiguousOffset::Fold { before, after } => vec![before, after],
        };
        let reading = |offset: Offset| {
            let info = self.0.to_offset_info(offset.to_timestamp(at).ok()?);
            let stored = stored(at, minutes(offset));
            Some(Reading { stored, of: spoken(info.abbreviation()), is_daylight: info.dst().is_dst() })
        };
        offsets.into_iter().filter_map(reading).collect()
    }

    /// A time as it is stored, from one on the wall and which of two it was said to be; one that has its offset
    /// already, from whatever zone, as this zone's wall shows that moment.
    ///
    /// # Errors
    /// See [`WallError`].
    pub fn settle(&self, time: &str, said: Option<&str>) -> Result<String, WallError> {
        if let Some((at, Some(offset))) = parts(time) {
            return Ok(self.restated(at, offset).unwrap_or_else(|| time.to_owned()));
        }
        match &self.readings(time)[..] {
            [] => Err(WallError::Skipped),
            [one] => Ok(one.stored.clone()),
            two => {
                let meant = two.iter().find(|reading| Some(reading.stored.as_str()) == said);
                meant.map(|reading| reading.stored.clone()).ok_or(WallError::Twice)
            }
        }
    }

    /// Whether a time that was typed so has no offset, or one that this zone's clocks have at that time and that stands
    /// where it is stored, behind a time with a `T` in it. Any other was typed for something else, as the end of a range
    /// is: `05:00-06:00`.
    #[must_use]
    pub fn is_own(&self, time: &str, typed: &str) -> bool {
        let is_read = |wall: &str| self.readings(wall).iter().any(|reading| reading.stored == time);
        let has_sign = typed.trim().get(DAY..=DAY).is_some_and(|sign| sign.eq_ignore_ascii_case("T"));
        time.len() <= WALL || has_sign && time.get(..WALL).is_some_and(is_read)
    }

    /// The time on this zone's wall that a text is taken for, be it typed or stored.
    #[must_use]
    pub fn wall_of(&self, text: &str) -> Option<String> {
        let time = day::parse_datetime(text).ok()?;
        (self.is_own(&time, text) || time == text).then(|| self.wall(&time))
    }

    /// The wall time of one that is stored, to be shown where it can be changed.
    #[must_use]
    pub fn wall(&self, time: &str) -> String {
        let settled = self.settle(time, None).ok();
        settled.as_deref().and_then(|settled| settled.get(..WALL)).unwrap_or(time).to_owned()
    }

    /// A stored time as people read it on this zone's wall. One that was charted under another offset says so; one
    /// that has none stays as it is.
    #[must_use]
    pub fn words(&self, time: &str) -> String {
        let Some((at, offset)) = parts(time) else { return time.to_owned() };
        let spaced = |at: DateTime| format!("{} {:02}:{:02}", day::shown(&iso(at)), at.hour(), at.minute());
        let Some((offset, here)) = offset.and_then(|offset| Some((offset, self.restated(at, offset)?)))
        else {
            return spaced(at);
        };
        let shown = parts(&here).map_or_else(|| here.clone(), |(at, _)| spaced(at));
        let of = match &self.readings(here.get(..WALL).unwrap_or_default())[..] {
            two @ [_, _] => two.iter().find(|reading| reading.stored == here).map(|reading| &reading.of),
            _ => None,
        }
        .map(|of| format!(" {of}"))
        .unwrap_or_default();
        let is_elsewhere = here != stored(at, offset);
        let charted = is_elsewhere.then(|| format!(" (charted as {} UTC{})", spaced(at), spelled(offset)));
        format!("{shown}{of}{}", charted.unwrap_or_default())
    }

    /// The same moment under this zone's own offset.
    fn restated(&self, at: DateTime, offset: i32) -> Option<String> {
        let moment = Offset::from_seconds(offset * 60).ok()?.to_timestamp(at).ok()?;
        let own = self.0.to_offset(moment);
        // Before zones were agreed on, offsets had seconds: the wall time stands as it was given.
        if minutes(own) == offset {
            return Some(stored(at, offset));
        }
        Some(stored(own.to_datetime(moment), minutes(own)))
    }
}

/// The minutes of an offset: `-05:00` or `Z`.
pub(crate) fn offset(text: &str) -> Option<i32> {
    if text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let part = |text: &str, below: i32| {
        let is_two = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<i32>().ok().filter(|number| is_two && *number < below)
    };
    let (hours, minutes) = digits.split_once(':')?;
    Some(sign * (part(hours, 24)? * 60 + part(minutes, 60)?))
}

/// The offset of so many minutes: `-05:00`.
pub(crate) fn spelled(minutes: i32) -> String {
    let sign = if minutes < 0 { '-' } else { '+' };
    format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)
}

/// A time as [`crate::day::parse_datetime`] gives it: what the wall shows, and the offset in minutes.
fn parts(time: &str) -> Option<(DateTime, Option<i32>)> {
    let (wall, rest) = time.split_at_checked(WALL)?;
    let at = wall.parse().ok().filter(|_| wall.get(10..11) == Some("T"))?;
    if rest.is_empty() { Some((at, None)) } else { Some((at, Some(offset(rest)?))) }
}

fn stored(at: DateTime, minutes: i32) -> String {
    format!("{}T{:02}:{:02}{}", iso(at), at.hour(), at.minute(), spelled(minutes))
}

fn iso(at: DateTime) -> String {
    format!("{:04}-{:02}-{:02}", at.year(), at.month(), at.day())
}

/// To the nearest minute.
fn minutes(offset: Offset) -> i32 {
    let seconds = offset.seconds();
    (seconds + 30 * seconds.signum()) / 60
}

fn spoken(abbreviation: &str) -> String {
    let is_name = abbreviation.starts_with(|c: char| c.is_ascii_alphabetic());
    if is_name { abbreviation.to_owned() } else { format!("UTC{abbreviation}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> Zone {
        Zone::named(name).unwrap_or_else(|| panic!("no {name}"))
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_wall_shows_the_facilitys_time_whatever_the_device_says() {
        let chicago = zone("America/Chicago");
        assert_eq!(chicago.shown(at("2026-05-02T03:30:00Z")), "2026-05-01 22:30 CDT");
        assert_eq!(chicago.shown(at("2026-12-02T04:30:00Z")), "2026-12-01 22:30 CST");
        assert_eq!(zone("America/Sao_Paulo").shown(at("2026-12-02T04:30:00Z")), "2026-12-02 01:30 UTC-03");
        assert_eq!(Zone::UTC.shown(at("2026-05-01T14:10:00Z")), "2026-05-01 14:10 UTC");
        let second = chicago.clock(at("2026-11-01T07:30:05.250Z"));
        assert_eq!((second.time.as_str(), second.of.as_str(), second.is_twice), ("01:30:05", "CST", true));
        assert!(!chicago.clock(at("2026-11-01T08:30:00Z")).is_twice);
        for millis in [i64::MIN, i64::MAX] {
            assert!(!chicago.shown(Timestamp::from_millis(millis)).is_empty());
        }
    }

    #[test]
    fn an_offset_with_seconds_is_told_to_the_nearest_minute() {
        // 5:50:36 behind, before time was agreed on.
        let stored: Vec<_> =
            zone("America/Chicago").readings("1880-07-04T13:05").into_iter().map(|it| it.stored).collect();
        assert_eq!(stored, ["1880-07-04T13:05-05:51"]);
    }

    #[test]
    fn zones_are_known_by_their_iana_names() {
        assert_eq!(zone("america/chicago").name(), Some("America/Chicago"));
        for unknown in ["", "Mars/Olympus", "CDT", "Etc/Unknown", "../etc/passwd", "-05:00"] {
            assert_eq!(Zone::named(unknown), None, "{unknown:?}");
        }
    }

    #[test]
    fn an_hour_that_does_not_exist_is_refused_and_one_that_comes_twice_is_asked() {
        let chicago = zone("America/Chicago");
        assert_eq!(chicago.settle("2026-05-01T22:30", None).as_deref(), Ok("2026-05-01T22:30-05:00"));
        for (time, means) in [
            ("2026-03-08T01:59", Ok("2026-03-08T01:59-06:00")),
            ("2026-03-08T02:00", Err(WallError::Skipped)),
            ("2026-03-08T02:30", Err(WallError::Skipped)),
            ("2026-03-08T03:00", Ok("2026-03-08T03:00-05:00")),
            ("2026-11-01T00:59", Ok("2026-11-01T00:59-05:00")),
            ("2026-11-01T01:30", Err(WallError::Twice)),
            ("2026-11-01T02:00", Ok("2026-11-01T02:00-06:00")),
        ] {
            assert_eq!(chicago.settle(time, None).as_deref(), means.as_ref().copied(), "{time}");
        }
        let [first, second] = &chicago.readings("2026-11-01T01:30")[..] else { panic!("not two") };
        assert_eq!((first.stored.as_str(), first.of.as_str()), ("2026-11-01T01:30-05:00", "CDT"));
        assert_eq!((second.stored.as_str(), second.of.as_str()), ("2026-11-01T01:30-06:00", "CST"));
        assert!(first.is_daylight && !second.is_daylight);
        for reading in [first, second] {
            let said = Some(reading.stored.as_str());
            assert_eq!(chicago.settle("2026-11-01T01:30", said).as_ref(), Ok(&reading.stored));
            // What was said of another time says nothing.
            assert_eq!(chicago.settle("2026-11-01T01:31", said), Err(WallError::Twice));
        }
    }

    #[test]
    fn half_an_hour_can_be_missing_or_come_twice() {
        let howe = zone("Australia/Lord_Howe");
        assert_eq!(howe.settle("2026-10-04T02:15", None), Err(WallError::Skipped));
        assert_eq!(howe.settle("2026-10-04T02:30", None).as_deref(), Ok("2026-10-04T02:30+11:00"));
        let stored: Vec<_> = howe.readings("2026-04-05T01:45").into_iter().map(|it| it.stored).collect();
        assert_eq!(stored, ["2026-04-05T01:45+11:00", "2026-04-05T01:45+10:30"]);
        assert_eq!(howe.settle("2026-04-05T01:29", None).as_deref(), Ok("2026-04-05T01:29+11:00"));
    }

    #[test]
    fn a_stored_time_reads_the_same_on_every_wall_of_the_facility() {
        let chicago = zone("America/Chicago");
        for (stored, words, wall) in [
            ("2026-05-01T22:30-05:00", "05/01/2026 22:30", "2026-05-01T22:30"),
            ("2026-11-01T01:30-05:00", "11/01/2026 01:30 CDT", "2026-11-01T01:30"),
            ("2026-11-01T01:30-06:00", "11/01/2026 01:30 CST", "2026-11-01T01:30"),
            (
                "2026-05-01T22:30+00:00",
                "05/01/2026 17:30 (charted as 05/01/2026 22:30 UTC+00:00)",
                "2026-05-01T17:30",
            ),
            // From an agent that knows no zones: as it was typed.
            ("2026-03-08T02:30", "03/08/2026 02:30", "2026-03-08T02:30"),
            ("after breakfast", "after breakfast", "after breakfast"),
            ("", "", ""),
        ] {
            assert_eq!(chicago.words(stored), words);
            assert_eq!(chicago.wall(stored), wall);
        }
        assert_eq!(chicago.settle("2026-05-01T22:30+00:00", None).as_deref(), Ok("2026-05-01T17:30-05:00"));
    }

    #[test]
    fn what_is_settled_settles_to_itself_from_the_first_railways_on() {
        for name in ["America/Chicago", "Australia/Lord_Howe", "America/New_York", "Asia/Kathmandu", "UTC"] {
            let zone = zone(name);
            for year in ["0001", "1880", "1970", "2026", "2199", "9999"] {
                for rest in ["-01-01T00:00", "-03-08T02:30", "-07-04T13:05", "-11-01T01:30", "-12-31T23:59"] {
                    for Reading { stored, .. } in zone.readings(&format!("{year}{rest}")) {
                        assert_eq!(zone.settle(&stored, None).as_ref(), Ok(&stored), "{name}");
                        assert_eq!(zone.wall(&stored), format!("{year}{rest}"), "{name}");
                        assert!(!zone.words(&stored).contains("charted"), "{name} {stored}");
                    }
                }
            }
        }
    }
}
