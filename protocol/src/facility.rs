//! Facilities: their types and their figures.

use serde::{Deserialize, Serialize};

/// What kind of care a facility gives (S1-08 to S1-12; clinics and hospitals besides).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FacilityType {
    /// Visiting nurses; patients live scattered, and there are no beds.
    HomeHealth,
    /// Assisted living.
    Alf,
    /// Dementia care.
    MemoryCare,
    /// Skilled nursing.
    Snf,
    /// Hospice.
    Hospice,
    /// Outpatient clinic.
    Clinic,
    /// Hospital.
    Hospital,
}

/// How much of a resident the devices of a facility are sent: the greater, the less. A badge reader is sent no
/// residents, whatever the mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PhiMode {
    /// Everything.
    #[default]
    Full,
    /// Initials and room; that something was charted, but not what.
    Minimal,
    /// A case number and nothing else; that something was charted, but not what.
    Free,
}

impl PhiMode {
    /// Its name on the wire and in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Minimal => "minimal",
            Self::Free => "free",
        }
    }
}

/// How many of a hundred licensed beds are taken, to two decimals (S1-17): 28 of 32 is 87.5.
/// None without beds; over 100 when there are more residents than beds.
#[must_use]
pub fn occupancy_rate(licensed_beds: Option<u32>, census: u32) -> Option<f64> {
    let beds = licensed_beds.filter(|beds| *beds > 0)?;
    let hundredths = (u64::from(census) * 10_000 + u64::from(beds) / 2) / u64::from(beds);
    // At most 4.3e13: exact in an f64.
    #[allow(clippy::cast_precision_loss)]
    Some(hundredths as f64 / 100.0)
}

/// How many licensed beds are free (S1-17). None without beds; zero when over capacity.
#[must_use]
pub fn available_beds(licensed_beds: Option<u32>, census: u32) -> Option<u32> {
    licensed_beds.filter(|beds| *beds > 0).map(|beds| beds.saturating_sub(census))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_stored_as_it_is_called_on_the_wire() {
        for mode in [PhiMode::Full, PhiMode::Minimal, PhiMode::Free] {
            assert_eq!(serde_json::to_value(mode).unwrap(), mode.name());
        }
    }

    #[test]
    fn occupancy_has_the_documented_figures() {
        for (beds, census, rate, free) in [
            (Some(32), 28, Some(87.5), Some(4)),
            (Some(48), 44, Some(91.67), Some(4)),
            (Some(16), 15, Some(93.75), Some(1)),
            (Some(10), 12, Some(120.0), Some(0)),
            (Some(3), 0, Some(0.0), Some(3)),
            (None, 45, None, None),
            (Some(0), 45, None, None),
            (Some(1), u32::MAX, Some(429_496_729_500.0), Some(0)),
        ] {
            assert_eq!(occupancy_rate(beds, census), rate, "{census} of {beds:?}");
            assert_eq!(available_beds(beds, census), free, "{census} of {beds:?}");
        }
    }
}
