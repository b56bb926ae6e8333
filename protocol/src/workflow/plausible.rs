//! What a form says of its numbers before anybody types: which are plausible, and which are critical.

use super::Field;

impl Field {
    /// What is plausible in words, such as "70 to 220 mmHg": of any other whoever charts it is asked. It may be critical
    /// all the same. None where all are.
    #[must_use]
    pub fn plausible(&self) -> Option<String> {
        let unit = self.spoken_unit();
        match (self.min, self.max) {
            (Some(least), Some(greatest)) => Some(format!("{least} to {greatest}{unit}")),
            (Some(least), None) => Some(format!("{least}{unit} or more")),
            (None, Some(greatest)) => Some(format!("{greatest}{unit} or less")),
            (None, None) => None,
        }
    }

    /// What is critical in words, such as "85 or below, 180 or above".
    #[must_use]
    pub fn critical(&self) -> Option<String> {
        let low = self.critical_min.map(|bound| format!("{bound} or below"));
        let high = self.critical_max.map(|bound| format!("{bound} or above"));
        let bounds: Vec<String> = low.into_iter().chain(high).collect();
        (!bounds.is_empty()).then(|| bounds.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::Units;
    use crate::workflow::FieldType;

    #[test]
    fn what_is_plausible_and_what_is_critical_is_said_as_the_schema_has_it() {
        let field = |plausible: [Option<f64>; 2], critical: [Option<f64>; 2]| {
            let ([min, max], [critical_min, critical_max]) = (plausible, critical);
            let unit = Some("°F".to_owned());
            Field {
                min,
                max,
                critical_min,
                critical_max,
                unit,
                ..Field::new("temperature", "Temperature", FieldType::Number)
            }
        };
        for (bounds, critical, plausible, is_critical) in [
            (
                [Some(94.0), Some(105.0)],
                [Some(95.0), Some(103.0)],
                Some("94 to 105 °F"),
                Some("95 or below, 103 or above"),
            ),
            ([Some(94.5), None], [None, Some(103.0)], Some("94.5 °F or more"), Some("103 or above")),
            ([None, Some(105.0)], [Some(95.0), None], Some("105 °F or less"), Some("95 or below")),
            ([None, None], [None, None], None, None),
        ] {
            let field = field(bounds, critical);
            assert_eq!((field.plausible().as_deref(), field.critical().as_deref()), (plausible, is_critical));
        }
        let asked = field([Some(94.0), Some(105.0)], [Some(95.0), Some(103.0)]).charted_in(Units::Metric);
        assert_eq!(asked.plausible().as_deref(), Some("34.5 to 40.5 °C"));
        assert_eq!(asked.critical().as_deref(), Some("35 or below, 39.5 or above"));
    }
}
