//! What becomes of rejected entries.

use carepost_protocol::wire::heartbeat::{ChangeName, SettledChange, Settlement};

use super::*;

/// An outbox whose second entry of three was rejected.
fn one_rejected(kiosk: &Kiosk) -> Outbox {
    let outbox = kiosk.open();
    save_some(&outbox, 3);
    let verdicts = vec![
        run(1, 1, Verdict::Applied, Some(10)),
        run(2, 1, Verdict::Rejected, None),
        run(3, 1, Verdict::Applied, Some(11)),
    ];
    outbox.settle(&care(&outbox).sent, &receipt(verdicts)).unwrap();
    outbox
}

fn last_change(outbox: &Outbox) -> Change {
    let batch = care(outbox);
    let parsed: PushBatch<'_> = serde_json::from_slice(&batch.body).unwrap();
    serde_json::from_str(parsed.changes.last().unwrap().get()).unwrap()
}

#[test]
fn a_correction_takes_the_place_of_what_was_rejected() {
    let kiosk = Kiosk::new();
    let outbox = one_rejected(&kiosk);
    let record = RecordId::of_create(outbox.incarnation(), 2, at(2));
    assert_eq!(outbox.rejected(&permit::<ReadPatients>(HERE), 2).unwrap().change, change(2, "a"));
    let corrected = Change { supersedes: Some(2), ..change(20, "corrected") };
    let saved = save(&outbox, &corrected, "correction").unwrap();
    assert_eq!((saved.n, saved.record), (4, record), "the record that the rejected one would have made");
    assert_eq!(save(&outbox, &corrected, "correction").unwrap(), saved, "a second press");
    assert_eq!((outbox.rejected_entries(10).unwrap().len(), outbox.counts().unwrap().rejected), (0, 0));
    assert_eq!(shown(&outbox, 11), [(4, Progress::Queued)], "and the rejected one is not shown beside it");
    let sent = last_change(&outbox);
    assert_eq!((sent.supersedes, sent.record), (Some(2), Some(record)));
    assert!(matches!(save(&outbox, &corrected, "again"), Err(OutboxError::NotRejected { n: 2 })));
    drop(outbox);
    assert_eq!(kiosk.open().counts().unwrap().rejected, 0);
}

#[test]
fn only_its_own_actor_corrects_an_entry() {
    let kiosk = Kiosk::new();
    let outbox = one_rejected(&kiosk);
    let other = UserId::from_bytes([44; 16]);
    let organization = OrganizationId::from_bytes([1; 16]);
    let actor = Actor {
        user: other,
        session: SESSION,
        role: Role::Rn,
        organization: Some(organization),
        facility: Some(HERE),
    };
    let permit = authorize::<Chart>(&actor, Resource::Facility(organization, HERE)).unwrap();
    let corrected = Change { supersedes: Some(2), actor: other, ..change(20, "not mine") };
    let entry = Entry { change: &corrected, token: "other" };
    assert!(matches!(outbox.append(&permit, entry, |_| vec![]), Err(OutboxError::NotItsActor)));
    assert_eq!(outbox.rejected_entries(10).unwrap().len(), 1);
}

#[test]
fn a_retry_is_the_same_change_once_more() {
    let kiosk = Kiosk::new();
    let outbox = one_rejected(&kiosk);
    assert!(matches!(outbox.retry(1, |_, _| vec![]), Err(OutboxError::NotRejected { n: 1 })));
    let before = outbox.counts().unwrap().audit;
    let saved = outbox.retry(2, |patient, _| {
        assert_eq!(patient, Some(PATIENT));
        vec![audit()]
    });
    let record = RecordId::of_create(outbox.incarnation(), 2, at(2));
    assert_eq!(saved.unwrap(), Saved { record, n: 4 });
    assert_eq!(outbox.counts().unwrap().audit, before + 1);
    let again = last_change(&outbox);
    assert_eq!(Change { supersedes: None, record: None, ..again }, change(2, "a"));
    // Rejected once more, it is the newer one that waits for a person.
    outbox.settle(&care(&outbox).sent, &receipt(vec![run(4, 1, Verdict::Rejected, None)])).unwrap();
    let rejected = outbox.rejected_entries(10).unwrap();
    assert_eq!(rejected.iter().map(|rejected| rejected.name.n).collect::<Vec<_>>(), [4]);
    assert_eq!(outbox.retry(4, |_, _| vec![]).unwrap().record, record, "the same record still");
}

#[test]
fn an_administrators_word_settles_what_was_rejected() {
    let name = |incarnation, n| ChangeName { incarnation, n };
    for (settlement, seq, left) in [
        (Settlement::Applied, Some(50), vec![(2, Progress::Acknowledged)]),
        (Settlement::Superseded, None, vec![]),
        (Settlement::Discarded, None, vec![]),
    ] {
        let kiosk = Kiosk::new();
        let outbox = one_rejected(&kiosk);
        let stranger = IncarnationId::from_bytes([9; 16]);
        let settled = [
            SettledChange { change: name(stranger, 2), settlement, seq },
            SettledChange { change: name(outbox.incarnation(), 77), settlement, seq },
            SettledChange { change: name(outbox.incarnation(), 3), settlement, seq },
        ];
        assert_eq!(outbox.settle_rejected(&settled, at(70)).unwrap(), 0, "not rejected ones of ours");
        let ours = [SettledChange { change: name(outbox.incarnation(), 2), settlement, seq }];
        assert_eq!(outbox.settle_rejected(&ours, at(70)).unwrap(), 1);
        assert_eq!(outbox.counts().unwrap().rejected, 0);
        assert_eq!(shown(&outbox, 49), left, "{settlement:?}");
        assert_eq!(shown(&outbox, 50), []);
    }
}

#[test]
fn a_settled_rejection_stays_settled_when_a_rewound_server_rejects_it_again() {
    let kiosk = Kiosk::new();
    let outbox = one_rejected(&kiosk);
    save(&outbox, &Change { supersedes: Some(2), ..change(20, "corrected") }, "correction").unwrap();
    outbox.resync(Lane::Care, 1).unwrap();
    let verdicts = vec![
        run(1, 1, Verdict::Applied, Some(10)),
        run(2, 1, Verdict::Rejected, None),
        run(3, 2, Verdict::Applied, Some(11)),
    ];
    outbox.settle(&care(&outbox).sent, &receipt(verdicts)).unwrap();
    assert_eq!(outbox.rejected_entries(10).unwrap(), []);
}

#[test]
fn an_export_is_the_exact_payload_and_is_written_down_first() {
    let kiosk = Kiosk::new();
    let outbox = one_rejected(&kiosk);
    let before = outbox.counts().unwrap().audit;
    let written = |n: u64, patient: Option<PatientId>| {
        assert_eq!((n, patient), (2, Some(PATIENT)));
        vec![audit()]
    };
    let exported = outbox.export(&[2], written).unwrap().pop().unwrap();
    assert_eq!(exported.payload.as_bytes(), serde_json::to_vec(&change(2, "a")).unwrap());
    assert_eq!(exported.sha256, PayloadHash::of(exported.payload.as_bytes()));
    assert_eq!(exported.reason.as_deref(), Some("The pulse is missing."));
    assert_eq!(outbox.counts().unwrap().audit, before + 1);
    assert!(!format!("{exported:?}").contains("vitals"), "it is health data");
    // All or none: what was not taken out is not said to have been.
    assert!(matches!(outbox.export(&[2, 99], written), Err(OutboxError::NotKept { n: 99 })));
    assert_eq!(outbox.counts().unwrap().audit, before + 1);
}

#[test]
fn an_opaque_batch_carries_one_change_unread() {
    let kiosk = Kiosk::new();
    let outbox = kiosk.open();
    save_some(&outbox, 3);
    let bytes = serde_json::to_vec(&change(1, "a")).unwrap();
    for with_bytes in [true, false] {
        let batch = outbox.batch(Lane::Care, Shape::Opaque { with_bytes }).unwrap().unwrap();
        assert_eq!(batch.sent, Sent { lane: Lane::Care, first_n: 1, count: 1 });
        let parsed: PushBatch<'_> = serde_json::from_slice(&batch.body).unwrap();
        let opaque = parsed.opaque.unwrap();
        assert_eq!((opaque.sha256, parsed.changes.len()), (PayloadHash::of(&bytes), 0));
        assert_eq!(parsed.head, parsed.previous.next(1, &opaque.sha256));
        let plain = opaque
            .bytes
            .map(|text| base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).unwrap());
        assert_eq!(plain, with_bytes.then(|| bytes.clone()));
    }
    let sent = Sent { lane: Lane::Care, first_n: 1, count: 1 };
    outbox.settle(&sent, &receipt(vec![run(1, 1, Verdict::Rejected, None)])).unwrap();
    assert_eq!(care(&outbox).sent.first_n, 2, "the others go on");
}

#[test]
fn what_another_process_appends_is_noticed() {
    let kiosk = Kiosk::new();
    let outbox = one_rejected(&kiosk);
    assert!(!outbox.changed_elsewhere().unwrap());
    save(&outbox, &change(30, "own"), "own").unwrap();
    assert!(!outbox.changed_elsewhere().unwrap(), "its own writes are no news");
    let beside = kiosk.open();
    beside.retry(2, |_, _| vec![]).unwrap();
    assert!(outbox.changed_elsewhere().unwrap());
    assert!(!outbox.changed_elsewhere().unwrap());
    assert_eq!(outbox.counts().unwrap().care, 2);
}

#[test]
fn the_list_names_what_needs_a_person_first() {
    let kiosk = Kiosk::new();
    let outbox = one_rejected(&kiosk);
    save(&outbox, &change(30, "waits"), "waits").unwrap();
    let listed: Vec<_> = outbox.list(10).unwrap().into_iter().map(|it| (it.name.n, it.progress)).collect();
    let why = "The pulse is missing.".to_owned();
    assert_eq!(listed, [(2, Progress::Rejected(why)), (4, Progress::Queued)]);
    assert_eq!(outbox.list(1).unwrap().len(), 1);
}

#[test]
fn a_rejection_for_a_reason_of_a_newer_server_is_one_like_any_other() {
    let kiosk = Kiosk::new();
    let outbox = kiosk.open();
    save_some(&outbox, 2);
    let receipt = json!({"next_n": 3, "server_time": at(60), "weather": "rain", "verdicts": [
        {"n": 1, "count": 1, "verdict": "rejected", "shelf": 9,
            "reason": {"code": "of_tomorrow", "detail": "The form was withdrawn.", "see": "office"}},
        {"n": 2, "count": 1, "verdict": "applied", "seq": 10, "shelf": 9},
    ]});
    let receipt: PushReceipt = serde_json::from_value(receipt).unwrap();
    outbox.settle(&care(&outbox).sent, &receipt).unwrap();
    let why = Progress::Rejected("The form was withdrawn.".into());
    assert_eq!(shown(&outbox, 9), [(1, why), (2, Progress::Acknowledged)]);
    assert_eq!(outbox.counts().unwrap().rejected, 1);
}
