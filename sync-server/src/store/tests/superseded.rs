//! Superseded versions of forms: every feed has them, and entries are corrected by the one that they were charted in.

use std::pin::pin;
use std::time::{Duration, Instant};

use carepost_protocol::record::MAX_DOCUMENT_BYTES;

use super::judging::{APPLIED, flags, rejected};
use super::portions::step;
use super::stolen::documents as documents_of;
use super::withdrawing::may_manage;
use super::*;
use crate::store::engine::params;
use crate::store::rules::feed_writer::FeedEnd;
use crate::store::rules::superseded;

impl World {
    async fn publish(&self, tenant: &Tenant, form: Workflow) {
        let registry = self.store.organization(&tenant.organization);
        registry.audited(event(self)).publish_workflow(form).await.unwrap();
    }

    /// The forms in a facility's feed, in its order: version, and whether it is offered.
    async fn forms(&self, scope: &FacilityScope) -> Vec<(u32, bool)> {
        let forms: Vec<(u64, Workflow)> = documents_of(self, scope, Collection::Workflows).await;
        let page = self.store.facility(scope).page(after(None, 2_000)).await.unwrap();
        assert_eq!(page.end.digests["workflows"].count, forms.len() as u64);
        forms.into_iter().map(|(_, form)| (form.version, form.enabled)).collect()
    }

    /// The same of a facility that is founded now.
    async fn forms_of_another(&self, tenant: &Tenant) -> Vec<(u32, bool)> {
        let registry = self.store.organization(&tenant.organization);
        let founded = registry.audited(event(self)).create_facility(new_facility("Hillside")).await.unwrap();
        let mut forms = self.forms(&tenant.organization.enter(founded.id).unwrap()).await;
        forms.sort_unstable();
        forms
    }

    async fn bring_all(&self, tenant: &Tenant) {
        let bring = |tx: &Tx<'_>| superseded::bring_all(tx, None);
        let rest = self.store.write(AccessScope::Facility(tenant.facility), bring).await.unwrap();
        assert_eq!(rest, None, "that is all");
    }

    /// A device is heard until its facility's feed has these.
    async fn heard_until(&self, tenant: &Tenant, kiosk: &Kiosk, expected: &[(u32, bool)]) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            self.store.facility(&tenant.facility).mirror_began(&kiosk.identity);
            let forms: Vec<(u64, Workflow)> =
                documents_of(self, &tenant.facility, Collection::Workflows).await;
            let forms: Vec<_> = forms.iter().map(|(_, form)| (form.version, form.enabled)).collect();
            if forms == expected {
                return;
            }
            assert!(Instant::now() < deadline, "they are not in the feed: {forms:?}");
            tokio::task::yield_now().await;
        }
    }
}

/// Takes a superseded version out of the feed, as if it had never been there.
fn leave_out(tx: &Tx<'_>) -> Result<(), StoreError> {
    let sql = "SELECT id, seq, body FROM documents WHERE collection = 'workflows' AND id > ?1";
    let (id, seq, body): ([u8; 16], u64, String) = tx.first(sql, params![WorkflowId::LAST])?.unwrap();
    let mut feed = FeedEnd::open(tx)?;
    feed.take_out(tx, Collection::Workflows, &id, seq, &body)?;
    feed.pass();
    feed.close(tx)
}

#[tokio::test]
async fn every_feed_has_the_superseded_versions_before_the_latest_and_offers_none_of_them() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    assert_eq!(world.forms(&tenant.facility).await, [(1, true)]);
    for min in [25.0, 30.0] {
        world.publish(&tenant, vitals(min)).await;
    }
    let expected = [(1, false), (2, false), (3, true)];
    assert_eq!(world.forms(&tenant.facility).await, expected);
    assert_eq!(world.forms_of_another(&tenant).await, expected);
    world.publish(&tenant, vitals(30.0)).await;
    assert_eq!(world.forms(&tenant.facility).await, expected, "that is published already");
    // What an entry names leads to it.
    let sql = "SELECT body FROM documents WHERE collection = 'workflows' AND id = ?1";
    let find = move |tx: &Tx<'_>| {
        let id = WorkflowId::of_version("vitals", 2);
        tx.first::<String>(sql, params![id])
    };
    let found = world.store.read(AccessScope::Facility(tenant.facility), find).await.unwrap().unwrap();
    let published = world.store.organization(&tenant.organization).workflow("vitals", Some(2)).await.unwrap();
    assert_eq!(serde_json::from_str::<Workflow>(&found).unwrap(), Workflow { enabled: false, ..published });
}

#[tokio::test]
async fn of_a_form_that_is_published_on_and_on_the_latest_versions_stay() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let latest = superseded::KEPT + 3;
    for min in 2..=latest {
        world.publish(&tenant, vitals(min.into())).await;
    }
    let kept: Vec<_> = (3..latest).map(|version| (version, false)).chain([(latest, true)]).collect();
    assert_eq!(world.forms(&tenant.facility).await, kept);

    for n in 1..=5 {
        for min in 1..=latest {
            let (key, label) = (format!("vitals_{n}"), format!("Vitals {n}"));
            world.publish(&tenant, Workflow { key, label, ..vitals(min.into()) }).await;
        }
    }
    let mut forms = world.forms(&tenant.facility).await;
    forms.sort_unstable();
    assert_eq!(forms.len(), 6 * kept.len());
    assert_eq!(world.forms_of_another(&tenant).await, forms);
}

#[tokio::test]
async fn what_an_earlier_server_left_out_comes_when_a_device_is_heard_and_once() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    world.publish(&tenant, vitals(25.0)).await;
    world.store.write(AccessScope::Facility(tenant.facility), leave_out).await.unwrap();
    assert_eq!(world.forms(&tenant.facility).await, [(2, true)]);
    let kiosk = world.kiosk(&tenant, 1).await;
    world.heard_until(&tenant, &kiosk, &[(2, true), (1, false)]).await;
    let end = async || world.store.facility(&tenant.facility).page(after(None, 2_000)).await.unwrap().end;
    let before = end().await.cursor;
    world.bring_all(&tenant).await;
    assert_eq!(end().await.cursor, before, "nothing moves");
    // What is published next brings what is missing of its own form, and of no other.
    world.store.write(AccessScope::Facility(tenant.facility), leave_out).await.unwrap();
    for min in [2.0, 3.0] {
        let (key, label) = ("pulses".to_owned(), "Pulses".to_owned());
        world.publish(&tenant, Workflow { key, label, ..vitals(min) }).await;
    }
    let mut forms = world.forms(&tenant.facility).await;
    forms.sort_unstable();
    assert_eq!(forms, [(1, false), (2, true), (2, true)], "the first of the vitals is still missing");
    world.publish(&tenant, vitals(30.0)).await;
    let mut forms = world.forms(&tenant.facility).await;
    forms.sort_unstable();
    assert_eq!(forms, [(1, false), (1, false), (2, false), (2, true), (3, true)]);
}

/// Publishing goes from feed to feed, and may break off between two of them.
#[tokio::test]
async fn a_form_that_did_not_reach_every_feed_comes_to_the_others_behind_what_it_superseded() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    world.publish(&tenant, vitals(25.0)).await;
    let as_before = |tx: &Tx<'_>| {
        let sql = "SELECT id, body FROM workflows WHERE version = 1";
        let (id, body): (WorkflowId, String) = tx.first(sql, params![])?.unwrap();
        let mut feed = FeedEnd::open(tx)?;
        let superseded = WorkflowId::of_version("vitals", 1);
        feed.put(tx, Collection::Workflows, superseded.as_bytes(), None, None)?;
        feed.put(tx, Collection::Workflows, id.as_bytes(), None, Some(&body))?;
        feed.close(tx)
    };
    let access = AccessScope::Facility(tenant.facility);
    let expected = [(1, false), (2, true)];
    for published_again in [false, true] {
        world.store.write(access, as_before).await.unwrap();
        assert_eq!(world.forms(&tenant.facility).await, [(1, true)]);
        if published_again {
            world.publish(&tenant, vitals(25.0)).await;
        } else {
            world.bring_all(&tenant).await;
        }
        assert_eq!(world.forms(&tenant.facility).await, expected);
    }
}

/// Feeds are looked after once a day, and again where something did not reach them.
#[tokio::test]
async fn a_form_that_a_feed_did_not_take_is_in_all_others_and_comes_when_a_device_is_heard_again() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let registry = world.store.organization(&tenant.organization);
    let access = AccessScope::Facility(tenant.facility);
    let kiosk = world.kiosk(&tenant, 1).await;
    // A later id.
    world.pass(1);
    let behind = registry.audited(event(&world)).create_facility(new_facility("Hillside")).await.unwrap().id;
    world.publish(&tenant, vitals(25.0)).await;
    world.store.write(access, leave_out).await.unwrap();
    let expected = [(2, true), (1, false)];
    world.heard_until(&tenant, &kiosk, &expected).await;
    // It was looked after today. The next place in it is taken, until the form has come by.
    let take = |tx: &Tx<'_>| tx.execute("UPDATE feeds SET seq = seq - 1", params![]);
    let free = |tx: &Tx<'_>| {
        tx.execute("UPDATE feeds SET seq = seq + 1", params![])?;
        let sql = "SELECT count(*) FROM documents WHERE collection = 'workflows' AND body IS NOT NULL";
        tx.first::<u64>(sql, params![])
    };
    world.store.write(access, take).await.unwrap();
    let mut publishing = pin!(world.publish(&tenant, vitals(30.0)));
    assert!(step(publishing.as_mut()).await.is_pending(), "it is published");
    world.store.write(AccessScope::Nothing, |_| Ok(())).await.unwrap();
    assert!(step(publishing.as_mut()).await.is_pending(), "it goes from feed to feed");
    assert_eq!(world.store.write(access, free).await.unwrap(), Some(2));
    publishing.await;
    let expected = [(1, false), (2, false), (3, true)];
    assert_eq!(world.forms(&tenant.organization.enter(behind).unwrap()).await, expected);
    world.heard_until(&tenant, &kiosk, &expected).await;
}

/// A server of before took forms that are larger than a document may be.
#[tokio::test]
async fn a_form_that_is_too_large_keeps_no_other_from_a_new_facility() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let large = Workflow { key: "adl".into(), label: "x".repeat(MAX_DOCUMENT_BYTES), ..vitals(20.0) };
    let body = json!(large).to_string();
    let keep = move |tx: &Tx<'_>| {
        let sql = "INSERT INTO workflows (key, version, id, label, body, published_at)
            VALUES ('adl', 1, ?1, 'ADL', ?2, 0)";
        tx.execute(sql, params![large.id, body])
    };
    world.store.write(AccessScope::Organization(tenant.organization), keep).await.unwrap();
    assert_eq!(world.forms_of_another(&tenant).await, [(1, true)]);
}

#[tokio::test]
async fn a_correction_is_judged_by_the_version_it_names_and_flagged_where_neither_that_nor_the_latest_lets() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    let carl = world.hire(&tenant, "carl", Role::Caregiver).await;
    let registry = world.store.organization(&tenant.organization);
    world.pass(60);
    let now = world.now();
    let entry = kiosk.vitals(&tenant, 72, now);
    world.push(&mut kiosk, &[entry]).await.unwrap();
    // The next version asks more, takes less, says who may correct, and is switched off.
    let mut form = Workflow { enabled: false, corrected_by: vec![Role::Rn], ..vitals(30.0) };
    form.fields.push(Field { required: true, ..Field::new("site", "Site", FieldType::String) });
    world.publish(&tenant, form).await;
    let [first, second, fourth, sixth] = [1, 2, 4, 6].map(|n| kiosk.made(n, now));
    let in_second = |change: Change| Change { schema_version: Some(2), ..change };
    let of_both = json!({"pulse": 70, "site": "left"}).as_object().unwrap().clone();
    let changes = [
        kiosk.correction(&tenant, first, 25, now),
        in_second(kiosk.correction(&tenant, second, 25, now)),
        in_second(Change { fields: of_both.clone(), ..kiosk.correction(&tenant, second, 0, now) }),
        in_second(Change { actor: carl, fields: of_both, ..kiosk.correction(&tenant, fourth, 0, now) }),
        kiosk.vitals(&tenant, 25, now),
        // The first lets him, and his device may not have heard of the second.
        Change { actor: carl, ..kiosk.correction(&tenant, sixth, 26, now) },
    ];
    let receipt = world.push(&mut kiosk, &changes).await.unwrap();
    let breaks = rejected(RejectionCode::BreaksSchema);
    assert_eq!(verdicts(&receipt), [APPLIED, breaks, APPLIED, APPLIED, APPLIED, APPLIED]);
    assert_eq!(flags(&world, &tenant).await, [["not_theirs_to_correct"], ["schema_changed_since"]]);
    // By the same rule the office may not.
    let (audited, permit, last) = (registry.audited(event(&world)), may_manage(&tenant), kiosk.made(7, now));
    let struck = audited.strike_record(&permit, tenant.patient, last, "Wrong resident".into()).await;
    assert!(matches!(struck, Err(StoreError::NotTheirs)), "{struck:?}");
}
