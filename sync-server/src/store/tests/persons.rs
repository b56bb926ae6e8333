//! Residents who may be one person: admitted twice, linked, made one and parted again, and whose number is whose.

use carepost_protocol::record::{PatientDocument, ReviewKind};

use super::merging::{head, open_reviews};
use super::*;

#[tokio::test]
async fn one_resident_admitted_on_two_kiosks_is_kept_twice_and_linked() {
    let (world, tenant, [mut hall, mut ward]) = World::with_kiosks().await;
    let now = world.now();
    let bea = |mrn: &str| json!({"name": "Bea Example", "mrn": mrn, "date_of_birth": "1941-03-15"});
    let first = hall.admission(&tenant, bea("MRN-7"), now);
    let second = ward.admission(&tenant, bea("MRN-7"), now);
    let other = ward.admission(&tenant, json!({"name": "Bea Example", "date_of_birth": "1950-01-01"}), now);
    assert_eq!(verdicts(&world.push(&mut hall, &[first]).await.unwrap()), [(Verdict::Applied, None)]);
    let receipt = world.push(&mut ward, &[second, other]).await.unwrap();
    assert_eq!(verdicts(&receipt), [(Verdict::Merged, None), (Verdict::Applied, None)]);
    let reviews = open_reviews(&world, &tenant).await;
    assert_eq!((reviews.len(), reviews[0].kind), (1, ReviewKind::Duplicate));
    assert_eq!((reviews[0].record, &reviews[0].others), (ward.made(1, now), &vec![hall.made(1, now)]));
    let registry = world.store.organization(&tenant.organization);
    assert_eq!(registry.all_patients().await.unwrap().len(), 4);
    let vague = hall.decision(&tenant, reviews[0].id, 99, json!({"same_person": "perhaps"}), now);
    let receipt = world.push(&mut hall, &[vague]).await.unwrap();
    assert_eq!(verdicts(&receipt), [(Verdict::Rejected, Some(RejectionCode::BreaksSchema))]);
    // They are two, and have one number: somebody has to look until one of them has it.
    let (applied, merged) = ((Verdict::Applied, None), (Verdict::Merged, None));
    let two = || json!({"same_person": false});
    let decided = hall.decision(&tenant, reviews[0].id, head(&world, &tenant).await, two(), now);
    assert_eq!(verdicts(&world.push(&mut hall, &[decided]).await.unwrap()), [merged]);
    assert_eq!(open_reviews(&world, &tenant).await, reviews);
    // The office gives the second her own number, which is unique from then on.
    let patch = |mrn: &str| object(json!({"mrn": mrn}));
    let second = PatientId::from(ward.made(1, now));
    registry.audited(event(&world)).update_patient(second, patch("MRN-8")).await.unwrap();
    let decided = hall.decision(&tenant, reviews[0].id, head(&world, &tenant).await, two(), now);
    assert_eq!(verdicts(&world.push(&mut hall, &[decided]).await.unwrap()), [applied]);
    assert!(open_reviews(&world, &tenant).await.is_empty());
    // An edit on a device that takes the first's is held against her in the same way.
    let saw = head(&world, &tenant).await;
    let taken = ward.edit(&tenant, second, saw, json!({"mrn": "mrn-7"}), now);
    assert_eq!(verdicts(&world.push(&mut ward, &[taken]).await.unwrap()), [merged]);
    let asked = open_reviews(&world, &tenant).await;
    assert_eq!((asked.len(), &asked[0].others), (1, &vec![hall.made(1, now)]));
    let decided = hall.decision(&tenant, asked[0].id, head(&world, &tenant).await, two(), now);
    assert_eq!(verdicts(&world.push(&mut hall, &[decided]).await.unwrap()), [merged]);
    let saw = head(&world, &tenant).await;
    let changes = [
        hall.edit(&tenant, second, saw, json!({"mrn": "MRN-8"}), now),
        hall.decision(&tenant, asked[0].id, saw, two(), now),
    ];
    assert_eq!(verdicts(&world.push(&mut hall, &changes).await.unwrap()), [applied, applied]);
    assert!(open_reviews(&world, &tenant).await.is_empty());
    // However its dash, its width and its digits are typed.
    for same in ["MRN-7", "mrn 7", "MRN–7", "ＭＲＮ－７", "MRN - ٧"] {
        let back = registry.audited(event(&world)).update_patient(second, patch(same)).await;
        let holder = hall.made(1, now).into();
        assert!(matches!(back, Err(StoreError::Admitted(id)) if id == holder), "{same}: {back:?}");
    }
    let third = ward.admission(&tenant, json!({"name": "Cy Example", "mrn": "MRN — 7"}), now);
    let receipt = world.push(&mut ward, &[third]).await.unwrap();
    assert_eq!(verdicts(&receipt), [(Verdict::Merged, None)]);
}

#[tokio::test]
async fn who_was_admitted_twice_becomes_one_with_all_that_was_charted() {
    let (world, tenant, [mut hall, mut ward]) = World::with_kiosks().await;
    let now = world.now();
    let bea = || json!({"name": "Bea Example"});
    let [first, second, third] = [hall.made(1, now), ward.made(1, now), ward.made(2, now)];
    let admitted = hall.admission(&tenant, bea(), now);
    world.push(&mut hall, &[admitted]).await.unwrap();
    let changes = [ward.admission(&tenant, bea(), now), ward.admission(&tenant, bea(), now)];
    world.push(&mut ward, &changes).await.unwrap();
    let reviews = open_reviews(&world, &tenant).await;
    let of = |record: RecordId| reviews.iter().find(|review| review.record == record).unwrap().id;

    // Two whom the review does not ask about, one and the same, and then the two.
    let says = |goes: RecordId, stays: RecordId| json!({"same_person": true, "replaced": goes, "replaced_by": stays});
    let decisions = [(second, tenant.patient.into()), (second, second), (third, first)]
        .map(|(goes, stays)| hall.decision(&tenant, of(second), 99, says(goes, stays), now));
    let receipt = world.push(&mut hall, &decisions).await.unwrap();
    let unknown = (Verdict::Rejected, Some(RejectionCode::UnknownTarget));
    assert_eq!(verdicts(&receipt), [unknown; 3]);
    let joined = hall.decision(&tenant, of(second), head(&world, &tenant).await, says(second, first), now);
    assert_eq!(verdicts(&world.push(&mut hall, &[joined]).await.unwrap()), [(Verdict::Applied, None)]);
    let registry = world.store.organization(&tenant.organization);
    let patient = async |id: RecordId| registry.patient(id.into()).await.unwrap();
    let gone = patient(second).await;
    assert_eq!((gone.is_active, gone.replaced_by), (false, Some(first.into())));
    assert_eq!((patient(first).await.is_active, patient(first).await.replaced_by), (true, None));

    // The third is the second: so it is the first, and who was discharged does not stay.
    let leaves = hall.edit(&tenant, first.into(), 99, json!({"is_active": false}), now);
    let joined = hall.decision(&tenant, of(third), head(&world, &tenant).await, says(third, second), now);
    let receipt = world.push(&mut hall, &[leaves, joined]).await.unwrap();
    assert!(verdicts(&receipt).iter().all(|(verdict, _)| *verdict == Verdict::Applied), "{receipt:?}");
    let one = Some(PatientId::from(third));
    let chain = (patient(second).await.replaced_by, patient(first).await.replaced_by);
    assert_eq!(chain, (Some(first.into()), one), "each says whose place was taken by whom");
    assert!(patient(third).await.is_active && open_reviews(&world, &tenant).await.is_empty());
    let page = world.store.facility(&tenant.facility).page(after(None, 2_000)).await.unwrap();
    let said = String::from_utf8(page.lines).unwrap();
    let last = said.lines().rfind(|line| line.contains(&format!("\"id\":\"{third}\""))).unwrap();
    for id in [first, second] {
        assert!(last.contains("\"replaces\"") && last.contains(&id.to_string()), "{last}");
    }
    // Nobody is asked about one who was replaced, and an agent of before says nothing but that it is so.
    let again = hall.admission(&tenant, bea(), now);
    let made = hall.made(8, now);
    world.push(&mut hall, &[again]).await.unwrap();
    let reviews = open_reviews(&world, &tenant).await;
    assert_eq!((reviews.len(), &reviews[0].others), (1, &vec![third]));
    let older =
        hall.decision(&tenant, reviews[0].id, head(&world, &tenant).await, json!({"same_person": true}), now);
    assert_eq!(verdicts(&world.push(&mut hall, &[older]).await.unwrap()), [(Verdict::Applied, None)]);
    assert_eq!(patient(made).await.replaced_by, one);
    // They were two after all: the office says so.
    let back = object(json!({"is_active": true}));
    registry.audited(event(&world)).update_patient(second.into(), back).await.unwrap();
    assert_eq!(patient(second).await.replaced_by, None);
    let page = world.store.facility(&tenant.facility).page(after(None, 2_000)).await.unwrap();
    let said = String::from_utf8(page.lines).unwrap();
    let last = said.lines().rfind(|line| line.contains(&format!("\"id\":\"{third}\""))).unwrap();
    assert!(last.contains(&first.to_string()) && !last.contains(&second.to_string()), "{last}");
}

/// What was seen is decided; whom somebody may be besides is asked on.
#[tokio::test]
async fn a_decision_about_two_closes_no_question_about_a_third_that_its_author_was_not_asked() {
    for is_same in [false, true] {
        let (world, tenant, [mut hall, mut ward]) = World::with_kiosks().await;
        let now = world.now();
        let [first, third, second] = [hall.made(1, now), hall.made(2, now), ward.made(1, now)];
        let named = |kiosk: &Kiosk, name: &str| kiosk.admission(&tenant, json!({"name": name}), now);
        let known = ["Bea Example", "Cy Other"].map(|name| named(&hall, name));
        world.push(&mut hall, &known).await.unwrap();
        let again = named(&ward, "Bea Example");
        world.push(&mut ward, &[again]).await.unwrap();
        let (review, saw) = (open_reviews(&world, &tenant).await[0].id, head(&world, &tenant).await);
        let renamed = ward.edit(&tenant, second.into(), saw, json!({"name": "Cy Other"}), now);
        world.push(&mut ward, &[renamed]).await.unwrap();

        let decided = hall.decision(&tenant, review, saw, json!({"same_person": is_same}), now);
        assert_eq!(verdicts(&world.push(&mut hall, &[decided]).await.unwrap()), [(Verdict::Merged, None)]);
        let asked = open_reviews(&world, &tenant).await;
        assert_eq!((asked.len(), asked[0].id, &asked[0].others), (1, review, &vec![first, third]));
        let replaced = document(&world, &tenant, second).await.replaced_by;
        assert_eq!(replaced, is_same.then_some(first.into()));
        let two = json!({"same_person": false});
        let seen = hall.decision(&tenant, review, head(&world, &tenant).await, two, now);
        assert_eq!(verdicts(&world.push(&mut hall, &[seen]).await.unwrap()), [(Verdict::Applied, None)]);
        assert_eq!(open_reviews(&world, &tenant).await, []);
    }
}

/// What the feed says last of a resident.
async fn document(world: &World, tenant: &Tenant, id: RecordId) -> PatientDocument {
    let page = world.store.facility(&tenant.facility).page(after(None, 2_000)).await.unwrap();
    let said = String::from_utf8(page.lines).unwrap();
    let line = said.lines().rfind(|line| line.contains(&format!("\"body\":{{\"id\":\"{id}\""))).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    serde_json::from_value(line["body"].clone()).unwrap()
}

/// Three of one name, of whom the second became the first, and then the first the third.
async fn three_who_became_one(world: &World, tenant: &Tenant) -> (Kiosk, [RecordId; 3]) {
    let mut hall = world.kiosk(tenant, 1).await;
    let now = world.now();
    let ids = [1, 2, 3].map(|n| hall.made(n, now));
    let bea = |mrn: &str| hall.admission(tenant, json!({"name": "Bea Example", "mrn": mrn}), now);
    let admitted = [bea("GY-1"), bea("GY-2"), bea("GY-3")];
    world.push(&mut hall, &admitted).await.unwrap();
    let reviews = open_reviews(world, tenant).await;
    for (asked, goes, stays) in [(ids[1], ids[1], ids[0]), (ids[2], ids[0], ids[2])] {
        let review = reviews.iter().find(|review| review.record == asked).unwrap().id;
        let says = json!({"same_person": true, "replaced": goes, "replaced_by": stays});
        let joined = hall.decision(tenant, review, head(world, tenant).await, says, now);
        assert_eq!(verdicts(&world.push(&mut hall, &[joined]).await.unwrap()), [(Verdict::Applied, None)]);
    }
    (hall, ids)
}

#[tokio::test]
async fn whoever_is_parted_takes_along_whose_place_they_had_taken() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let (_, [first, second, third]) = three_who_became_one(&world, &tenant).await;
    let replaces = async |id| document(&world, &tenant, id).await.replaces;
    assert_eq!(replaces(third).await, [first.into(), second.into()]);
    let back = object(json!({"is_active": true}));
    let registry = world.store.organization(&tenant.organization);
    registry.audited(event(&world)).update_patient(first.into(), back.clone()).await.unwrap();
    assert_eq!((replaces(third).await, replaces(first).await), (vec![], vec![second.into()]));
    assert_eq!(document(&world, &tenant, second).await.replaced_by, Some(first.into()));
    registry.audited(event(&world)).update_patient(second.into(), back).await.unwrap();
    assert_eq!(replaces(first).await, []);
    assert!(document(&world, &tenant, second).await.is_active);
}

#[tokio::test]
async fn a_number_of_somebody_whose_place_she_took_can_be_hers() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let (_, [first, second, third]) = three_who_became_one(&world, &tenant).await;
    let registry = world.store.organization(&tenant.organization);
    let change =
        async |id: RecordId, patch| registry.audited(event(&world)).update_patient(id.into(), patch).await;
    let numbered = |mrn: &str| object(json!({"mrn": mrn}));
    let taken = change(tenant.patient.into(), numbered("GY-1")).await;
    assert!(matches!(taken, Err(StoreError::Admitted(id)) if id == third.into()), "nobody else's: {taken:?}");
    assert_eq!(change(third, numbered("gy-1")).await.unwrap().mrn, "gy-1");
    let taken = change(tenant.patient.into(), numbered("GY-1")).await;
    assert!(
        matches!(taken, Err(StoreError::Admitted(id)) if id == third.into()),
        "still nobody else's: {taken:?}"
    );
    // Whoever is a person of their own again has what nobody else has.
    let back = object(json!({"is_active": true}));
    change(second, back.clone()).await.unwrap();
    let taken = change(third, numbered("GY-2")).await;
    assert!(matches!(taken, Err(StoreError::Admitted(id)) if id == second.into()), "{taken:?}");
    assert_eq!(open_reviews(&world, &tenant).await, []);
    assert_eq!(change(first, back).await.unwrap().mrn, "GY-1");
    let asked = open_reviews(&world, &tenant).await;
    assert_eq!((asked.len(), asked[0].record, &asked[0].others), (1, first, &vec![third]), "whose it is now");
    assert_eq!(change(third, numbered("GY-3")).await.unwrap().mrn, "GY-3");
}

#[tokio::test]
async fn a_number_of_somebody_who_was_replaced_keeps_no_review_open() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let (mut hall, [_, _, third]) = three_who_became_one(&world, &tenant).await;
    let now = world.now();
    let cy = hall.admission(&tenant, json!({"name": "Cy Example", "mrn": "GY-1"}), now);
    assert_eq!(verdicts(&world.push(&mut hall, &[cy]).await.unwrap()), [(Verdict::Merged, None)]);
    let asked = open_reviews(&world, &tenant).await;
    assert_eq!((asked.len(), &asked[0].others), (1, &vec![third]));
    let two =
        hall.decision(&tenant, asked[0].id, head(&world, &tenant).await, json!({"same_person": false}), now);
    assert_eq!(verdicts(&world.push(&mut hall, &[two]).await.unwrap()), [(Verdict::Applied, None)]);
    assert_eq!(open_reviews(&world, &tenant).await, []);
    // Whoever is given it next is not the only one who has it.
    let di = hall.admission(&tenant, json!({"name": "Di Example", "mrn": "GY-1"}), now);
    assert_eq!(verdicts(&world.push(&mut hall, &[di]).await.unwrap()), [(Verdict::Merged, None)]);
    let asked = open_reviews(&world, &tenant).await;
    let two =
        hall.decision(&tenant, asked[0].id, head(&world, &tenant).await, json!({"same_person": false}), now);
    assert_eq!(verdicts(&world.push(&mut hall, &[two]).await.unwrap()), [(Verdict::Merged, None)]);
}

#[tokio::test]
async fn a_number_that_two_who_are_one_had_stays_nobody_elses_when_the_office_edits_her() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let mut hall = world.kiosk(&tenant, 1).await;
    let now = world.now();
    let [first, second] = [1, 2].map(|n| hall.made(n, now));
    let bea = || json!({"name": "Bea Example", "mrn": "GY-1"});
    let admitted = [hall.admission(&tenant, bea(), now), hall.admission(&tenant, bea(), now)];
    world.push(&mut hall, &admitted).await.unwrap();
    let review = open_reviews(&world, &tenant).await[0].id;
    let says = json!({"same_person": true, "replaced": first, "replaced_by": second});
    let joined = hall.decision(&tenant, review, head(&world, &tenant).await, says, now);
    assert_eq!(verdicts(&world.push(&mut hall, &[joined]).await.unwrap()), [(Verdict::Applied, None)]);
    let registry = world.store.organization(&tenant.organization);
    let moved = object(json!({"room": "9"}));
    registry.audited(event(&world)).update_patient(second.into(), moved).await.unwrap();
    let numbered = object(json!({"mrn": "GY-1"}));
    let taken = registry.audited(event(&world)).update_patient(tenant.patient, numbered).await;
    assert!(matches!(taken, Err(StoreError::Admitted(id)) if id == second.into()), "{taken:?}");
}

#[tokio::test]
async fn the_chart_of_who_stays_has_what_was_charted_of_those_who_are_the_same() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let (mut hall, ids) = three_who_became_one(&world, &tenant).await;
    let now = world.now();
    let entry = |of: &RecordId| Change { patient: Some((*of).into()), ..hall.vitals(&tenant, 71, now) };
    let entries: Vec<_> = ids.iter().cycle().take(7).map(entry).collect();
    let made: Vec<_> = (6..13).rev().map(|n| hall.made(n, now)).collect();
    world.push(&mut hall, &entries).await.unwrap();
    let [_, second, third] = ids;
    let permit = may_read(&tenant);
    let facility = world.store.facility(&tenant.facility);
    let (mut read, mut after) = (Vec::new(), None);
    loop {
        let page = facility.records(&permit, third.into(), after.take(), 2).await.unwrap();
        assert!(page.items.len() <= 2, "{page:?}");
        read.extend(page.items.iter().map(|record| record.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(read, made, "each once, the latest first");
    let own = facility.records(&permit, second.into(), None, 20).await.unwrap();
    assert_eq!(own.items.len(), 2, "of whoever does not stay, what was charted as of them");
}

#[tokio::test]
async fn who_was_merged_away_is_recognized_as_whoever_they_are_now() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let (mut hall, [_, _, third]) = three_who_became_one(&world, &tenant).await;
    let registry = world.store.organization(&tenant.organization);
    let named = object(json!({"name": "Bea Married"}));
    registry.audited(event(&world)).update_patient(third.into(), named).await.unwrap();
    let now = world.now();
    let numbered = hall.admission(&tenant, json!({"name": "B. E.", "mrn": "GY-2"}), now);
    let namesake = hall.admission(&tenant, json!({"name": "Bea Example"}), now);
    let made = [hall.made(6, now), hall.made(7, now)];
    // Her earlier number for herself asks nobody.
    let own = hall.edit(&tenant, third.into(), head(&world, &tenant).await, json!({"mrn": "GY-1"}), now);
    let receipt = world.push(&mut hall, &[numbered, namesake, own]).await.unwrap();
    let (merged, applied) = ((Verdict::Merged, None), (Verdict::Applied, None));
    assert_eq!(verdicts(&receipt), [merged, merged, applied]);
    for id in made {
        let reviews = open_reviews(&world, &tenant).await;
        let asked = reviews.iter().find(|review| review.record == id).unwrap();
        assert_eq!(asked.others, [third], "she is asked about once, as she is now");
    }
}

#[tokio::test]
async fn who_is_readmitted_by_somebody_who_missed_the_join_is_in_care_as_whoever_they_are_now() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let mut ward = world.kiosk(&tenant, 2).await;
    let (mut hall, [first, _, third]) = three_who_became_one(&world, &tenant).await;
    let now = world.now();
    let patient = async |id: RecordId| {
        let found = world.store.organization(&tenant.organization).patient(id.into()).await.unwrap();
        (found.is_active, found.document.room)
    };
    let saw = head(&world, &tenant).await;
    world.pass(3_600);
    let readmits = |room: &str, minutes: i64| {
        let at = now.plus_millis(minutes * 60_000);
        ward.edit(&tenant, first.into(), saw, json!({"is_active": true, "room": room}), at)
    };
    let changes = [readmits("7", 1), readmits("8", 2)];
    let (applied, merged) = ((Verdict::Applied, None), (Verdict::Merged, None));
    assert_eq!(verdicts(&world.push(&mut ward, &changes[..1]).await.unwrap()), [applied]);
    assert_eq!((patient(first).await.0, patient(third).await), (false, (true, None)));
    let leaves =
        hall.edit(&tenant, third.into(), head(&world, &tenant).await, json!({"is_active": false}), now);
    world.push(&mut hall, &[leaves]).await.unwrap();
    assert!(!patient(third).await.0);
    assert_eq!(
        verdicts(&world.push(&mut ward, &changes[1..]).await.unwrap()),
        [merged],
        "she had left since"
    );
    assert_eq!((patient(first).await.0, patient(third).await), (false, (true, Some("8".to_owned()))));
    let flagged = world.store.facility(&tenant.facility).flagged_changes(&may_read(&tenant), None, 100).await;
    let flagged = flagged.unwrap().items;
    assert!(flagged.len() == 2 && flagged.iter().all(|change| change.flags == ["replaced"]), "{flagged:?}");
}

#[tokio::test]
async fn the_office_is_told_who_may_be_readmitted_under_the_number_of_somebody_merged_away() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let (_, [_, _, third]) = three_who_became_one(&world, &tenant).await;
    let registry = world.store.organization(&tenant.organization);
    let facility = registry.patient(third.into()).await.unwrap().facility_id;
    let admitted =
        async || registry.audited(event(&world)).create_patient(new_patient(facility, "GY-1")).await;
    let taken = admitted().await;
    assert!(
        matches!(taken, Err(StoreError::Admitted(id)) if id == third.into()),
        "she is in care: {taken:?}"
    );
    let leaves = object(json!({"is_active": false}));
    registry.audited(event(&world)).update_patient(third.into(), leaves).await.unwrap();
    let taken = admitted().await;
    assert!(matches!(taken, Err(StoreError::Admitted(id)) if id == third.into()), "{taken:?}");
}

#[tokio::test]
async fn an_mrn_of_another_facility_admits_and_reveals_nothing() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let registry = world.store.organization(&tenant.organization);
    let hilltop = registry.audited(event(&world)).create_facility(new_facility("Hilltop")).await.unwrap().id;
    let mut secret = new_patient(hilltop, "MRN-9");
    secret.fields.extend(object(json!({"name": "Zoe Hidden"})));
    registry.audited(event(&world)).create_patient(secret).await.unwrap();
    let mut kiosk = world.kiosk(&tenant, 1).await;
    let (now, saw) = (world.now(), head(&world, &tenant).await);
    let changes = [
        kiosk.admission(&tenant, json!({"name": "Bea Example", "mrn": "MRN-9"}), now),
        kiosk.edit(&tenant, tenant.patient, saw, json!({"mrn": "MRN-9"}), now),
    ];
    let receipt = world.push(&mut kiosk, &changes).await.unwrap();
    let applied = (Verdict::Applied, None);
    assert_eq!(verdicts(&receipt), [applied, (Verdict::Merged, None)], "within the facility it shows");
    let page = world.store.facility(&tenant.facility).page(after(None, 2_000)).await.unwrap();
    let said =
        format!("{} {}", String::from_utf8(page.lines).unwrap(), serde_json::to_string(&receipt).unwrap());
    assert!(!said.contains("Hidden") && !said.contains("mrn_taken"), "{said}");
    let reviews = open_reviews(&world, &tenant).await;
    assert_eq!(reviews.len(), 1);
    assert_eq!(reviews[0].others, [kiosk.made(1, now)]);
    let flagged = world.store.facility(&tenant.facility).flagged_changes(&may_read(&tenant), None, 100).await;
    assert_eq!(flagged.unwrap().items[0].flags, ["mrn_taken"]);
}

#[tokio::test]
async fn whoever_looks_like_somebody_here_has_a_number_of_their_own() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let registry = world.store.organization(&tenant.organization);
    let hilltop = registry.audited(event(&world)).create_facility(new_facility("Hilltop")).await.unwrap().id;
    let admit =
        async |mrn: &str| registry.audited(event(&world)).create_patient(new_patient(hilltop, mrn)).await;
    admit("MRN-9").await.unwrap();
    let mut kiosk = world.kiosk(&tenant, 1).await;
    let now = world.now();
    let changes = ["MRN-8", "MRN-9", "MRN-10"]
        .map(|mrn| kiosk.admission(&tenant, json!({"name": "Bea Example", "mrn": mrn}), now));
    let receipt = world.push(&mut kiosk, &changes).await.unwrap();
    let (applied, merged) = ((Verdict::Applied, None), (Verdict::Merged, None));
    assert_eq!(verdicts(&receipt), [applied, merged, merged]);
    let flagged = world.store.facility(&tenant.facility).flagged_changes(&may_read(&tenant), None, 100).await;
    let flagged: Vec<_> = flagged.unwrap().items.into_iter().map(|it| (it.n, it.flags)).collect();
    assert_eq!(flagged, [(2, vec!["mrn_taken".to_owned()])], "it is the other facility's");
    let (taken, third) = (admit("MRN-10").await, kiosk.made(3, now).into());
    assert!(matches!(taken, Err(StoreError::Admitted(id)) if id == third), "{taken:?}");
}

#[tokio::test]
async fn what_an_earlier_agent_took_for_a_number_is_none_and_holds_nothing_up() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    let (now, saw) = (world.now(), head(&world, &tenant).await);
    let changes = [
        kiosk.admission(&tenant, json!({"name": "Bea Example", "mrn": "n/a"}), now),
        kiosk.admission(&tenant, json!({"name": "Cy Other", "mrn": "N.A."}), now),
        kiosk.edit(&tenant, tenant.patient, saw, json!({"mrn": "unknown"}), now),
    ];
    let receipt = world.push(&mut kiosk, &changes).await.unwrap();
    assert_eq!(verdicts(&receipt), [(Verdict::Applied, None); 3]);
    let patients = world.store.organization(&tenant.organization).all_patients().await.unwrap();
    for patient in patients {
        // Who had a number keeps it.
        assert_eq!(patient.mrn.is_empty(), patient.id != tenant.patient, "{patient:?}");
    }
    assert!(open_reviews(&world, &tenant).await.is_empty());
}
