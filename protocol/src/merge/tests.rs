//! Edits made side by side, in every order.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::id::DeviceId;

const KEYS: [&str; 2] = ["room", "name"];

/// What a device's nurse saved, with no more than the document as it first was before her eyes.
#[derive(Debug, Clone)]
struct Saved {
    device: u8,
    n: u64,
    at: i64,
    fields: Map<String, Value>,
}

fn device(n: u8) -> DeviceId {
    DeviceId::new(Timestamp::EPOCH, [n; 10])
}

fn incarnation(n: u8) -> IncarnationId {
    IncarnationId::new(Timestamp::EPOCH, [n; 10])
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn first() -> BTreeMap<String, Field> {
    let mark = Mark { seq: 1, at: at(0), origin: None, by: None };
    KEYS.iter().map(|key| ((*key).to_owned(), Field { value: json!("as admitted"), mark })).collect()
}

/// Applies what was saved in the order in which it arrives; gives the document and all conflicts.
fn arrive(saved: &[Saved]) -> (BTreeMap<String, Field>, Vec<Conflict>) {
    let mut document = first();
    let mut conflicts = Vec::new();
    for (seq, saved) in (2..).zip(saved) {
        let origin =
            Origin { device: device(saved.device), incarnation: incarnation(saved.device), n: saved.n };
        let edit = Edit {
            fields: &saved.fields,
            base_seq: 1,
            mark: Mark { seq, at: at(saved.at), origin: Some(origin), by: None },
            chain: &[(incarnation(saved.device), saved.n)],
        };
        let merged = merge(&document, &edit);
        document.extend(merged.set.clone());
        conflicts.extend(merged.conflicts.clone());
        // Again, as after a lost answer: nothing moves.
        let again = merge(&document, &edit);
        let before = document.clone();
        document.extend(again.set);
        assert_eq!(document, before);
        assert!(again.conflicts.iter().all(|conflict| conflicts.contains(conflict)));
    }
    (document, conflicts)
}

fn values(document: &BTreeMap<String, Field>) -> Vec<(&str, &Value)> {
    document.iter().map(|(key, field)| (key.as_str(), &field.value)).collect()
}

/// Three devices with some edits each, and an order of arrival that keeps each device's own order.
fn sides() -> impl Strategy<Value = (Vec<Vec<Saved>>, Vec<usize>, Vec<usize>)> {
    let fields = prop::collection::btree_map(prop::sample::select(KEYS.to_vec()), 0..4_u8, 1..=2);
    let edits = prop::collection::vec((1..20_i64, fields), 0..4);
    prop::collection::vec(edits, 3).prop_flat_map(|devices| {
        let sides: Vec<Vec<Saved>> = (1..)
            .zip(devices)
            .map(|(device, edits)| {
                (1..)
                    .zip(edits)
                    .map(|(n, (at, fields))| Saved {
                        device,
                        n,
                        at,
                        fields: fields
                            .into_iter()
                            .map(|(key, value)| (key.to_owned(), json!(value)))
                            .collect(),
                    })
                    .collect()
            })
            .collect();
        let turns: Vec<usize> =
            sides.iter().enumerate().flat_map(|(side, edits)| vec![side; edits.len()]).collect();
        let order = Just(turns).prop_shuffle();
        (Just(sides), order.clone(), order)
    })
}

fn interleave(sides: &[Vec<Saved>], turns: &[usize]) -> Vec<Saved> {
    let mut queues: Vec<_> = sides.iter().map(|side| side.iter()).collect();
    turns.iter().filter_map(|side| queues[*side].next().cloned()).collect()
}

proptest! {
    #[test]
    fn any_order_of_arrival_ends_the_same((sides, one, other) in sides()) {
        let (first, _) = arrive(&interleave(&sides, &one));
        let (second, _) = arrive(&interleave(&sides, &other));
        prop_assert_eq!(values(&first), values(&second));
    }

    #[test]
    fn no_value_that_anyone_saved_is_lost((sides, order, _) in sides()) {
        let (document, conflicts) = arrive(&interleave(&sides, &order));
        for side in &sides {
            for (place, saved) in side.iter().enumerate() {
                for (key, value) in &saved.fields {
                    let replaced = side.iter().skip(place + 1).any(|later| later.fields.contains_key(key));
                    let in_place = document.get(key).map(|field| &field.value) == Some(value);
                    let kept = conflicts.iter().any(|conflict| {
                        &conflict.field == key
                            && (&conflict.stands.value == value || &conflict.other.value == value)
                    });
                    // Somebody who had said the same has thought better of it.
                    let agreed = sides.iter().any(|other| {
                        let same = other.iter().position(|edit| edit.fields.get(key) == Some(value));
                        same.is_some_and(|at| other.iter().skip(at + 1).any(|edit| edit.fields.contains_key(key)))
                    });
                    let found = replaced || in_place || kept || agreed;
                    prop_assert!(found, "{key} = {value} of device {}", saved.device);
                }
            }
        }
    }

    #[test]
    fn a_devices_own_edits_never_conflict((sides, _, _) in sides()) {
        for side in &sides {
            let (_, conflicts) = arrive(side);
            prop_assert!(conflicts.is_empty());
        }
    }
}

fn saved(device: u8, n: u64, at: i64, room: &str) -> Saved {
    Saved { device, n, at, fields: json!({"room": room}).as_object().unwrap().clone() }
}

#[test]
fn the_later_stands_and_the_other_is_kept_with_its_author() {
    let (document, conflicts) = arrive(&[saved(1, 1, 20, "12"), saved(2, 1, 10, "14")]);
    assert_eq!(document["room"].value, "12");
    assert_eq!(conflicts.len(), 1);
    let conflict = &conflicts[0];
    assert_eq!((&conflict.stands.value, &conflict.other.value), (&json!("12"), &json!("14")));
    assert_eq!(conflict.other.mark.origin.unwrap().device, device(2));
}

#[test]
fn saying_the_same_is_no_conflict() {
    let (document, conflicts) = arrive(&[saved(1, 1, 20, "12"), saved(2, 1, 10, "12")]);
    assert_eq!((&document["room"].value, conflicts.len()), (&json!("12"), 0));
}

#[test]
fn whoever_saw_the_last_version_simply_sets_it() {
    let mark = Mark { seq: 9, at: at(50), origin: None, by: None };
    let document = BTreeMap::from([("room".to_owned(), Field { value: json!("12"), mark })]);
    let fields = json!({"room": "14"}).as_object().unwrap().clone();
    let origin = Origin { device: device(1), incarnation: incarnation(1), n: 1 };
    let own = Mark { seq: 10, at: at(40), origin: Some(origin), by: None };
    let edit = |base_seq| Edit { fields: &fields, base_seq, mark: own, chain: &[] };
    let merged = merge(&document, &edit(9));
    assert!(merged.conflicts.is_empty());
    assert_eq!(merged.set["room"].mark.at, at(50), "it is not older than what it replaced");
    assert_eq!(merge(&document, &edit(8)).conflicts.len(), 1);
    // The office's at the same moment: what is there stands.
    let office = Edit { mark: Mark { seq: 10, ..mark }, ..edit(8) };
    let merged = merge(&document, &office);
    assert_eq!((merged.set.len(), &merged.conflicts[0].stands.value), (0, &json!("12")));
}

#[test]
fn after_a_fork_the_shared_past_is_still_the_devices_own() {
    let mark = |n| Mark {
        seq: 9,
        at: at(50),
        origin: Some(Origin { device: device(1), incarnation: incarnation(1), n }),
        by: None,
    };
    let fields = json!({"room": "14"}).as_object().unwrap().clone();
    let origin = Origin { device: device(1), incarnation: incarnation(2), n: 8 };
    let own = Mark { seq: 10, at: at(60), origin: Some(origin), by: None };
    let edit =
        Edit { fields: &fields, base_seq: 1, mark: own, chain: &[(incarnation(2), 8), (incarnation(1), 7)] };
    for (n, conflicts) in [(7, 0), (8, 1)] {
        let document = BTreeMap::from([("room".to_owned(), Field { value: json!("12"), mark: mark(n) })]);
        assert_eq!(merge(&document, &edit).conflicts.len(), conflicts, "{n}");
    }
}

#[test]
fn a_clock_that_cannot_be_right_counts_as_its_base() {
    let (base, now) = (at(1_000), at(10_000_000));
    assert_eq!(counted_at(at(5_000), ClockQuality::Synced, base, now), at(5_000));
    assert_eq!(counted_at(at(5_000), ClockQuality::Unset, base, now), base);
    assert_eq!(counted_at(now.after(AHEAD * 2), ClockQuality::Estimated, base, now), base);
}
