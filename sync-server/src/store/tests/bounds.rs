//! Nothing that others add to grows without a bound: no document, and no piece of the writer's work.

use carepost_protocol::id::DeviceId;
use carepost_protocol::record::{MAX_COUNTED, MAX_DOCUMENT_BYTES, MAX_REVIEWED, PatientDocument, ReviewKind};
use carepost_protocol::wire::heartbeat::{Heartbeat, MirrorState, ReaderState, StepReason, SteppedOver};

use super::merging::{head, open_reviews};
use super::*;
use crate::store::engine::params;
use crate::store::rules::view;

/// How many bytes the facility's feed has, and its largest document.
async fn sizes(world: &World, tenant: &Tenant) -> (u64, u64) {
    let sql = "SELECT sum(length(body)), max(length(body)) FROM documents";
    let read = move |tx: &Tx<'_>| tx.first::<(u64, u64)>(sql, params![]);
    world.store.read(AccessScope::Facility(tenant.facility), read).await.unwrap().unwrap()
}

pub(super) async fn push_all(world: &World, kiosk: &mut Kiosk, changes: &[Change]) -> Vec<Verdict> {
    let mut found = Vec::new();
    for batch in changes.chunks(1_000) {
        let receipt = world.push(kiosk, batch).await.unwrap();
        found.extend(verdicts(&receipt).into_iter().map(|(verdict, _)| verdict));
    }
    found
}

/// The attack as it was played: 1,200 values of one field that nobody had seen. Then each value is still
/// there to be found, and each can be chosen.
#[tokio::test]
async fn a_review_holds_the_first_ten_values_and_the_count_of_the_rest() {
    const VALUES: u64 = 1_200;
    let (world, tenant, [mut hall, mut ward]) = World::with_kiosks().await;
    world.pass(3_600);
    let room = |kiosk: &Kiosk, room: String, seconds: i64| {
        let at = world.now().plus_millis(-seconds * 1_000);
        kiosk.edit(&tenant, tenant.patient, 0, json!({"room": room}), at)
    };
    let stands = room(&hall, "hall".to_owned(), 1);
    world.push(&mut hall, &[stands]).await.unwrap();
    let many: Vec<Change> =
        (0..VALUES).map(|n| room(&ward, format!("ward {n}"), 3_000 - i64::try_from(n).unwrap())).collect();
    let found = push_all(&world, &mut ward, &many).await;
    assert!(found.iter().all(|verdict| *verdict == Verdict::Merged));

    let [review] = &open_reviews(&world, &tenant).await[..] else { panic!("one review is open") };
    let [field] = &review.fields[..] else { panic!("{review:?}") };
    assert_eq!((field.values.len(), field.more), (MAX_REVIEWED, VALUES + 1 - MAX_REVIEWED as u64));
    let standing: Vec<_> = field.values.iter().filter(|value| value.stands).collect();
    assert_eq!(standing.len(), 1);
    assert_eq!(standing[0].value, "hall");
    let (all, largest) = sizes(&world, &tenant).await;
    assert!(largest < 4_096 && all < 16_384, "{largest} of {all} bytes");

    // What found the review full is in its change, which says so.
    let store = world.store.facility(&tenant.facility);
    let flagged = store.flagged_changes(&may_read(&tenant), None, 1_000).await;
    let full = flagged.unwrap().items.iter().filter(|change| change.flags == ["review_full"]).count();
    assert_eq!(full as u64, (VALUES + 1 - MAX_REVIEWED as u64).min(1_000));

    // The office sets another: it stands, and so it is in the review, after the first ten.
    let registry = world.store.organization(&tenant.organization);
    let patch = object(json!({"room": "office"}));
    registry.audited(event(&world)).update_patient(tenant.patient, patch).await.unwrap();
    let [review] = &open_reviews(&world, &tenant).await[..] else { panic!("it is open still") };
    assert_eq!(review.fields[0].values.len(), MAX_REVIEWED + 1);
    assert!(review.fields[0].values.last().is_some_and(|last| last.stands && last.value == "office"));

    // A value that is not in the review can be chosen all the same.
    let head = store.page(after(None, 0)).await.unwrap().end.head;
    let chosen = hall.decision(&tenant, review.id, head, json!({"room": "ward 700"}), world.now());
    let receipt = world.push(&mut hall, &[chosen]).await.unwrap();
    assert_eq!(verdicts(&receipt), [(Verdict::Applied, None)]);
    assert!(open_reviews(&world, &tenant).await.is_empty());
    assert_eq!(registry.patient(tenant.patient).await.unwrap().room.as_deref(), Some("ward 700"));
}

/// The attack as it was played (`tests/it/admissions.rs` has its whole size): admissions of one name.
#[tokio::test]
async fn namesakes_are_named_up_to_ten_and_counted() {
    const ADMITTED: u64 = 1_000;
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    let now = world.now();
    let born = |n: u64| format!("19{:02}-01-{:02}", n % 90 + 10, n % 28 + 1);
    let many: Vec<Change> = (0..ADMITTED)
        .map(|n| {
            // One MRN and no day of birth, or a day of birth of their own.
            let fields = if n % 2 == 0 {
                json!({"name": "Bea Example", "mrn": "MRN-7"})
            } else {
                json!({"name": "BEA Example", "date_of_birth": born(n)})
            };
            kiosk.admission(&tenant, fields, now)
        })
        .collect();
    push_all(&world, &mut kiosk, &many).await;
    let open = open_reviews(&world, &tenant).await;
    let last = open.iter().find(|review| review.record == kiosk.made(ADMITTED - 1, now)).unwrap();
    assert_eq!((last.kind, last.others.len()), (ReviewKind::Duplicate, MAX_REVIEWED));
    assert!(last.more >= MAX_COUNTED - MAX_REVIEWED as u64 && last.more <= 2 * MAX_COUNTED, "{}", last.more);
    let (all, largest) = sizes(&world, &tenant).await;
    assert!(largest < 4_096 && all < ADMITTED * 1_500, "{largest} of {all} bytes");
    // What the writer looks at for the next one does not grow with them: by name, by birthday, by its days turned.
    let registry = world.store.organization(&tenant.organization);
    let asked = registry.patient(PatientId::from(last.record)).await.unwrap();
    let alike = move |tx: &Tx<'_>| patient::alike(tx, &asked);
    let found = world.store.read(AccessScope::Facility(tenant.facility), alike).await.unwrap().len() as u64;
    assert!((MAX_REVIEWED as u64..=3 * MAX_COUNTED).contains(&found), "{found}");
}

#[tokio::test]
async fn corrections_side_by_side_are_named_up_to_ten_and_counted() {
    const MADE: u64 = 1_200;
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    let now = world.now();
    let record = kiosk.made(1, now);
    let mut changes = vec![kiosk.vitals(&tenant, 60, now)];
    changes.extend((0..MADE).map(|_| kiosk.correction(&tenant, record, 61, now)));
    push_all(&world, &mut kiosk, &changes).await;
    let [review] = &open_reviews(&world, &tenant).await[..] else { panic!("one review is open") };
    let first: Vec<RecordId> = (2..12).map(|n| kiosk.made(n, now)).collect();
    assert_eq!(review.others, first);
    assert_eq!(review.more, MAX_COUNTED - MAX_REVIEWED as u64, "as far as they are counted");
    let (all, largest) = sizes(&world, &tenant).await;
    assert!(largest < 4_096 && all < MADE * 1_000, "{largest} of {all} bytes");
}

#[tokio::test]
async fn every_look_up_among_what_others_add_has_an_index_of_its_own() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let of_staff = revoked::LAST.into_iter().chain(revoked::SINCE);
    let of_staff = ["documents_of_users", "documents_of_badges"].into_iter().cycle().zip(of_staff);
    let access = AccessScope::Facility(tenant.facility);
    let of_lost = [
        ("documents_of_badges", organization::BADGES_BEFORE),
        ("documents_of_badges", crate::store::rules::page::COMES_BEFORE_KEYS),
        ("users_of_facility", organization::UNMARKED),
        ("users_of_facility", organization::EXPOSED),
    ];
    let of_staff = of_staff.chain(of_lost);
    for (index, sql) in push::LOOK_UPS.into_iter().chain(of_staff).chain(organization::WITHDRAWN_BY) {
        goes_by(&world, access, index, sql).await;
    }
    let registry = AccessScope::Organization(tenant.organization);
    for (index, statements) in [
        ("patients_sorted", patient::LIST.all),
        ("patients_of_facility", patient::LIST.of_facility),
        ("users_sorted", organization::USERS.all),
        ("users_of_facility", organization::USERS.of_facility),
    ] {
        for sql in statements {
            goes_by(&world, registry, index, sql).await;
        }
    }
    // Where each was edited last is in the list's own statement.
    let of_resident = "facility_id=? AND collection=? AND record_id=?";
    let list = &patient::LIST_WITH_PLACES;
    for sql in list.all.into_iter().chain(list.of_facility).chain([patient::MARKS]) {
        goes_by(&world, registry, of_resident, sql).await;
        goes_by(&world, access, of_resident, sql).await;
    }
    for (index, sql) in [
        ("devices_in_use", enrollment::OTHERS),
        ("devices_in_use", view::BY_MODE),
        ("devices_in_use", enrollment::IN_USE),
        ("key<?", organization::FORM_BEFORE),
        ("USING PRIMARY KEY (organization_id=? AND user_id=?)", organization::LEFT),
    ] {
        goes_by(&world, registry, index, sql).await;
    }
    let flagged = plan(&world, access, changes::FLAGGED).await;
    assert!(flagged.iter().any(|step| step.contains("changes_flagged")), "{flagged:?}");
    for sql in [review::LISTED, review::CLOSED] {
        goes_by(&world, access, "documents_of_reviews", sql).await;
    }
    for sql in [sign_in::BEYOND, sign_in::OLDEST] {
        goes_by(&world, engine::SYSTEM, "sign_ins_by_failure", sql).await;
    }
    goes_by(&world, engine::SYSTEM, "sign_ins_by_good", sign_in::GOOD).await;
    for sql in [enrollment::OF_NETWORK, enrollment::OLDEST_OF_NETWORK] {
        goes_by(&world, engine::SYSTEM, "enrollments_by_network", sql).await;
    }
    for (index, sql) in audit::FOUND_BY {
        let plan = plan(&world, registry, sql).await;
        assert!(plan.iter().any(|step| step.contains(index)), "{sql}: {plan:?}");
    }
}

/// A page is read in portions of its own size at least, and goes on where the one before ended.
#[tokio::test]
async fn whoever_is_found_among_thousands_is_on_the_page() {
    const ADMITTED: u64 = 2_100;
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let (facility, now) = (tenant.facility.facility(), world.now());
    let admit = move |tx: &Tx<'_>| {
        for n in 0..ADMITTED {
            let id = PatientId::new(now, tx.random()?);
            let document = PatientDocument { name: format!("Ada {n:04}"), ..PatientDocument::new(id) };
            let admitted = Patient { facility_id: facility, created_at: now, document };
            patient::insert(tx, &admitted, None)?;
        }
        Ok(())
    };
    world.store.write(AccessScope::Organization(tenant.organization), admit).await.unwrap();
    for scope in [tenant.organization, administrator(tenant.organization.organization(), Some(facility))] {
        let registry = world.store.organization(&scope);
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let asked = Paging { after, most: 1, ..Paging::default() };
            let is_wanted = |it: &Patient| it.name.ends_with("0003") || it.name.ends_with("2099");
            let page = registry.patients((None, None), asked, Some(is_wanted)).await.unwrap();
            found.extend(page.items.into_iter().map(|(it, _)| it.name.clone()));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, ["Ada 0003", "Ada 2099"]);
    }
}

#[tokio::test]
async fn a_namesake_by_number_who_finds_a_review_full_is_counted() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    let now = world.now();
    let admission = |_| kiosk.admission(&tenant, json!({"name": "Bea Example"}), now);
    let many: Vec<Change> = (0..=MAX_REVIEWED).map(admission).collect();
    push_all(&world, &mut kiosk, &many).await;
    let last = kiosk.made(MAX_REVIEWED as u64 + 1, now);
    let review = async || {
        let open = open_reviews(&world, &tenant).await;
        open.into_iter().find(|review| review.record == last).unwrap()
    };
    assert_eq!((review().await.others.len(), review().await.more), (MAX_REVIEWED, 0));
    let registry = world.store.organization(&tenant.organization);
    let new = new_patient(tenant.facility.facility(), "MRN-99");
    let other = registry.audited(event(&world)).create_patient(new).await.unwrap();
    for id in [other.id, last.into()] {
        let number = object(json!({"medicare": "1EG4TE5MK73"}));
        registry.audited(event(&world)).update_patient(id, number).await.unwrap();
    }
    assert_eq!((review().await.others.len(), review().await.more), (MAX_REVIEWED, 1));
}

/// The statement finds its rows by that index, in its order, and walks nothing.
pub(super) async fn goes_by(world: &World, access: AccessScope, index: &str, sql: &str) {
    let plan = plan(world, access, sql).await;
    assert!(plan.iter().any(|step| step.contains(index)), "{sql}: {plan:?}");
    let walks = |step: &String| {
        // What another part of the statement gives is no table.
        let is_part =
            step.strip_prefix("SCAN ").is_some_and(|name| plan.contains(&format!("CO-ROUTINE {name}")));
        let is_table = !is_part && !step.contains("subquery") && !step.contains("CONSTANT ROW");
        step.contains("TEMP B-TREE") || (step.starts_with("SCAN") && is_table)
    };
    assert!(!plan.iter().any(walks), "{sql}: {plan:?}");
}

/// How a statement goes about it, whatever is asked for.
async fn plan(world: &World, access: AccessScope, sql: &str) -> Vec<String> {
    let sql = (1..=9).fold(sql.to_owned(), |sql, n| sql.replace(&format!("?{n}"), "7"));
    let explain: &'static str = format!("EXPLAIN QUERY PLAN {sql}").leak();
    let plan = world.store.read(access, move |tx| steps(tx, explain));
    plan.await.unwrap()
}

/// The attack: one administrator who registers devices and publishes forms without end.
#[tokio::test]
async fn a_facility_has_so_many_devices_in_use_and_an_organization_so_many_forms() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let registry = world.store.organization(&tenant.organization);
    let (facility, form) = (tenant.facility.facility(), vitals(20.0));
    let fill = move |tx: &Tx<'_>| {
        let device = "INSERT INTO devices (id, facility_id, name, device_type, state, mac_addresses, waiting,
            wedged, cursor_refused, created_at) VALUES (?1, ?2, ?3, 'TABLET', 'EXPECTED', '[]', 0, 0, 0, 0)";
        let mut devices = Vec::new();
        // One more than there may be, from before this was asked.
        for n in 0..=enrollment::MAX_DEVICES {
            let id = DeviceId::new(tx.now(), tx.random()?);
            tx.execute(device, params![id, facility, format!("Tablet {n}")])?;
            devices.push(id);
        }
        let published = "INSERT INTO workflows (key, version, id, label, body, published_at)
            VALUES (?1, 1, ?2, ?3, ?4, 0)";
        for n in 1..organization::MAX_FORMS {
            let (key, label) = (format!("form_{n}"), format!("Form {n}"));
            let form = Workflow { key, label, version: 1, ..form.clone() };
            tx.execute(published, params![form.key, form.id, form.label, json!(form).to_string()])?;
        }
        Ok(devices)
    };
    let devices = world.store.write(AccessScope::Organization(tenant.organization), fill).await.unwrap();

    let refused = world.expect(&tenant, 1, [5; 32]).await;
    let Err(StoreError::Invalid { field: "facility_id", detail }) = refused else { panic!("{refused:?}") };
    assert!(detail.contains("1000") && detail.contains("deactivate"), "{detail}");
    let renamed = DevicePatch { name: Some("Hall tablet".into()), ..DevicePatch::default() };
    registry.audited(event(&world)).update_device(devices[0], renamed).await.expect("it is one of them");
    for device in &devices[..2] {
        assert!(world.expect(&tenant, 1, [5; 32]).await.is_err(), "there is no room yet");
        registry.audited(event(&world)).deactivate_device(*device, Deactivation::Retired).await.unwrap();
    }
    world.expect(&tenant, 1, [5; 32]).await.expect("there is room for one");

    let publish = |form: Workflow| registry.audited(event(&world)).publish_workflow(form);
    for enabled in [true, false] {
        let another = Workflow { key: "signs".into(), label: "Signs".into(), enabled, ..vitals(20.0) };
        let refused = publish(another).await;
        let Err(StoreError::Invalid { field: "key", detail }) = refused else { panic!("{refused:?}") };
        assert!(detail.contains("1000") && detail.contains("out of use"), "{detail}");
    }
    assert_eq!(publish(vitals(30.0)).await.unwrap().version, 2, "what is there goes on");
}

/// The attack: one administrator who goes on with one user without end.
#[tokio::test]
async fn a_user_has_so_many_badges_and_terms() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let registry = world.store.organization(&tenant.organization);
    let issue = async |n: u8| registry.audited(event(&world)).issue_badge(tenant.nurse, &[4, 1, 2, n]).await;
    let revoke = async |id| registry.audited(event(&world)).revoke_badge(id).await.unwrap();
    let mut issued = Vec::new();
    for n in 0..50 {
        world.pass(1);
        issued.push(issue(n).await.unwrap().id);
    }
    revoke(issued[0]).await;
    revoke(issued[1]).await;
    for (n, oldest) in (50..).zip(&issued[..2]) {
        issue(n).await.unwrap();
        assert!(matches!(registry.badge(*oldest).await, Err(StoreError::NotFound("badge"))), "{n}");
    }
    assert_eq!(registry.badges(tenant.nurse).await.unwrap().len() as u64, organization::MAX_BADGES);
    let refused = issue(52).await;
    let Err(StoreError::Invalid { field: "user_id", detail }) = refused else { panic!("{refused:?}") };
    assert!(detail.contains("revoke one first"), "{detail}");
    revoke(issued[2]).await;
    issue(52).await.expect("there is room for one");

    let nurse = tenant.nurse;
    let served = move |tx: &Tx<'_>| {
        let sql = "INSERT INTO user_terms (user_id, id, role, from_at, until_at) VALUES (?1, ?2, 'rn', 0, 0)";
        for _ in 1..organization::MAX_TERMS {
            tx.execute(sql, params![nurse, tx.random::<16>()?])?;
        }
        Ok(())
    };
    world.store.write(AccessScope::Organization(tenant.organization), served).await.unwrap();
    let change = async |patch| registry.audited(event(&world)).update_user(nurse, patch).await;
    let other = UserPatch { role: Some(Role::Lpn), ..UserPatch::default() };
    let refused = change(other).await;
    let Err(StoreError::Invalid { field: "user_id", detail }) = refused else { panic!("{refused:?}") };
    assert!(detail.contains("1,000") && detail.contains("create another"), "{detail}");
    let off = UserPatch { is_active: Some(false), ..UserPatch::default() };
    assert!(!change(off).await.unwrap().is_active, "who goes goes");
}

#[tokio::test]
async fn nothing_larger_than_a_document_may_be_enters_a_feed() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    let registry = world.store.organization(&tenant.organization);
    // A form: what it is made of fits into a request, and what is made of it does not fit.
    let field = |n: usize, field_type, label: String| {
        Field::new(&format!("f{n}"), &format!("{label}{n}"), field_type)
    };
    let huge = Workflow {
        key: "huge".into(),
        label: "Huge".into(),
        fields: (0..100).map(|n| field(n, FieldType::String, "x".repeat(3_000))).collect(),
        ..vitals(0.0)
    };
    let refused = registry.audited(event(&world)).publish_workflow(huge).await.unwrap_err();
    assert!(matches!(refused, StoreError::TooLarge { collection: Collection::Workflows, .. }), "{refused}");
    assert!(refused.to_string().contains("262144"), "{refused}");
    assert!(registry.workflow("huge", None).await.is_err(), "nothing of it is kept");

    // An entry just as large as a change may be, whose numbers are written out at greater length.
    let types = |n: usize| if n < 40 { FieldType::Number } else { FieldType::String };
    let long = Workflow {
        key: "long".into(),
        label: "Long".into(),
        fields: (0..100).map(|n| field(n, types(n), "x".to_owned())).collect(),
        ..vitals(0.0)
    };
    registry.audited(event(&world)).publish_workflow(long).await.unwrap();
    let now = world.now();
    let entry = |texts: usize, last: usize| {
        let mut fields = serde_json::Map::new();
        for n in 40..100 {
            let letters = if n == 99 { last } else { texts };
            fields.insert(format!("f{n}"), "€".repeat(letters).into());
        }
        let plain = Change { workflow: Some("long".into()), fields, ..kiosk.vitals(&tenant, 0, now) };
        let numbers: Vec<String> = (0..40).map(|n| format!(r#""f{n}":1e15"#)).collect();
        let text = serde_json::to_string(&plain).unwrap();
        text.replacen(r#""fields":{"#, &format!(r#""fields":{{{},"#, numbers.join(",")), 1)
    };
    // 3 bytes a letter.
    let room = carepost_protocol::wire::push::MAX_CHANGE_BYTES - entry(1_440, 0).len();
    let text = entry(1_440, room / 3);
    assert!(
        text.len() <= carepost_protocol::wire::push::MAX_CHANGE_BYTES && text.len() > MAX_DOCUMENT_BYTES - 3
    );
    let plain = serde_json::value::to_raw_value(&kiosk.vitals(&tenant, 70, now)).unwrap();
    let batch = kiosk.batch_of(vec![RawValue::from_string(text).unwrap(), plain]);
    let receipt = batch.send(&world, &tenant.facility, &kiosk.identity).await.unwrap();
    let [(Verdict::Rejected, Some(RejectionCode::TooLarge)), (Verdict::Applied, None)] =
        verdicts(&receipt)[..]
    else {
        panic!("{receipt:?}");
    };
    kiosk.sent = 2;
    let reason = receipt.verdicts[0].reason.as_ref().unwrap();
    assert!(reason.detail.contains("262144") && reason.detail.contains("shorten"), "{reason:?}");
    assert!(sizes(&world, &tenant).await.1 < 100_000);
}

/// A review that outgrew every bound under an older server is within them as soon as it is touched.
#[tokio::test]
async fn a_review_from_before_there_were_bounds_can_be_closed() {
    let (world, tenant, [mut hall, mut ward]) = World::with_kiosks().await;
    world.pass(60);
    for (kiosk, room) in [(&mut hall, "10"), (&mut ward, "22")] {
        let change = kiosk.edit(&tenant, tenant.patient, 0, json!({"room": room}), world.now());
        world.push(kiosk, &[change]).await.unwrap();
    }
    let [review] = &open_reviews(&world, &tenant).await[..] else { panic!("one review is open") };
    let mut grown = review.clone();
    let value = grown.fields[0].values[0].clone();
    grown.fields[0].values = (0..2_000)
        .map(|n| carepost_protocol::record::SavedValue { value: format!("{n}").into(), ..value.clone() })
        .collect();
    grown.fields[0].values.push(carepost_protocol::record::SavedValue { stands: true, ..value });
    let (id, body) = (review.id, serde_json::to_string(&grown).unwrap());
    assert!(body.len() > 150_000);
    let older = move |tx: &Tx<'_>| {
        tx.execute("DELETE FROM documents WHERE id = ?1", params![id])?;
        let sql =
            "INSERT INTO documents (seq, collection, id, body) SELECT seq, 'reviews', ?1, ?2 FROM feeds";
        tx.execute(sql, params![id, body])
    };
    world.store.write(AccessScope::Facility(tenant.facility), older).await.unwrap();
    let seen = hall.decision(&tenant, id, head(&world, &tenant).await, json!({}), world.now());
    let receipt = world.push(&mut hall, &[seen]).await.unwrap();
    assert_eq!(verdicts(&receipt), [(Verdict::Applied, None)]);
    let all = world
        .store
        .facility(&tenant.facility)
        .reviews(&may_read(&tenant), None, None, 1_000)
        .await
        .unwrap()
        .items;
    assert_eq!((all[0].fields[0].values.len(), all[0].fields[0].more), (MAX_REVIEWED + 1, 1_990));
}

fn beat(kiosk: &Kiosk, cursor: Option<Cursor>, revocations: Option<Cursor>) -> Heartbeat {
    let stamp = (Timestamp::EPOCH, ClockQuality::Synced);
    Heartbeat { cursor, revocations, ..Heartbeat::new("test", stamp, ReaderState::Ready, kiosk.incarnation) }
}

#[tokio::test]
async fn a_heartbeats_answer_says_what_was_revoked_since_what_the_device_knows() {
    let (world, tenant, kiosk) = World::with_kiosk().await;
    let registry = world.store.organization(&tenant.organization);
    let store = world.store.facility(&tenant.facility);
    let head = || async { store.page(after(None, 0)).await.unwrap().end };
    let told = |cursor, known| {
        let beat = beat(&kiosk, cursor, known);
        let (store, identity) = (store.clone(), kiosk.identity.clone());
        async move { store.revoked(&identity, &beat).await.unwrap() }
    };
    let at = |end: carepost_protocol::wire::pull::PageEnd| Cursor { seq: end.head, ..end.cursor };
    let before = at(head().await);
    assert_eq!(told(Some(before), None).await, None, "it knows all there is");

    let badge = registry.audited(event(&world)).issue_badge(tenant.nurse, &[4, 1, 2, 3]).await.unwrap().id;
    let is_active = |is| UserPatch { is_active: Some(is), ..UserPatch::default() };
    registry.audited(event(&world)).update_user(tenant.nurse, is_active(false)).await.unwrap();
    registry.audited(event(&world)).revoke_badge(badge).await.unwrap();
    let revoked = told(Some(before), None).await.unwrap();
    let now = at(head().await);
    let users: Vec<UserId> = revoked.users.iter().map(|it| it.id).collect();
    assert_eq!((users, revoked.badges.len(), revoked.badges[0].id), (vec![tenant.nurse], 1, badge));
    assert_eq!((revoked.through, revoked.more), (now, false));
    assert!(revoked.users[0].seq > before.seq && revoked.users[0].seq < revoked.badges[0].seq);
    assert_eq!(told(Some(before), Some(now)).await, None, "once is enough");
    let other = Cursor { epoch: now.epoch + 7, ..now };
    assert_eq!(told(Some(other), Some(other)).await.unwrap().users.len(), 1, "a place of another past");
    assert_eq!(told(None, None).await.unwrap().users.len(), 1, "a mirror that is made anew");

    // A device that could not take a document of staff, or differs in them, does not know what they say, however
    // far its mirror is.
    let over = |collection: &str| {
        let (reason, count) = (StepReason::NotUnderstood, 1);
        let stepped_over = vec![SteppedOver { collection: collection.into(), reason, count }];
        MirrorState { stepped_over, ..MirrorState::default() }
    };
    let differs =
        |collection: &str| MirrorState { differs: vec![collection.into()], ..MirrorState::default() };
    for (mirror, known, users) in [
        (over("users"), None, 1),
        (over("badges"), None, 1),
        (differs("users"), None, 1),
        (over("users"), Some(before), 1),
        (over("users"), Some(now), 0),
        (over("reviews"), None, 0),
        (differs("reviews"), None, 0),
    ] {
        let beat = Heartbeat { mirror, ..beat(&kiosk, Some(now), known) };
        let told = store.revoked(&kiosk.identity, &beat).await.unwrap();
        assert_eq!(told.map_or(0, |revoked| revoked.users.len()), users, "{:?} {known:?}", beat.mirror);
    }

    // What else happens is none of it, and who works again is not told as revoked.
    registry
        .audited(event(&world))
        .create_patient(new_patient(tenant.facility.facility(), "M-9"))
        .await
        .unwrap();
    assert_eq!(told(Some(now), None).await, None);
    registry.audited(event(&world)).update_user(tenant.nurse, is_active(true)).await.unwrap();
    let lifted = told(Some(now), None).await.unwrap();
    assert!(lifted.users.is_empty() && lifted.badges.is_empty(), "{lifted:?}");
    assert!(told(Some(before), None).await.unwrap().users.is_empty());

    // However many there are, an answer names some, and says that there are more.
    for n in 0..120 {
        let carl = world.hire(&tenant, &format!("carl{n}"), Role::Caregiver).await;
        registry.audited(event(&world)).update_user(carl, is_active(false)).await.unwrap();
    }
    let (mut known, mut named, mut answers) = (None, std::collections::BTreeSet::new(), 0);
    while let Some(revoked) = told(Some(now), known).await {
        assert!(revoked.users.len() + revoked.badges.len() <= 100);
        named.extend(revoked.users.iter().map(|it| it.id));
        (known, answers) = (Some(revoked.through), answers + 1);
    }
    assert_eq!((named.len(), answers), (120, 2));
}
