use serde_json::{Value, json};

use super::*;
use crate::time::Timestamp;
use crate::unit::Units;

fn field(key: &str, field_type: FieldType) -> Field {
    Field::new(key, &key.to_uppercase(), field_type)
}

fn vitals() -> Workflow {
    Workflow {
        id: WorkflowId::new(Timestamp::EPOCH, [1; 10]),
        key: "vitals".into(),
        label: "Vitals".into(),
        version: 1,
        enabled: true,
        fields: vec![
            Field {
                required: true,
                min: Some(25.0),
                max: Some(220.0),
                hard_min: Some(0.0),
                hard_max: Some(400.0),
                critical_max: Some(130.0),
                unit: Some("bpm".into()),
                ..field("pulse", FieldType::Integer)
            },
            Field { unit: Some("°F".into()), ..field("temperature", FieldType::Number) },
            Field { options: vec!["Sitting".into(), "Lying".into()], ..field("position", FieldType::Select) },
            field("taken_on", FieldType::Date),
            field("taken_at", FieldType::Datetime),
            field("fasting", FieldType::Boolean),
            field("note", FieldType::String),
            field("systolic", FieldType::Integer),
            field("diastolic", FieldType::Integer),
        ],
        rules: vec![Rule { greater: "systolic".into(), lesser: "diastolic".into() }],
        corrected_by: Vec::new(),
    }
}

fn faults(answers: &[(&str, &str)]) -> String {
    let faults = vitals().parse_form(answers.iter().copied(), Units::default(), None).unwrap_err();
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn doubts(answers: &[(&str, &str)]) -> String {
    let at = "2026-11-28T14:42:00Z".parse().ok();
    let answers = vitals().parse_form(answers.iter().copied(), Units::default(), at).unwrap();
    answers.doubts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[test]
fn answers_become_typed_values() {
    let answers = vitals()
        .parse_form(
            [
                ("pulse", " 72 bpm"),
                ("temperature", "98,6 °F"),
                ("position", "lying "),
                ("taken_on", "05/01/2026"),
                ("taken_at", "12/01/2024 02:30 PM"),
                ("fasting", "yes"),
                ("note", "Slept well.\r\nAte half."),
                ("systolic", ""),
            ],
            Units::default(),
            None,
        )
        .unwrap();
    let expected = json!({
        "pulse": 72, "temperature": 98.6, "position": "Lying", "taken_on": "2026-05-01",
        "taken_at": "2024-12-01T14:30", "fasting": true, "note": "Slept well.\nAte half.",
    });
    assert_eq!(Value::Object(answers.values.clone()), expected);
    assert!(answers.doubts.is_empty());
    assert_eq!(vitals().read(&answers.values, None), Ok(answers));
    let yes_or_no = |typed| field("fasting", FieldType::Boolean).parse(typed).ok();
    let read = ["Yes", "TRUE", "on", "No", "false", "maybe", ""].map(yes_or_no);
    let [yes, no] = [true, false].map(|it| Some(json!(it)));
    assert_eq!(read, [yes.clone(), yes.clone(), yes, no.clone(), no, None, None]);
    // Of a whole number there is one reading.
    assert_eq!(field("steps", FieldType::Integer).parse("1,200"), Ok(json!(1200)));
    assert!(
        field("volume", FieldType::Number)
            .parse("1,200")
            .unwrap_err()
            .detail
            .starts_with("is this 1200 or 1.2?")
    );
    // An offset stays; a device that knows no zones gives none.
    for (given, kept) in [
        ("2026-11-01T01:30-05:00", "2026-11-01T01:30-05:00"),
        ("2026-11-01 06:30Z", "2026-11-01T06:30+00:00"),
        ("2026-11-01T01:30", "2026-11-01T01:30"),
    ] {
        assert_eq!(field("taken_at", FieldType::Datetime).read(&json!(given)), Ok(json!(kept)));
    }
}

#[test]
fn wrong_answers_name_their_field() {
    assert_eq!(faults(&[]), "pulse: this is required");
    assert_eq!(
        faults(&[("pulse", "fast")]),
        "pulse: “fast” is no part of a number: give the number alone, such as 122"
    );
    assert_eq!(faults(&[("pulse", "72.5")]), "pulse: give a whole number");
    assert_eq!(faults(&[("pulse", "401")]), "pulse: this cannot be above 400 bpm: check it");
    assert_eq!(faults(&[("pulse", "-1")]), "pulse: this cannot be below 0 bpm: check it");
    assert_eq!(faults(&[("pulse", "72"), ("position", "Flying")]), "position: choose one of: Sitting, Lying");
    assert_eq!(faults(&[("pulse", "72"), ("shoe", "9")]), "shoe: the workflow has no such field");
    for bad in ["1/2/26", "x-y-z", "2026-01/02", "01152026"] {
        assert!(faults(&[("pulse", "72"), ("taken_on", bad)]).starts_with("taken_on: give a date"), "{bad}");
    }
    let said = |key, bad: &str| faults(&[("pulse", "72"), (key, bad)]);
    for (key, short) in [("taken_on", "3/4/62"), ("taken_at", "3/4/62 7pm"), ("taken_at", "3/4/62 14:30")] {
        assert!(said(key, short).contains("with all four digits of the year"), "{short}");
    }
    assert_eq!(said("taken_on", "02/29/2023"), "taken_on: February 2023 has 28 days: check the day");
    assert_eq!(said("taken_on", "2024-02-30"), "taken_on: February 2024 has 29 days: check the day");
    assert_eq!(said("taken_on", "13/01/1950"), "taken_on: there is no month 13: give month/day/year");
    assert_eq!(said("taken_at", "1950-13-01 10:00"), "taken_at: there is no month 13: give year-month-day");
    for bad in ["2026-02-01T24:00", "2026-02-01T10:60", "02/01/2026 13:00 PM", "02/01/2026 00:10 am"] {
        assert!(said("taken_at", bad).contains("there is no such time of day"), "{bad}");
    }
    for unfinished in ["2026-02-01", "2026-02-01T10:00-5:00", "2026-02-01T10:00+24:00"] {
        assert!(said("taken_at", unfinished).contains("finish the time"), "{unfinished}");
    }
    assert!(said("taken_at", "T").contains("date and time"));
    for (bad, words) in [("NaN", "“NaN”"), ("1e2", "without an exponent"), ("98 6", "give a number")] {
        assert!(said("temperature", bad).contains(words), "{bad}");
    }
    assert!(faults(&[("pulse", "72"), ("temperature", "37 kg")]).contains("this is charted in °F"));
    assert!(faults(&[("pulse", "72"), ("note", "\u{202e}abc")]).contains("type it anew"));
}

#[test]
fn a_facility_that_charts_in_other_units_is_asked_and_answered_in_them() {
    let temperature =
        Field { min: Some(94.0), max: Some(105.0), hard_max: Some(120.0), ..vitals().fields.remove(1) };
    let workflow = Workflow { fields: vec![temperature], ..vitals() };
    let read = |text| workflow.parse_form([("temperature", text)], Units::Metric, None);
    let answers = read("41.2").unwrap();
    assert_eq!(answers.values.get("temperature"), Some(&json!(106.16)));
    let doubts: Vec<_> = answers.doubts.iter().map(|doubt| doubt.detail.as_str()).collect();
    assert_eq!(doubts, ["TEMPERATURE 41.2 °C is high: 40.5 or less is plausible"]);
    assert!(read("37.2").unwrap().doubts.is_empty());
    assert_eq!(read("98.6 °F").unwrap().values.get("temperature"), Some(&json!(98.6)));
    let refused = read("98.6").unwrap_err();
    assert_eq!(
        refused,
        [FieldError::new(
            "temperature",
            "this cannot be above 48.8 °C: check it; type 98.6 °F if that is meant"
        )]
    );
    // What is sent is in the schema's unit, whoever sends it.
    let sent = json!({"temperature": 106.16});
    assert_eq!(
        workflow.read(sent.as_object().unwrap(), None).unwrap().doubts[0].detail,
        "TEMPERATURE 106.16 °F is high: 105 or less is plausible"
    );
}

#[test]
fn a_number_is_asked_for_with_an_example_of_the_fields_own() {
    let bounded = |field_type, unit: &str, min, max| Field {
        unit: Some(unit.into()),
        min,
        hard_min: Some(0.0),
        hard_max: max,
        ..field("measured", field_type)
    };
    for (field, units, example) in [
        (bounded(FieldType::Integer, "%", Some(80.0), Some(100.0)), Units::default(), ", such as 90"),
        (bounded(FieldType::Number, "mg", Some(0.25), Some(0.75)), Units::default(), ", such as 0.5"),
        (bounded(FieldType::Number, "mL", None, Some(3000.0)), Units::default(), ", such as 1500"),
        (bounded(FieldType::Number, "lb", Some(80.0), Some(350.0)), Units::Metric, ", such as 98"),
        (bounded(FieldType::Number, "mL", None, None), Units::default(), ""),
        (vitals().fields.remove(1), Units::Metric, ""),
    ] {
        let said = field.parse_in("98 6", units).unwrap_err().detail;
        assert_eq!(said, format!("give a number{example}"));
        let remark = field.parse_in("97 at rest", units).unwrap_err().detail;
        assert!(remark.ends_with(&format!("the number alone{example}")), "{remark}");
    }
}

#[test]
fn a_score_in_a_field_of_a_whole_number_is_to_be_given_alone() {
    let pain = field("pain", FieldType::Integer);
    for text in ["3/4", "1/2", "-3/4", "1.9999/2"] {
        let refused = pain.parse(text).unwrap_err().detail;
        let words = "“/” is no part of a number: give the one before it alone";
        assert!(refused.starts_with(words), "{text}: {refused}");
    }
    assert_eq!(pain.parse("1,000"), Ok(json!(1000)));
}

#[test]
fn of_a_whole_number_with_a_point_it_is_asked_which_is_meant() {
    let steps = field("steps", FieldType::Integer);
    for (text, words) in [("72.000", "is this 72000 or 72?"), ("98.600", "is this 98600 or 98.6?")] {
        let refused = steps.parse(text).unwrap_err().detail;
        assert!(refused.starts_with(words), "{text}: {refused}");
    }
    assert_eq!(steps.parse("72.0"), Ok(json!(72)));
    assert_eq!(steps.parse("12.345.678"), Ok(json!(12_345_678)));
}

#[test]
fn a_year_that_cannot_be_is_refused_and_an_unlikely_day_or_time_is_asked_about() {
    for (key, typed, words) in [
        ("taken_on", "0000-01-01", "the year 0000 is before 1900: check the year"),
        ("taken_on", "1066-10-14", "the year 1066 is before 1900: check the year"),
        ("taken_on", "12/31/9999", "the year 9999 is after 2199: check the year"),
        ("taken_at", "0026-11-28T10:00", "the year 0026 is before 1900: check the year"),
        ("taken_at", "2206-11-28T10:00", "the year 2206 is after 2199: check the year"),
    ] {
        assert_eq!(faults(&[("pulse", "72"), (key, typed)]), format!("{key}: {words}"));
    }
    // It is 08:42 on November 28 in Chicago.
    let asked = |key, typed: &str| doubts(&[("pulse", "72"), (key, typed)]);
    for likely in
        ["2026-11-28T08:47-06:00", "2026-11-28T14:47Z", "2025-11-28T08:42-06:00", "2026-05-01T14:30"]
    {
        assert_eq!(asked("taken_at", likely), "");
    }
    for (typed, words) in [
        ("2026-11-28T08:48-06:00", "TAKEN_AT 11/28/2026 08:48 is in the future: check the day and the time"),
        ("2026-11-28T23:59-06:00", "TAKEN_AT 11/28/2026 23:59 is in the future: check the day and the time"),
        ("2025-11-28T08:41-06:00", "TAKEN_AT 11/28/2025 08:41 is more than a year ago: check the year"),
        ("1926-11-28T09:00-06:00", "TAKEN_AT 11/28/1926 09:00 is more than a year ago: check the year"),
    ] {
        assert_eq!(asked("taken_at", typed), format!("taken_at: {words}"));
    }
    for likely in ["11/30/2027", "2028-11-28", "1900-01-01", "2026-11-29"] {
        assert_eq!(asked("taken_on", likely), "");
    }
    for (ahead, shown) in [("2028-11-29", "11/29/2028"), ("2199-12-31", "12/31/2199")] {
        let words = format!("taken_on: TAKEN_ON {shown} is more than two years ahead: check the year");
        assert_eq!(asked("taken_on", ahead), words);
    }
    // What came over the wire was charted: it is asked about, whatever it is, by when it was charted.
    let at = "2026-11-28T14:42:00Z".parse::<Timestamp>().unwrap();
    let sent = json!({"pulse": 72, "taken_on": "1066-10-14", "taken_at": "0026-11-28T10:00+00:00"});
    let read = |at| vitals().read(sent.as_object().unwrap(), at).unwrap().doubts;
    let fields: Vec<_> = read(Some(at)).into_iter().map(|doubt| doubt.detail).collect();
    assert_eq!(
        fields,
        [
            "TAKEN_ON 10/14/1066 is more than 130 years ago: check the year",
            "TAKEN_AT 11/28/0026 10:00 is more than a year ago: check the year"
        ]
    );
    assert_eq!(read(None), [], "nobody knows when");
    let taken_on = field("taken_on", FieldType::Date);
    let doubted = ["1896-11-27", "1896-11-28"].map(|day| taken_on.time_doubt(&json!(day), at).is_some());
    assert_eq!(doubted, [true, false], "130 years to the day");
}

#[test]
fn a_date_of_birth_is_kept_as_far_as_it_is_known_and_refused_in_the_future_where_it_is_typed() {
    let at: Option<Timestamp> = "2026-11-28T14:42:00Z".parse().ok();
    let mut workflow = vitals();
    (workflow.fields, workflow.rules) = (vec![field("date_of_birth", FieldType::Date)], Vec::new());
    let typed = |text, at| workflow.parse_form([("date_of_birth", text)], Units::default(), at);
    // It is the next day already, east of here.
    for (text, stored) in [
        ("03/15/1941", "1941-03-15"),
        ("3/1941", "1941-03"),
        ("1941", "1941"),
        ("11/29/2026", "2026-11-29"),
        ("2026", "2026"),
    ] {
        let answers = typed(text, at).unwrap();
        assert_eq!((&answers.values["date_of_birth"], answers.doubts), (&json!(stored), vec![]));
    }
    let refused = |text, at| typed(text, at).unwrap_err().remove(0).detail;
    for ahead in ["11/30/2026", "12/2026", "2027", "03/15/2041"] {
        let words = "nobody is born in the future: check the year, the month and the day";
        assert_eq!(refused(ahead, at), words, "{ahead}");
        assert!(typed(ahead, None).is_ok(), "nobody knows what day it is");
    }
    assert_eq!(refused("1895", None), "the year 1895 is before 1900: check the year");
    assert!(refused("3/41", at).contains("if only the year"));
    // What came over the wire was charted: it is asked about.
    for (sent, shown) in [("2026-11-30", "11/30/2026"), ("2041-03", "03/2041"), ("2041", "2041")] {
        let sent = json!({"date_of_birth": sent});
        let doubts = workflow.read(sent.as_object().unwrap(), at).unwrap().doubts;
        let words = format!("DATE_OF_BIRTH {shown} is in the future: check the year, the month and the day");
        assert_eq!(doubts, [FieldError::new("date_of_birth", words)]);
    }
}

#[test]
fn a_field_that_expects_the_future_asks_about_the_past() {
    let ahead = |field: Field| Field { expects: Some(Expects::Future), ..field };
    let mut workflow = vitals();
    workflow.fields =
        vec![ahead(field("next_on", FieldType::Date)), ahead(field("next_at", FieldType::Datetime))];
    workflow.rules.clear();
    workflow.check().unwrap();
    // It is 08:42 on November 28 in Chicago, and 03:42 on the next day in Auckland.
    let asked = |key, typed| {
        let at = "2026-11-28T14:42:00Z".parse().ok();
        let answers = workflow.parse_form([(key, typed)], Units::default(), at).unwrap();
        answers.doubts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    for (key, likely) in [
        ("next_at", "2026-12-05T09:00-06:00"),
        ("next_at", "2026-11-28T08:37-06:00"),
        ("next_at", "2027-11-28T08:42-06:00"),
        ("next_on", "2026-11-28"),
        ("next_on", "12/05/2026"),
        ("next_on", "2028-11-28"),
    ] {
        assert_eq!(asked(key, likely), "", "{likely}");
    }
    let past = "is in the past: check the";
    for (key, typed, words) in [
        ("next_at", "2026-11-28T08:36-06:00", format!("NEXT_AT 11/28/2026 08:36 {past} day and the time")),
        ("next_at", "2025-12-05T09:00-06:00", format!("NEXT_AT 12/05/2025 09:00 {past} day and the time")),
        (
            "next_at",
            "2028-12-05T09:00-06:00",
            "NEXT_AT 12/05/2028 09:00 is more than a year ahead: check the year".to_owned(),
        ),
        ("next_on", "2026-11-27", format!("NEXT_ON 11/27/2026 {past} date")),
        ("next_on", "1926-11-30", format!("NEXT_ON 11/30/1926 {past} date")),
        (
            "next_on",
            "2028-11-29",
            "NEXT_ON 11/29/2028 is more than two years ahead: check the year".to_owned(),
        ),
    ] {
        assert_eq!(asked(key, typed), format!("{key}: {words}"));
    }
    // The day before may still be today, west of here.
    let at = "2026-11-28T11:00:00Z".parse().ok();
    let answers = workflow.parse_form([("next_on", "2026-11-27")], Units::default(), at).unwrap();
    assert_eq!(answers.doubts, []);
    // Nothing else lies ahead, and a schema that says nothing is published as it was.
    workflow.fields.push(ahead(field("note", FieldType::String)));
    let faults = workflow.check().unwrap_err();
    assert_eq!(faults, [FieldError::new("fields[2].expects", "only a date or datetime lies ahead")]);
    assert_eq!(json!(ahead(field("next_on", FieldType::Date)))["expects"], "future");
    assert_eq!(json!(field("next_on", FieldType::Date)).get("expects"), None);
}

#[test]
fn what_is_unlikely_is_asked_about_and_not_refused() {
    assert_eq!(doubts(&[("pulse", "25")]), "");
    assert_eq!(doubts(&[("pulse", "24")]), "pulse: PULSE 24 bpm is low: 25 or more is plausible");
    assert_eq!(doubts(&[("pulse", "221")]), "pulse: PULSE 221 bpm is high: 220 or less is plausible");
    assert_eq!(
        doubts(&[("pulse", "71"), ("systolic", "77"), ("diastolic", "128")]),
        "systolic: SYSTOLIC is not above DIASTOLIC: are they swapped?"
    );
    assert_eq!(doubts(&[("pulse", "71"), ("systolic", "128"), ("diastolic", "77")]), "");
    // What cannot be is told from what may be, to the last number that may.
    assert_eq!(doubts(&[("pulse", "0")]), "pulse: PULSE 0 bpm is low: 25 or more is plausible");
    let pulse = Field { critical_min: Some(40.0), ..vitals().fields.remove(0) };
    let critical: Vec<_> =
        [40, 41, 129, 130].into_iter().filter(|it| pulse.is_critical(&json!(it))).collect();
    assert_eq!(critical, [40, 130]);
}

#[test]
fn a_key_is_a_plain_word() {
    let long = "k".repeat(64);
    for key in ["a", "heart_rate", "bp2", long.as_str()] {
        assert!(is_key(key), "{key}");
    }
    for no_key in ["", "_a", "2bp", "Pulse", "heartRate", "heart-rate", "herz_ü", " a", &(long.clone() + "k")]
    {
        assert!(!is_key(no_key), "{no_key}");
    }
}

#[test]
fn a_form_is_shown_in_its_order_and_corrected_by_whom_it_names_or_by_its_author() {
    let mut workflow = vitals();
    for (field, order) in workflow.fields.iter_mut().zip([3, 1, 2]) {
        field.display_order = order;
    }
    workflow.fields.truncate(3);
    let order: Vec<_> = workflow.in_order().into_iter().map(|field| field.key.as_str()).collect();
    assert_eq!(order, ["temperature", "position", "pulse"]);
    assert!(workflow.lets_correct(Role::Caregiver, false), "it names none");
    workflow.corrected_by = vec![Role::Rn];
    let lets = |role, is_own| workflow.lets_correct(role, is_own);
    assert!(lets(Role::Rn, false) && lets(Role::Caregiver, true) && !lets(Role::Caregiver, false));
}

#[test]
fn wire_values_of_the_wrong_type_name_their_field() {
    for (field_type, wrong, right) in [
        (FieldType::String, json!(5), json!("calm")),
        (FieldType::Date, json!(2026), json!("2026-05-01")),
        (FieldType::Datetime, json!(2026), json!("2026-05-01T14:30")),
        (FieldType::Select, json!(true), json!("Yes")),
        (FieldType::Integer, json!(72.5), json!(-5)),
        (FieldType::Integer, json!("72"), json!(u64::MAX)),
        (FieldType::Number, json!("72"), json!(72.5)),
        (FieldType::Boolean, json!("yes"), json!(false)),
    ] {
        let field = Field { options: vec!["Yes".into()], ..field("answer", field_type) };
        assert_eq!(field.read(&wrong).unwrap_err().detail, format!("this is not a {}", field_type.name()));
        assert_eq!(json!(field_type), field_type.name());
        assert_eq!((field.read(&right), field.read(&Value::Null)), (Ok(right.clone()), Ok(Value::Null)));
        assert!(Field { required: true, ..field }.read(&Value::Null).is_err(), "no answer is none");
    }
    let values = json!({"pulse": "72", "note": 5, "extra": 1});
    let faults = vitals().read(values.as_object().unwrap(), None).unwrap_err();
    let named: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
    assert_eq!(named, ["extra", "note", "pulse"]);
}

#[test]
fn a_schema_is_published_trimmed() {
    let mut workflow = vitals();
    let position = workflow.fields.get_mut(2).unwrap();
    position.options = vec!["Calm ".into(), " Upset\u{a0}".into()];
    position.default = Some("calm ".into());
    position.label = " Mood\n".into();
    workflow.check().unwrap();
    let position = workflow.fields.get(2).unwrap();
    assert_eq!(
        (position.label.as_str(), &position.options[..]),
        ("Mood", &["Calm".into(), "Upset".into()][..])
    );
    // One that was published before is answered all the same.
    let old = Field { options: vec!["Calm ".into(), "Upset".into()], ..field("mood", FieldType::Select) };
    assert_eq!(old.parse("Calm "), Ok(json!("Calm")));
    assert_eq!(old.parse("Calm"), Ok(json!("Calm")));
}

#[test]
fn a_bad_schema_is_refused_with_paths() {
    let mut workflow = vitals();
    workflow.key = "Vitals!".into();
    workflow.fields.push(Field { default: Some("maybe".into()), ..field("pulse", FieldType::Boolean) });
    workflow.fields.push(field("choice", FieldType::Select));
    let blank = vec!["Yes".into(), " ".into(), "YES".into()];
    workflow.fields.push(Field { options: blank, ..field("other", FieldType::Select) });
    workflow.fields.push(Field { min: Some(1.0), hard_min: Some(2.0), ..field("text", FieldType::String) });
    workflow.fields.push(field("note'); DROP TABLE users; --", FieldType::String));
    workflow.rules.push(Rule { greater: "note".into(), lesser: "pulse".into() });
    let faults = workflow.check().unwrap_err();
    let named: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
    let expected = [
        "key",
        "fields[9].key",
        "fields[9].default",
        "fields[10].options",
        "fields[11].options[1]",
        "fields[11].options[2]",
        "fields[12].min",
        "fields[12].hard_min",
        "fields[13].key",
        "rules[1].greater",
    ];
    assert_eq!(named, expected);
    assert_eq!(vitals().check(), Ok(()));
}

#[test]
fn a_field_that_does_not_say_where_it_stands_comes_behind_those_that_do_in_the_order_given() {
    let shown = |orders: &[u32]| {
        let fields = orders.iter().enumerate().map(|(at, order)| Field {
            display_order: *order,
            ..field(&format!("field_{at}"), FieldType::String)
        });
        let form = Workflow { fields: fields.collect(), rules: Vec::new(), ..vitals() };
        let keys = form.in_order().into_iter().map(|field| field.key.trim_start_matches("field_").to_owned());
        keys.collect::<Vec<_>>().concat()
    };
    assert_eq!(shown(&[0, 0, 0]), "012");
    assert_eq!(shown(&[0, 2, 0, 1]), "3102");
    assert_eq!(shown(&[1, 2, 3, 0]), "0123");
    // The field of a JSON form that leaves it out.
    let bare: Field = serde_json::from_value(json!({"key": "a", "label": "A", "type": "string"})).unwrap();
    assert_eq!(bare.display_order, 0);
}

#[test]
fn two_fields_of_a_form_that_read_the_same_are_known() {
    let mut workflow = vitals();
    assert!(workflow.repeated_labels().is_empty());
    workflow.fields.push(Field::new("pulse_later", " PULSE\u{a0}", FieldType::Integer));
    assert!(workflow.repeated_labels().into_iter().eq(["pulse"]));
}
