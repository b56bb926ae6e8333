//! What is usual: the plausible numbers of a field, as far as they are not critical.
//!
//! A form says it before anybody types. What it calls usual is never critical.

use super::{Field, FieldType};

/// Where what is usual ends.
#[derive(Clone, Copy)]
enum End {
    /// With this number.
    With(f64),
    /// Beside this number, which is critical.
    Beside(f64),
}

impl End {
    const fn number(self) -> f64 {
        match self {
            Self::With(number) | Self::Beside(number) => number,
        }
    }

    fn and_up(self, unit: &str) -> String {
        match self {
            Self::With(number) => format!("{number}{unit} or more"),
            Self::Beside(number) => format!("above {number}{unit}"),
        }
    }

    fn and_down(self, unit: &str) -> String {
        match self {
            Self::With(number) => format!("{number}{unit} or less"),
            Self::Beside(number) => format!("below {number}{unit}"),
        }
    }
}

impl Field {
    /// What is usual in words, such as "86 to 179 mmHg"; none where no number is plausible by itself.
    #[must_use]
    pub fn usual(&self) -> Option<String> {
        self.min.or(self.max)?;
        let unit = self.spoken_unit();
        match (self.least_usual(), self.greatest_usual()) {
            (Some(End::With(least)), Some(End::With(greatest))) if least <= greatest => {
                Some(format!("{least} to {greatest}{unit}"))
            }
            (Some(least), Some(greatest)) if least.number() < greatest.number() => {
                Some(format!("{} and {}", least.and_up(""), greatest.and_down(&unit)))
            }
            (Some(_), Some(_)) | (None, None) => None,
            (Some(least), None) => Some(least.and_up(&unit)),
            (None, Some(greatest)) => Some(greatest.and_down(&unit)),
        }
    }

    /// What is usual of low numbers, or of high ones.
    pub(super) fn usual_beside(&self, is_low: bool) -> String {
        let end = if is_low { self.least_usual() } else { self.greatest_usual() };
        let words = if is_low { End::and_up } else { End::and_down };
        end.map(|end| words(end, "")).unwrap_or_default()
    }

    fn least_usual(&self) -> Option<End> {
        let is_whole = self.field_type == FieldType::Integer;
        let beside = |at: f64| if is_whole { End::With(at.floor() + 1.0) } else { End::Beside(at) };
        let (plausible, critical) = (self.min.map(End::With), self.critical_min.map(beside));
        match (plausible, critical) {
            (Some(plausible), Some(critical)) if critical.number() < plausible.number() => Some(plausible),
            (plausible, critical) => critical.or(plausible),
        }
    }

    fn greatest_usual(&self) -> Option<End> {
        let is_whole = self.field_type == FieldType::Integer;
        let beside = |at: f64| if is_whole { End::With(at.ceil() - 1.0) } else { End::Beside(at) };
        let (plausible, critical) = (self.max.map(End::With), self.critical_max.map(beside));
        match (plausible, critical) {
            (Some(plausible), Some(critical)) if critical.number() > plausible.number() => Some(plausible),
            (plausible, critical) => critical.or(plausible),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::unit::Units;

    fn field(field_type: FieldType, plausible: [Option<f64>; 2], critical: [Option<f64>; 2]) -> Field {
        let ([min, max], [critical_min, critical_max]) = (plausible, critical);
        Field { min, max, critical_min, critical_max, ..Field::new("measured", "Measured", field_type) }
    }

    #[test]
    fn what_is_usual_is_never_critical() {
        let (whole, number) = (FieldType::Integer, FieldType::Number);
        for (field_type, plausible, critical, usual) in [
            (whole, [Some(70.0), Some(220.0)], [Some(85.0), Some(180.0)], Some("86 to 179")),
            (whole, [Some(8.0), Some(40.0)], [Some(8.0), None], Some("9 to 40")),
            (whole, [Some(8.0), Some(40.0)], [None, Some(30.5)], Some("8 to 30")),
            (whole, [Some(90.0), Some(100.0)], [Some(60.0), Some(120.0)], Some("90 to 100")),
            (whole, [Some(80.0), None], [Some(88.0), None], Some("89 or more")),
            (whole, [None, None], [Some(88.0), None], None),
            (whole, [Some(70.0), Some(90.0)], [None, Some(60.0)], None),
            (number, [Some(94.0), Some(105.0)], [Some(95.0), Some(103.0)], Some("above 95 and below 103")),
            (number, [Some(94.0), Some(105.0)], [None, Some(103.0)], Some("94 or more and below 103")),
            (number, [None, Some(4.5)], [None, None], Some("4.5 or less")),
        ] {
            let field = field(field_type, plausible, critical);
            assert_eq!(field.usual().as_deref(), usual, "{plausible:?}, {critical:?}");
        }
        let temperature = Field {
            unit: Some("°F".into()),
            ..field(number, [Some(94.0), Some(105.0)], [Some(95.0), Some(103.0)])
        };
        let asked = temperature.charted_in(Units::Metric);
        assert_eq!(asked.usual().as_deref(), Some("above 35 and 39.4 °C or less"));
        for (typed, is_critical) in
            [("35", true), ("35.01", false), ("35.1", false), ("39.4", false), ("39.45", true)]
        {
            let stored = temperature.parse_in(typed, Units::Metric).unwrap();
            assert_eq!(temperature.is_critical(&stored), is_critical, "{typed}");
        }
        assert!(temperature.is_critical(&json!(103)));
        for (plausible, critical, usual) in [
            ([Some(94.0), Some(105.0)], [Some(94.0), None], Some("34.5 to 40.5 °C")),
            ([Some(94.0), None], [None, Some(103.0)], Some("34.5 to 39.4 °C")),
            ([None, None], [None, Some(103.0)], None),
        ] {
            let asked = Field { unit: Some("°F".into()), ..field(number, plausible, critical) };
            assert_eq!(asked.charted_in(Units::Metric).usual().as_deref(), usual, "{critical:?}");
        }
        let oxygen =
            Field { unit: Some("%".into()), ..field(whole, [Some(80.0), Some(100.0)], [Some(88.0), None]) };
        assert_eq!(oxygen.usual().as_deref(), Some("89 to 100%"));
    }
}
