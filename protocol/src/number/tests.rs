use proptest::prelude::*;

use super::*;

#[test]
fn a_point_that_says_nothing_is_not_shown() {
    for (stored, shown) in [
        ("412.0", "412"),
        ("412", "412"),
        ("-0.5", "-0.5"),
        ("98.60", "98.6"),
        ("1e15", "1000000000000000.0"),
    ] {
        assert_eq!(plain(&stored.parse().unwrap()).to_string(), shown, "{stored}");
    }
}

#[test]
fn numbers_are_understood_as_people_write_them() {
    for (text, unit, is) in [
        ("98.6", None, "98.6"),
        ("37,5", None, "37.5"),
        (" 98.6 °F ", Some("°F"), "98.6"),
        ("98.6F", Some("°F"), "98.6"),
        ("98.6°", Some("°F"), "98.6"),
        ("98.6 ºF", Some("°F"), "98.6"),
        ("98.6˚", Some("°F"), "98.6"),
        ("98.6 ° F", Some("ºF"), "98.6"),
        ("97٪", Some("%"), "97"),
        ("９８．６", None, "98.6"),
        ("97 %", Some("%"), "97"),
        ("72bpm", Some("bpm"), "72"),
        ("72 /min", Some("bpm"), "72"),
        ("1 200", None, "1200"),
        ("1\u{202f}200,50", None, "1200.5"),
        ("1,234.5", None, "1234.5"),
        ("1.234,5", None, "1234.5"),
        ("1,234,567", None, "1234567"),
        ("1.234.567", None, "1234567"),
        ("12345678901.2345", None, "12345678901.2345"),
        ("+5", None, "5"),
        ("−0,50", None, "-0.5"),
        ("-0", None, "0"),
        (".5", None, "0.5"),
        ("5.", None, "5"),
        ("007", None, "7"),
        ("0,125", None, "0.125"),
        ("1.2340", None, "1.234"),
        ("0.125", None, "0.125"),
        ("1’200", None, "1200"),
        ("٣٧٫٥", None, "37.5"),
        ("१२०", None, "120"),
        ("1٬234٫5", None, "1234.5"),
        ("3 drops", Some("drops"), "3"),
    ] {
        assert_eq!(number(text, unit).as_deref(), Ok(is), "{text}");
    }
}

#[test]
fn what_is_no_number_is_said_and_what_is_in_the_way() {
    for text in ["", " ", "-", ".", "98 6", "9 8.6", "1,2,3", "--5", "5-", "1.2.3", "12 0", "1,23 456"] {
        assert_eq!(number(text, Some("bpm")), Err(NumberError::NotANumber), "{text}");
    }
    for (text, stray) in
        [("12O", "O"), ("1O2", "O"), ("0x10", "x"), ("seven", "seven"), ("NaN", "NaN"), ("~72", "~")]
    {
        assert_eq!(number(text, Some("bpm")), Err(NumberError::Stray(stray.into())), "{text}");
    }
    for text in ["1e3", "1.2E2", "1e-3", "1,5e+3 bpm"] {
        assert_eq!(number(text, Some("bpm")), Err(NumberError::Exponent), "{text}");
    }
    // A score that is not of ten is not led to a fraction of it.
    for text in [
        "120/80",
        "12 / 8",
        "120/80 mmHg",
        "150.5/80",
        "BP 120/80, sitting",
        "80/120",
        "4/5",
        "13/15",
        "4/4",
        "0/4",
        "1.9999/2",
        "72/10",
        "03/04/1941",
    ] {
        let words = number(text, Some("mmHg")).unwrap_err().to_string();
        let pressure = "“/” is no part of a number: give the one before it alone, or write a blood pressure in its \
                        two fields";
        assert_eq!(words, pressure, "{text}");
    }
    for text in ["2 1/2", "½", "98½ mmHg", "150½", "150 1/2", "98 6/10", "2 7/10"] {
        assert_eq!(number(text, Some("mmHg")), Err(NumberError::Fraction), "{text}");
    }
    for (text, fraction, score) in [
        ("1/2", "0.5", "1"),
        ("+2/4", "0.5", "2"),
        ("3/4", "0.75", "3"),
        ("3 / 4 edema", "0.75", "3"),
        ("5/8", "0.625", "5"),
        ("2/3", "0.667", "2"),
        ("-3/4", "-0.75", "-3"),
        ("− 1 / 8", "-0.125", "-1"),
    ] {
        let either = NumberError::FractionOrScore(fraction.into(), score.into());
        assert_eq!(number(text, None), Err(either), "{text}");
        assert_eq!((number(fraction, None), number(score, None)), (Ok(fraction.into()), Ok(score.into())));
    }
    for (text, alone) in [
        ("7/10", "7"),
        ("10 / 10", "10"),
        ("0/10 at rest", "0"),
        ("7.5/10", "7.5"),
        ("1,5/10", "1,5"),
        (".5/10", ".5"),
        ("pain, 7/10", "7"),
        ("-5/10", "-5"),
    ] {
        let words = number(text, None).unwrap_err().to_string();
        assert_eq!(words, format!("give {alone} alone, without what it is out of"), "{text}");
    }
    for text in ["16-18", "16 – 18/min", "-2 - 3", "16-18 bananas", "7-8/10", "7 - 8 / 10"] {
        let words = number(text, Some("bpm")).unwrap_err().to_string();
        assert_eq!(words, "give one number, not a range", "{text}");
    }
    // A unit that is the right one is not in the way of what is.
    for (text, unit) in [("98 6 F", "°F"), ("72 80 bpm", "bpm"), ("12 0 /min", "bpm")] {
        assert_eq!(number(text, Some(unit)), Err(NumberError::NotANumber), "{text}");
    }
    // What is raised, lowered or in a circle changed the number: 5² read as 52.
    for (text, unit, odd) in [
        ("5²", "bpm", "²"),
        ("²5", "bpm", "²"),
        ("5₂", "bpm", "₂"),
        ("5 ² bpm", "bpm", "²"),
        ("10⁵", "bpm", "⁵"),
        ("⑤", "bpm", "⑤"),
        ("⒌2", "bpm", "⒌"),
        ("5'7²", "in", "²"),
        ("170² lb 4 oz", "lb", "²"),
    ] {
        assert_eq!(number(text, Some(unit)), Err(NumberError::Stray(odd.into())), "{text}");
    }
    assert_eq!(number("24.5 kg/m²", Some("kg/m²")).as_deref(), Ok("24.5"), "it is the unit's");
    assert_eq!(number("7O2 bpm", Some("bpm")), Err(NumberError::Stray("O".into())));
    assert_eq!(number("37 C", Some("°F")), Err(NumberError::OtherUnit("°F".into())));
    // A unit alone is no remark.
    assert_eq!(number("37 C", None), Err(NumberError::Stray("C".into())));
    assert_eq!(number("1234567890123456", None), Err(NumberError::TooLong));
}

#[test]
fn what_counts_by_the_minute_is_understood_however_it_is_said() {
    for unit in ["bpm", "/min", "breaths/min", "breaths per minute", "breaths", "beats / minute"] {
        for text in ["16/min", "16 / min", "16 /minute", "16 per min", "16 per minute.", "16bpm", "16"] {
            assert_eq!(number(text, Some(unit)).as_deref(), Ok("16"), "{text} {unit}");
        }
    }
    assert_eq!(number("16 breaths", Some("breaths/min")).as_deref(), Ok("16"));
    assert_eq!(number("2 lpm", Some("L/min")).as_deref(), Ok("2"));
    assert_eq!(number("72 beats/min", Some("bpm")).as_deref(), Ok("72"));
    for (text, unit) in [
        ("16 breaths/min", "beats/min"),
        ("18 breaths/min", "bpm"),
        ("16 bananas/min", "/min"),
        ("20 gtt/min", "g/min"),
        ("72 bpm", "L/min"),
        ("16/min", "%"),
    ] {
        assert_eq!(number(text, Some(unit)), Err(NumberError::OtherUnit(unit.into())), "{text}");
    }
}

#[test]
fn a_length_in_feet_and_a_weight_in_pounds_have_the_rest_in_inches_and_ounces() {
    for (text, unit, is) in [
        ("5'7\"", "in", "67"),
        ("5’ 7”", "in", "67"),
        ("5′7″", "in", "67"),
        ("5'7''", "in", "67"),
        ("5'7", "in", "67"),
        ("5 ft 7 in", "in", "67"),
        ("5ft. 7.5in.", "in", "67.5"),
        ("5 feet, 7 inches", "in", "67"),
        ("5 Foot 7", "in", "67"),
        ("5'", "in", "60"),
        ("5'0,5\"", "in", "60.5"),
        ("67\"", "in", "67"),
        ("170 lb 4 oz", "lb", "170.25"),
        ("170.5 lb", "lb", "170.5"),
        ("7lbs. 1oz", "lb", "7.0625"),
        ("7 pounds 3 ounces", "lb", "7.1875"),
    ] {
        assert_eq!(number(text, Some(unit)).as_deref(), Ok(is), "{text}");
        let other = Unit::named(unit).unwrap().counterpart().sign();
        assert_eq!(number(text, Some(other)), Err(NumberError::OtherUnit(other.into())), "{text}");
    }
    for (text, unit) in [("1'000", "in"), ("1’000", "cm"), ("1'000 cm", "cm"), ("1'000 in", "in")] {
        assert_eq!(number(text, Some(unit)).as_deref(), Ok("1000"), "{text}");
    }
    for (text, unit, words) in [
        ("5'12\"", "in", "give whole feet, and fewer than 12 inches besides"),
        ("5.5 ft", "in", "give whole feet, and fewer than 12 inches besides"),
        ("5'7½\"", "in", "a half as 0.5"),
        ("5 ft 7 1/2 in", "in", "a half as 0.5"),
        ("170.5 lb 4 oz", "lb", "give whole pounds, and fewer than 16 ounces besides"),
        ("170 lb 16 oz", "kg", "give whole pounds, and fewer than 16 ounces besides"),
        ("170 lb 4", "lb", "“4” is no part of a number"),
        ("64 oz", "lb", "this is charted in lb"),
        ("5'7\"", "bpm", "this is charted in bpm"),
        ("5 7", "in", "give a number"),
    ] {
        let said = number(text, Some(unit)).unwrap_err().to_string();
        assert!(said.contains(words), "{text}: {said}");
    }
}

#[test]
fn what_is_said_of_a_number_is_told_where_it_belongs() {
    for (text, unit, remark) in [
        ("97 % RA", "%", "RA"),
        ("97% RA", "%", "RA"),
        ("97%RA", "%", "RA"),
        ("97 on room air", "%", "on room air"),
        ("97% 2L NC", "%", "2L NC"),
        ("16/min, at rest", "breaths/min", "at rest"),
        ("37 C oral", "°F", "oral"),
        ("72 bananas", "bpm", "bananas"),
    ] {
        assert_eq!(number(text, Some(unit)), Err(NumberError::Remark(remark.into())), "{text}");
    }
    let said = number("97% RA", Some("%")).unwrap_err().with_example(Some("90"));
    assert_eq!(
        said,
        "“RA” is no part of a number: write it where the form takes text, and here the number alone, such as 90"
    );
    assert_eq!(NumberError::Range.with_example(Some("90")), "give one number, not a range");
}

#[test]
fn one_sign_before_three_digits_is_asked_about_whichever_it_is() {
    for (text, whole, decimal) in [
        ("1,000", "1000", "1"),
        ("1.000", "1000", "1"),
        ("1,200", "1200", "1.2"),
        ("1.234", "1234", "1.2340"),
        ("-12.345", "-12345", "-12.3450"),
        ("999,999 °F", "999999", "999.9990"),
    ] {
        let either = NumberError::Ambiguous(whole.into(), decimal.into());
        assert_eq!(number(text, Some("°F")), Err(either.clone()), "{text}");
        assert_eq!(either.to_string(), format!("is this {whole} or {decimal}? Type the one that is meant"));
        for meant in [whole, decimal] {
            let read = number(meant, Some("°F")).unwrap();
            assert_eq!(read.parse::<f64>(), meant.parse(), "{text}");
        }
    }
}

proptest! {
    #[test]
    fn nothing_panics_and_what_is_read_is_read_again(
        text in "[-+0-9., '°%a-f−]{0,12}|[0-9]{1,3} ?(ft|'|lbs?)\\.? ?[0-9.,]{0,4} ?(in|\"|oz)?|\\PC{0,20}",
        unit in proptest::sample::select(vec![None, Some("in"), Some("lb"), Some("bpm")]),
    ) {
        if let Ok(read) = number(&text, unit) {
            let whole: Number = read.parse().unwrap();
            prop_assert_eq!(number(&written(&whole), None), Ok(read.clone()));
            prop_assert!(read.parse::<f64>().is_ok_and(f64::is_finite), "{}", read);
        }
    }
}
