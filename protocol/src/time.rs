//! Moments: milliseconds since 1970 in UTC. In text they are RFC 3339, always with three decimals, so that text
//! sorts as time does.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A moment in UTC with millisecond precision, between the years 1 and 9999.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, format = "date-time"))]
pub struct Timestamp(i64);

/// A text that is not a moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time: give RFC 3339 with an offset, such as 2026-05-01T14:10:00Z")]
pub struct NotATime(pub String);

const MIN_MILLIS: i64 = -62_135_596_800_000;
const MAX_MILLIS: i64 = 253_402_300_799_999;

impl Timestamp {
    /// The first moment of 1970.
    pub const EPOCH: Self = Self(0);

    /// The moment that many milliseconds after 1970, brought into the years 1 to 9999.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        if millis < MIN_MILLIS {
            Self(MIN_MILLIS)
        } else if millis > MAX_MILLIS {
            Self(MAX_MILLIS)
        } else {
            Self(millis)
        }
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This moment moved by a signed number of milliseconds.
    #[must_use]
    pub fn plus_millis(self, millis: i64) -> Self {
        Self::from_millis(self.0.saturating_add(millis))
    }

    /// This moment and a duration later.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        self.plus_millis(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
    }

    /// This moment and a duration earlier.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        self.plus_millis(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX).saturating_neg())
    }

    /// How long after `earlier` this moment is; zero when it is before.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = i128::from(self.0) * 1_000_000;
        let moment = OffsetDateTime::from_unix_timestamp_nanos(nanos).map_err(|_| fmt::Error)?;
        let (year, month, day) = moment.to_calendar_date();
        let (hour, minute, second, milli) = moment.to_hms_milli();
        write!(f, "{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z", u8::from(month))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = NotATime;
    fn from_str(text: &str) -> Result<Self, NotATime> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| NotATime(text.to_owned()))?;
        i64::try_from(moment.unix_timestamp_nanos().div_euclid(1_000_000))
            .map(Self::from_millis)
            .map_err(|_| NotATime(text.to_owned()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// How far a device's clock could be believed when it stamped something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ClockQuality {
    /// Compared with the server's clock since this process started.
    Synced,
    /// Carried on from an earlier comparison.
    Estimated,
    /// Never compared: the time may be years off.
    Unset,
}

impl ClockQuality {
    /// A moment that such a clock stamped, unless it may be years off.
    #[must_use]
    pub const fn believed(self, at: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Synced | Self::Estimated => Some(at),
            Self::Unset => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_survives_text() {
        let moment: Timestamp = "2026-05-01T14:10:00.250Z".parse().unwrap();
        assert_eq!(moment.as_millis(), 1_777_644_600_250);
        assert_eq!(moment.to_string(), "2026-05-01T14:10:00.250Z");
        assert_eq!(format!("{moment:?}"), "2026-05-01T14:10:00.250Z");
        assert_eq!(Timestamp::EPOCH.to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!("2026-05-01T16:10:00.250+02:00".parse(), Ok(moment));
    }

    #[test]
    fn what_a_clock_stamped_is_believed_unless_it_was_never_set() {
        let at = Timestamp::from_millis(7);
        assert_eq!([ClockQuality::Synced, ClockQuality::Estimated].map(|it| it.believed(at)), [Some(at); 2]);
        assert_eq!(ClockQuality::Unset.believed(at), None);
    }

    #[test]
    fn text_sorts_as_time_does() {
        let mut texts: Vec<String> =
            (995..1_015).rev().map(|millis| Timestamp::from_millis(millis).to_string()).collect();
        texts.sort();
        assert_eq!(texts.first().unwrap(), "1970-01-01T00:00:00.995Z");
        assert!(texts.iter().map(|text| text.parse::<Timestamp>().unwrap()).is_sorted());
    }

    #[test]
    fn bad_times_are_refused_with_an_example() {
        for bad in ["", "yesterday", "2026-05-01", "2026-05-01T14:10:00", "2026-13-01T00:00:00Z"] {
            assert!(bad.parse::<Timestamp>().unwrap_err().to_string().contains("RFC 3339"), "{bad}");
        }
    }

    #[test]
    fn extreme_clocks_neither_panic_nor_wrap() {
        for millis in [i64::MIN, -1, 0, i64::MAX] {
            let moment = Timestamp::from_millis(millis);
            assert_eq!(moment.to_string().parse(), Ok(moment));
            let _ = moment.plus_millis(i64::MAX).since(moment);
        }
    }
}
