//! Fields whose unit has a counterpart: what a facility that charts in other units is asked, and is shown. What
//! is stored stays in the schema's unit, by which it is bounded and judged.

use serde_json::{Number, Value};

use super::{Field, FieldError, FieldType};
use crate::number::{NumberError, number, plain, written};
use crate::unit::{Unit, Units};

impl Field {
    /// Its unit, if that has a counterpart. A whole number has none: what it is in the other unit is not whole.
    pub(super) fn measure(&self) -> Option<Unit> {
        self.unit.as_deref().filter(|_| self.field_type == FieldType::Number).and_then(Unit::named)
    }

    /// The same, where a facility that charts in `units` charts it in the counterpart.
    fn elsewhere(&self, units: Units) -> Option<Unit> {
        self.measure().filter(|unit| units != Units::AsPublished && unit.units() != units)
    }

    /// The field as a facility that charts in `units` is asked it: its unit, its bounds and what it suggests.
    #[must_use]
    pub fn charted_in(&self, units: Units) -> Self {
        let Some(unit) = self.elsewhere(units) else { return self.clone() };
        let (least, greatest) = (|bound| unit.least(bound), |bound| unit.greatest(bound));
        let suggested = |text: &String| Some(self.shown(&self.parse(text).ok()?, units).to_string());
        Self {
            unit: Some(unit.counterpart().sign().to_owned()),
            min: self.min.map(least),
            max: self.max.map(greatest),
            hard_min: self.hard_min.map(least),
            hard_max: self.hard_max.map(greatest),
            critical_min: self.critical_min.map(greatest),
            critical_max: self.critical_max.map(least),
            default: self.default.as_ref().and_then(suggested),
            ..self.clone()
        }
    }

    /// A stored value as it is shown to a facility that charts in `units`.
    #[must_use]
    pub fn shown(&self, value: &Value, units: Units) -> Value {
        let Value::Number(number) = value else { return value.clone() };
        let read = number.as_f64().filter(|_| self.measure().is_some());
        let read = read.and_then(|stored| Number::from_f64(self.number_shown(stored, units)));
        Value::Number(plain(read.as_ref().unwrap_or(number)))
    }

    pub(super) fn number_shown(&self, stored: f64, units: Units) -> f64 {
        match (self.elsewhere(units), self.measure()) {
            (Some(unit), _) => unit.shown(stored),
            (None, Some(unit)) => unit.shown_here(stored),
            (None, None) => stored,
        }
    }

    /// What is to be read in the place of a number that was left as it was shown: the value itself, with its
    /// sign where it was shown in another unit, so that who corrects one answer of an entry does not round the
    /// others, and is not asked about what is charted.
    #[must_use]
    pub fn unchanged(&self, value: &Value, text: &str, units: Units) -> Option<String> {
        let Value::Number(number) = value else { return None };
        let sign = self.elsewhere(units).map(|unit| format!(" {}", unit.sign()));
        let shown = self.shown(value, units).to_string();
        (shown == text).then(|| written(number) + &sign.unwrap_or_default())
    }

    /// Reads a number with a measure: in the unit that its sign says, without one in that of `units`.
    pub(super) fn measured(&self, text: &str, stored: Unit, units: Units) -> Result<Number, FieldError> {
        let asked = self.elsewhere(units).map_or(stored, Unit::counterpart);
        let (read, given) = match number(text, Some(asked.sign())) {
            Err(refused @ NumberError::OtherUnit(_)) => {
                let other = asked.counterpart();
                // Either reading is typed into a form that asks for the unit that it is not.
                let typed = |reading: String| format!("{reading} {}", other.sign());
                let signed = |error| match error {
                    NumberError::OtherUnit(_) => refused,
                    NumberError::Ambiguous(whole, decimal) => {
                        NumberError::Ambiguous(typed(whole), typed(decimal))
                    }
                    NumberError::FractionOrScore(fraction, score) => {
                        NumberError::FractionOrScore(typed(fraction), typed(score))
                    }
                    error @ (NumberError::NotANumber
                    | NumberError::Stray(_)
                    | NumberError::Remark(_)
                    | NumberError::Exponent
                    | NumberError::Slash
                    | NumberError::Fraction
                    | NumberError::OutOf(_)
                    | NumberError::Range
                    | NumberError::Parts(..)
                    | NumberError::TooLong) => error,
                };
                (number(text, Some(other.sign())).map_err(signed), other)
            }
            read => (read, asked),
        };
        let read = read.map_err(|error| self.number_fault(&error, Some(units)))?;
        let read = read.parse().ok().map(|read| if given == stored { read } else { stored.stored(read) });
        read.and_then(Number::from_f64)
            .ok_or_else(|| self.number_fault(&NumberError::NotANumber, Some(units)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn temperature() -> Field {
        Field {
            unit: Some("°F".into()),
            min: Some(94.0),
            max: Some(105.0),
            hard_min: Some(60.0),
            hard_max: Some(120.0),
            critical_min: Some(95.0),
            critical_max: Some(103.0),
            default: Some("98.6".into()),
            ..Field::new("temperature", "Temperature", FieldType::Number)
        }
    }

    #[test]
    fn a_facility_is_asked_and_bounded_in_its_own_unit() {
        let asked = temperature().charted_in(Units::Metric);
        let bounds =
            [asked.min, asked.max, asked.hard_min, asked.hard_max, asked.critical_min, asked.critical_max];
        assert_eq!(bounds, [34.5, 40.5, 15.6, 48.8, 35.0, 39.5].map(Some));
        assert_eq!((asked.unit.as_deref(), asked.default.as_deref()), (Some("°C"), Some("37")));
        assert_eq!(temperature().charted_in(Units::UsCustomary), temperature());
        let published = Field { unit: Some("°C".into()), ..temperature() };
        assert_eq!(published.charted_in(Units::AsPublished), published);
        // What has no counterpart, and what is whole, is asked as it is.
        let pulse = Field { unit: Some("bpm".into()), ..temperature() };
        let whole = Field { field_type: FieldType::Integer, ..temperature() };
        for field in [pulse, whole] {
            assert_eq!(field.charted_in(Units::Metric), field);
        }
    }

    #[test]
    fn a_sign_says_which_unit_it_is_and_without_one_it_is_the_facilitys() {
        let field = temperature();
        for (text, units, stored) in [
            ("37.2", Units::Metric, 98.96),
            ("37,2", Units::Metric, 98.96),
            ("37.2°", Units::Metric, 98.96),
            ("37.2 °C", Units::Metric, 98.96),
            ("37.2 C", Units::UsCustomary, 98.96),
            ("37.2 celsius", Units::UsCustomary, 98.96),
            ("98.6 °F", Units::Metric, 98.6),
            ("98.6F", Units::Metric, 98.6),
            ("98.6", Units::UsCustomary, 98.6),
        ] {
            assert_eq!(field.parse_in(text, units), Ok(json!(stored)), "{text}");
        }
        let refused = |text, units| field.parse_in(text, units).unwrap_err().detail;
        assert_eq!(
            refused("98.6", Units::Metric),
            "this cannot be above 48.8 °C: check it; type 98.6 °F if that is meant"
        );
        assert_eq!(refused("150", Units::Metric), "this cannot be above 48.8 °C: check it");
        assert_eq!(refused("10 °C", Units::UsCustomary), "this cannot be below 60 °F: check it");
        assert_eq!(refused("37 kg", Units::Metric), "this is charted in °C");
        assert_eq!(refused("37 kg", Units::UsCustomary), "this is charted in °F");
        assert_eq!(
            refused("1,200 °F", Units::Metric),
            "is this 1200 °F or 1.2 °F? Type the one that is meant"
        );
        assert_eq!(refused("1,200", Units::Metric), "is this 1200 or 1.2? Type the one that is meant");
        for typed in ["37.2", "37,2"] {
            let words = "this cannot be below 60 °F: check it; type 37.2 °C if that is meant";
            assert_eq!(refused(typed, Units::UsCustomary), words);
        }
        // Each reading that a facility is asked to type is read as the one that it says.
        let words = "is this 37125 °C or 37.1250 °C? Type the one that is meant";
        assert_eq!(refused("37.125 °C", Units::UsCustomary), words);
        let words = "this cannot be below 60 °F: check it; type 37.1250 °C if that is meant";
        assert_eq!(refused("37.1250", Units::UsCustomary), words);
        assert_eq!(field.parse_in("37.1250 °C", Units::UsCustomary), Ok(json!(98.825)));
        let weight = Field { unit: Some("kg".into()), ..Field::new("weight", "Weight", FieldType::Number) };
        let words = "is this 82500 kg or 82.5 kg? Type the one that is meant";
        assert_eq!(weight.parse_in("82.500 kg", Units::UsCustomary).unwrap_err().detail, words);
        assert_eq!(weight.parse_in("82.5 kg", Units::UsCustomary), Ok(json!(82.5)));
        let height = Field { unit: Some("cm".into()), ..Field::new("height", "Height", FieldType::Number) };
        for units in [Units::Metric, Units::UsCustomary] {
            assert_eq!(height.parse_in("5'7\"", units), Ok(json!(170.18)));
            assert_eq!(weight.parse_in("170 lb 4 oz", units), Ok(json!(77.2241)));
        }
        // The schema's own suggestion is in the schema's unit.
        assert_eq!(field.parse("98.6"), Ok(json!(98.6)));
    }

    #[test]
    fn what_is_left_as_it_was_shown_is_not_rounded() {
        let field = temperature();
        assert_eq!(field.shown(&json!(98.96), Units::Metric), json!(37.2));
        assert_eq!(field.shown(&json!(98.6), Units::Metric), json!(37));
        assert_eq!(field.shown(&json!(98.7), Units::Metric), json!(37.1));
        assert_eq!(field.shown(&json!(98.7), Units::UsCustomary), json!(98.7));
        let kept = field.unchanged(&json!(98.7), "37.1", Units::Metric);
        assert_eq!(kept.as_deref(), Some("98.7 °F"));
        assert_eq!(field.parse_in(&kept.unwrap(), Units::Metric), Ok(json!(98.7)));
        assert_eq!(field.unchanged(&json!(98.7), "37.2", Units::Metric), None);
        assert_eq!(field.unchanged(&json!(98.7), "98.7", Units::UsCustomary).as_deref(), Some("98.7"));
        // What was typed in the form's own unit can be corrected to one decimal, and is no change as it is.
        let weight = Field { unit: Some("kg".into()), ..Field::new("weight", "Weight", FieldType::Number) };
        assert_eq!(weight.shown(&json!(6.94), Units::Metric), json!(6.94));
        assert_eq!(weight.unchanged(&json!(6.94), "6.9", Units::Metric), None);
        let kept = field.unchanged(&json!(98.625), "98.625", Units::UsCustomary);
        assert_eq!(field.parse(&kept.unwrap()), Ok(json!(98.625)));
    }

    #[test]
    fn every_tenth_within_the_hard_bounds_comes_back_as_it_was_typed() {
        let field = temperature();
        let tenths = |from: f64, to: f64| {
            (0..).map(move |n| from + f64::from(n) / 10.0).take_while(move |it| *it <= to + 0.05)
        };
        for (units, other) in [(Units::Metric, Units::UsCustomary), (Units::UsCustomary, Units::Metric)] {
            let asked = field.charted_in(units);
            for typed in tenths(asked.hard_min.unwrap(), asked.hard_max.unwrap()) {
                let typed = format!("{typed:.1}");
                let stored = field.parse_in(&typed, units).unwrap();
                let number: f64 = field.shown(&stored, units).as_f64().unwrap();
                assert_eq!(format!("{number:.1}"), typed);
                assert_eq!(number.to_string(), typed.trim_end_matches(".0"));
                // The same with its sign, in a facility that charts in the other.
                let sign = asked.unit.as_deref().unwrap();
                assert_eq!(field.parse_in(&format!("{typed} {sign}"), other), Ok(stored));
            }
        }
    }
}
