//! Histories that part: the outbox forks, against a server that keeps chains as the real one does.

use std::collections::BTreeMap;

use carepost_protocol::id::IncarnationId;

use super::*;

/// A server's memory of one device. It believes a chain as it should: links, forks, gaps.
#[derive(Default, Clone)]
pub(super) struct Server {
    chains: BTreeMap<(IncarnationId, &'static str), Chain>,
    pub(super) seq: u64,
    pub(super) gaps: Vec<(u64, u64)>,
}

#[derive(Clone)]
struct Chain {
    start: (u64, Link),
    entries: BTreeMap<u64, (Link, String)>,
}

impl Chain {
    fn next_n(&self) -> u64 {
        self.entries.keys().last().copied().unwrap_or(self.start.0) + 1
    }

    fn link_at(&self, n: u64) -> Option<Link> {
        if n == self.start.0 { Some(self.start.1) } else { self.entries.get(&n).map(|(link, _)| *link) }
    }
}

impl Server {
    /// A receipt, or the number it expects and up to where the histories are shared.
    pub(super) fn push(&mut self, kiosk: &Kiosk, body: &[u8]) -> Result<PushReceipt, (u64, Option<u64>)> {
        let batch: PushBatch<'_> = serde_json::from_slice(body).unwrap();
        verify(kiosk, &batch);
        let key = (batch.incarnation, batch.lane.name());
        let start = match &batch.parent {
            None => (0, Link::genesis(DeviceId::from_bytes([1; 16]), batch.incarnation, batch.lane)),
            Some(fork) => {
                let n = if batch.lane == Lane::Care { fork.care } else { fork.audit };
                match self.chains.get(&(fork.incarnation, batch.lane.name())) {
                    Some(parent) => (n, parent.link_at(n).ok_or((parent.next_n(), None))?),
                    None if n == 0 => {
                        (0, Link::genesis(DeviceId::from_bytes([1; 16]), fork.incarnation, batch.lane))
                    }
                    None => return Err((1, None)),
                }
            }
        };
        let chain = self.chains.entry(key).or_insert(Chain { start, entries: BTreeMap::new() });
        let next_n = chain.next_n();
        match batch.gap {
            Some(gap) if gap.from == next_n && gap.to + 1 == batch.first_n => {
                self.gaps.push((gap.from, gap.to))
            }
            Some(_) => return Err((next_n, None)),
            None if batch.first_n > next_n => return Err((next_n, None)),
            None if chain.link_at(batch.first_n - 1) != Some(batch.previous) => {
                return Err((next_n, Some(0)));
            }
            None => {}
        }
        let (mut link, mut verdicts) = (batch.previous, Vec::new());
        for (n, change) in (batch.first_n..).zip(&batch.changes) {
            link = link.next(n, &PayloadHash::of(change.get().as_bytes()));
            match chain.entries.get(&n) {
                Some((theirs, _)) if *theirs != link => return Err((next_n, Some(n - 1))),
                Some(_) => verdicts.push(run(n, 1, Verdict::Duplicate, Some(1))),
                None => {
                    self.seq += 1;
                    chain.entries.insert(n, (link, change.get().to_owned()));
                    verdicts.push(run(n, 1, Verdict::Applied, Some(self.seq)));
                }
            }
        }
        Ok(PushReceipt { next_n: chain.next_n(), ..receipt(verdicts) })
    }

    /// What was charted, in every incarnation: the notes.
    pub(super) fn notes(&self) -> Vec<String> {
        let care = self.chains.iter().filter(|((_, lane), _)| *lane == "care");
        let entries = care.flat_map(|(_, chain)| chain.entries.values());
        let mut notes: Vec<String> = entries
            .map(|(_, payload)| serde_json::from_str::<Change>(payload).unwrap().fields["note"].to_string())
            .collect();
        notes.sort();
        notes
    }

    fn audits(&self) -> usize {
        let audit = self.chains.iter().filter(|((_, lane), _)| *lane == "audit");
        audit.map(|(_, chain)| chain.entries.len()).sum()
    }

    /// As after a restored backup: no chain has more than so many.
    pub(super) fn rewind(&mut self, keeps: u64) {
        for chain in self.chains.values_mut() {
            chain.entries.retain(|n, _| *n <= keeps);
        }
        self.chains.retain(|_, chain| chain.start.0 <= keeps);
    }
}

/// Pushes and mends until nothing waits, as the engine does. The process may die before each step.
pub(super) fn drain(kiosk: &Kiosk, outbox: Outbox, server: &mut Server, dies: bool) -> Outbox {
    let mut outbox = outbox;
    let mut diverged = Diverged::default();
    for _ in 0..200 {
        if dies {
            std::mem::forget(outbox);
            outbox = kiosk.open();
        }
        let mut idle = true;
        for lane in Lane::ALL {
            let known = if lane == Lane::Care { &mut diverged.care } else { &mut diverged.audit };
            if known.is_some() {
                continue;
            }
            let Some(batch) = outbox.batch(lane, Shape::Plain { changes: 3, bytes: 1_000_000 }).unwrap()
            else {
                continue;
            };
            idle = false;
            match server.push(kiosk, &batch.body) {
                Ok(receipt) => outbox.settle(&batch.sent, &receipt).unwrap(),
                Err((next_n, None)) => {
                    let resync = outbox.resync(lane, next_n).unwrap();
                    assert!(matches!(resync, Resync::Resend { .. }), "{resync:?} to {next_n}");
                }
                Err((_, shared)) => *known = shared,
            }
        }
        if diverged != Diverged::default() && idle {
            outbox.fork(diverged, at(90)).unwrap();
            diverged = Diverged::default();
        } else if idle {
            return outbox;
        }
    }
    panic!("it does not come to an end");
}

/// Copies the outbox as a backup of the directory would.
fn copy(from: &Kiosk) -> Kiosk {
    let to = Kiosk { directory: tempfile::tempdir().unwrap(), device_key: Arc::clone(&from.device_key) };
    for name in ["outbox.db", "outbox.db-wal"] {
        // A file that was closed in good order has no log beside it.
        let _ = std::fs::copy(from.directory.path().join(name), to.directory.path().join(name));
    }
    assert!(to.path().exists());
    to
}

fn notes(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut notes: Vec<String> = names.into_iter().map(|name| format!("\"{name}\"")).collect();
    notes.sort();
    notes
}

fn chart(outbox: &Outbox, name: &str, seconds: std::ops::RangeInclusive<i64>) {
    for second in seconds {
        let name = format!("{name}{second}");
        let noted = |_| vec![AuditEvent { resource_id: Some(name.clone()), ..audit() }];
        let made = change(second, &name);
        outbox.append(&permit::<Chart>(HERE), Entry { change: &made, token: &name }, noted).unwrap();
    }
}

#[test]
fn a_directory_restored_from_an_older_copy_goes_on_and_nothing_is_lost_or_doubled() {
    for dies in [false, true] {
        let kiosk = Kiosk::new();
        let mut server = Server::default();
        let outbox = kiosk.open();
        chart(&outbox, "a", 1..=4);
        let outbox = drain(&kiosk, outbox, &mut server, dies);
        // Two wait when the copy is made; the server gets them, and three more that the copy never had.
        chart(&outbox, "a", 5..=6);
        drop(outbox);
        let older = copy(&kiosk);
        let outbox = kiosk.open();
        chart(&outbox, "b", 7..=9);
        drop(drain(&kiosk, outbox, &mut server, dies));
        let outbox = older.open();
        let before = outbox.incarnation();
        chart(&outbox, "c", 10..=12);
        let outbox = drain(&older, outbox, &mut server, dies);
        assert_ne!(outbox.incarnation(), before, "an incarnation of its own");
        let all = (1..=6).map(|n| format!("a{n}")).chain((7..=9).map(|n| format!("b{n}")));
        assert_eq!(server.notes(), notes(all.chain((10..=12).map(|n| format!("c{n}")))));
        assert_eq!(server.audits(), 12, "nor an audit event");
        assert_eq!(server.gaps, []);
        let (n, _) = outbox.head(Lane::Care).unwrap();
        assert_eq!(n, 9, "numbers go on");
        chart(&outbox, "d", 13..=13);
        assert_eq!(drain(&older, outbox, &mut server, dies).counts().unwrap().care, 0);
    }
}

#[test]
fn what_depends_on_an_entry_made_anew_names_its_new_record() {
    let kiosk = Kiosk::new();
    let outbox = kiosk.open();
    save(&outbox, &change(1, "shared"), "1").unwrap();
    let made = save(&outbox, &change(2, "parent"), "2").unwrap();
    let amend = Change { kind: ChangeKind::Amend, record: Some(made.record), ..change(3, "amended") };
    save(&outbox, &amend, "3").unwrap();
    let another =
        |id: RecordId| vec!["pulse".to_owned(), Change::another(PatientId::from_bytes(*id.as_bytes()))];
    let about = Change {
        patient: Some(PatientId::from_bytes(*made.record.as_bytes())),
        confirmed: another(made.record),
        ..change(4, "about")
    };
    save(&outbox, &about, "4").unwrap();
    let typed = [("note".to_owned(), "typed".to_owned())];
    outbox.put_draft(NURSE, about.patient.unwrap(), "adl", &typed, at(4)).unwrap();
    outbox.settle(&care_of(&outbox, 1).sent, &receipt(vec![run(1, 1, Verdict::Applied, Some(1))])).unwrap();
    let forked = outbox.fork(Diverged { care: Some(1), audit: None }, at(9)).unwrap();
    let incarnation = outbox.incarnation();
    assert_eq!(forked, Forked::Anew { incarnation, entries: 3 + 4 });
    let batch = care(&outbox);
    let parsed: PushBatch<'_> = serde_json::from_slice(&batch.body).unwrap();
    verify(&kiosk, &parsed);
    assert_eq!((parsed.first_n, parsed.incarnation), (2, incarnation));
    assert_eq!(parsed.parent.unwrap().care, 1);
    let changes: Vec<Change> =
        parsed.changes.iter().map(|raw| serde_json::from_str(raw.get()).unwrap()).collect();
    let new = RecordId::of_create(incarnation, 2, at(2));
    assert_ne!(new, made.record);
    assert_eq!(changes[1].record, Some(new));
    let patient = PatientId::from_bytes(*new.as_bytes());
    assert_eq!((changes[2].patient, &changes[2].confirmed), (Some(patient), &another(new)));
    assert_eq!(outbox.draft(NURSE, patient, "adl").unwrap().unwrap(), typed, "the draft went with it");
    // The same form again is the same entry, and a page opened before names the record as it was.
    assert_eq!(save(&outbox, &change(2, "parent"), "2").unwrap().record, new);
    assert_eq!(save(&outbox, &amend, "3").unwrap().n, 3);
    assert_eq!(save(&outbox, &about, "4").unwrap().n, 4);
    let late = Change { recorded_at: at(5), confirmed: another(made.record), ..amend.clone() };
    let late = save(&outbox, &late, "5").unwrap();
    let batch = care(&outbox);
    let parsed: PushBatch<'_> = serde_json::from_slice(&batch.body).unwrap();
    let last: Change = serde_json::from_str(parsed.changes.last().unwrap().get()).unwrap();
    assert_eq!((last.record, last.confirmed, late.n), (Some(new), another(new), 5));
}

#[test]
fn a_history_that_shares_nothing_that_is_kept_begins_anew_with_a_gap() {
    const YEAR: i64 = 365 * 24 * 3600;
    let kiosk = Kiosk::new();
    let mut server = Server::default();
    let outbox = kiosk.open();
    chart(&outbox, "a", 1..=6);
    let outbox = drain(&kiosk, outbox, &mut server, false);
    assert!(outbox.prune(u64::MAX, at(YEAR)).unwrap() > 0);
    chart(&outbox, "b", 7..=8);
    // Somebody else's chain is on the server now.
    let other = Kiosk { directory: tempfile::tempdir().unwrap(), device_key: Arc::clone(&kiosk.device_key) };
    let theirs = other.open();
    chart(&theirs, "x", 1..=7);
    let mut strange = Server::default();
    drop(drain(&other, theirs, &mut strange, false));
    for ((_, lane), chain) in strange.chains {
        server.chains.insert((outbox.incarnation(), lane), chain);
    }
    let outbox = drain(&kiosk, outbox, &mut server, false);
    assert!(server.notes().ends_with(&notes(["x7".into()])) && server.notes().contains(&"\"b8\"".to_owned()));
    assert!(server.gaps.iter().any(|gap| gap.0 == 1), "{:?}", server.gaps);
    assert_eq!(outbox.counts().unwrap().care, 0);
}

#[test]
fn a_batch_never_spans_two_lives_and_a_rewound_server_gets_both() {
    let kiosk = Kiosk::new();
    let mut server = Server::default();
    let outbox = kiosk.open();
    chart(&outbox, "a", 1..=4);
    outbox.fork(Diverged { care: Some(2), audit: Some(2) }, at(9)).unwrap();
    let first = care(&outbox);
    assert_eq!((first.sent.first_n, first.sent.count), (1, 2), "up to the fork");
    let outbox = drain(&kiosk, outbox, &mut server, false);
    assert_eq!(server.notes(), notes((1..=4).map(|n| format!("a{n}"))));
    server.rewind(1);
    assert_eq!(outbox.resync(Lane::Care, 2).unwrap(), Resync::Resend { first_n: 2 });
    assert_eq!(outbox.resync(Lane::Audit, 2).unwrap(), Resync::Resend { first_n: 2 });
    drop(drain(&kiosk, outbox, &mut server, true));
    assert_eq!(server.notes(), notes((1..=4).map(|n| format!("a{n}"))));
}

#[test]
fn the_server_is_told_a_position_in_a_life_that_it_knows() {
    let kiosk = Kiosk::new();
    let outbox = kiosk.open();
    let first = outbox.incarnation();
    let none = Position { incarnation: first, care: None, audit: None };
    assert_eq!(outbox.position().unwrap(), none);
    chart(&outbox, "a", 1..=4);
    assert_eq!(outbox.position().unwrap(), none, "nothing was acknowledged");
    outbox.settle(&care_of(&outbox, 3).sent, &receipt(vec![run(1, 3, Verdict::Applied, Some(1))])).unwrap();
    assert_eq!(outbox.position().unwrap(), Position { care: Some(3), ..none });
    outbox.fork(Diverged { care: Some(3), audit: None }, at(9)).unwrap();
    assert_eq!(outbox.position().unwrap(), Position { care: Some(3), ..none }, "not the new one yet");
    let sent = care(&outbox).sent;
    outbox.settle(&sent, &receipt(vec![run(4, 1, Verdict::Applied, Some(9))])).unwrap();
    let now = Position { incarnation: outbox.incarnation(), care: Some(4), audit: None };
    assert_eq!(outbox.position().unwrap(), now);
}

fn care_of(outbox: &Outbox, changes: usize) -> Batch {
    outbox.batch(Lane::Care, Shape::Plain { changes, bytes: 1_000_000 }).unwrap().unwrap()
}
