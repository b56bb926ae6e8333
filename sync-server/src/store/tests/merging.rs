//! Edits that were made side by side: nothing that anybody saved is lost, and the order in which it
//! comes does not matter.

use carepost_protocol::record::{ReviewDocument, ReviewKind};

use super::*;

pub(super) async fn open_reviews(world: &World, tenant: &Tenant) -> Vec<ReviewDocument> {
    let store = world.store.facility(&tenant.facility);
    store.reviews(&may_read(tenant), Some(true), None, 1_000).await.unwrap().items
}

pub(super) async fn head(world: &World, tenant: &Tenant) -> u64 {
    world.store.facility(&tenant.facility).page(after(None, 2_000)).await.unwrap().end.head
}

async fn room(world: &World, tenant: &Tenant) -> Option<String> {
    world.store.organization(&tenant.organization).patient(tenant.patient).await.unwrap().document.room
}

/// The values of a review's first field, with whether each stands.
fn values(review: &ReviewDocument) -> Vec<(String, bool)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    review.fields[0].values.iter().map(|saved| (text(&saved.value), saved.stands)).collect()
}

fn told(of: &[(&str, bool)]) -> Vec<(String, bool)> {
    of.iter().map(|(value, stands)| ((*value).to_owned(), *stands)).collect()
}

#[tokio::test]
async fn two_kiosks_and_the_office_disagree_and_every_value_is_kept_until_somebody_chooses() {
    let (world, tenant, [mut hall, mut ward]) = World::with_kiosks().await;
    let saw = head(&world, &tenant).await;
    world.pass(3600);
    let at = |minutes: i64| world.now().plus_millis(minutes * 60_000);
    let (early, later) = (at(-9), at(-5));
    let edit =
        |kiosk: &Kiosk, room: &str, at| kiosk.edit(&tenant, tenant.patient, saw, json!({"room": room}), at);

    // The later edit comes first; the hall's own second edit knew of its first.
    let change = edit(&ward, "22", later);
    let receipt = world.push(&mut ward, &[change]).await.unwrap();
    assert_eq!(verdicts(&receipt), [(Verdict::Applied, None)]);
    let changes = [edit(&hall, "10", early), edit(&hall, "11", at(-8))];
    let batch = hall.batch(&changes);
    let receipt = batch.send(&world, &tenant.facility, &hall.identity).await.unwrap();
    assert_eq!(verdicts(&receipt), [(Verdict::Merged, None); 2]);
    batch.send(&world, &tenant.facility, &hall.identity).await.unwrap();
    (hall.sent, hall.head) = (2, batch.head);
    assert_eq!(room(&world, &tenant).await.as_deref(), Some("22"));
    let reviews = open_reviews(&world, &tenant).await;
    assert_eq!((reviews.len(), reviews[0].kind), (1, ReviewKind::Conflict));
    assert_eq!(values(&reviews[0]), told(&[("10", false), ("11", false), ("22", true)]));

    // The office sets it without looking at the review, which stays and says so.
    let patch = object(json!({"room": "30"}));
    let registry = world.store.organization(&tenant.organization);
    registry.audited(event(&world)).update_patient(tenant.patient, patch).await.unwrap();
    let before = head(&world, &tenant).await;
    let unrelated = object(json!({"name": "Ada Sample"}));
    registry.audited(event(&world)).update_patient(tenant.patient, unrelated).await.unwrap();
    assert_eq!(head(&world, &tenant).await, before + 1, "a field that nobody disputes does not touch it");
    let reviews = open_reviews(&world, &tenant).await;
    assert_eq!(values(&reviews[0]), told(&[("10", false), ("11", false), ("22", false), ("30", true)]));

    // Who had seen all of it but the office's value does not overwrite that unseen.
    let review = reviews[0].id;
    let unseen = ward.decision(&tenant, review, saw + 4, json!({"room": "11"}), at(1));
    assert_eq!(verdicts(&world.push(&mut ward, &[unseen]).await.unwrap()), [(Verdict::Merged, None)]);
    assert_eq!(open_reviews(&world, &tenant).await.len(), 1);
    let seen = head(&world, &tenant).await;
    let chosen = hall.decision(&tenant, review, seen, json!({"room": "11"}), at(2));
    assert_eq!(verdicts(&world.push(&mut hall, &[chosen]).await.unwrap()), [(Verdict::Applied, None)]);
    assert_eq!(room(&world, &tenant).await.as_deref(), Some("11"));
    assert!(open_reviews(&world, &tenant).await.is_empty());
    let closed = world
        .store
        .facility(&tenant.facility)
        .reviews(&may_read(&tenant), Some(false), None, 1_000)
        .await
        .unwrap()
        .items;
    assert!(values(&closed[0]).contains(&("11".to_owned(), true)));
    assert_eq!(closed[0].resolved.map(|resolved| resolved.by), Some(tenant.nurse));
}

/// In whatever order they come: what was chosen stands, and what its author had not seen is asked about.
#[tokio::test]
async fn a_decision_closes_no_more_than_its_author_had_seen() {
    for is_first in [false, true] {
        let (world, tenant, [mut hall, mut ward]) = World::with_kiosks().await;
        let mut wing = world.kiosk(&tenant, 3).await;
        let saw = head(&world, &tenant).await;
        world.pass(3600);
        let at = |minutes: i64| world.now().plus_millis(minutes * 60_000);
        let edit = |kiosk: &Kiosk, fields: Value, minutes: i64| {
            kiosk.edit(&tenant, tenant.patient, saw, fields, at(minutes))
        };
        for (kiosk, name) in [(&mut hall, "Ada One"), (&mut ward, "Ada Two")] {
            let change = edit(kiosk, json!({"name": name}), -9);
            world.push(kiosk, &[change]).await.unwrap();
        }
        let (review, shown) = (open_reviews(&world, &tenant).await[0].id, head(&world, &tenant).await);
        let chosen = hall.decision(&tenant, review, shown, json!({"name": "Ada One"}), at(-3));
        // Of one field a value that does not stand, of another two.
        let other = edit(&ward, json!({"room": "11"}), -6);
        let older = edit(&wing, json!({"room": "22", "name": "Ada Old"}), -20);
        let mut order = [(&mut ward, other), (&mut wing, older), (&mut hall, chosen)];
        order.rotate_right(usize::from(is_first));
        let mut came = Vec::new();
        for (kiosk, change) in order {
            came.extend(verdicts(&world.push(kiosk, &[change]).await.unwrap()));
        }
        let (applied, merged) = ((Verdict::Applied, None), (Verdict::Merged, None));
        assert_eq!(came, if is_first { [applied, applied, merged] } else { [applied, merged, merged] });

        let asked = open_reviews(&world, &tenant).await;
        assert_eq!(asked.len(), 1, "{asked:?}");
        for (field, value) in [("room", "11"), ("room", "22"), ("name", "Ada Old")] {
            let disputed = asked[0].fields.iter().find(|it| it.field == field).unwrap();
            assert!(disputed.values.iter().any(|saved| saved.value == value), "{is_first}: {asked:?}");
        }
        let patient = world.store.organization(&tenant.organization).patient(tenant.patient).await.unwrap();
        assert_eq!(patient.name, "Ada One", "{is_first}");
        let all = json!({"name": "Ada One", "room": "22"});
        let chosen = hall.decision(&tenant, asked[0].id, head(&world, &tenant).await, all, at(-1));
        assert_eq!(verdicts(&world.push(&mut hall, &[chosen]).await.unwrap()), [applied]);
        assert_eq!(open_reviews(&world, &tenant).await, []);
    }
}

#[tokio::test]
async fn a_field_that_is_in_no_column_of_its_own_is_kept_merged_and_mirrored_as_the_others() {
    let (world, tenant, [mut hall, mut ward]) = World::with_kiosks().await;
    let registry = world.store.organization(&tenant.organization);
    let number = async || registry.patient(tenant.patient).await.unwrap().document.medicare;
    let saw = head(&world, &tenant).await;
    world.pass(3600);
    let at = |minutes: i64| world.now().plus_millis(minutes * 60_000);
    let edit = |kiosk: &Kiosk, medicare: Value, at| {
        kiosk.edit(&tenant, tenant.patient, saw, json!({"medicare": medicare}), at)
    };
    let wrong = edit(&hall, json!("1EG4"), at(-9));
    let rejected = (Verdict::Rejected, Some(RejectionCode::BreaksSchema));
    assert_eq!(verdicts(&world.push(&mut hall, &[wrong]).await.unwrap()), [rejected]);
    let one = edit(&hall, json!("1eg4te5mk73"), at(-9));
    assert_eq!(verdicts(&world.push(&mut hall, &[one]).await.unwrap()), [(Verdict::Applied, None)]);
    assert_eq!(number().await.as_deref(), Some("1EG4-TE5-MK73"));
    let other = edit(&ward, json!("1EG4-TE5-MK72"), at(-5));
    assert_eq!(verdicts(&world.push(&mut ward, &[other]).await.unwrap()), [(Verdict::Merged, None)]);
    let reviews = open_reviews(&world, &tenant).await;
    assert_eq!(reviews[0].fields[0].field, "medicare");
    assert_eq!(values(&reviews[0]), told(&[("1EG4-TE5-MK73", false), ("1EG4-TE5-MK72", true)]));
    let moved = object(json!({"room": "30"}));
    registry.audited(event(&world)).update_patient(tenant.patient, moved).await.unwrap();
    assert_eq!(number().await.as_deref(), Some("1EG4-TE5-MK72"), "a save of others leaves it");
    let page = world.store.facility(&tenant.facility).page(after(None, 2_000)).await.unwrap();
    assert!(String::from_utf8(page.lines).unwrap().contains(r#""medicare":"1EG4-TE5-MK72""#));
    let none = object(json!({"medicare": null}));
    registry.audited(event(&world)).update_patient(tenant.patient, none).await.unwrap();
    assert_eq!(number().await, None);
}

#[tokio::test]
async fn who_claims_to_have_seen_what_is_not_there_yet_has_seen_nothing_also_when_it_is_judged_again() {
    let (world, tenant, [mut hall, mut ward]) = World::with_kiosks().await;
    let (now, saw) = (world.now(), head(&world, &tenant).await);
    let bea = hall.admission(&tenant, json!({"name": "Bea Example", "room": "10"}), now);
    let made = PatientId::from_bytes(*hall.made(1, now).as_bytes());
    // It is about somebody who is not there yet, and claims to know the room that the office will choose.
    let early = ward.edit(&tenant, made, saw + 2, json!({"room": "666"}), now.plus_millis(60_000));
    let receipt = world.push(&mut ward, &[early]).await.unwrap();
    assert_eq!(verdicts(&receipt), [(Verdict::Rejected, Some(RejectionCode::UnknownTarget))]);
    world.push(&mut hall, &[bea]).await.unwrap();
    let patch = object(json!({"room": "20"}));
    let registry = world.store.organization(&tenant.organization);
    registry.audited(event(&world)).update_patient(made, patch).await.unwrap();
    assert_eq!(head(&world, &tenant).await, saw + 2);
    registry.audited(event(&world)).retry_change(ward.identity.device(), ward.named(1)).await.unwrap();
    let reviews = open_reviews(&world, &tenant).await;
    assert_eq!(reviews.len(), 1, "the office's room is not overwritten unseen: {reviews:?}");
    let kept: Vec<_> = values(&reviews[0]).into_iter().map(|(value, _)| value).collect();
    assert!(kept.contains(&"20".to_owned()) && kept.contains(&"666".to_owned()), "{kept:?}");
}

#[tokio::test]
async fn a_clock_at_2099_does_not_win_over_who_knew_the_time() {
    let (world, tenant, [mut hall, mut ward]) = World::with_kiosks().await;
    let saw = head(&world, &tenant).await;
    world.pass(600);
    let far: Timestamp = "2099-01-01T00:00:00Z".parse().unwrap();
    let absurd = Change {
        clock_quality: ClockQuality::Unset,
        ..hall.edit(&tenant, tenant.patient, saw, json!({"room": "10"}), far)
    };
    let sane = ward.edit(&tenant, tenant.patient, saw, json!({"room": "22"}), world.now());
    world.push(&mut hall, &[absurd]).await.unwrap();
    world.push(&mut ward, &[sane]).await.unwrap();
    assert_eq!(room(&world, &tenant).await.as_deref(), Some("22"));
    assert_eq!(values(&open_reviews(&world, &tenant).await[0]), told(&[("10", false), ("22", true)]));
}

/// Numbers that look random and come again with the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Plays the same edits of three kiosks, each in its own order, in one interleaving; gives the resident
/// at the end.
async fn play(edits: &[Vec<(&'static str, String, i64, ClockQuality)>], dice: &mut Dice) -> Patient {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let mut kiosks = Vec::new();
    for n in 0..edits.len() {
        kiosks.push(world.kiosk(&tenant, u8::try_from(n).unwrap() + 1).await);
    }
    let saw = head(&world, &tenant).await;
    world.pass(3600);
    let mut left: Vec<&[_]> = edits.iter().map(Vec::as_slice).collect();
    while left.iter().any(|own| !own.is_empty()) {
        let who = usize::try_from(dice.below(left.len() as u64)).unwrap();
        let count = usize::try_from(dice.below(3)).unwrap().min(left[who].len());
        let (now, later) = left[who].split_at(count);
        left[who] = later;
        let changes: Vec<Change> = now
            .iter()
            .map(|(field, value, second, clock_quality)| Change {
                clock_quality: *clock_quality,
                ..kiosks[who].edit(
                    &tenant,
                    tenant.patient,
                    saw,
                    json!({*field: value}),
                    Timestamp::from_millis(START + second * 1_000),
                )
            })
            .collect();
        let receipt = world.push(&mut kiosks[who], &changes).await.unwrap();
        assert!(verdicts(&receipt).iter().all(|(_, rejected)| rejected.is_none()), "{receipt:?}");
    }
    world.store.organization(&tenant.organization).patient(tenant.patient).await.unwrap()
}

#[tokio::test]
async fn whatever_the_order_of_arrival_the_same_values_stand() {
    for seed in 1..=6_u64 {
        let mut dice = Dice(seed);
        let mut edits: Vec<Vec<(&'static str, String, i64, ClockQuality)>> = Vec::new();
        for kiosk in 0..3 {
            let count = 1 + dice.below(4);
            let own = (0..count).map(|n| {
                let field = if dice.below(2) == 0 { "room" } else { "name" };
                let clock = if dice.below(4) == 0 { ClockQuality::Unset } else { ClockQuality::Synced };
                (field, format!("Bed {kiosk}-{n}"), i64::try_from(dice.below(3000)).unwrap(), clock)
            });
            edits.push(own.collect());
        }
        let told = |it: Patient| it.values();
        let first = told(play(&edits, &mut dice).await);
        for _ in 0..3 {
            assert_eq!(told(play(&edits, &mut dice).await), first, "seed {seed}: {edits:?}");
        }
    }
}
