//! Who may be somebody who is here already, and whose number somebody has.

use carepost_protocol::record::{MAX_COUNTED, ReviewKind};

use super::merging::open_reviews;
use super::*;
use crate::store::engine::params;
use crate::store::rules::feed_writer::FeedEnd;
use crate::store::rules::review::About;

const APPLIED: (Verdict, Option<RejectionCode>) = (Verdict::Applied, None);
const MERGED: (Verdict, Option<RejectionCode>) = (Verdict::Merged, None);

#[tokio::test]
async fn whom_a_kiosk_would_ask_about_a_review_asks_about() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let mut hall = world.kiosk(&tenant, 1).await;
    let now = world.now();
    let admit = |name: &str, born: &str, room: &str| {
        let some = |text: &str| Some(text).filter(|text| !text.is_empty()).map(str::to_owned);
        let fields = json!({"name": name, "date_of_birth": some(born), "room": some(room)});
        hall.admission(&tenant, fields, now)
    };
    let first = admit("Bea Example", "1941-03-04", "12");
    let others = [
        (admit("EXAMPLE, Béa", "1941", ""), MERGED),
        (admit("Bea Example", "1941-04-03", ""), MERGED),
        (admit("Bea Exampel", "1941-03-04", ""), MERGED),
        (admit("Cy Other", "1941-03-04", "12"), MERGED),
        (admit("Dee Exampel", "1941-04-03", ""), APPLIED),
        (admit("Bea Exampel", "1941-04-03", ""), MERGED),
        (admit("Bee Example", "", " 12"), MERGED),
        (admit("Bew Example", "", ""), APPLIED),
        (admit("Bea Examples", "1941-05-06", ""), APPLIED),
        (admit("Bea Example", "1950", ""), APPLIED),
    ];
    assert_eq!(verdicts(&world.push(&mut hall, &[first]).await.unwrap()), [APPLIED]);
    for (change, verdict) in others {
        assert_eq!(
            verdicts(&world.push(&mut hall, std::slice::from_ref(&change)).await.unwrap()),
            [verdict],
            "{change:?}"
        );
    }
}

#[tokio::test]
async fn who_was_said_to_be_another_is_not_asked_about_again_and_whom_an_edit_makes_alike_is() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let (mut hall, now) = (world.kiosk(&tenant, 1).await, world.now());
    let [first, second, third, numbered, fifth] = [1, 2, 3, 4, 5].map(|n| hall.made(n, now));
    let bea = || json!({"name": "Bea Example"});
    let of_number = || json!({"name": "Bea Example", "medicare": "1EG4-TE5-MK73"});
    let another = |fields: Value, than: &[RecordId]| {
        let confirmed = than.iter().map(|id| Change::another((*id).into())).collect();
        Change { confirmed, ..hall.admission(&tenant, fields, now) }
    };
    let changes = [
        another(of_number(), &[]),
        another(bea(), &[first]),
        // One of them she was not shown.
        another(bea(), &[first]),
        another(of_number(), &[first, second, third]),
        another(json!({"name": "Cy Other"}), &[]),
    ];
    let asked = [APPLIED, APPLIED, MERGED, MERGED, APPLIED];
    assert_eq!(verdicts(&world.push(&mut hall, &changes).await.unwrap()), asked);
    let others = async |of: RecordId| {
        let reviews = open_reviews(&world, &tenant).await;
        reviews.into_iter().find(|review| review.record == of).map(|review| review.others)
    };
    assert_eq!(others(third).await, Some(vec![second]));
    assert_eq!(others(numbered).await, Some(vec![first]), "one number is one person's");

    let named = |said: &[RecordId]| {
        let confirmed = said.iter().map(|id| Change::another((*id).into())).collect();
        Change { confirmed, ..hall.edit(&tenant, fifth.into(), 99, bea(), now.plus_millis(1)) }
    };
    let edit = named(&[first, second, third]);
    assert_eq!(verdicts(&world.push(&mut hall, &[edit]).await.unwrap()), [MERGED]);
    assert_eq!(others(fifth).await, Some(vec![numbered]), "who is not named is asked about");
    let moved = hall.edit(&tenant, fifth.into(), 99, json!({"room": "7"}), now.plus_millis(2));
    assert_eq!(verdicts(&world.push(&mut hall, &[moved]).await.unwrap()), [APPLIED], "nothing new");
}

#[tokio::test]
async fn whom_the_office_was_not_shown_a_review_asks_about() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let registry = world.store.organization(&tenant.organization);
    let admit = async |name: &str, shown: &[PatientId]| {
        let new = testing::patient(tenant.facility.facility(), [("name", name)]);
        let audited = registry.audited(event(&world)).another_than(shown.iter().copied().collect());
        audited.create_patient(new).await.unwrap().id
    };
    let first = admit("Bea Example", &[]).await;
    let second = admit("Bea Example", &[first]).await;
    let third = admit("Bea Example", &[first]).await;
    let fourth = admit("Cy Other", &[]).await;
    let renamed = registry.audited(event(&world)).another_than([first, second].into());
    renamed.update_patient(fourth, object(json!({"name": "Bea Example"}))).await.unwrap();
    let asked = open_reviews(&world, &tenant).await;
    let asked: Vec<_> = asked.into_iter().map(|review| (review.patient_id, review.others)).collect();
    for expected in [(third, vec![second.into()]), (fourth, vec![third.into()])] {
        assert!(asked.contains(&expected), "{asked:?}");
    }
    assert_eq!(asked.len(), 2);
}

#[tokio::test]
async fn of_one_medicare_number_a_review_asks_until_one_of_two_has_it_no_more() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let (mut hall, now) = (world.kiosk(&tenant, 1).await, world.now());
    let number = "1EG4-TE5-MK73";
    let with = |name: &str| json!({"name": name, "medicare": number});
    let changes =
        [hall.admission(&tenant, with("Bea One"), now), hall.admission(&tenant, with("Cy Two"), now)];
    assert_eq!(verdicts(&world.push(&mut hall, &changes).await.unwrap()), [APPLIED, MERGED]);
    let review = open_reviews(&world, &tenant).await.pop().unwrap();
    assert_eq!((review.record, &review.others[..]), (hall.made(2, now), &[hall.made(1, now)][..]));
    // That they are two does not settle whose it is.
    let head = async || world.store.facility(&tenant.facility).page(after(None, 0)).await.unwrap().end.head;
    let two = async |hall: &Kiosk| {
        hall.decision(&tenant, review.id, head().await, json!({"same_person": false}), now.plus_millis(1))
    };
    let decision = two(&hall).await;
    assert_eq!(verdicts(&world.push(&mut hall, &[decision]).await.unwrap()), [MERGED]);
    assert_eq!(open_reviews(&world, &tenant).await.len(), 1);
    let without = hall.edit(&tenant, hall.made(1, now).into(), head().await, json!({"medicare": null}), now);
    world.push(&mut hall, &[without]).await.unwrap();
    let decision = two(&hall).await;
    assert_eq!(verdicts(&world.push(&mut hall, &[decision]).await.unwrap()), [APPLIED]);
    assert_eq!(open_reviews(&world, &tenant).await, []);
    // An edit that gives it to somebody else opens one again.
    let given = hall.edit(&tenant, tenant.patient, head().await, json!({"medicare": number}), now);
    assert_eq!(verdicts(&world.push(&mut hall, &[given]).await.unwrap()), [MERGED]);
    assert_eq!(open_reviews(&world, &tenant).await.len(), 1);
}

#[tokio::test]
async fn an_unlikely_birthday_that_nobody_confirmed_is_flagged() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let mut hall = world.kiosk(&tenant, 1).await;
    let now = world.now();
    let born = || json!({"name": "Nell Example", "date_of_birth": "2025-03-15"});
    let asked = Change { confirmed: vec!["date_of_birth".into()], ..hall.admission(&tenant, born(), now) };
    let other = json!({"name": "Zoe New", "date_of_birth": "2024-02-01"});
    let edit = json!({"date_of_birth": "2023-01-01"});
    let changes = [
        asked,
        hall.admission(&tenant, other, now),
        hall.edit(&tenant, tenant.patient, 99, edit, now),
        hall.edit(&tenant, hall.made(1, now).into(), 99, json!({"room": "7"}), now),
    ];
    assert_eq!(verdicts(&world.push(&mut hall, &changes).await.unwrap()), [APPLIED; 4], "and all is kept");
    let store = world.store.facility(&tenant.facility);
    let flagged = store.flagged_changes(&may_read(&tenant), None, 100).await.unwrap().items;
    assert!(flagged.iter().all(|change| change.flags == ["implausible"]), "{flagged:?}");
    let numbers: Vec<u64> = flagged.iter().map(|change| change.n).collect();
    assert_eq!(numbers, [3, 2], "the latest first");
}

/// So many residents of one number, admitted at one time: they are in the order of their ids.
async fn of_one_number(world: &World, tenant: &Tenant, count: u64) -> Vec<PatientId> {
    let mut hall = world.kiosk(tenant, 1).await;
    let now = world.now();
    let admit = |n: u64| hall.admission(tenant, json!({"name": format!("Bea {n}"), "mrn": "GY-1"}), now);
    let changes: Vec<Change> = (0..count).map(admit).collect();
    let mut ids: Vec<PatientId> = (1..=count).map(|n| hall.made(n, now).into()).collect();
    ids.sort_unstable();
    world.push(&mut hall, &changes).await.unwrap();
    ids
}

#[tokio::test]
async fn whose_number_it_is_does_not_hang_on_how_many_have_had_it() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let ids = of_one_number(&world, &tenant, MAX_COUNTED + 2).await;
    let access = AccessScope::Facility(tenant.facility);
    let is_anothers = async |id: PatientId| {
        let read = move |tx: &Tx<'_>| patient::is_anothers_number(tx, &patient::find(tx, id)?.unwrap());
        world.store.read(access, read).await.unwrap()
    };
    let take_the_place = async |of: Vec<PatientId>| {
        let by = *tenant.patient.as_bytes();
        let write = move |tx: &Tx<'_>| {
            let sql = "UPDATE patients SET replaced_by = ?2 WHERE id = ?1";
            of.iter().try_for_each(|id| tx.execute(sql, params![id, by]).map(drop))
        };
        world.store.write(access, write).await.unwrap();
    };
    let [most @ .., one, last] = &ids[..] else { panic!("{ids:?}") };
    take_the_place(most.to_vec()).await;
    assert!(is_anothers(*last).await, "after the hundred that are counted comes one who has it");
    take_the_place(vec![*one]).await;
    assert!(!is_anothers(*last).await, "who was replaced has it no more");
}

#[tokio::test]
async fn residents_of_one_number_from_before_get_a_review_each_pair_once() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let ids = of_one_number(&world, &tenant, 3).await;
    let access = AccessScope::Facility(tenant.facility);
    // As a server of before left them: without a review, and marked by the update.
    let marked = ids.clone();
    let before = move |tx: &Tx<'_>| {
        let mut feed = FeedEnd::open(tx)?;
        for id in &marked {
            let about =
                About { kind: ReviewKind::Duplicate, collection: Collection::Patients, record: (*id).into() };
            review::withdraw(tx, &mut feed, about, UserId::new(Timestamp::EPOCH, [9; 10]))?;
        }
        for id in &marked[1..] {
            tx.execute("UPDATE patients SET unasked = 1 WHERE id = ?1", params![id])?;
        }
        feed.close(tx)
    };
    world.store.write(access, before).await.unwrap();
    assert_eq!(open_reviews(&world, &tenant).await, []);
    let mut portions = 0;
    while world.store.write(access, |tx| patient::ask_about_numbers(tx, 1)).await.unwrap() {
        portions += 1;
    }
    assert_eq!(portions, 2, "portion by portion");
    let asked: Vec<_> =
        open_reviews(&world, &tenant).await.into_iter().map(|it| (it.patient_id, it.others)).collect();
    let whole = |ids: &[PatientId]| ids.iter().map(|id| (*id).into()).collect::<Vec<RecordId>>();
    // The second asks about both others, so the third about the first alone. The latest comes first.
    assert_eq!(asked, [(ids[2], whole(&ids[..1])), (ids[1], whole(&[ids[0], ids[2]]))]);
    let head = async || world.store.facility(&tenant.facility).page(after(None, 0)).await.unwrap().end.head;
    let before = head().await;
    assert!(!world.store.write(access, |tx| patient::ask_about_numbers(tx, 1)).await.unwrap());
    assert_eq!(head().await, before, "asked once");
}

#[tokio::test]
async fn of_two_numbers_the_one_that_says_that_there_is_none_is_chosen_as_none() {
    let (world, tenant, [mut hall, mut ward]) = World::with_kiosks().await;
    let head = async || world.store.facility(&tenant.facility).page(after(None, 0)).await.unwrap().end.head;
    let (now, saw) = (world.now(), head().await);
    for (kiosk, mrn) in [(&mut hall, "R-7"), (&mut ward, "R-8")] {
        let edit = kiosk.edit(&tenant, tenant.patient, saw, json!({"mrn": mrn}), now);
        world.push(kiosk, &[edit]).await.unwrap();
    }
    let review = open_reviews(&world, &tenant).await.pop().unwrap();
    assert_eq!(review.kind, ReviewKind::Conflict);
    // As a kiosk shows what was saved when such a number was one yet.
    let chosen =
        hall.decision(&tenant, review.id, head().await, json!({"mrn": "n/a"}), now.plus_millis(1_000));
    assert_eq!(verdicts(&world.push(&mut hall, &[chosen]).await.unwrap()), [APPLIED]);
    let patient = world.store.organization(&tenant.organization).patient(tenant.patient).await.unwrap();
    assert_eq!(patient.mrn, "");
    assert_eq!(open_reviews(&world, &tenant).await, []);
}

#[tokio::test]
async fn who_was_admitted_under_no_name_by_an_earlier_agent_is_admitted_and_pointed_at() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    let now = world.now();
    let admitted =
        [" --- ", "12345"].map(|name| kiosk.admission(&tenant, json!({"name": name, "room": "12"}), now));
    assert_eq!(verdicts(&world.push(&mut kiosk, &admitted).await.unwrap()), [APPLIED; 2]);
    for (n, name) in [(1, "---"), (2, "12345")] {
        let id = kiosk.made(n, now).into();
        let patient = world.store.organization(&tenant.organization).patient(id).await.unwrap();
        assert_eq!((patient.name.as_str(), patient.room.as_deref()), (name, Some("12")));
    }
    let flagged = world.store.facility(&tenant.facility).flagged_changes(&may_read(&tenant), None, 100).await;
    let flags: Vec<_> = flagged.unwrap().items.into_iter().map(|it| it.flags).collect();
    assert_eq!(flags, [["implausible"]; 2]);
}

#[tokio::test]
async fn however_many_were_born_on_a_day_an_admission_looks_at_a_hundred() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let mut hall = world.kiosk(&tenant, 1).await;
    let now = world.now();
    let born = |n: u64| json!({"name": format!("Bea {n}"), "date_of_birth": "1941-03-04", "room": "12"});
    let changes: Vec<Change> = (0..300).map(|n| hall.admission(&tenant, born(n), now)).collect();
    world.push(&mut hall, &changes).await.unwrap();
    let reviews = open_reviews(&world, &tenant).await;
    let last = reviews.iter().find(|review| review.record == hall.made(300, now)).unwrap();
    assert_eq!(last.others.len() as u64 + last.more, MAX_COUNTED);
}

#[tokio::test]
async fn of_those_who_had_a_room_the_ones_in_care_are_looked_at_first() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let mut hall = world.kiosk(&tenant, 1).await;
    let now = world.now();
    let admit = |name: String| hall.admission(&tenant, json!({"name": name, "room": "12"}), now);
    let before: Vec<Change> = (0..MAX_COUNTED).map(|n| admit(format!("Gone {n}"))).collect();
    world.push(&mut hall, &before).await.unwrap();
    let leaves = |hall: &Kiosk, n: u64| {
        hall.edit(&tenant, hall.made(n, now).into(), 9_999, json!({"is_active": false}), now)
    };
    let left: Vec<Change> = (1..=MAX_COUNTED).map(|n| leaves(&hall, n)).collect();
    world.push(&mut hall, &left).await.unwrap();
    // Whoever lives there now, and then whoever did last.
    for (name, verdict) in [("Bea Example", APPLIED), ("Bee Example", MERGED)] {
        world.pass(1);
        let admission = hall.admission(&tenant, json!({"name": name, "room": "12"}), now);
        assert_eq!(verdicts(&world.push(&mut hall, &[admission]).await.unwrap()), [verdict], "{name}");
        let left = leaves(&hall, hall.sent);
        if verdict == MERGED {
            world.push(&mut hall, &[left]).await.unwrap();
        }
    }
    let last = hall.admission(&tenant, json!({"name": "Bew Example", "room": "12"}), now);
    world.push(&mut hall, &[last]).await.unwrap();
    let reviews = open_reviews(&world, &tenant).await;
    let review = reviews.iter().find(|review| review.record == hall.made(hall.sent, now)).unwrap();
    assert_eq!(review.others.len(), 2, "who lives there, and who left last: {review:?}");
}

#[tokio::test]
async fn one_number_that_is_edited_is_asked_about_alone_and_two_are_asked_about_once() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let (mut hall, now) = (world.kiosk(&tenant, 1).await, world.now());
    let [first, other] = ["1EG4-TE5-MK73", "1EG4-TE5-MK72"];
    let numbered =
        |name: &str, medicare: Option<&str>| json!({"name": name, "mrn": "GY-1", "medicare": medicare});
    let changes = [
        hall.admission(&tenant, numbered("Bea One", Some(first)), now),
        hall.admission(&tenant, numbered("Cy Two", None), now),
    ];
    assert_eq!(verdicts(&world.push(&mut hall, &changes).await.unwrap()), [APPLIED, MERGED]);
    let [bea, cy] = [1, 2].map(|n| PatientId::from(hall.made(n, now)));
    let registry = world.store.organization(&tenant.organization);
    let is_asked_once = async || {
        let open = open_reviews(&world, &tenant).await;
        let [review] = &open[..] else { panic!("one review is open: {open:?}") };
        assert_eq!((review.record, &review.others[..]), (cy.into(), &[RecordId::from(bea)][..]));
    };
    let head = async || world.store.facility(&tenant.facility).page(after(None, 0)).await.unwrap().end.head;
    // A number of her own is nobody's question; what both have besides is asked about already.
    let edit = hall.edit(&tenant, bea, head().await, json!({"medicare": other}), now);
    assert_eq!(verdicts(&world.push(&mut hall, &[edit]).await.unwrap()), [APPLIED]);
    is_asked_once().await;
    for (patient, fields) in [
        (cy, json!({"medicare": other})),
        (bea, json!({"medicare": null})),
        (bea, json!({"medicare": other})),
        (bea, json!({"is_active": false})),
        (bea, json!({"is_active": true})),
    ] {
        registry.audited(event(&world)).update_patient(patient, object(fields)).await.unwrap();
        is_asked_once().await;
    }
}

#[test]
fn every_number_that_is_one_persons_is_looked_up() {
    let known: Vec<&str> = carepost_protocol::patient::numbers().map(|number| number.key).collect();
    assert_eq!(patient::NUMBERS.map(|number| number.field).to_vec(), known);
}
