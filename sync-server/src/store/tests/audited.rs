//! What devices write into the audit log, as it is kept.

use carepost_protocol::audit::AuditSource;

use super::book::Book;
use super::*;

#[tokio::test]
async fn who_once_had_a_role_is_known_and_what_the_server_notes_is_its_own() {
    let world = World::new();
    let tenant = world.tenant("alpha").await;
    let registry = world.store.organization(&tenant.organization);
    let kiosk = world.kiosk(&tenant, 1).await;
    let gone = UserPatch { is_active: Some(false), ..UserPatch::default() };
    registry.audited(event(&world)).update_user(tenant.nurse, gone).await.unwrap();
    world.pass(3_600);
    let hers = AuditEvent { user_id: Some(tenant.nurse), patient_id: Some(tenant.patient), ..event(&world) };
    let soon = AuditEvent { timestamp: world.now().plus_millis(60_000), ..hers.clone() };
    let nobodys = AuditEvent { user_id: Some(UserId::new(world.now(), [6; 10])), ..hers.clone() };
    let mut book = Book::new(&kiosk, Lane::Audit);
    for event in [&hers, &soon, &nobodys] {
        book.write(event);
    }
    book.push(&world, &kiosk, 1..=3).await.unwrap();
    let query = AuditQuery { source: Some(AuditSource::Device), limit: 10, ..AuditQuery::default() };
    let found = registry.audit_events(query.clone()).await.unwrap().items;
    let told: Vec<_> = found
        .iter()
        .map(|it| (it.origin.map(|origin| origin.n), it.flags.join(","), it.claimed_at, it.event.timestamp))
        .collect();
    let now = world.now();
    assert_eq!(
        told,
        [
            (Some(3), "actor_unknown".to_owned(), None, now),
            // A little ahead is no lie, and no later than when the server heard of it all the same.
            (Some(2), String::new(), Some(soon.timestamp), now),
            (Some(1), String::new(), None, now),
        ]
    );
    let own = AuditQuery { source: Some(AuditSource::Server), limit: 1_000, ..AuditQuery::default() };
    let own = registry.audit_events(own).await.unwrap().items;
    assert!(!own.is_empty() && own.iter().all(|it| it.origin.is_none() && it.flags.is_empty()));
    // Page by page, whatever shares a moment.
    let mut after = None;
    for expected in &found {
        let page = AuditQuery { after, limit: 1, ..query.clone() };
        let page = registry.audit_events(page).await.unwrap().items;
        assert_eq!(page.as_slice(), std::slice::from_ref(expected));
        after = Some(expected.place());
    }
    let end = AuditQuery { after, ..query };
    assert!(registry.audit_events(end).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn a_page_goes_through_so_many_events_and_may_hold_none_of_them() {
    let (world, tenant, kiosk) = World::with_kiosk().await;
    let registry = world.store.organization(&tenant.organization);
    let mut book = Book::new(&kiosk, Lane::Audit);
    book.write(&event(&world));
    book.push(&world, &kiosk, 1..=1).await.unwrap();
    world.pass(1);
    let device = Some(kiosk.identity.device());
    let seen = (0..audit::WALKED).map(|_| AuditEvent { device_id: device, ..event(&world) });
    registry.audit(seen.collect()).await.unwrap();
    let query = AuditQuery { device, source: Some(AuditSource::Device), limit: 10, ..AuditQuery::default() };
    let first = registry.audit_events(query.clone()).await.unwrap();
    assert!(first.items.is_empty() && first.next.is_some(), "{first:?}");
    let second = registry.audit_events(AuditQuery { after: first.next, ..query }).await.unwrap();
    assert_eq!((second.items.len(), second.next), (1, None));
}

#[tokio::test]
async fn nothing_that_a_device_wrote_down_writes_on_the_terminal_of_who_reads_it() {
    let (world, tenant, kiosk) = World::with_kiosk().await;
    let said = "Hall\u{9b}2J\u{1b}[31m\u{7f}";
    let details = serde_json::json!({said: [said, {"in": said, "count": 7}]});
    let hostile = AuditEvent {
        resource_type: said.to_owned(),
        resource_id: Some(said.to_owned()),
        username: Some(said.to_owned()),
        endpoint: Some(said.to_owned()),
        details: details.as_object().cloned().unwrap(),
        ..event(&world)
    };
    let mut book = Book::new(&kiosk, Lane::Audit);
    book.write(&hostile);
    book.push(&world, &kiosk, 1..=1).await.unwrap();
    let query = AuditQuery { source: Some(AuditSource::Device), limit: 10, ..AuditQuery::default() };
    let kept = world.store.organization(&tenant.organization).audit_events(query).await.unwrap().items;
    let shown = format!("{:#}", serde_json::to_value(&kept[0].event).unwrap());
    assert!(!shown.contains(['\u{9b}', '\u{7f}']) && !shown.contains("\\u001b"), "{shown}");
    assert!(shown.contains("Hall2J[31m") && shown.contains('7'), "{shown}");
}
