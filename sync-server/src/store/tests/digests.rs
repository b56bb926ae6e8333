//! What the server says that a copy should come to is what the lines it sends come to.

use crate::store::engine::params;
use std::collections::BTreeMap;

use carepost_protocol::digest::{Digest, Element};
use carepost_protocol::id::{BadgeId, RecordId};
use carepost_protocol::wire::pull::Line;

use super::*;

/// A device's copy, kept as a device keeps it: from lines alone.
#[derive(Default)]
struct Copy {
    documents: BTreeMap<(Collection, [u8; 16]), (u64, Element)>,
    cursor: Option<Cursor>,
    at_head: bool,
}

impl Copy {
    /// Pulls to the head in pages of `limit`, and compares what the last page tells.
    async fn follow(&mut self, world: &World, scope: &FacilityScope, view: View, limit: usize) {
        loop {
            let was_at_head = self.at_head;
            let asked = PageRequest { view, was_at_head, ..after(self.cursor, limit) };
            let page = world.store.facility(scope).page(asked).await.unwrap();
            for line in String::from_utf8(page.lines).unwrap().lines() {
                self.take(&serde_json::from_str(line).unwrap());
            }
            self.cursor = Some(page.end.cursor);
            self.at_head = page.end.reaches_head();
            if self.at_head {
                let through = page.end.archived.map_or(0, |mark| mark.through);
                self.documents.retain(|(name, _), (seq, _)| *name != Collection::Records || *seq > through);
                self.compare(view, &page.end.digests, was_at_head);
                return;
            }
            assert!(page.end.digests.is_empty(), "half a copy has no digest");
        }
    }

    fn take(&mut self, line: &Line<'_>) {
        let (Some(name), Some(id), Some(seq)) = (&line.collection, &line.id, line.seq) else { return };
        let collection = Collection::from_name(name).unwrap();
        let id = *id.parse::<RecordId>().unwrap().as_bytes();
        self.documents.remove(&(collection, id));
        if let Some(body) = line.body {
            let element = Element::of(collection, &id, seq, body.get().as_bytes());
            self.documents.insert((collection, id), (seq, element));
        }
    }

    fn compare(&self, view: View, told: &BTreeMap<String, Digest>, some: bool) {
        for collection in Collection::ALL {
            let mut own = Digest::default();
            let documents = self.documents.iter().filter(|((name, _), _)| *name == collection);
            documents.for_each(|(_, (_, element))| own.add(*element));
            match told.get(collection.name()) {
                Some(digest) => assert_eq!(*digest, own, "{collection:?} as {view:?}"),
                None => assert!(some, "the first page at the head names every collection"),
            }
        }
    }
}

/// Anything that writes to the feed, drawn by a seed.
async fn write_something(world: &World, tenant: &Tenant, kiosk: &mut Kiosk, patients: &mut Vec<PatientId>) {
    let [which, whom, what, ..]: [u8; 8] = world.ambient.random().unwrap();
    let registry = world.store.organization(&tenant.organization).audited(event(world));
    let patient = patients[usize::from(whom) % patients.len()];
    match which % 8 {
        0 => {
            let mut new = new_patient(tenant.facility.facility(), &format!("D-{}", patients.len()));
            let name = format!("Ada Number {what}");
            new.fields.extend(object(json!({"name": name, "date_of_birth": "1931-02-03"})));
            patients.push(registry.create_patient(new).await.unwrap().id);
        }
        1 => {
            let room = object(json!({"room": format!("{what}")}));
            registry.update_patient(patient, room).await.unwrap();
        }
        2 => drop(registry.issue_badge(tenant.nurse, &[4, 1, 2, what % 4]).await),
        3 => {
            let found = world.store.organization(&tenant.organization).badges(tenant.nurse).await.unwrap();
            let ids: Vec<BadgeId> = found.iter().map(|badge| badge.id).collect();
            let Some(id) = ids.get(usize::from(what) % ids.len().max(1)) else { return };
            registry.revoke_badge(*id).await.unwrap();
        }
        5 => {
            // In portions, one of which may be the last that some copy hears of for long.
            world.pass(i64::from(what % 100) * 24 * 3_600);
            let portion = |tx: &Tx<'_>| archive::archive(tx, 30, 4);
            for _ in 0..what % 4 {
                world.store.write(AccessScope::Facility(tenant.facility), portion).await.unwrap();
            }
        }
        6 if kiosk.sent > 0 => {
            let any = i64::try_from(u64::from(what) % kiosk.sent + 1).unwrap();
            let sql = "SELECT record_id FROM changes WHERE n = ?1 AND verdict <> 'rejected'";
            let read = move |tx: &Tx<'_>| tx.first::<RecordId>(sql, params![any]);
            let Some(record) = world.store.read(AccessScope::Facility(tenant.facility), read).await.unwrap()
            else {
                return;
            };
            world.push(kiosk, &[kiosk.correction(tenant, record, 70, world.now())]).await.unwrap();
        }
        4 => drop(registry.publish_workflow(vitals(f64::from(what % 4))).await.unwrap()),
        _ => {
            let mut changes: Vec<_> =
                (0..what % 5 + 1).map(|n| kiosk.vitals(tenant, 60 + u32::from(n), world.now())).collect();
            // One that is rejected leaves nothing in the feed.
            changes[0].patient = (what % 3 > 0).then_some(patient);
            world.push(kiosk, &changes).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_copy_made_of_the_lines_comes_to_what_the_page_says_in_every_view() {
    let world = World::new();
    let (tenant, other) = (world.tenant("alpha").await, world.tenant("beta").await);
    let (mut kiosk, mut foreign) = (world.kiosk(&tenant, 1).await, world.kiosk(&other, 2).await);
    let (mut patients, mut strangers) = (vec![tenant.patient], vec![other.patient]);
    let mut copies = View::ALL.map(|view| (view, Copy::default()));
    for round in 0..80 {
        write_something(&world, &tenant, &mut kiosk, &mut patients).await;
        write_something(&world, &other, &mut foreign, &mut strangers).await;
        for (at, (view, copy)) in copies.iter_mut().enumerate() {
            // They come at different times, and catch up in pages of different sizes.
            if (round + at) % (at + 1) == 0 {
                copy.follow(&world, &tenant.facility, *view, 3 + at).await;
            }
        }
        world.pass(60);
    }
    for (view, copy) in &mut copies {
        copy.follow(&world, &tenant.facility, *view, 7).await;
        let mut fresh = Copy::default();
        fresh.follow(&world, &tenant.facility, *view, 1_000).await;
        assert!(fresh.documents == copy.documents, "{view:?}: a copy does not depend on how it was made");
        assert!(!fresh.documents.is_empty());
    }
}

#[tokio::test]
async fn a_planted_difference_shows_in_the_digest_of_its_collection_alone() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let mut copy = Copy::default();
    copy.follow(&world, &tenant.facility, View::Full, 100).await;
    let asked = after(copy.cursor, 100);
    let told = world.store.facility(&tenant.facility).page(asked).await.unwrap().end.digests;
    let planted = Element::of(Collection::Patients, tenant.patient.as_bytes(), 3, b"{}");
    copy.documents.insert((Collection::Patients, *tenant.patient.as_bytes()), (3, planted));
    let differs = |collection: Collection| {
        let mut own = Digest::default();
        let documents = copy.documents.iter().filter(|((name, _), _)| *name == collection);
        documents.for_each(|(_, (_, element))| own.add(*element));
        own != told[collection.name()]
    };
    assert_eq!(Collection::ALL.map(differs), Collection::ALL.map(|name| name == Collection::Patients));
}

#[tokio::test]
async fn a_feed_from_before_there_were_digests_is_counted_when_the_first_device_comes() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let access = AccessScope::Facility(tenant.facility);
    let forget = |tx: &Tx<'_>| tx.execute("UPDATE feeds SET digested = 0", params![]);
    world.store.write(access, forget).await.unwrap();
    let registry = world.store.organization(&tenant.organization);
    let room = object(json!({"room": "7"}));
    // Nobody counts: what the table says is wrong from now on.
    registry.audited(event(&world)).update_patient(tenant.patient, room).await.unwrap();
    let mut copy = Copy::default();
    copy.follow(&world, &tenant.facility, View::Full, 2).await;
    registry
        .audited(event(&world))
        .create_patient(new_patient(tenant.facility.facility(), "L-1"))
        .await
        .unwrap();
    copy.follow(&world, &tenant.facility, View::Full, 2).await;
}

/// Another version may have counted what this one cannot read, and counts what this one does not know of.
#[tokio::test]
async fn what_another_version_counted_is_counted_anew() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    let (access, patient, now) = (AccessScope::Facility(tenant.facility), tenant.patient, world.now());
    let change = kiosk.vitals(&tenant, 72, now);
    world.push(&mut kiosk, &[change]).await.unwrap();
    let record = kiosk.made(kiosk.sent, now);
    Copy::default().follow(&world, &tenant.facility, View::Minimal, 100).await;
    let odd = r#"{"shape":"of no record"}"#;
    let leave = move |tx: &Tx<'_>| {
        let sql = "SELECT seq FROM documents WHERE collection = 'records' AND id = ?1";
        let seq: u64 = tx.first(sql, params![record])?.unwrap();
        tx.execute("DELETE FROM documents WHERE seq = ?1", params![seq])?;
        tx.execute(
            "INSERT INTO documents (seq, collection, id, patient_id, body, written_at)
                VALUES (?1, 'records', ?2, ?3, ?4, ?5)",
            params![seq, record, patient, odd, now],
        )?;
        tx.execute("UPDATE feeds SET digested = digested | 64", params![]).map(drop)
    };
    world.store.write(access, leave).await.unwrap();
    let renew = move |tx: &Tx<'_>| {
        feed_writer::put(tx, Collection::Records, record.as_bytes(), Some(patient), Some(odd))
    };
    world.store.write(access, renew).await.unwrap();
    let digested = |tx: &Tx<'_>| tx.first::<u64>("SELECT digested FROM feeds", params![]);
    assert_eq!(world.store.read(access, digested).await.unwrap().unwrap() & 64, 0, "it did not move");
    Copy::default().follow(&world, &tenant.facility, View::Minimal, 100).await;
}

#[tokio::test]
async fn a_stream_that_follows_is_told_only_what_moved() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let store = world.store.facility(&tenant.facility);
    let first = store.page(after(None, 100)).await.unwrap().end;
    assert_eq!(first.digests.len(), Collection::ALL.len(), "those without documents too");
    let registry = world.store.organization(&tenant.organization).audited(event(&world));
    registry.create_patient(new_patient(tenant.facility.facility(), "M-1")).await.unwrap();
    let asked = PageRequest { was_at_head: true, ..after(Some(first.cursor), 100) };
    let next = store.page(asked).await.unwrap().end;
    assert_eq!(next.digests.keys().collect::<Vec<_>>(), [Collection::Patients.name()]);
}
