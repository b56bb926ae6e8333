//! Units that have a counterpart in the other system of measures. What is stored is in its schema's unit; a
//! facility is asked and shown it in its own.
//!
//! A number of up to three decimals goes over and comes back as it was: what is stored has four, and of what
//! could be shown for it the shortest is, which is what was typed.

use serde::{Deserialize, Serialize};

use crate::text::fold;

/// The measures that a facility charts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Units {
    /// Each form in the units that it was published with.
    #[default]
    AsPublished,
    /// Degrees Fahrenheit, pounds, inches.
    UsCustomary,
    /// Degrees Celsius, kilograms, centimetres.
    Metric,
}

impl Units {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::AsPublished, Self::UsCustomary, Self::Metric];

    /// Their name on the wire and in forms.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AsPublished => "as_published",
            Self::UsCustomary => "us_customary",
            Self::Metric => "metric",
        }
    }

    /// Whether they are what a facility has that says nothing.
    #[must_use]
    #[allow(clippy::trivially_copy_pass_by_ref)] // as serde asks
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A unit that has a counterpart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Degrees Fahrenheit.
    Fahrenheit,
    /// Degrees Celsius.
    Celsius,
    /// Pounds.
    Pound,
    /// Kilograms.
    Kilogram,
    /// Inches.
    Inch,
    /// Centimetres.
    Centimetre,
}

/// The decimals of what is stored of a number that was given in the other unit.
const STORED: i32 = 4;
/// The most decimals of a number that comes back as it was.
const TYPED: i32 = 3;
/// The decimals of a number that was given in its schema's unit, where it is shown in the other; and of bounds.
const SHOWN: i32 = 1;

/// A unit as it is compared: folded, with the one sign for degrees that Spanish and Mac keyboards have others for.
/// Only behind a number do those mean it.
pub(crate) fn folded(unit: &str) -> String {
    fold(&unit.replace(['º', '˚'], "°").replace('٪', "%")).replace("° ", "°")
}

impl Unit {
    /// Every unit, with what people write for it, folded; its sign first.
    const SIGNS: [(Self, &'static str, &'static [&'static str]); 6] = [
        (Self::Fahrenheit, "°F", &["°f", "f", "deg f", "fahrenheit"]),
        (Self::Celsius, "°C", &["°c", "c", "deg c", "celsius"]),
        (Self::Pound, "lb", &["lb", "lbs", "pounds"]),
        (Self::Kilogram, "kg", &["kg", "kgs", "kilo", "kilos"]),
        (Self::Inch, "in", &["in", "inch", "inches", "\"", "''"]),
        (Self::Centimetre, "cm", &["cm"]),
    ];

    /// The one that a text names.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        let folded = folded(text);
        Self::SIGNS.iter().find(|(_, _, words)| words.contains(&folded.as_str())).map(|(unit, _, _)| *unit)
    }

    /// What people write for it; folded.
    #[must_use]
    pub fn words(self) -> &'static [&'static str] {
        Self::SIGNS.iter().find(|(unit, _, _)| *unit == self).map_or(&[], |(_, _, words)| words)
    }

    /// As it is shown.
    #[must_use]
    pub fn sign(self) -> &'static str {
        Self::SIGNS.iter().find(|(unit, _, _)| *unit == self).map_or("", |(_, sign, _)| sign)
    }

    /// The measures that it belongs to.
    #[must_use]
    pub const fn units(self) -> Units {
        match self {
            Self::Fahrenheit | Self::Pound | Self::Inch => Units::UsCustomary,
            Self::Celsius | Self::Kilogram | Self::Centimetre => Units::Metric,
        }
    }

    /// The unit of the other measures.
    #[must_use]
    pub const fn counterpart(self) -> Self {
        match self {
            Self::Fahrenheit => Self::Celsius,
            Self::Celsius => Self::Fahrenheit,
            Self::Pound => Self::Kilogram,
            Self::Kilogram => Self::Pound,
            Self::Inch => Self::Centimetre,
            Self::Centimetre => Self::Inch,
        }
    }

    /// A number of this unit in its counterpart.
    fn over(self, number: f64) -> f64 {
        match self {
            Self::Fahrenheit => (number - 32.0) / 1.8,
            Self::Celsius => number * 1.8 + 32.0,
            Self::Pound => number * 0.453_592_37,
            Self::Kilogram => number / 0.453_592_37,
            Self::Inch => number * 2.54,
            Self::Centimetre => number / 2.54,
        }
    }

    /// What is stored, in this unit, of a number that was given in its counterpart.
    #[must_use]
    pub fn stored(self, given: f64) -> f64 {
        rounded(self.counterpart().over(given), STORED)
    }

    /// What is shown, in its counterpart, of a number that is stored in this unit: what was given there, or, of
    /// one that was given in this unit, one decimal.
    #[must_use]
    pub fn shown(self, stored: f64) -> f64 {
        let over = self.over(stored);
        #[allow(clippy::float_cmp)] // the same steps make the same number
        let given = (0..=TYPED).map(|decimals| rounded(over, decimals)).find(|it| self.stored(*it) == stored);
        given.unwrap_or_else(|| rounded(over, SHOWN))
    }

    /// What is shown, in this unit, of a number that is stored in it: the number, or, of one that was given in the
    /// counterpart, one decimal. That is one with all decimals that are stored, which nobody types, where the
    /// counterpart has no more than one: 68 kg, and not 149.9143 lb. Thermometers show no hundredths of a degree
    /// Fahrenheit, and of an ounce, an odd number has four decimals as well.
    #[must_use]
    #[allow(clippy::float_cmp)] // the same steps make the same number
    pub fn shown_here(self, stored: f64) -> f64 {
        let is_typed = |decimals| rounded(stored, decimals) == stored;
        let was_given_here = match self {
            Self::Fahrenheit => is_typed(SHOWN),
            Self::Pound => is_typed(TYPED) || (stored * 16.0).fract() == 0.0,
            Self::Celsius | Self::Kilogram | Self::Inch | Self::Centimetre => is_typed(TYPED),
        };
        let was_given_there = !was_given_here && self.stored(rounded(self.over(stored), SHOWN)) == stored;
        if was_given_there { rounded(stored, SHOWN) } else { stored }
    }

    /// The least number of one decimal, in its counterpart, that is not below a bound in this unit.
    #[must_use]
    pub fn least(self, bound: f64) -> f64 {
        let nearest = rounded(self.over(bound), SHOWN);
        if self.stored(nearest) >= bound { nearest } else { rounded(nearest + 0.1, SHOWN) }
    }

    /// The greatest number of one decimal, in its counterpart, that is not above a bound in this unit.
    #[must_use]
    pub fn greatest(self, bound: f64) -> f64 {
        let nearest = rounded(self.over(bound), SHOWN);
        if self.stored(nearest) <= bound { nearest } else { rounded(nearest - 0.1, SHOWN) }
    }
}

fn rounded(number: f64, decimals: i32) -> f64 {
    let factor = 10_f64.powi(decimals);
    // No minus before nothing.
    (number * factor).round() / factor + 0.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_typed_in_the_other_unit_is_stored_with_what_it_takes_to_come_back() {
        for (unit, typed, stored) in [
            (Unit::Fahrenheit, 37.2, 98.96),
            (Unit::Fahrenheit, 37.0, 98.6),
            (Unit::Fahrenheit, -17.8, -0.04),
            (Unit::Celsius, 98.6, 37.0),
            (Unit::Celsius, 99.1, 37.2778),
            (Unit::Pound, 70.0, 154.3236),
            (Unit::Kilogram, 154.3, 69.9893),
            (Unit::Inch, 172.0, 67.7165),
            (Unit::Centimetre, 67.5, 171.45),
        ] {
            assert_eq!((unit.stored(typed), unit.shown(stored)), (stored, typed), "{unit:?}");
        }
        // What was charted in its own unit is shown to one decimal.
        assert_eq!(Unit::Fahrenheit.shown(98.7), 37.1);
        assert_eq!(Unit::Pound.shown(151.5), 68.7);
        assert_eq!(
            (Unit::Fahrenheit.shown(31.99), Unit::Fahrenheit.shown(31.99).is_sign_negative()),
            (0.0, false)
        );
    }

    #[test]
    fn what_was_given_in_the_other_unit_is_shown_in_this_one_to_one_decimal() {
        for (unit, stored, shown) in [
            (Unit::Pound, 149.9143, 149.9),
            (Unit::Inch, 63.7795, 63.8),
            (Unit::Fahrenheit, 98.96, 99.0),
            (Unit::Celsius, 37.2778, 37.3),
            (Unit::Kilogram, 69.9893, 70.0),
            // What was given here is shown as it was given.
            (Unit::Fahrenheit, 98.625, 98.625),
            (Unit::Pound, 170.25, 170.25),
            (Unit::Pound, 7.0625, 7.0625),
            (Unit::Pound, 150.5, 150.5),
            (Unit::Celsius, 37.0, 37.0),
            // As short as 97.97 °F.
            (Unit::Celsius, 36.65, 36.65),
        ] {
            assert_eq!(unit.shown_here(stored), shown, "{unit:?} {stored}");
        }
    }

    #[test]
    fn what_was_given_in_this_unit_is_shown_as_it_was_given() {
        for hundredths in 0..=70_000 {
            let typed = f64::from(hundredths) / 100.0;
            for unit in [Unit::Celsius, Unit::Pound, Unit::Kilogram, Unit::Inch, Unit::Centimetre] {
                assert_eq!(unit.shown_here(typed), typed, "{unit:?}");
            }
        }
        for tenths in -600..=7_000 {
            let typed = f64::from(tenths) / 10.0;
            assert_eq!(Unit::Fahrenheit.shown_here(typed), typed);
        }
        for ounces in 0..=11_200 {
            let typed = f64::from(ounces) / 16.0;
            assert_eq!(Unit::Pound.shown_here(typed), typed, "{ounces} oz");
        }
    }

    #[test]
    fn a_bound_is_the_last_number_that_is_within_it() {
        assert_eq!((Unit::Fahrenheit.least(94.0), Unit::Fahrenheit.greatest(105.0)), (34.5, 40.5));
        assert_eq!((Unit::Fahrenheit.least(60.0), Unit::Fahrenheit.greatest(120.0)), (15.6, 48.8));
        assert_eq!((Unit::Fahrenheit.least(32.0), Unit::Fahrenheit.greatest(32.0)), (0.0, 0.0));
        assert_eq!((Unit::Kilogram.least(30.0), Unit::Kilogram.greatest(200.0)), (66.2, 440.9));
    }

    #[test]
    fn units_are_known_by_what_people_write() {
        for degrees in [" °f", "ºF", "˚ F"] {
            assert_eq!(Unit::named(degrees), Some(Unit::Fahrenheit), "{degrees}");
        }
        assert_eq!(Unit::named("Kilos"), Some(Unit::Kilogram));
        assert_eq!(Unit::named("mmHg"), None);
        for (unit, sign, words) in Unit::SIGNS {
            assert_eq!((Unit::named(sign), unit.sign(), unit.words()), (Some(unit), sign, words));
            assert_eq!(
                (unit.counterpart().counterpart(), unit.counterpart().units() == unit.units()),
                (unit, false)
            );
        }
    }

    #[test]
    fn every_tenth_within_the_bounds_of_vitals_comes_back_as_it_was_typed() {
        // 60 to 120 °F and 15 to 50 °C; 0 to 1,500 lb, kg, in and cm, which is more than is measured.
        for unit in Unit::SIGNS.map(|(unit, _, _)| unit) {
            for tenths in -600..=15_000 {
                let typed = f64::from(tenths) / 10.0;
                assert_eq!(unit.shown(unit.stored(typed)), typed, "{unit:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_has_up_to_three_decimals_comes_back_as_it_was_typed(
            thousandths in -1_000_000_i32..10_000_000,
            at in 0_usize..6,
        ) {
            let (unit, typed) = (Unit::SIGNS[at].0, f64::from(thousandths) / 1000.0);
            prop_assert_eq!(unit.shown(unit.stored(typed)), typed);
            prop_assert!(unit.stored(unit.least(typed)) >= typed);
            prop_assert!(unit.stored(unit.greatest(typed)) <= typed);
        }
    }
}
