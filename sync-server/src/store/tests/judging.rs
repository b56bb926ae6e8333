//! What the server makes of a change: a story for each verdict, and what becomes of rejected ones.

use crate::store::engine::params;
use carepost_protocol::record::ReviewKind;
use carepost_protocol::wire::heartbeat::{SettledChange, Settlement};
use carepost_protocol::zone::Zone;

use super::merging::head;
use super::*;

pub(super) const APPLIED: (Verdict, Option<RejectionCode>) = (Verdict::Applied, None);
const MERGED: (Verdict, Option<RejectionCode>) = (Verdict::Merged, None);

pub(super) fn rejected(code: RejectionCode) -> (Verdict, Option<RejectionCode>) {
    (Verdict::Rejected, Some(code))
}

async fn waiting(world: &World, tenant: &Tenant) -> Vec<KeptChange> {
    world.store.facility(&tenant.facility).rejected_changes(&may_read(tenant), None, 100).await.unwrap().items
}

pub(super) async fn flags(world: &World, tenant: &Tenant) -> Vec<Vec<String>> {
    let flagged = world.store.facility(&tenant.facility).flagged_changes(&may_read(tenant), None, 100).await;
    flagged.unwrap().items.into_iter().rev().map(|change| change.flags).collect()
}

async fn records(world: &World, tenant: &Tenant, patient: PatientId) -> Vec<RecordId> {
    let records = world.store.facility(&tenant.facility).records(&may_read(tenant), patient, None, 100).await;
    records.unwrap().items.into_iter().map(|record| record.id).collect()
}

async fn retry(world: &World, tenant: &Tenant, kiosk: &Kiosk, n: u64) -> Result<Reconsidered, StoreError> {
    let write = world.store.organization(&tenant.organization).audited(event(world));
    write.retry_change(kiosk.identity.device(), kiosk.named(n)).await
}

#[tokio::test]
async fn a_resident_admitted_at_night_is_charted_on_at_once() {
    let (world, tenant, kiosk) = World::with_kiosk().await;
    let now = world.now();
    let bea = PatientId::from(kiosk.made(1, now));
    let fields = json!({"name": "Bea Example", "date_of_birth": "03/15/1941", "pronoun": "she"});
    let changes = [
        kiosk.admission(&tenant, fields, now),
        Change { patient: Some(bea), ..kiosk.vitals(&tenant, 72, now) },
        kiosk.edit(&tenant, bea, 0, json!({"room": "12", "mrn": "MRN-77"}), now),
    ];
    let batch = kiosk.batch(&changes);
    for round in 0..2 {
        let receipt = batch.send(&world, &tenant.facility, &kiosk.identity).await.unwrap();
        let expected = if round == 0 { Verdict::Applied } else { Verdict::Duplicate };
        assert!(verdicts(&receipt).iter().all(|(verdict, _)| *verdict == expected), "{receipt:?}");
    }
    let found = world.store.organization(&tenant.organization).patient(bea).await.unwrap();
    assert_eq!((found.name.as_str(), found.mrn.as_str()), ("Bea Example", "MRN-77"));
    assert_eq!((found.date_of_birth.as_deref(), found.room.as_deref()), (Some("1941-03-15"), Some("12")));
    assert_eq!(records(&world, &tenant, bea).await, [kiosk.made(2, now)]);
    assert_eq!(flags(&world, &tenant).await, [["unknown_fields"]]);
}

#[tokio::test]
async fn a_birthday_of_before_that_would_be_taken_no_more_keeps_nobody_from_moving() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    let registry = world.store.organization(&tenant.organization);
    let born = |day: &str| json!({"date_of_birth": day, "room": "12"});
    let patch = object(json!({"date_of_birth": "1066-10-14"}));
    registry.audited(event(&world)).update_patient(tenant.patient, patch).await.unwrap();
    let edit = |day| kiosk.edit(&tenant, tenant.patient, 99, born(day), world.now());
    let changes = [edit("1066-10-14"), edit("1067-10-14")];
    let receipt = world.push(&mut kiosk, &changes).await.unwrap();
    assert_eq!(verdicts(&receipt), [APPLIED, rejected(RejectionCode::BreaksSchema)]);
}

#[tokio::test]
async fn nobody_is_born_tomorrow_by_the_facilitys_calendar() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    let registry = world.store.organization(&tenant.organization);
    let zones = [Some("Pacific/Kiritimati"), None, Some("Etc/GMT+12")];
    let born = |zone: &str| Zone::named(zone).unwrap().clock(world.now()).day;
    let (first, last) = (born("Pacific/Kiritimati"), born("Etc/GMT+12"));
    for (zone, verdict) in zones.into_iter().zip([APPLIED, APPLIED, rejected(RejectionCode::BreaksSchema)]) {
        let time_zone = Some(zone.map(str::to_owned));
        let patch = FacilityPatch { time_zone, ..FacilityPatch::default() };
        registry.audited(event(&world)).update_facility(tenant.facility.facility(), patch).await.unwrap();
        // Families of their own: nobody may be somebody of another round.
        let family = zone.unwrap_or("Example");
        let born = |name: &str, day: &str| json!({"name": format!("{name} {family}"), "date_of_birth": day});
        let changes = [born("Ada", &first), born("Bea", &last)];
        let changes = changes.map(|fields| kiosk.admission(&tenant, fields, world.now()));
        let receipt = world.push(&mut kiosk, &changes).await.unwrap();
        assert_eq!(verdicts(&receipt), [verdict, APPLIED], "{zone:?}");
    }
}

#[tokio::test]
async fn a_bad_value_is_rejected_by_name_and_care_is_never_deleted() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    let now = world.now();
    let bad = [
        ("name", json!("  ")),
        ("name", Value::Null),
        ("date_of_birth", json!("1941-02-30")),
        ("room", json!("a room with far too long a name")),
        ("is_active", json!("yes")),
        ("mrn", json!("7".repeat(51))),
    ];
    let mut changes: Vec<_> = bad
        .iter()
        .map(|(field, value)| kiosk.edit(&tenant, tenant.patient, 0, json!({*field: value}), now))
        .collect();
    changes.push(kiosk.admission(&tenant, json!({"room": "3"}), now));
    let edit = kiosk.edit(&tenant, tenant.patient, 0, json!({"room": "3"}), now);
    changes.push(Change { kind: ChangeKind::Delete, ..edit.clone() });
    changes.push(Change { collection: Collection::Records, ..edit.clone() });
    changes.push(Change { collection: Collection::Badges, ..edit });
    let receipt = world.push(&mut kiosk, &changes).await.unwrap();
    let mut expected = vec![rejected(RejectionCode::BreaksSchema); 7];
    expected.extend([rejected(RejectionCode::Unsupported); 3]);
    assert_eq!(verdicts(&receipt), expected);
    let named: Vec<_> =
        receipt.verdicts.iter().take(7).map(|run| run.reason.clone().unwrap().errors).collect();
    let expected = bad.iter().map(|(field, _)| *field).chain(["name"]);
    assert!(named.iter().zip(expected).all(|(errors, field)| errors[0].field == field), "{named:?}");
    let found = world.store.organization(&tenant.organization).patient(tenant.patient).await.unwrap();
    assert_eq!((found.name.as_str(), found.room.as_deref()), ("Ada MRN-1", None));
}

#[tokio::test]
async fn who_may_chart_may_not_always_admit() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    let carl = world.hire(&tenant, "carl", Role::Caregiver).await;
    world.pass(60);
    let now = world.now();
    let by_carl = |change: Change| Change { actor: carl, ..change };
    let changes = [
        by_carl(kiosk.vitals(&tenant, 72, now)),
        by_carl(kiosk.admission(&tenant, json!({"name": "Bea Example"}), now)),
        by_carl(kiosk.edit(&tenant, tenant.patient, 0, json!({"room": "3"}), now)),
        kiosk.edit(&tenant, tenant.patient, 0, json!({"room": "4"}), now),
    ];
    let receipt = world.push(&mut kiosk, &changes).await.unwrap();
    let not = rejected(RejectionCode::NotAuthorized);
    assert_eq!(verdicts(&receipt), [APPLIED, not, not, APPLIED]);
}

#[tokio::test]
async fn a_night_under_a_badge_that_expired_and_a_form_that_changed_is_taken_and_flagged() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let registry = world.store.organization(&tenant.organization);
    let mut kiosk = world.kiosk(&tenant, 1).await;
    world.pass(60);
    let began = world.now();
    let mut night: Vec<Change> = Vec::new();
    for hour in 0..3 {
        let session = SessionId::new(began, [3; 10]);
        let made = began.plus_millis(hour * 3_600_000);
        night.push(Change { session, ..kiosk.vitals(&tenant, 70, made) });
    }
    // The day badge ends at two in the night; the form changes in the morning; then the network is back.
    world.pass(2 * 3600);
    let demoted = UserPatch { role: Some(Role::Family), ..UserPatch::default() };
    registry.audited(event(&world)).update_user(tenant.nurse, demoted).await.unwrap();
    world.pass(3600);
    registry.audited(event(&world)).publish_workflow(vitals(30.0)).await.unwrap();
    world.pass(3600);
    let late = world.now();
    night.push(Change { session: SessionId::new(late, [4; 10]), ..kiosk.vitals(&tenant, 70, late) });
    let receipt = world.push(&mut kiosk, &night).await.unwrap();
    assert_eq!(verdicts(&receipt), [APPLIED, APPLIED, APPLIED, rejected(RejectionCode::NotAuthorized)]);
    assert_eq!(flags(&world, &tenant).await, [["authority_ended_since", "schema_changed_since"]; 3]);
    assert_eq!(records(&world, &tenant, tenant.patient).await.len(), 3);
}

#[tokio::test]
async fn who_may_correct_anothers_entry_is_flagged_and_what_was_charted_in_error_has_no_values() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let carl = world.hire(&tenant, "carl", Role::Caregiver).await;
    let registry = world.store.organization(&tenant.organization);
    let form = Workflow { corrected_by: vec![Role::Rn], ..vitals(20.0) };
    let version = registry.audited(event(&world)).publish_workflow(form).await.unwrap().version;
    let mut kiosk = world.kiosk(&tenant, 1).await;
    world.pass(60);
    let now = world.now();
    let by = |actor, change: Change| Change { actor, schema_version: Some(version), ..change };
    let [first, second, fourth] = [1, 2, 4].map(|n| kiosk.made(n, now));
    let reason = |text: &str| Some(text.to_owned());
    let strike = Change {
        fields: serde_json::Map::new(),
        reason: reason(" Wrong\nresident "),
        entered_in_error: true,
        ..kiosk.correction(&tenant, fourth, 0, now)
    };
    let endless = Change { reason: reason(&"x".repeat(201)), ..kiosk.correction(&tenant, first, 76, now) };
    let changes = [
        by(tenant.nurse, kiosk.vitals(&tenant, 72, now)),
        by(carl, kiosk.vitals(&tenant, 73, now)),
        by(carl, kiosk.correction(&tenant, first, 74, now)),
        by(carl, kiosk.correction(&tenant, second, 75, now)),
        by(tenant.nurse, strike),
        by(tenant.nurse, endless),
    ];
    let receipt = world.push(&mut kiosk, &changes).await.unwrap();
    let rejected = rejected(RejectionCode::BreaksSchema);
    assert_eq!(verdicts(&receipt), [APPLIED, APPLIED, APPLIED, APPLIED, APPLIED, rejected]);
    assert_eq!(flags(&world, &tenant).await, [["not_theirs_to_correct"]]);
    let store = world.store.facility(&tenant.facility);
    let found = store.records(&may_read(&tenant), tenant.patient, None, 100).await.unwrap();
    let struck = found.items.iter().find(|record| record.amends == Some(fourth)).unwrap();
    assert!(struck.entered_in_error && struck.values.is_empty());
    assert_eq!(struck.reason.as_deref(), Some("Wrong resident"));
}

#[tokio::test]
async fn an_unlikely_time_is_kept_as_confirmed_or_flagged_and_never_rejected() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let mut form = vitals(20.0);
    form.fields.push(Field::new("taken_at", "Taken at", FieldType::Datetime));
    form.fields.push(Field::new("due_on", "Due on", FieldType::Date));
    let registry = world.store.organization(&tenant.organization);
    let version = registry.audited(event(&world)).publish_workflow(form).await.unwrap().version;
    let mut kiosk = world.kiosk(&tenant, 1).await;
    world.pass(60);
    let now = world.now();
    let charted = |key: &str, value: &str, confirmed: &[&str]| Change {
        schema_version: Some(version),
        fields: json!({"pulse": 72, key: value}).as_object().unwrap().clone(),
        confirmed: confirmed.iter().map(ToString::to_string).collect(),
        ..kiosk.vitals(&tenant, 72, now)
    };
    // It is the first of May 2026.
    let unset = charted("taken_at", "2206-11-28T10:00-05:00", &[]);
    let changes = [
        charted("taken_at", "2026-05-01T08:00Z", &["taken_at"]),
        charted("taken_at", "2026-05-02T08:00Z", &["taken_at"]),
        charted("taken_at", "0026-11-28T10:00-06:00", &[]),
        charted("due_on", "9999-12-31", &[]),
        Change { clock_quality: ClockQuality::Unset, ..unset },
    ];
    let receipt = world.push(&mut kiosk, &changes).await.unwrap();
    assert_eq!(verdicts(&receipt), [APPLIED; 5]);
    assert_eq!(flags(&world, &tenant).await, [["implausible"], ["implausible"], ["clock_unset"]]);
    let store = world.store.facility(&tenant.facility);
    let kept = store.records(&may_read(&tenant), tenant.patient, None, 100).await.unwrap().items;
    let confirmed: Vec<_> = kept.iter().flat_map(|record| &record.confirmed).collect();
    assert_eq!(confirmed, ["taken_at"], "what was asked about, once");
}

#[tokio::test]
async fn corrections_stand_beside_what_they_correct_and_two_of_one_are_looked_at() {
    let (world, tenant, [mut hall, mut ward]) = World::with_kiosks().await;
    let now = world.now();
    let (first, lost) = (hall.made(1, now), ward.made(99, now));
    let changes = [hall.vitals(&tenant, 72, now), hall.correction(&tenant, first, 74, now)];
    let receipt = world.push(&mut hall, &changes).await.unwrap();
    assert_eq!(verdicts(&receipt), [APPLIED, APPLIED]);
    let bea = Change { patient: Some(ward.made(4, now).into()), ..ward.correction(&tenant, first, 76, now) };
    let changes = [
        ward.correction(&tenant, first, 75, now),
        ward.correction(&tenant, lost, 80, now),
        ward.correction(&tenant, first, 5, now),
        ward.admission(&tenant, json!({"name": "Bea Example"}), now),
        bea,
    ];
    let receipt = world.push(&mut ward, &changes).await.unwrap();
    let expected = [
        MERGED,
        APPLIED,
        rejected(RejectionCode::BreaksSchema),
        APPLIED,
        rejected(RejectionCode::UnknownTarget),
    ];
    assert_eq!(verdicts(&receipt), expected);
    assert_eq!(flags(&world, &tenant).await, [["target_missing"]]);
    let store = world.store.facility(&tenant.facility);
    let reviews = store.reviews(&may_read(&tenant), Some(true), None, 1_000).await.unwrap().items;
    assert_eq!(reviews.len(), 1);
    assert_eq!((reviews[0].kind, reviews[0].record), (ReviewKind::Amendments, first));
    assert_eq!(reviews[0].others, [hall.made(2, now), ward.made(1, now)]);
    assert_eq!(records(&world, &tenant, tenant.patient).await.len(), 4, "all of them stay");
    // One that came since was not seen: it stays open, until somebody looks who has it.
    let (unseen, third) = (head(&world, &tenant).await, ward.correction(&tenant, first, 77, now));
    assert_eq!(verdicts(&world.push(&mut ward, &[third]).await.unwrap()), [MERGED]);
    for (saw, verdict, open) in [(unseen, MERGED, 1), (head(&world, &tenant).await, APPLIED, 0)] {
        let close = hall.decision(&tenant, reviews[0].id, saw, json!({}), now);
        assert_eq!(verdicts(&world.push(&mut hall, &[close]).await.unwrap()), [verdict]);
        let reviews = store.reviews(&may_read(&tenant), Some(true), None, 1_000).await.unwrap().items;
        assert_eq!(reviews.len(), open, "{saw}");
    }
    let closed = store.reviews(&may_read(&tenant), Some(false), None, 1_000).await.unwrap().items;
    assert_eq!(closed[0].resolved.map(|it| it.by), Some(tenant.nurse));
}

#[tokio::test]
async fn what_depends_on_a_rejected_change_waits_with_it_and_stands_with_it() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    let carl = world.hire(&tenant, "carl", Role::Caregiver).await;
    let registry = world.store.organization(&tenant.organization);
    world.pass(60);
    let now = world.now();
    let bea = PatientId::from(kiosk.made(1, now));
    let changes = [
        Change { actor: carl, ..kiosk.admission(&tenant, json!({"name": "Bea Example"}), now) },
        Change { patient: Some(bea), ..kiosk.vitals(&tenant, 72, now) },
        kiosk.vitals(&tenant, 73, now),
        Change { patient: Some(bea), ..kiosk.correction(&tenant, kiosk.made(2, now), 74, now) },
        kiosk.edit(&tenant, bea, 0, json!({"room": "9"}), now),
    ];
    let receipt = world.push(&mut kiosk, &changes).await.unwrap();
    let depends = rejected(RejectionCode::DependsOnRejected);
    let not = rejected(RejectionCode::NotAuthorized);
    assert_eq!(verdicts(&receipt), [not, depends, APPLIED, depends, depends], "those behind are not held up");
    let numbers: Vec<u64> = waiting(&world, &tenant).await.into_iter().map(|change| change.n).collect();
    assert_eq!(numbers, [5, 4, 2, 1]);

    // Judged again as things are, nothing changes; once it was entered that Carl was a nurse then, all of
    // it stands.
    let again = retry(&world, &tenant, &kiosk, 1).await.unwrap();
    assert_eq!(again.change.settlement, None);
    world.pass(60);
    let promoted = UserPatch { role: Some(Role::Rn), ..UserPatch::default() };
    registry.audited(event(&world)).update_user(carl, promoted).await.unwrap();
    assert_eq!(
        retry(&world, &tenant, &kiosk, 1).await.unwrap().change.settlement,
        None,
        "not yet a nurse then"
    );
    world
        .store
        .write(AccessScope::Facility(tenant.facility), move |tx| {
            let sql = "UPDATE user_terms SET from_at = 0 WHERE user_id = ?1 AND role = 'rn'";
            tx.execute(sql, params![carl])
        })
        .await
        .unwrap();
    let again = retry(&world, &tenant, &kiosk, 1).await.unwrap();
    assert_eq!((again.change.settlement, again.followed), (Some(Settlement::Applied), 3));
    assert_eq!(records(&world, &tenant, bea).await, [kiosk.made(4, now), kiosk.made(2, now)]);
    assert_eq!(registry.patient(bea).await.unwrap().room.as_deref(), Some("9"));
    assert!(waiting(&world, &tenant).await.is_empty());
    let twice = retry(&world, &tenant, &kiosk, 1).await;
    assert!(matches!(twice, Err(StoreError::Invalid { field: "n", .. })), "{twice:?}");

    let names = [1, 2, 3, 99].map(|n| kiosk.named(n)).to_vec();
    let settled =
        world.store.facility(&tenant.facility).settled(kiosk.identity.device(), names).await.unwrap();
    let told = |n| settled.iter().find(|told: &&SettledChange| told.change.n == n);
    assert_eq!(told(1).map(|told| (told.settlement, told.seq.is_some())), Some((Settlement::Applied, true)));
    assert_eq!((told(2).is_some(), told(3), told(99)), (true, None, None));
}

#[tokio::test]
async fn a_rejected_change_is_corrected_by_its_own_actor_and_nobody_else() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    let rita = world.hire(&tenant, "rita", Role::Rn).await;
    world.pass(60);
    let now = world.now();
    let first = kiosk.made(1, now);
    let instead = |older: u64, record, pulse| Change {
        supersedes: Some(older),
        record,
        ..kiosk.vitals(&tenant, pulse, now)
    };
    let changes = [
        kiosk.vitals(&tenant, 5, now),
        Change { actor: rita, ..instead(1, Some(first), 70) },
        instead(1, None, 70),
        instead(1, Some(kiosk.made(2, now)), 70),
        instead(1, Some(first), 6),
        instead(5, Some(first), 71),
        instead(1, Some(first), 72),
        instead(6, Some(first), 72),
        instead(99, Some(first), 72),
        kiosk.correction(&tenant, first, 73, now),
    ];
    let receipt = world.push(&mut kiosk, &changes).await.unwrap();
    let broken = rejected(RejectionCode::BreaksSchema);
    let not = rejected(RejectionCode::NotSuperseding);
    let expected = [broken, not, not, not, broken, APPLIED, not, not, not, APPLIED];
    assert_eq!(verdicts(&receipt), expected);
    assert_eq!(records(&world, &tenant, tenant.patient).await, [kiosk.made(10, now), first]);
    let still: Vec<u64> = waiting(&world, &tenant).await.into_iter().map(|change| change.n).collect();
    assert_eq!(still, [9, 8, 7, 4, 3, 2], "5 took the place of 1, 6 that of 5");
    let settled = world.store.facility(&tenant.facility);
    let settled =
        settled.settled(kiosk.identity.device(), vec![kiosk.named(1), kiosk.named(5)]).await.unwrap();
    assert!(settled.iter().all(|told| told.settlement == Settlement::Superseded), "{settled:?}");
    assert_eq!(settled.len(), 2);
}

#[tokio::test]
async fn a_rejected_change_is_exported_exactly_and_discarded_for_a_reason() {
    let world = World::new();
    let (tenant, other) = (world.tenant("alpha").await, world.tenant("beta").await);
    let mut kiosk = world.kiosk(&tenant, 1).await;
    let change = kiosk.vitals(&tenant, 5, world.now());
    let sent = kiosk.batch(std::slice::from_ref(&change));
    world.push(&mut kiosk, std::slice::from_ref(&change)).await.unwrap();
    let (device, name) = (kiosk.identity.device(), kiosk.named(1));
    let store = world.store.facility(&tenant.facility);
    let (kept, payload) = store.change(&may_read(&tenant), device, name).await.unwrap();
    assert_eq!(payload.unwrap(), sent.payloads[0].get().as_bytes());
    assert_eq!(kept.sha256, PayloadHash::of(sent.payloads[0].get().as_bytes()));
    assert_eq!((kept.patient, kept.actor), (Some(tenant.patient), Some(tenant.nurse)));
    let foreign = world.store.facility(&other.facility);
    let refused = foreign.change(&may_read(&other), device, name).await;
    assert!(matches!(refused, Err(StoreError::NotFound(_))), "{refused:?}");
    let write = world.store.organization(&other.organization).audited(event(&world));
    let refused = write.discard_change(device, name, "not ours".into()).await;
    assert!(matches!(refused, Err(StoreError::NotFound(_))), "{refused:?}");

    let registry = world.store.organization(&tenant.organization);
    let discard = || {
        let write = registry.audited(event(&world));
        write.discard_change(device, name, "entered for a drill".into())
    };
    let discarded = discard().await.unwrap().change;
    assert_eq!(discarded.settlement, Some(Settlement::Discarded));
    assert_eq!(discarded.settled_reason.as_deref(), Some("entered for a drill"));
    assert!(waiting(&world, &tenant).await.is_empty());
    let twice = discard().await;
    assert!(matches!(twice, Err(StoreError::Invalid { field: "n", .. })), "{twice:?}");
    let query = AuditQuery { patient: Some(tenant.patient), limit: 10, ..AuditQuery::default() };
    let audited = registry.audit_events(query).await.unwrap().items;
    assert!(audited.iter().any(|audited| audited.event.device_id == Some(device)), "{audited:?}");
}

#[tokio::test]
async fn what_the_server_could_not_read_is_kept_and_stands_once_it_can() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    let now = world.now();
    let bea = PatientId::from(kiosk.made(1, now));
    let admission = kiosk.admission(&tenant, json!({"name": "Bea Example"}), now);
    let record = Change { patient: Some(bea), ..kiosk.vitals(&tenant, 72, now) };
    let strange = RawValue::from_string(r#"{"of": "a later protocol"}"#.to_owned()).unwrap();
    let sent = kiosk.batch_of(vec![strange, serde_json::value::to_raw_value(&record).unwrap()]);
    let receipt = sent.send(&world, &tenant.facility, &kiosk.identity).await.unwrap();
    let (malformed, unknown) = (RejectionCode::Malformed, RejectionCode::UnknownTarget);
    assert_eq!(verdicts(&receipt), [rejected(malformed), rejected(unknown)]);
    let again = retry(&world, &tenant, &kiosk, 1).await.unwrap().change;
    assert_eq!((again.settlement, again.reason.map(|why| why.code)), (None, Some(malformed)));

    // As if a newer server read the same bytes.
    let readable = serde_json::to_vec(&admission).unwrap();
    world
        .store
        .write(AccessScope::Facility(tenant.facility), move |tx| {
            tx.execute("UPDATE changes SET payload = ?1 WHERE n = 1", params![readable])
        })
        .await
        .unwrap();
    let again = retry(&world, &tenant, &kiosk, 1).await.unwrap();
    assert_eq!((again.change.settlement, again.followed), (Some(Settlement::Applied), 1));
    assert_eq!((again.change.patient, again.change.actor), (Some(bea), Some(tenant.nurse)));
    assert_eq!(records(&world, &tenant, bea).await, [kiosk.made(2, now)]);

    // Its author may also correct it without the server ever having read it.
    (kiosk.sent, kiosk.head) = (2, sent.head);
    let strange = RawValue::from_string("{}".to_owned()).unwrap();
    let sent = kiosk.batch_of(vec![strange]);
    sent.send(&world, &tenant.facility, &kiosk.identity).await.unwrap();
    (kiosk.sent, kiosk.head) = (3, sent.head);
    let instead =
        |record| Change { supersedes: Some(3), record: Some(record), ..kiosk.vitals(&tenant, 75, now) };
    let changes = [instead(kiosk.made(2, now)), instead(kiosk.made(3, now))];
    let receipt = world.push(&mut kiosk, &changes).await.unwrap();
    assert_eq!(verdicts(&receipt), [rejected(RejectionCode::NotSuperseding), APPLIED]);
    let still: Vec<u64> = waiting(&world, &tenant).await.into_iter().map(|change| change.n).collect();
    assert_eq!(still, [4]);
}
