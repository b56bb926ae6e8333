use serde_json::json;

use super::*;

#[test]
fn a_member_of_staff_is_printed_without_the_pin() {
    let nina = UserDocument {
        id: UserId::new(crate::time::Timestamp::EPOCH, [1; 10]),
        display_name: "Nina Example".into(),
        role: Role::Rn,
        pin_verifier: Some("$argon2id$invented".into()),
        pin_exposed_at: None,
        session_timeout_minutes: 30,
        is_active: true,
    };
    let printed = format!("{nina:?}");
    assert!(printed.contains("[secret]") && !printed.contains("argon2id"), "{printed}");
}

#[test]
fn a_facility_that_charts_as_its_forms_say_says_nothing_of_it() {
    let said = r#"{"id":"00000000-0000-0000-0000-000000000000","name":"Riverside","organization_name":"Golden Years","facility_type":"ALF","current_census":3}"#;
    let facility: FacilityDocument = serde_json::from_str(said).unwrap();
    assert_eq!(facility.units, Units::AsPublished);
    assert_eq!(serde_json::to_string(&facility).unwrap(), said);
    let metric = serde_json::to_value(FacilityDocument { units: Units::Metric, ..facility }).unwrap();
    assert_eq!(metric.get("units").unwrap(), Units::Metric.name());
}

#[test]
fn every_collection_is_found_by_its_name() {
    for collection in Collection::ALL {
        assert_eq!(Collection::from_name(collection.name()), Some(collection));
        assert_eq!(serde_json::to_value(collection).unwrap(), collection.name());
    }
    assert_eq!(Collection::from_name("sqlite_schema"), None);
}

#[test]
fn keys_are_counted_and_not_printed() {
    let keys = BadgeKeysDocument { id: BadgeKeysDocument::ID, keys: vec!["5e".repeat(32)] };
    let printed = format!("{keys:?}");
    assert!(printed.contains("keys: 1") && !printed.contains("5e5e"), "{printed}");
}

fn saved(n: i64) -> SavedValue {
    SavedValue { value: json!(n), by: None, at: Timestamp::from_millis(n), stands: false }
}

fn numbers(field: &DisputedField) -> Vec<i64> {
    field.values.iter().map(|value| value.at.as_millis()).collect()
}

#[test]
fn a_disputed_field_names_the_first_values_and_what_stands_and_counts_the_rest() {
    let mut field = DisputedField { field: "room".into(), values: Vec::new(), more: 0 };
    for n in (0..10).rev() {
        assert!(field.keep(saved(n), None));
    }
    assert!(field.keep(saved(3), None), "it is here already");
    assert_eq!((field.values.len(), field.more), (10, 0));
    assert!(!field.keep(saved(20), None));
    assert_eq!((field.values.len(), field.more), (10, 1));
    assert!(!field.keep(saved(21), Some(&saved(21))));
    assert_eq!((field.values.len(), field.more), (11, 1));
    assert!(!field.keep(saved(22), Some(&saved(22))), "the one that stood before gives way");
    assert_eq!(field.more, 2);
    field.settle(Some(&saved(22)));
    assert_eq!(numbers(&field), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 22]);
    assert!(field.values.iter().all(|value| value.stands == (value.value == json!(22))));
}

#[test]
fn a_review_of_before_there_was_a_bound_is_brought_within_it() {
    let field = |values: std::ops::Range<i64>, stands: i64| {
        let values = values.map(|n| SavedValue { stands: n == stands, ..saved(n) });
        DisputedField { field: "room".into(), values: values.collect(), more: 0 }
    };
    let id = |n: u8| RecordId::new(Timestamp::EPOCH, [n; 10]);
    let mut review = ReviewDocument {
        id: ReviewId::from_bytes([1; 16]),
        kind: ReviewKind::Conflict,
        patient_id: PatientId::from_bytes([2; 16]),
        collection: Collection::Patients,
        record: id(3),
        fields: vec![field(0..14, 12), field(0..12, 4), field(0..2, 1)],
        others: (0..13).map(id).collect(),
        more: 1,
        opened_at: Timestamp::EPOCH,
        resolved: None,
    };
    review.bound();
    assert_eq!((&review.others[..], review.more), (&(0..10).map(id).collect::<Vec<_>>()[..], 4));
    let first: Vec<i64> = (0..10).collect();
    assert_eq!((numbers(&review.fields[0]), review.fields[0].more), ([&first[..], &[12]].concat(), 3));
    assert_eq!((numbers(&review.fields[1]), review.fields[1].more), (first, 2));
    assert_eq!((numbers(&review.fields[2]), review.fields[2].more), (vec![0, 1], 0));
    let bound = review.clone();
    review.bound();
    assert_eq!(review, bound);
    let written = |more| serde_json::to_value(ReviewDocument { more, ..bound.clone() }).unwrap();
    assert_eq!((written(4)["more"].as_u64(), written(0).get("more")), (Some(4), None));
}
