//! What a device is sent: by its kind and by the mode, again on demand, within a budget, and not from a
//! past whose tombstones are gone.

use std::time::{Duration, Instant};

use carepost_protocol::change::Verdict;
use carepost_protocol::wire::pull::Line;

use super::*;
use crate::feed::Wake;

const DAY: i64 = 24 * 3_600;
const KEPT: Duration = Duration::from_secs(90 * 24 * 3_600);

/// The lines of a page: collection, id, seq, and the body unless it is a tombstone.
fn lines(page: &Page) -> Vec<(Collection, String, u64, Option<String>)> {
    let text = std::str::from_utf8(&page.lines).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Line<'_>>(line).unwrap());
    lines
        .filter_map(|line| {
            let collection = Collection::from_name(&line.collection?).unwrap();
            let body = line.body.map(|body| body.get().to_owned());
            Some((collection, line.id?.into_owned(), line.seq?, body))
        })
        .collect()
}

async fn identity(world: &World, kiosk: &Kiosk) -> DeviceIdentity {
    let key = presented(&kiosk.key).sha256;
    world.store.system().device_by_key(key).await.unwrap().unwrap()
}

/// What a device asks, going by what its row says.
async fn ask(world: &World, kiosk: &Kiosk, cursor: Option<Cursor>) -> Result<Page, StoreError> {
    let known = identity(world, kiosk).await;
    let asked =
        PageRequest { view: known.view(), view_changes: known.view_changes(), ..after(cursor, 1_000) };
    let scope = known.scope().unwrap();
    world.store.facility(&scope).page(asked).await
}

async fn set_mode(world: &World, tenant: &Tenant, mode: PhiMode) {
    let patch = FacilityPatch { phi_mode: Some(mode), ..FacilityPatch::default() };
    let registry = world.store.organization(&tenant.organization);
    registry.audited(event(world)).update_facility(tenant.facility.facility(), patch).await.unwrap();
}

async fn set_device(world: &World, tenant: &Tenant, kiosk: &Kiosk, patch: DevicePatch) {
    let registry = world.store.organization(&tenant.organization);
    registry.audited(event(world)).update_device(kiosk.identity.device(), patch).await.unwrap();
}

async fn charted(world: &World, tenant: &Tenant, kiosk: &mut Kiosk) {
    let registry = world.store.organization(&tenant.organization);
    let mut known = new_patient(tenant.facility.facility(), "MRN-77");
    let said = json!({"name": "Grace Brewster Invented", "date_of_birth": "1931-02-03", "room": "12B",
        "medicare": "1EG4-TE5-MK73"});
    known.fields.extend(object(said));
    registry.audited(event(world)).create_patient(known).await.unwrap();
    let change = kiosk.vitals(tenant, 173, world.now());
    let receipt = world.push(kiosk, &[change]).await.unwrap();
    assert_eq!(receipt.verdicts[0].verdict, Verdict::Applied);
}

#[tokio::test]
async fn a_mode_strips_on_the_server_what_it_hides() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    charted(&world, &tenant, &mut kiosk).await;
    let told = |page: &Page| String::from_utf8(page.lines.clone()).unwrap();
    let full = told(&ask(&world, &kiosk, None).await.unwrap());
    let hidden = ["Grace Brewster Invented", "1931-02-03", "12B", "MRN-77", "173", "1EG4"];
    // The control: it is all there to be hidden.
    assert!(hidden.iter().all(|word| full.contains(word)), "{full}");

    set_mode(&world, &tenant, PhiMode::Minimal).await;
    let minimal = told(&ask(&world, &kiosk, None).await.unwrap());
    assert!(minimal.contains(r#""name":"G.B.I.""#) && minimal.contains(r#""room":"12B""#), "{minimal}");
    assert!(["Brewster", "1931-02-03", "MRN-77", "173", "1EG4"].iter().all(|word| !minimal.contains(word)));

    set_mode(&world, &tenant, PhiMode::Free).await;
    let free = told(&ask(&world, &kiosk, None).await.unwrap());
    assert!(free.contains(r#""mrn":"","name":"MRN-77""#), "{free}");
    assert!(
        ["Brewster", "G.B.I.", "1931-02-03", "12B", "173", "1EG4"].iter().all(|word| !free.contains(word))
    );
    assert_eq!(lines(&ask(&world, &kiosk, None).await.unwrap()).len(), documents_in(&full));

    let reader = DevicePatch { device_type: Some(DeviceType::BadgeReader), ..DevicePatch::default() };
    set_device(&world, &tenant, &kiosk, reader).await;
    let page = ask(&world, &kiosk, None).await.unwrap();
    let shown = [Collection::Facilities, Collection::Users, Collection::Badges];
    assert!(lines(&page).iter().all(|(collection, ..)| shown.contains(collection)), "{}", told(&page));
    assert!(page.end.reaches_head() && !lines(&page).is_empty());
    assert_eq!(page.end.phi_mode, Some(PhiMode::Free), "it does not say that there is nobody");
}

fn documents_in(text: &str) -> usize {
    text.lines().count() - 1
}

#[tokio::test]
async fn changing_what_a_device_may_see_ends_its_streams_and_its_cursor_and_no_other_ones() {
    let (world, tenant, [hall, office]) = World::with_kiosks().await;
    let listen =
        |kiosk: &Kiosk| world.store.feeds().listen(tenant.facility.facility(), kiosk.identity.device());
    let own = DevicePatch { phi_mode: Some(Some(PhiMode::Full)), ..DevicePatch::default() };
    let mut untouched = listen(&office);
    set_device(&world, &tenant, &office, own).await;
    let begun = [
        ask(&world, &hall, None).await.unwrap().end.cursor,
        ask(&world, &office, None).await.unwrap().end.cursor,
    ];
    let mut ends = listen(&hall);
    set_mode(&world, &tenant, PhiMode::Free).await;
    assert!(ends.is_refused() && ends.wake().await == Wake::Refused);
    assert!(matches!(ask(&world, &hall, Some(begun[0])).await, Err(StoreError::CursorRefused { .. })));
    // The office goes by its own word, which says what the facility's said before.
    assert!(!untouched.is_refused());
    world.hire(&tenant, "omar", Role::Lpn).await;
    assert_eq!(untouched.wake().await, Wake::Moved);
    ask(&world, &office, Some(begun[1])).await.unwrap();
    // A stream that begins after the change lives, and its cursors are served.
    assert!(!listen(&hall).is_refused());
    let fresh = ask(&world, &hall, None).await.unwrap().end.cursor;
    ask(&world, &hall, Some(fresh)).await.unwrap();
    // Back again: what was hidden is not in the mirror, so that one is no mirror of everything either.
    set_mode(&world, &tenant, PhiMode::Full).await;
    for old in [begun[0], fresh] {
        assert!(matches!(ask(&world, &hall, Some(old)).await, Err(StoreError::CursorRefused { .. })));
    }
    // A new name changes nothing of that.
    let now = ask(&world, &hall, None).await.unwrap().end.cursor;
    let renamed = DevicePatch { name: Some("Hall".to_owned()), ..DevicePatch::default() };
    set_device(&world, &tenant, &hall, renamed).await;
    ask(&world, &hall, Some(now)).await.unwrap();
}

#[tokio::test]
async fn collections_come_again_up_to_the_cursor_and_no_further() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    let changes: Vec<_> = (0..7).map(|n| kiosk.vitals(&tenant, 60 + n, world.now())).collect();
    world.push(&mut kiosk, &changes).await.unwrap();
    let cursor = ask(&world, &kiosk, None).await.unwrap().end.cursor;
    let registry = world.store.organization(&tenant.organization);
    let facility = tenant.facility.facility();
    registry.audited(event(&world)).create_patient(new_patient(facility, "LATER")).await.unwrap();
    let store = world.store.facility(&tenant.facility);
    let mut asked = RefetchRequest {
        collections: vec![Collection::Patients, Collection::Records],
        cursor,
        after: 0,
        limit: 3,
        view: View::Full,
        view_changes: 0,
    };
    let (mut seen, mut pages) = (Vec::new(), 0);
    let last = loop {
        let (page, next) = store.refetch_page(asked.clone()).await.unwrap();
        assert_eq!(page.end.cursor, cursor, "the cursor stays where it is");
        seen.extend(lines(&page));
        pages += 1;
        if !page.end.refetched.is_empty() {
            break page;
        }
        asked.after = next;
    };
    assert_eq!(last.end.refetched, ["patients", "records"]);
    assert!(last.end.digests.is_empty(), "they are told on the page that goes on from there");
    assert_eq!((seen.len(), pages), (8, 3));
    assert!(seen.iter().all(|(collection, _, seq, body)| {
        asked.collections.contains(collection) && *seq <= cursor.seq && body.is_some()
    }));
    let beyond = RefetchRequest { cursor: Cursor { seq: cursor.seq + 9, ..cursor }, ..asked };
    assert!(matches!(store.refetch_page(beyond).await, Err(StoreError::CursorRefused { .. })));
}

#[tokio::test]
async fn more_documents_than_a_device_may_hold_are_refused_with_both_numbers() {
    let (world, tenant, mut kiosk) = World::with_kiosk().await;
    charted(&world, &tenant, &mut kiosk).await;
    let page = |view, most_documents| {
        let asked = PageRequest { view, most_documents, ..after(None, 2) };
        let store = world.store.facility(&tenant.facility);
        async move { store.page(asked).await }
    };
    let refused = page(View::Full, 5).await.unwrap_err();
    assert!(matches!(refused, StoreError::OverBudget { documents: 6, most: 5 }), "{refused:?}");
    let words = refused.to_string();
    assert!(words.contains('6') && words.contains('5') && words.contains("max_documents"), "{words}");
    page(View::Full, 6).await.unwrap();
    page(View::BadgeReader, 5).await.unwrap();
}

#[tokio::test]
async fn old_tombstones_go_and_with_them_the_cursors_that_need_them() {
    let (world, tenant, kiosk) = World::with_kiosk().await;
    let registry = world.store.organization(&tenant.organization);
    let old = ask(&world, &kiosk, None).await.unwrap().end.cursor;
    let badge = registry.audited(event(&world)).issue_badge(tenant.nurse, &[4, 1, 2, 3]).await.unwrap();
    registry.audited(event(&world)).revoke_badge(badge.id).await.unwrap();
    let again = registry.audited(event(&world)).issue_badge(tenant.nurse, &[4, 1, 2, 3]).await.unwrap();
    let seen = ask(&world, &kiosk, None).await.unwrap();
    let is_gone = |page: &Page| lines(page).iter().all(|(.., body)| body.is_some());
    assert!(!is_gone(&seen), "a tombstone to purge");
    let known = identity(&world, &kiosk).await;
    let store = world.store.facility(&tenant.facility);
    let purged = async |gone: bool| {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            // Each facility is looked after once a day, when one of its devices is heard.
            store.cursor_refused(&known);
            let page = ask(&world, &kiosk, None).await.unwrap();
            if is_gone(&page) == gone {
                return page;
            }
            assert!(Instant::now() < deadline, "it is not purged");
            tokio::task::yield_now().await;
        }
    };
    world.pass(89 * DAY);
    store.check_horizon(&known, old, KEPT).await.unwrap();
    world.pass(2 * DAY);
    let page = purged(true).await;
    // What is there is what was there, and its digest too.
    assert_eq!(page.end.digests, seen.end.digests);
    assert!(matches!(store.check_horizon(&known, old, KEPT).await, Err(StoreError::CursorRefused { .. })));
    store.check_horizon(&known, seen.end.cursor, KEPT).await.unwrap();
    // A first pull that broke off half-way is younger than any tombstone that is gone.
    store.mirror_began(&known);
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let known = identity(&world, &kiosk).await;
        if store.check_horizon(&known, old, KEPT).await.is_ok() {
            break;
        }
        assert!(Instant::now() < deadline, "the beginning of the mirror was not written down");
        tokio::task::yield_now().await;
    }
    world.pass(90 * DAY);
    let known = identity(&world, &kiosk).await;
    assert!(matches!(store.check_horizon(&known, old, KEPT).await, Err(StoreError::CursorRefused { .. })));
    // The server's clock was ahead: nothing waits until it has caught up.
    world.pass(-300 * DAY);
    registry.audited(event(&world)).revoke_badge(again.id).await.unwrap();
    registry.audited(event(&world)).issue_badge(tenant.nurse, &[4, 1, 2, 3]).await.unwrap();
    assert!(!is_gone(&ask(&world, &kiosk, None).await.unwrap()));
    world.pass(91 * DAY);
    purged(true).await;
}

#[tokio::test]
async fn a_newer_live_stream_ends_the_older_one_of_the_same_device() {
    let (world, tenant, [one, other]) = World::with_kiosks().await;
    let (feeds, facility) = (world.store.feeds(), tenant.facility.facility());
    let older = feeds.listen_alone(facility, one.identity.device());
    let others = feeds.listen_alone(facility, other.identity.device());
    let pull = feeds.listen(facility, one.identity.device());
    assert!(!older.is_refused(), "a pull ends nothing");
    let newer = feeds.listen_alone(facility, one.identity.device());
    assert!(older.is_refused() && pull.is_refused());
    assert!(!newer.is_refused() && !others.is_refused());
}
