mod crash;
mod fork;
mod large;
mod rejected;
mod rewind;

use std::path::PathBuf;

use carepost_agent_core::session::{PinMark, Throttle};
use carepost_protocol::audit::{AuditAction, AuditEvent, AuditEventType};
use carepost_protocol::change::{Change, ChangeKind, PayloadHash, Verdict};
use carepost_protocol::id::{AuditId, PatientId, SessionId, UserId};
use carepost_protocol::record::Collection;
use carepost_protocol::role::{Actor, Chart, ReadPatients, Role, authorize};
use carepost_protocol::time::ClockQuality;
use carepost_protocol::wire::push::{PushBatch, PushReceipt, Rejection, RejectionCode, VerdictRun};
use serde_json::{Map, json};

use super::*;

const NURSE: UserId = UserId::from_bytes([4; 16]);
const PATIENT: PatientId = PatientId::from_bytes([6; 16]);
const HERE: FacilityId = FacilityId::from_bytes([2; 16]);
const NEIGHBOR: FacilityId = FacilityId::from_bytes([3; 16]);
const SESSION: SessionId = SessionId::from_bytes([5; 16]);

/// As much as there is.
const ALL: Shape = Shape::Plain { changes: 1_000, bytes: 1_000_000 };

struct Kiosk {
    directory: tempfile::TempDir,
    device_key: Arc<DeviceKey>,
}

impl Kiosk {
    fn new() -> Self {
        let device_key = Arc::new(DeviceKey::generate().unwrap());
        Self { directory: tempfile::tempdir().unwrap(), device_key }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("outbox.db")
    }

    fn try_open(&self, key: u8, device: u8) -> Result<Outbox, OutboxError> {
        open_at(&self.path(), key, device, &self.device_key)
    }

    fn open(&self) -> Outbox {
        self.try_open(9, 1).unwrap()
    }
}

fn open_at(path: &Path, key: u8, device: u8, device_key: &Arc<DeviceKey>) -> Result<Outbox, OutboxError> {
    Outbox::open(opening(path, &FileKey::from_bytes([key; 32]), device, device_key))
}

fn opening<'a>(
    path: &'a Path,
    key: &'a FileKey,
    device: u8,
    device_key: &Arc<DeviceKey>,
) -> OutboxOpening<'a> {
    OutboxOpening {
        path,
        key,
        binding: Binding {
            device: DeviceId::from_bytes([device; 16]),
            organization: OrganizationId::from_bytes([1; 16]),
            facility: HERE,
            assignment: AssignmentId::from_bytes([8; 16]),
        },
        device_key: Arc::clone(device_key),
        max_mib: 1,
        now: at(0),
        is_begun: false,
        runs: true,
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_777_644_600_000 + second * 1_000)
}

fn permit<A: carepost_protocol::role::Act>(facility: FacilityId) -> Permit<A> {
    let organization = OrganizationId::from_bytes([1; 16]);
    let actor = Actor {
        user: NURSE,
        session: SESSION,
        role: Role::Rn,
        organization: Some(organization),
        facility: Some(facility),
    };
    authorize(&actor, Resource::Facility(organization, facility)).unwrap()
}

fn change(second: i64, note: &str) -> Change {
    let mut fields = Map::new();
    fields.insert("note".into(), json!(note));
    let assignment = AssignmentId::from_bytes([8; 16]);
    let stamp = (at(second), ClockQuality::Synced);
    Change {
        patient: Some(PATIENT),
        workflow: Some("vitals".into()),
        schema_version: Some(1),
        ..Change::create((NURSE, SESSION), assignment, Collection::Records, fields, stamp)
    }
}

fn audit() -> AuditEvent {
    let (id, stamp) = (AuditId::from_bytes([7; 16]), (at(0), ClockQuality::Synced));
    let event = AuditEvent::new(id, stamp, AuditEventType::PhiAccess, AuditAction::Create, "record");
    AuditEvent { patient_id: Some(PATIENT), ..event.by(NURSE, Some(SESSION)) }
}

fn save(outbox: &Outbox, change: &Change, token: &str) -> Result<Saved, OutboxError> {
    outbox.append(&permit::<Chart>(HERE), Entry { change, token }, |_| vec![audit()])
}

fn save_some(outbox: &Outbox, count: i64) {
    for second in 1..=count {
        save(outbox, &change(second, "a"), &format!("form {second}")).unwrap();
    }
}

fn run(n: u64, count: u64, verdict: Verdict, seq: Option<u64>) -> VerdictRun {
    let rejection = || Rejection {
        code: RejectionCode::BreaksSchema,
        detail: "The pulse is missing.".into(),
        errors: vec![],
    };
    VerdictRun { n, count, verdict, seq, reason: (verdict == Verdict::Rejected).then(rejection) }
}

fn receipt(verdicts: Vec<VerdictRun>) -> PushReceipt {
    let next_n = verdicts.iter().map(|run| run.n.saturating_add(run.count)).max().unwrap_or(0);
    PushReceipt { verdicts, next_n, durable_through: None, server_time: at(60) }
}

fn care(outbox: &Outbox) -> Batch {
    outbox.batch(Lane::Care, ALL).unwrap().unwrap()
}

fn shown(outbox: &Outbox, mirror_seq: u64) -> Vec<(u64, Progress)> {
    let pending = outbox.pending(&permit::<ReadPatients>(HERE), PATIENT, mirror_seq).unwrap();
    pending.into_iter().map(|pending| (pending.n, pending.progress)).collect()
}

fn files_hold(kiosk: &Kiosk, text: &[u8]) -> bool {
    std::fs::read_dir(kiosk.directory.path()).unwrap().any(|entry| {
        let content = std::fs::read(entry.unwrap().path()).unwrap();
        content.windows(text.len()).any(|window| window == text)
    })
}

/// The chain of a batch, recomputed as the server does, from the exact bytes.
fn verify(kiosk: &Kiosk, batch: &PushBatch<'_>) {
    let mut link = batch.previous;
    for (n, change) in (batch.first_n..).zip(&batch.changes) {
        link = link.next(n, &PayloadHash::of(change.get().as_bytes()));
    }
    assert_eq!(link, batch.head);
    let spki = x509_spki_point(kiosk.device_key.certificate_der());
    let signature: Vec<u8> =
        (0..64).map(|i| u8::from_str_radix(&batch.signature[2 * i..2 * i + 2], 16).unwrap()).collect();
    let public = ring::signature::UnparsedPublicKey::new(&ring::signature::ECDSA_P256_SHA256_FIXED, spki);
    public.verify(link.as_bytes(), &signature).unwrap();
}

/// The public point in a P-256 certificate: the 65 bytes after the curve's BIT STRING header.
fn x509_spki_point(certificate: &[u8]) -> Vec<u8> {
    let header = [0x03, 0x42, 0x00, 0x04];
    let start = certificate.windows(4).position(|window| window == header).unwrap() + 3;
    certificate[start..start + 65].to_vec()
}

#[test]
fn a_saved_entry_is_there_after_the_process_is_gone() {
    let kiosk = Kiosk::new();
    let outbox = kiosk.open();
    let saved = save(&outbox, &change(1, "a"), "form").unwrap();
    assert_eq!(saved.record, RecordId::of_create(outbox.incarnation(), 1, at(1)));
    let incarnation = outbox.incarnation();
    // As a killed process leaves it: neither closed nor checkpointed.
    std::mem::forget(outbox);
    let outbox = kiosk.open();
    assert_eq!(outbox.incarnation(), incarnation);
    assert_eq!(shown(&outbox, 0), [(1, Progress::Queued)]);
    assert_eq!(save(&outbox, &change(2, "b"), "form 2").unwrap().n, 2);
}

#[test]
fn a_form_sent_twice_is_saved_once() {
    let kiosk = Kiosk::new();
    let outbox = kiosk.open();
    let first = save(&outbox, &change(1, "a"), "form").unwrap();
    assert_eq!(save(&outbox, &change(3, "a"), "form").unwrap(), first, "pressed again two seconds later");
    assert_eq!(outbox.counts().unwrap().care, 1);
    let edited = save(&outbox, &change(4, "b"), "form");
    assert!(matches!(edited, Err(OutboxError::SavedDifferently { record }) if record == first.record));
    assert_eq!(save(&outbox, &change(4, "b"), "another form").unwrap().n, 2);
    let mut named = None;
    let name = |record| {
        named = Some(record);
        vec![audit()]
    };
    let made = change(5, "a");
    outbox.append(&permit::<Chart>(HERE), Entry { change: &made, token: "form" }, name).unwrap();
    assert_eq!(named, Some(first.record), "its audit events name the record that was saved");
}

#[test]
fn care_and_its_audit_are_saved_together_in_chains_that_verify() {
    let kiosk = Kiosk::new();
    let outbox = kiosk.open();
    save_some(&outbox, 5);
    outbox.append_audit(&[audit(), audit()]).unwrap();
    for (lane, count) in [(Lane::Care, 5), (Lane::Audit, 7)] {
        let batch = outbox.batch(lane, ALL).unwrap().unwrap();
        let parsed: PushBatch<'_> = serde_json::from_slice(&batch.body).unwrap();
        assert_eq!((parsed.first_n, parsed.changes.len()), (1, count));
        assert_eq!(parsed.previous, Link::genesis(DeviceId::from_bytes([1; 16]), outbox.incarnation(), lane));
        assert_eq!(parsed.incarnation, outbox.incarnation());
        verify(&kiosk, &parsed);
    }
}

#[test]
fn batches_are_bounded_and_go_on_where_the_receipt_ended() {
    let kiosk = Kiosk::new();
    let outbox = kiosk.open();
    save_some(&outbox, 5);
    let two = outbox.batch(Lane::Care, Shape::Plain { changes: 2, bytes: 1_000_000 }).unwrap().unwrap();
    assert_eq!(two.sent, Sent { lane: Lane::Care, first_n: 1, count: 2 });
    let tiny = outbox.batch(Lane::Care, Shape::Plain { changes: 1_000, bytes: 1 }).unwrap().unwrap();
    assert_eq!(tiny.sent.count, 1, "never less than one, or nothing would ever travel");
    let fits = outbox.batch(Lane::Care, Shape::Plain { changes: 1_000, bytes: 2_100 }).unwrap().unwrap();
    assert!(fits.body.len() <= 2_100 && fits.sent.count > 1, "{} bytes", fits.body.len());
    outbox.settle(&two.sent, &receipt(vec![run(1, 2, Verdict::Applied, Some(10))])).unwrap();
    let rest = care(&outbox);
    assert_eq!(rest.sent, Sent { lane: Lane::Care, first_n: 3, count: 3 });
    verify(&kiosk, &serde_json::from_slice(&rest.body).unwrap());
    outbox.settle(&rest.sent, &receipt(vec![run(3, 3, Verdict::Applied, Some(12))])).unwrap();
    assert!(outbox.batch(Lane::Care, ALL).unwrap().is_none());
}

#[test]
fn an_entry_never_blinks_between_receipt_and_pull() {
    let kiosk = Kiosk::new();
    let outbox = kiosk.open();
    save_some(&outbox, 2);
    assert_eq!(shown(&outbox, 100), [(1, Progress::Queued), (2, Progress::Queued)]);
    let sent = care(&outbox).sent;
    outbox.settle(&sent, &receipt(vec![run(1, 2, Verdict::Applied, Some(101))])).unwrap();
    assert_eq!(shown(&outbox, 100), [(1, Progress::Acknowledged), (2, Progress::Acknowledged)]);
    assert_eq!(shown(&outbox, 101), [(2, Progress::Acknowledged)], "the mirror has the first one");
    assert_eq!(shown(&outbox, 102), []);
}

#[test]
fn a_rejected_change_waits_and_holds_up_nothing() {
    let kiosk = Kiosk::new();
    let outbox = kiosk.open();
    save_some(&outbox, 3);
    let verdicts = vec![
        run(1, 1, Verdict::Applied, Some(10)),
        run(2, 1, Verdict::Rejected, None),
        run(3, 1, Verdict::Merged, Some(11)),
    ];
    outbox.settle(&care(&outbox).sent, &receipt(verdicts)).unwrap();
    let rejected = outbox.rejected_entries(10).unwrap();
    assert_eq!(rejected.len(), 1);
    assert_eq!((rejected[0].name.n, rejected[0].made_at), (2, at(2)));
    assert_eq!(rejected[0].reason, "The pulse is missing.");
    let counts = outbox.counts().unwrap();
    assert_eq!((counts.care, counts.rejected, counts.oldest), (0, 1, None));
    assert_eq!(shown(&outbox, 11), [(2, Progress::Rejected("The pulse is missing.".into()))]);
    save(&outbox, &change(9, "d"), "next form").unwrap();
    assert_eq!(care(&outbox).sent.first_n, 4);
}

#[test]
fn a_receipt_that_does_not_fit_is_not_believed() {
    let kiosk = Kiosk::new();
    let outbox = kiosk.open();
    save_some(&outbox, 3);
    let sent = care(&outbox).sent;
    for verdicts in [
        vec![],
        vec![run(1, 2, Verdict::Applied, Some(1))],
        vec![run(1, 4, Verdict::Applied, Some(1))],
        vec![run(2, 3, Verdict::Applied, Some(1))],
        vec![run(1, 1, Verdict::Applied, Some(1)), run(3, 1, Verdict::Applied, Some(3))],
        vec![run(1, 0, Verdict::Applied, None), run(1, 3, Verdict::Applied, Some(1))],
        vec![run(1, u64::MAX, Verdict::Applied, None)],
    ] {
        let settled = outbox.settle(&sent, &receipt(verdicts.clone()));
        assert!(matches!(settled, Err(OutboxError::Receipt(_))), "{verdicts:?}");
        assert_eq!(outbox.counts().unwrap().care, 3);
    }
    let beyond = Sent { count: 9, ..sent };
    let unknown = outbox.settle(&beyond, &receipt(vec![run(1, 9, Verdict::Applied, Some(1))]));
    assert!(matches!(unknown, Err(OutboxError::Receipt(_))));
    assert_eq!(outbox.counts().unwrap().care, 3, "all of a receipt or nothing");
}

#[test]
fn a_server_that_lost_its_newest_entries_gets_them_again() {
    let kiosk = Kiosk::new();
    let outbox = kiosk.open();
    save_some(&outbox, 4);
    outbox.settle(&care(&outbox).sent, &receipt(vec![run(1, 4, Verdict::Applied, Some(10))])).unwrap();
    save(&outbox, &change(9, "e"), "next form").unwrap();
    assert_eq!(outbox.resync(Lane::Care, 3).unwrap(), Resync::Resend { first_n: 3 });
    let batch = care(&outbox);
    assert_eq!(batch.sent, Sent { lane: Lane::Care, first_n: 3, count: 3 });
    verify(&kiosk, &serde_json::from_slice(&batch.body).unwrap());
    assert_eq!(shown(&outbox, 100).len(), 3, "not on the server, so shown as waiting");
    assert_eq!(outbox.resync(Lane::Care, 3).unwrap(), Resync::Level, "asked again, it waits already");
    for theirs in [0, 6, 99] {
        let diverged = outbox.resync(Lane::Care, theirs).unwrap();
        assert_eq!(diverged, Resync::Diverged { ours: 3, theirs });
    }
}

#[test]
fn only_what_is_seen_and_a_week_old_is_pruned() {
    const WEEK: i64 = 7 * 24 * 3600;
    let kiosk = Kiosk::new();
    let outbox = kiosk.open();
    save_some(&outbox, 4);
    let verdicts = vec![
        run(1, 1, Verdict::Applied, Some(10)),
        run(2, 1, Verdict::Rejected, None),
        run(3, 2, Verdict::Applied, Some(11)),
    ];
    outbox.settle(&care(&outbox).sent, &receipt(verdicts)).unwrap();
    assert_eq!(outbox.prune(12, at(60 + WEEK)).unwrap(), 0, "a week, and not a moment less");
    assert_eq!(outbox.prune(9, at(61 + WEEK)).unwrap(), 0, "the mirror has not seen them");
    // The last one stays: the next entry links to it.
    assert_eq!(outbox.prune(12, at(61 + WEEK)).unwrap(), 2);
    assert_eq!(outbox.rejected_entries(10).unwrap().len(), 1);
    assert_eq!(save(&outbox, &change(9, "e"), "next form").unwrap().n, 5);
    verify(&kiosk, &serde_json::from_slice(&care(&outbox).body).unwrap());
}

#[test]
fn a_full_disk_saves_nothing_and_harms_nothing() {
    let kiosk = Kiosk::new();
    let outbox = kiosk.open();
    let (saved, full) = fill(&outbox);
    assert!(full.to_string().contains("disk is full"));
    assert_eq!(outbox.head(Lane::Care).unwrap().0, saved);
    assert_eq!(outbox.head(Lane::Audit).unwrap().0, saved, "nor its audit event");
    assert_eq!(outbox.make_room(u64::MAX).unwrap(), 0, "what only this device has never gives way");
    verify(&kiosk, &serde_json::from_slice(&care(&outbox).body).unwrap());
}

#[test]
fn a_full_outbox_still_notes_receipts_and_then_gives_up_copies() {
    let kiosk = Kiosk::new();
    let outbox = kiosk.open();
    let (saved, _) = fill(&outbox);
    while let Some(batch) = outbox.batch(Lane::Care, Shape::Plain { changes: 7, bytes: usize::MAX }).unwrap()
    {
        let Sent { first_n, count, .. } = batch.sent;
        outbox
            .settle(&batch.sent, &receipt(vec![run(first_n, count, Verdict::Applied, Some(first_n))]))
            .unwrap();
    }
    let again = change(100_000, "again");
    assert!(matches!(save(&outbox, &change(99_999, &"x".repeat(50_000)), "z"), Err(OutboxError::Full)));
    assert_eq!(outbox.make_room(0).unwrap(), 0, "the mirror has none of them");
    let given_up = outbox.make_room(u64::MAX).unwrap();
    assert!(given_up > 0 && given_up < usize::try_from(saved).unwrap(), "{given_up} of {saved}");
    assert_eq!(save(&outbox, &again, "again").unwrap().n, saved + 1);
    verify(&kiosk, &serde_json::from_slice(&care(&outbox).body).unwrap());
}

/// Saves until no more is taken: how many were, and what was said then.
fn fill(outbox: &Outbox) -> (u64, OutboxError) {
    for n in 1.. {
        let large = change(i64::try_from(n).unwrap(), &"x".repeat(9_000));
        if let Err(error) = save(outbox, &large, &format!("filled {n}")) {
            assert!(matches!(error, OutboxError::Full | OutboxError::WalFull { .. }), "{error}");
            return (n - 1, error);
        }
    }
    unreachable!("1 MiB does not hold endless entries")
}

#[test]
fn what_could_never_travel_is_refused_where_it_is_made() {
    let kiosk = Kiosk::new();
    let outbox = kiosk.open();
    let refused = save(&outbox, &change(1, &"x".repeat(MAX_CHANGE_BYTES)), "form").unwrap_err();
    assert!(matches!(refused, OutboxError::TooLarge { bytes } if bytes > MAX_CHANGE_BYTES));
    assert_eq!(outbox.counts().unwrap(), Counts::default());
}

#[test]
fn nobody_charts_elsewhere_or_under_another_name() {
    let kiosk = Kiosk::new();
    let outbox = kiosk.open();
    let made = change(1, "a");
    let elsewhere =
        outbox.append(&permit::<Chart>(NEIGHBOR), Entry { change: &made, token: "form" }, |_| vec![]);
    assert!(matches!(elsewhere, Err(OutboxError::NotPermitted)));
    for forged in [
        Change { actor: UserId::from_bytes([44; 16]), ..made.clone() },
        Change { session: SessionId::from_bytes([55; 16]), ..made.clone() },
        Change { assignment: AssignmentId::from_bytes([88; 16]), ..made.clone() },
    ] {
        assert!(matches!(save(&outbox, &forged, "form"), Err(OutboxError::NotPermitted)));
    }
    let read = outbox.pending(&permit::<ReadPatients>(NEIGHBOR), PATIENT, 0);
    assert!(matches!(read, Err(OutboxError::NotPermitted)));
    assert_eq!(outbox.counts().unwrap(), Counts::default());
}

#[test]
fn a_draft_is_its_authors_until_the_form_is_saved() {
    let kiosk = Kiosk::new();
    let outbox = kiosk.open();
    let typed = [("note".to_owned(), "slept w".to_owned())];
    outbox.put_draft(NURSE, PATIENT, "vitals", &typed, at(0)).unwrap();
    drop(outbox);
    let outbox = kiosk.open();
    assert_eq!(outbox.draft(NURSE, PATIENT, "vitals").unwrap().unwrap(), typed);
    assert_eq!(outbox.draft(UserId::from_bytes([44; 16]), PATIENT, "vitals").unwrap(), None);
    assert_eq!(outbox.draft(NURSE, PATIENT, "adl").unwrap(), None);
    save(&outbox, &change(1, "slept well"), "form").unwrap();
    assert_eq!(outbox.draft(NURSE, PATIENT, "vitals").unwrap(), None);
}

#[test]
fn pulling_the_plug_does_not_give_five_more_tries() {
    let kiosk = Kiosk::new();
    let outbox = kiosk.open();
    assert_eq!(outbox.throttle(NURSE).unwrap(), Throttle::default());
    let pin = Some(PinMark::of("a verifier"));
    let locked = Throttle { failures: 5, locked_until: Some(at(1_800)), pin };
    outbox.keep_throttle(NURSE, &locked).unwrap();
    std::mem::forget(outbox);
    let outbox = kiosk.open();
    assert_eq!(outbox.throttle(NURSE).unwrap(), locked);
    outbox.keep_throttle(NURSE, &Throttle::default()).unwrap();
    assert_eq!(outbox.throttle(NURSE).unwrap(), Throttle::default());
}

#[test]
fn counts_say_what_waits_and_since_when() {
    let kiosk = Kiosk::new();
    let outbox = kiosk.open();
    save_some(&outbox, 3);
    let expected = Counts { care: 3, audit: 3, rejected: 0, oldest: Some(at(1)) };
    assert_eq!(outbox.counts().unwrap(), expected);
}

#[test]
fn the_file_is_unreadable_and_never_set_aside() {
    let kiosk = Kiosk::new();
    let outbox = kiosk.open();
    save(&outbox, &change(1, "Marigold Fenwick fell"), "form").unwrap();
    outbox.put_draft(NURSE, PATIENT, "adl", &[("note".into(), "Marigold".into())], at(0)).unwrap();
    assert!(!files_hold(&kiosk, b"Marigold"));
    drop(outbox);
    assert!(!files_hold(&kiosk, b"Marigold") && !files_hold(&kiosk, b"SQLite format"));
    let wrong_key = kiosk.try_open(10, 1).unwrap_err();
    assert!(matches!(wrong_key, OutboxError::Open(OpenError::NotReadable { .. })));
    assert!(wrong_key.to_string().contains("recovery key"));
    assert!(matches!(kiosk.try_open(9, 2), Err(OutboxError::OtherDevice { .. })));
    assert_eq!(shown(&kiosk.open(), 0).len(), 1, "refusing it did it no harm");
}
