//! The form of every message, held by snapshots, and readers' tolerance of what they do not know.

use serde_json::{json, value::RawValue};

use super::enroll::{EnrollRequest, EnrollResponse, Grant, UserCode};
use super::heartbeat::{
    ChangeName, Encryption, Exposed, Exposure, Heartbeat, HeartbeatReply, MirrorState, QueueState,
    ReaderState, Revocation, Revoked, SettledChange, Settlement, StepReason, SteppedOver, UnknownTap,
};
use super::older::{Cut, OlderPlace, OlderQuery, OlderRecords};
use super::problem::{Expects, Problem, ProblemKind};
use super::pull::{Archived, Cursor, KeepAlive, Line, MAX_LINE_BYTES, PageEnd, SyncPosition};
use super::push::{
    Fork, Gap, MAX_BYTES, MAX_CHANGE_BYTES, Opaque, PushBatch, PushReceipt, Rejection, RejectionCode,
    VerdictRun, append,
};
use crate::audit::{AuditAction, AuditEvent, AuditEventType};
use crate::change::{Change, ChangeKind, Lane, Link, PayloadHash, Verdict};
use crate::device::{DeviceState, DeviceType};
use crate::digest::Digest;
use crate::facility::PhiMode;
use crate::id::*;
use crate::record::{
    Collection, DisputedField, MAX_DOCUMENT_BYTES, RecordDocument, Resolved, ReviewDocument, ReviewKind,
    SavedValue,
};
use crate::time::{ClockQuality, Timestamp};
use crate::workflow::FieldError;

fn at() -> Timestamp {
    "2026-05-01T14:10:00Z".parse().unwrap()
}

macro_rules! id {
    ($type:ident, $n:literal) => {
        $type::new(at(), [$n; 10])
    };
}

fn name() -> ChangeName {
    ChangeName { incarnation: id!(IncarnationId, 2), n: 7 }
}

fn link() -> Link {
    Link::genesis(id!(DeviceId, 1), id!(IncarnationId, 2), Lane::Care)
}

fn change() -> Change {
    Change {
        actor: id!(UserId, 3),
        session: id!(SessionId, 4),
        assignment: id!(AssignmentId, 5),
        kind: ChangeKind::Create,
        collection: Collection::Records,
        record: None,
        base_seq: None,
        patient: Some(id!(PatientId, 6)),
        workflow: Some("vitals".into()),
        schema_version: Some(1),
        fields: json!({"pulse": 72}).as_object().unwrap().clone(),
        confirmed: Vec::new(),
        reason: None,
        entered_in_error: false,
        recorded_at: at(),
        clock_quality: ClockQuality::Synced,
        supersedes: None,
    }
}

#[test]
fn a_token_is_not_printed() {
    let request = EnrollRequest {
        device_uuid: DeviceUuid::from_bytes([7; 16]),
        mac_addresses: Vec::new(),
        hostname: "hall-kiosk".into(),
        agent_version: "0.1.0".into(),
        token: Some("invented-token".into()),
    };
    let printed = format!("{request:?}");
    assert!(printed.contains("hall-kiosk") && !printed.contains("invented"), "{printed}");
    let printed = format!("{:?}", grant());
    assert!(printed.contains(&grant().device_id.to_string()) && !printed.contains("5e5e"), "{printed}");
}

fn grant() -> Grant {
    Grant {
        device_id: id!(DeviceId, 1),
        assignment_id: id!(AssignmentId, 5),
        organization_id: id!(OrganizationId, 8),
        facility_id: id!(FacilityId, 9),
        facility_name: "Riverside".into(),
        device_name: "Hall kiosk".into(),
        device_type: DeviceType::RaspberryPi,
        badge_key: "5e".repeat(32),
        recovery_recipient: "age1example".into(),
        server_time: at(),
    }
}

#[test]
fn snapshot_enroll() {
    insta::assert_json_snapshot!(EnrollRequest {
        device_uuid: DeviceUuid::from_bytes([7; 16]),
        mac_addresses: vec!["02:00:5e:10:00:01".into()],
        hostname: "hall-kiosk".into(),
        agent_version: "0.1.0".into(),
        token: Some("one-time".into()),
    });
    insta::assert_json_snapshot!([
        EnrollResponse::Pending {
            enrollment_id: id!(EnrollmentId, 1),
            user_code: "BCDF-GHJK".parse().unwrap(),
            expires_at: at(),
            interval: 5,
        },
        EnrollResponse::Confirming {
            enrollment_id: id!(EnrollmentId, 1),
            facility_name: "Riverside".into(),
            number: "47".into(),
            interval: 2,
        },
        EnrollResponse::Active { grant: Grant { badge_key: "00".repeat(32), ..grant() } },
    ]);
}

#[test]
fn snapshot_heartbeat() {
    insta::assert_json_snapshot!(Heartbeat {
        agent_version: "0.1.0".into(),
        uptime: 3600,
        device_time: at(),
        clock_quality: ClockQuality::Estimated,
        mac_addresses: vec!["02:00:5e:10:00:01".into()],
        encrypted: false,
        encryption: Some(Encryption {
            exposed: vec![Exposure { what: Exposed::PlainSwap, place: "/dev/sda3".into(), cause: None }],
        }),
        reader: ReaderState::ServiceDown,
        incarnation: id!(IncarnationId, 2),
        queue: QueueState { care: 12, audit: 40, rejected: 1, oldest_age: Some(240), unknown: false },
        cursor: Some(Cursor { epoch: 1, seq: 99 }),
        active_user: Some(id!(UserId, 3)),
        mirror: MirrorState {
            differs: vec!["patients".into()],
            refetches: 1,
            stepped_over: vec![SteppedOver {
                collection: "reviews".into(),
                reason: StepReason::TooLarge,
                count: 2,
            }],
        },
        no_progress: Some(900),
        revocations: Some(Cursor { epoch: 1, seq: 120 }),
        cannot_save: Some("the disk is full".into()),
        copy_trouble: Some("the disk is nearly full".into()),
        unknown_tap: Some(UnknownTap { lookup: "5e".repeat(32), age: 30 }),
        rejected: vec![name()],
    });
    insta::assert_json_snapshot!(HeartbeatReply {
        server_time: at(),
        state: DeviceState::Active,
        settled: vec![
            SettledChange { change: name(), settlement: Settlement::Applied, seq: Some(120) },
            SettledChange { change: name(), settlement: Settlement::Discarded, seq: None },
        ],
        must_encrypt: true,
        revoked: Some(Revoked {
            users: vec![Revocation { id: id!(UserId, 3), seq: 121 }],
            badges: vec![Revocation { id: id!(BadgeId, 7), seq: 122 }],
            through: Cursor { epoch: 1, seq: 122 },
            more: true,
        }),
    });
}

#[test]
fn snapshot_push() {
    let bytes = serde_json::to_string(&change()).unwrap();
    let raw: &RawValue = serde_json::from_str(&bytes).unwrap();
    insta::assert_json_snapshot!(PushBatch {
        lane: Lane::Care,
        incarnation: id!(IncarnationId, 2),
        parent: Some(Fork { incarnation: id!(IncarnationId, 1), care: 3, audit: 4 }),
        first_n: 4,
        previous: link(),
        head: link(),
        signature: "ab".repeat(64),
        changes: vec![raw],
        gap: None,
        opaque: None,
    });
    insta::assert_json_snapshot!(PushBatch {
        lane: Lane::Audit,
        incarnation: id!(IncarnationId, 2),
        parent: None,
        first_n: 9,
        previous: link(),
        head: link(),
        signature: "ab".repeat(64),
        changes: Vec::new(),
        gap: Some(Gap { from: 5, to: 8 }),
        opaque: Some(Opaque { sha256: PayloadHash::of(b"{}"), bytes: Some("e30=".into()) }),
    });
    let mut verdicts = Vec::new();
    append(&mut verdicts, 4, Verdict::Applied, Some(100), None);
    append(&mut verdicts, 5, Verdict::Applied, Some(101), None);
    append(&mut verdicts, 6, Verdict::Duplicate, Some(90), None);
    let rejection = Rejection {
        code: RejectionCode::BreaksSchema,
        detail: "pulse: too low".into(),
        errors: vec![FieldError { field: "pulse".into(), detail: "too low".into() }],
    };
    append(&mut verdicts, 7, Verdict::Rejected, None, Some(rejection.clone()));
    append(&mut verdicts, 8, Verdict::Rejected, None, Some(rejection));
    let receipt = PushReceipt { verdicts, next_n: 9, durable_through: Some(3), server_time: at() };
    insta::assert_json_snapshot!(receipt);
    assert_eq!(receipt.verdicts.iter().map(|run| run.count).sum::<u64>(), 5);
}

#[test]
fn receipts_that_follow_each_other_are_one_and_so_are_verdicts_that_are_alike() {
    let run = |n, count, verdict, seq| VerdictRun { n, count, verdict, seq, reason: None };
    let receipt =
        |verdicts, next_n| PushReceipt { verdicts, next_n, durable_through: None, server_time: at() };
    let (applied, merged) = (Verdict::Applied, Verdict::Merged);
    let rejection = Rejection { code: RejectionCode::Unsupported, detail: String::new(), errors: Vec::new() };
    let rejected = |run| VerdictRun { reason: Some(rejection.clone()), ..run };
    let (first, unfed) = (run(4, 3, applied, Some(100)), run(4, 3, applied, None));
    for (one, next, joined) in [
        (first.clone(), run(7, 2, applied, Some(103)), Some(run(4, 5, applied, Some(100)))),
        (unfed.clone(), run(7, 2, applied, None), Some(run(4, 5, applied, None))),
        (first.clone(), run(8, 2, applied, Some(103)), None),
        (first.clone(), run(7, 2, merged, Some(103)), None),
        (first.clone(), run(7, 2, applied, Some(104)), None),
        (first.clone(), run(7, 2, applied, None), None),
        (unfed.clone(), run(7, 2, applied, Some(103)), None),
        (unfed.clone(), rejected(run(7, 1, applied, None)), None),
        (rejected(unfed), run(7, 1, applied, None), None),
    ] {
        let mut whole = receipt(vec![one.clone()], 7);
        whole.go_on(receipt(vec![next.clone()], 9));
        assert_eq!(whole, receipt(joined.map_or_else(|| vec![one, next], |run| vec![run]), 9));
    }
}

#[test]
fn a_line_takes_every_document_and_a_batch_every_change() {
    assert_eq!((MAX_LINE_BYTES, MAX_DOCUMENT_BYTES), (1_048_576, 262_144));
    assert_eq!((MAX_BYTES, MAX_CHANGE_BYTES), (4_194_304, 262_144));
}

#[test]
fn a_page_ends_at_the_head_or_before_and_says_where_to_resume() {
    let cursor = Cursor { epoch: 2, seq: 8 };
    let reaches = |head| PageEnd::new(cursor, head, at()).reaches_head();
    assert_eq!([7, 8, 9].map(reaches), [true, true, false]);
    let position = SyncPosition::at(Some(cursor));
    assert_eq!(position, SyncPosition { epoch: Some(2), seq: Some(8), ..SyncPosition::default() });
    assert_eq!(SyncPosition::at(None), SyncPosition::default());
}

#[test]
fn what_is_wrong_with_a_device_comes_with_what_to_do() {
    for (what, to_do) in [
        (Exposed::PlainFile, "enroll the device anew"),
        (Exposed::PlainSwap, "switch it off"),
        (Exposed::OpenDirectory, "chmod 0700"),
        (Exposed::Unmeasured, "doctor` there says why"),
    ] {
        let words = Exposure { what, place: "/dev/example".into(), cause: None }.words();
        assert!(words.starts_with("/dev/example") && words.contains(to_do), "{words}");
    }
    let cause = Some("the disk is full: free some space".into());
    let words = Exposure { what: Exposed::Unmeasured, place: "mirror.db".into(), cause }.words();
    assert!(words.ends_with("counts as in the clear: the disk is full: free some space"), "{words}");
    for (reason, to_do) in [
        (StepReason::TooLarge, "shorten"),
        (StepReason::NotUnderstood, "update"),
        (StepReason::UnknownCollection, "update"),
        (StepReason::Unknown, "see its log"),
    ] {
        assert!(reason.words().contains(to_do));
        assert_eq!((StepReason::from_name(reason.name()), json!(reason)), (reason, json!(reason.name())));
    }
    assert_eq!(StepReason::from_name("of_tomorrow"), StepReason::Unknown);
    assert_eq!(UnknownTap::masked(&"0123456789abcdef".repeat(4)), "01234567...");
}

#[test]
fn snapshot_pull() {
    let body: &RawValue = serde_json::from_str(r#"{"name":"Ada Example"}"#).unwrap();
    let document = Line {
        collection: Some("patients".into()),
        id: Some(id!(PatientId, 6).to_string().into()),
        seq: Some(7),
        ..Line::default()
    };
    let lines = [
        Line { body: Some(body), ..document },
        Line {
            id: Some("gone".into()),
            collection: Some("users".into()),
            seq: Some(8),
            deleted: true,
            ..Line::default()
        },
        Line {
            page: Some(PageEnd {
                cursor: Cursor { epoch: 1, seq: 8 },
                head: 8,
                proof: Some("c2hvd24".into()),
                server_time: at(),
                digests: [("users".to_owned(), Digest::default())].into(),
                refetched: vec!["patients".into()],
                archived: Some(Archived { through: 5, before: at() }),
                phi_mode: Some(PhiMode::Minimal),
            }),
            ..Line::default()
        },
        Line { keep_alive: Some(KeepAlive { server_time: at() }), ..Line::default() },
    ];
    insta::assert_json_snapshot!(lines);
    insta::assert_json_snapshot!(SyncPosition {
        epoch: Some(1),
        seq: Some(8),
        incarnation: Some(id!(IncarnationId, 2)),
        care: Some(12),
        audit: Some(40),
        proof: Some("c2hvd24".into()),
        encrypted: Some(true),
        refetch: Some("patients,records".into()),
    });
    let next = Some(OlderPlace { before: at(), before_record: id!(RecordId, 1) });
    let cut = vec![Cut { record: id!(RecordId, 1), corrected: vec![id!(RecordId, 2)] }];
    insta::assert_json_snapshot!(OlderRecords::<RecordDocument> { records: Vec::new(), cut, next });
    let query = OlderQuery::after(next);
    insta::assert_json_snapshot!(query);
    assert_eq!(query.place(), next);
    assert_eq!(OlderQuery { before_record: None, ..query }.place(), None);
}

#[test]
fn snapshot_documents() {
    insta::assert_json_snapshot!(ReviewDocument {
        id: id!(ReviewId, 1),
        kind: ReviewKind::Conflict,
        patient_id: id!(PatientId, 6),
        collection: Collection::Patients,
        record: id!(PatientId, 6).into(),
        fields: vec![DisputedField {
            field: "room".into(),
            values: vec![
                SavedValue { value: json!("14"), by: None, at: at(), stands: false },
                SavedValue { value: json!("12"), by: Some(id!(UserId, 3)), at: at(), stands: true },
            ],
            more: 3,
        }],
        others: Vec::new(),
        more: 4,
        opened_at: at(),
        resolved: Some(Resolved { by: id!(UserId, 3), at: at() }),
    });
    insta::assert_json_snapshot!(RecordDocument {
        id: id!(RecordId, 1),
        patient_id: id!(PatientId, 6),
        workflow: "vitals".into(),
        schema_version: 1,
        recorded_by: id!(UserId, 3),
        recorded_at: at(),
        clock_quality: ClockQuality::Synced,
        values: change().fields,
        confirmed: Vec::new(),
        reason: None,
        entered_in_error: false,
        amends: Some(id!(RecordId, 2)),
    });
}

#[test]
fn snapshot_audit() {
    insta::assert_json_snapshot!(AuditEvent {
        id: id!(AuditId, 1),
        timestamp: at(),
        clock_quality: ClockQuality::Synced,
        event_type: AuditEventType::PhiAccess,
        action: AuditAction::View,
        success: true,
        resource_type: "patient".into(),
        resource_id: Some("x".into()),
        organization_id: Some(id!(OrganizationId, 8)),
        facility_id: Some(id!(FacilityId, 9)),
        device_id: Some(id!(DeviceId, 1)),
        user_id: Some(id!(UserId, 3)),
        session_id: Some(id!(SessionId, 4)),
        patient_id: Some(id!(PatientId, 6)),
        username: None,
        endpoint: Some("/residents".into()),
        ip_address: Some("127.0.0.1".into()),
        user_agent: Some("carepost-agent/0.1.0".into()),
        details: serde_json::Map::new(),
    });
}

#[test]
fn snapshot_problem() {
    insta::assert_json_snapshot!(ProblemKind::NotFound.because("there is no facility with that id"));
    insta::assert_json_snapshot!(Problem {
        next_n: Some(12),
        shared_n: Some(9),
        expects: Some(Expects { care: Some(4), audit: None }),
        ..ProblemKind::ChainBroken.because("the server has another history")
    });
    for kind in ProblemKind::ALL {
        assert_eq!(ProblemKind::from_uri(&format!("https://care.example.test{}", kind.uri())), Some(*kind));
        assert_eq!(kind.because("because").kind(), Some(*kind));
    }
}

#[test]
fn readers_ignore_fields_they_do_not_know() {
    let mut newer = serde_json::to_value(change()).unwrap();
    newer["from_the_future"] = json!({"a": [1, 2]});
    assert_eq!(serde_json::from_value::<Change>(newer).unwrap(), change());
    let line: Line<'_> = serde_json::from_str(
        r#"{"page":{"cursor":{"epoch":1,"seq":8,"x":1},"head":8,"server_time":"2026-05-01T14:10:00Z","weather":[]}}"#,
    )
    .unwrap();
    assert!(line.page.unwrap().reaches_head());
    let line: Line<'_> = serde_json::from_str(r#"{"collection":"of_tomorrow","id":"x","seq":1}"#).unwrap();
    assert_eq!(line.collection.as_deref().and_then(Collection::from_name), None);
    let rejection: Rejection = serde_json::from_str(r#"{"code":"of_tomorrow","detail":"x"}"#).unwrap();
    assert_eq!(rejection.code, RejectionCode::Unknown);
    let newer = r#"{"exposed":[{"what":"OF_TOMORROW","where":"x","why":[]}],"since":1}"#;
    let encryption: Encryption = serde_json::from_str(newer).unwrap();
    assert_eq!((encryption.exposed[0].what, encryption.is_complete()), (Exposed::Unmeasured, false));
    assert!(Encryption::default().is_complete());
}

#[test]
fn what_a_newer_server_answers_besides_does_not_hide_the_rest() {
    let incarnation = name().incarnation;
    let reply = json!({"server_time": at(), "state": "ACTIVE", "weather": ["rain"], "settled": [
        {"incarnation": incarnation, "n": 6, "settlement": "archived", "shelf": 9},
        {"incarnation": incarnation, "n": 7, "settlement": "applied", "seq": 120, "shelf": {}},
        {"batch": [1, 2]},
    ]});
    let reply: HeartbeatReply = serde_json::from_str(&reply.to_string()).unwrap();
    let settled = SettledChange { change: name(), settlement: Settlement::Applied, seq: Some(120) };
    assert_eq!((reply.state, reply.settled), (DeviceState::Active, vec![settled]));
    let receipt = json!({"next_n": 6, "server_time": at(), "weather": "rain", "verdicts":
        [{"n": 5, "count": 1, "verdict": "rejected", "shelf": 9,
            "reason": {"code": "of_tomorrow", "detail": "x", "see": "y", "errors": [{"field": "a", "detail": "b", "c": 1}]}}]});
    let receipt: PushReceipt = serde_json::from_str(&receipt.to_string()).unwrap();
    let reason = receipt.verdicts[0].reason.as_ref().unwrap();
    assert_eq!((reason.code, reason.errors.len()), (RejectionCode::Unknown, 1));
}

#[test]
fn what_an_older_device_leaves_out_is_nothing() {
    let beat = r#"{"agent_version":"0.1.0","uptime":1,"device_time":"2026-05-01T14:10:00Z",
        "clock_quality":"synced","mac_addresses":[],"encrypted":true,"reader":"READY",
        "incarnation":"0190a5e2-7c4d-7b11-8f3e-2d6a9c0b1e42","queue":{"care":0,"audit":0,"wedged":0}}"#;
    let beat: Heartbeat = serde_json::from_str(beat).unwrap();
    assert_eq!((beat.mirror, beat.no_progress, beat.rejected.len()), (MirrorState::default(), None, 0));
    assert_eq!(beat.encryption, None, "it did not measure");
    let reply = r#"{"server_time":"2026-05-01T14:10:00Z","state":"ACTIVE"}"#;
    assert!(!serde_json::from_str::<HeartbeatReply>(reply).unwrap().must_encrypt);
    let page = serde_json::from_str::<OlderRecords>(r#"{"records":[]}"#).unwrap();
    assert_eq!(page, OlderRecords::default());
}

#[test]
fn pairing_codes_forgive_case_and_hyphens_and_nothing_else() {
    let code: UserCode = "bcdf ghjk".parse().unwrap();
    assert_eq!(code.as_str(), "BCDF-GHJK");
    assert_eq!("BCDF–GHJK\u{200b}".parse::<UserCode>().as_ref(), Ok(&code));
    for bad in ["", "BCDF-GHJ", "BCDF-GHJKL", "ABCD-EFGH", "BCDF-GHJ\u{212a}"] {
        assert!(bad.parse::<UserCode>().is_err(), "{bad}");
    }
    assert_eq!(UserCode::new(&[255; 24]), None);
    assert_eq!(UserCode::new(&[0; 24]).unwrap().as_str(), "BBBB-BBBB");
    assert_eq!((format!("{code:?}"), code.to_string()), ("UserCode([secret])".into(), "BCDF-GHJK".into()));
    assert_eq!(serde_json::from_value::<UserCode>(json!("bcdfghjk")).unwrap(), code);
    assert!(serde_json::from_value::<UserCode>(json!("ABCD-EFGH")).is_err());
}
