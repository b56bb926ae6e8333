use serde_json::json;

use super::*;

#[test]
fn every_field_has_one_form() {
    let today = Today::of(None, "2026-11-28T12:00:00Z".parse().unwrap());
    let read = |given: Value| read(given.as_object().unwrap(), today);
    let given = json!({"name": " Ada\u{a0} Example\n", "mrn": "RS-1 ", "room": " ", "date_of_birth": "3/1941",
        "is_active": true, "shoe_size": 9});
    let kept = json!({"name": "Ada Example", "mrn": "RS-1", "room": null, "date_of_birth": "1941-03",
        "is_active": true});
    assert_eq!(read(given), Ok((kept.as_object().unwrap().clone(), true)));
    let wrong = json!({"name": "\u{200b}", "mrn": "x".repeat(51), "room": 7, "date_of_birth": "2099-01-01",
        "is_active": null});
    let wrong: Vec<_> = read(wrong).unwrap_err().into_iter().map(|fault| fault.field).collect();
    assert_eq!(wrong, ["date_of_birth", "is_active", "mrn", "name", "room"]);
    assert_eq!(read(json!({"name": "  "})).unwrap_err(), [FieldError::new("name", NO_NAME)]);
    assert!(read(json!({"name": "12345"})).unwrap_err()[0].detail.contains("no letter"));
}

#[test]
fn what_says_that_there_is_no_number_is_no_number() {
    let today = Today::of(None, "2026-11-28T12:00:00Z".parse().unwrap());
    let read = |mrn: &str| read(json!({"mrn": mrn}).as_object().unwrap(), today);
    for none in [
        "n/a",
        "N.A.",
        "none",
        "Unknown",
        "not known",
        "no MRN",
        "-",
        "– –",
        "?",
        "TBD",
        "x",
        "XXX",
        "ｎ／ａ",
    ] {
        let words = format!("“{none}” is no number: leave it empty where there is none or it is not known");
        assert_eq!(read(none), Err(vec![FieldError::new("mrn", words)]));
        assert_eq!(mrn_key(none), "", "nobody shares it: {none}");
    }
    for mrn in ["", " ", "NA-1", "X1", "0", "Nolan 7", "XA"] {
        assert!(read(mrn).is_ok(), "{mrn}");
    }
}

#[test]
fn an_unlikely_birthday_is_asked_about_where_it_is_news() {
    let today = Today::of(None, "2026-11-28T12:00:00Z".parse().unwrap());
    let born = |day: &str| json!({"name": "Ada Example", "date_of_birth": day}).as_object().unwrap().clone();
    let (child, none) = (born("2020-03-15"), Map::new());
    let asked = doubts(&child, &none, today);
    assert_eq!((asked.len(), asked[0].field.as_str()), (1, "date_of_birth"), "{asked:?}");
    for (read, had) in [(&child, &child), (&born("1941"), &none), (&none, &child)] {
        assert_eq!(doubts(read, had, today), [], "{read:?}");
    }
}

#[test]
fn a_value_of_before_stands_in_nobodys_way() {
    let today = Today::of(None, "2026-11-28T12:00:00Z".parse().unwrap());
    let had = json!({"name": "Ada Example", "date_of_birth": "1066-10-14", "room": null});
    let edit = |given: Value| read_edit(given.as_object().unwrap(), had.as_object().unwrap(), today);
    let moved = json!({"room": "12", "date_of_birth": "1066-10-14"});
    assert_eq!(edit(moved.clone()), Ok((moved.as_object().unwrap().clone(), false)));
    let wrong = edit(json!({"date_of_birth": "1067-10-14"})).unwrap_err();
    assert_eq!(wrong[0].field, "date_of_birth");
}

#[test]
fn every_field_is_kept_by_its_key_and_sent_as_its_mode_says() {
    let none = PatientDocument::new(PatientId::from_bytes([0; 16]));
    let mut resident = none.clone();
    let values: Map<String, Value> = FIELDS
        .iter()
        .map(|field| (field.key, if field.is_asked() { Value::from(field.key) } else { Value::from(false) }))
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    resident.set_all(&values);
    resident.set("shoe_size", &json!(9));
    assert_eq!(resident.values(), values, "no two share a place");
    let written = serde_json::to_value(&resident).unwrap();
    for field in FIELDS {
        assert_eq!(written[field.key], values[field.key], "a document calls it the same");
    }
    let sent = |mode: PhiMode| FIELDS.iter().filter(move |field| field.is_sent(mode)).map(|field| field.key);
    assert_eq!(sent(PhiMode::Full).count(), FIELDS.len());
    assert_eq!(sent(PhiMode::Minimal).collect::<Vec<_>>(), ["room", "is_active"]);
    assert_eq!(sent(PhiMode::Free).collect::<Vec<_>>(), ["is_active"]);
}

#[test]
fn a_medicare_number_is_read_with_dashes_or_without_and_is_stored_as_on_the_card() {
    let today = Today::of(None, "2026-11-28T12:00:00Z".parse().unwrap());
    let read = |typed: &str| read(json!({"medicare": typed}).as_object().unwrap(), today);
    for typed in
        ["1EG4-TE5-MK73", "1eg4te5mk73", " 1EG4 TE5 MK73 ", "1EG4–TE5–MK73", "１ＥＧ４ＴＥ５ＭＫ７３"]
    {
        assert_eq!(read(typed).unwrap().0["medicare"], "1EG4-TE5-MK73", "{typed}");
    }
    for none in ["", " "] {
        assert_eq!(read(none).unwrap().0["medicare"], Value::Null);
    }
    for wrong in [
        "1EG4-TE5-MK7",
        "1EG4-TE5-MK733",
        "0EG4-TE5-MK73",
        "EEG4-TE5-MK73",
        "11G4-TE5-MK73",
        "1EGA-TE5-MK73",
        "1EG4-1E5-MK73",
        "1EG4-TEE-MK73",
        "1EG4-TE5-1K73",
        "1EG4-TE5-M173",
        "1EG4-TE5-MKA3",
        "1EG4-TE5-MK7A",
        "1SG4-TE5-MK73",
        "1EL4-TE5-MK73",
        "1EG4-OE5-MK73",
        "1EG4-TI5-MK73",
        "1EG4-TE5-BK73",
        "1EG4-TE5-MZ73",
        "1EG4-TE5-MK7³",
        "①EG4-TE5-MK73",
        "n/a",
    ] {
        let wrong = read(wrong).unwrap_err();
        assert!(wrong[0].detail.contains("such as 1EG4-TE5-MK73"), "{wrong:?}");
    }
}

#[test]
fn nobody_is_admitted_without_a_name() {
    let today = Today::of(None, "2026-11-28T12:00:00Z".parse().unwrap());
    let read = |given: Value| read(given.as_object().unwrap(), today).unwrap().0;
    assert_eq!(missing(&read(json!({"name": "Ada Example"}))), []);
    assert_eq!(missing(&read(json!({"mrn": "RS-1"}))), [FieldError::new("name", NO_NAME)]);
}

#[test]
fn what_says_no_more_than_is_known_is_no_news() {
    let today = Today::of(None, "2026-11-28T12:00:00Z".parse().unwrap());
    for (key, typed, known) in [
        ("name", "smith, MARY", "Mary Smith"),
        ("room", " 12 B", "12 b"),
        ("date_of_birth", "3/1934", "03/05/1934"),
        ("date_of_birth", "1934", "1934-03-05"),
        ("mrn", "gy 0004", "GY-0004"),
        ("mrn", "n/a", ""),
        ("room", " ", "12"),
    ] {
        assert!(!field(key).unwrap().is_news(typed, known, today), "{typed}");
    }
    for (key, typed, known) in [
        ("name", "Mary Jones", "Mary Smith"),
        ("date_of_birth", "03/05/1934", "1934"),
        ("date_of_birth", "March", "03/05/1934"),
        ("mrn", "GY-0004", ""),
        ("room", "13", "12"),
        ("medicare", "1EG4-TE5-MK73", "1EG4-TE5-MK72"),
    ] {
        assert!(field(key).unwrap().is_news(typed, known, today), "{typed}");
    }
}

#[test]
fn a_resident_is_shown_as_people_read() {
    let ada = PatientDocument {
        name: "Ada Example".into(),
        date_of_birth: Some("1941-03-15".into()),
        ..PatientDocument::new(PatientId::from_bytes([1; 16]))
    };
    let shown: Vec<_> = FIELDS.iter().filter_map(|field| Some((field.key, field.shown(&ada)?))).collect();
    assert_eq!(shown, [("name", "Ada Example".to_owned()), ("date_of_birth", "03/15/1941".to_owned())]);
    for (mode, keys) in [
        (PhiMode::Full, &["name", "room", "is_active", "shoe_size"][..]),
        (PhiMode::Minimal, &["room", "is_active"]),
        (PhiMode::Free, &["is_active"]),
    ] {
        let shows: Vec<_> =
            ["name", "room", "is_active", "shoe_size"].into_iter().filter(|key| mode.shows(key)).collect();
        assert_eq!(shows, keys, "{mode:?}");
    }
}

#[test]
fn a_chart_is_kept_under_whoever_one_person_was_taken_for() {
    let [own, first, second] = [1, 2, 3].map(|n| PatientId::from_bytes([n; 16]));
    let ada = PatientDocument { replaces: vec![first, second], ..PatientDocument::new(own) };
    assert_eq!(ada.chart(), [own, first, second]);
}
