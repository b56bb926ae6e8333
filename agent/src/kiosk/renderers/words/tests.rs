//! Every state has its words.

use carepost_protocol::wire::heartbeat::{Exposed, Exposure, StepReason};

use super::*;
use crate::workspace::view::{CopyTrouble, SyncView};

fn calm() -> StatusLine {
    let time = TimeHere { zone: Zone::UTC, whose: Whose::Facility };
    StatusLine::calm(Link::Online, SyncView::default(), ReaderState::Ready, time)
}

fn over(count: u64) -> SteppedOver {
    SteppedOver { collection: "reviews".to_owned(), reason: StepReason::TooLarge, count }
}

fn read(line: &StatusLine) -> Vec<String> {
    status(line)
        .into_iter()
        .map(|s| format!("{}{}{}", s.before, s.at.map(|at| Zone::UTC.shown(at)).unwrap_or_default(), s.after))
        .collect()
}

#[test]
fn every_state_has_its_sentence() {
    let offline = Link::Offline { since: "2026-05-01T14:10:00Z".parse().unwrap() };
    let minutes = |n: u64| Some(Duration::from_secs(n * 60));
    let sync = SyncView::default();
    let sending = SyncView { sending: Sending::of(12_000, 38_000), ..sync.clone() };
    let cases: [(StatusLine, &[&str]); 28] = [
        (calm(), &["Connected. Everything is sent."]),
        (StatusLine { waiting: 1, ..calm() }, &["Connected. Sending 1 entry."]),
        (
            StatusLine { waiting: 2, oldest_waiting: minutes(125), ..calm() },
            &["Connected. Sending 2 entries, oldest 2 h 5 min."],
        ),
        (
            StatusLine { link: offline, ..calm() },
            &["Internet down since 2026-05-01 14:10 UTC. You can keep charting. Nothing is waiting."],
        ),
        (
            StatusLine { link: offline, waiting: 12, oldest_waiting: minutes(4), ..calm() },
            &[
                "Internet down since 2026-05-01 14:10 UTC. You can keep charting. 12 entries waiting, oldest 4 min.",
            ],
        ),
        (
            StatusLine {
                link: offline,
                sync: SyncView { distrust: Some(Distrust::Theirs), ..sync.clone() },
                ..calm()
            },
            &[
                "The server's certificate is not trusted here since 2026-05-01 14:10 UTC. Call your facility's IT. You can keep charting. Nothing is waiting.",
            ],
        ),
        (
            StatusLine {
                link: offline,
                waiting: 1,
                sync: SyncView { distrust: Some(Distrust::Ours), ..sync.clone() },
                phone: Some("(555) 010-0142".to_owned()),
                ..calm()
            },
            &[
                "The server does not accept this device's certificate since 2026-05-01 14:10 UTC. Call (555) 010-0142. You can keep charting. 1 entry waiting.",
            ],
        ),
        (
            StatusLine {
                link: offline,
                sync: SyncView { distrust: Some(Distrust::Stranger), ..sync.clone() },
                ..calm()
            },
            &[
                "Something else answers in the server's place since 2026-05-01 14:10 UTC. Call your facility's IT. You can keep charting. Nothing is waiting.",
            ],
        ),
        (
            StatusLine {
                link: offline,
                sync: SyncView { distrust: Some(Distrust::Blind), ..sync.clone() },
                ..calm()
            },
            &[
                "This device cannot use the certificate that it knows its server by (server.ca_file) since 2026-05-01 14:10 UTC. Call your facility's IT. You can keep charting. Nothing is waiting.",
            ],
        ),
        (
            StatusLine { rejected: 1, ..calm() },
            &["The server rejected 1 entry. Tell your charge nurse.", "Connected. Everything is sent."],
        ),
        (
            StatusLine { rejected: 3, ..calm() },
            &["The server rejected 3 entries. Tell your charge nurse.", "Connected. Everything is sent."],
        ),
        (
            StatusLine { reviews: 49, ..calm() },
            &["49 questions need a look.", "Connected. Everything is sent."],
        ),
        (
            StatusLine { reviews: 50, ..calm() },
            &["50 or more questions need a look.", "Connected. Everything is sent."],
        ),
        (
            StatusLine { reader: ReaderState::Missing, ..calm() },
            &[
                "Badge reader unplugged. Plug it in again; if that does not help, call IT.",
                "Connected. Everything is sent.",
            ],
        ),
        (
            StatusLine {
                storage_trouble: Some("the disk is full.".to_owned()),
                outbox_trouble: Some("its file is damaged".to_owned()),
                link: offline,
                waiting: 2,
                rejected: 1,
                sync: SyncView { copy: Some(CopyTrouble::NoRoom), ..sync.clone() },
                ..calm()
            },
            &[
                "This device cannot save: the disk is full. Begin nothing new here: write it on paper, use another device and call IT.",
            ],
        ),
        (
            StatusLine {
                outbox_trouble: Some("what is saved is kept, but its file is damaged".to_owned()),
                ..calm()
            },
            &[
                "You can keep charting: what is saved is kept, but its file is damaged. Call IT.",
                "Connected. Everything is sent.",
            ],
        ),
        (
            StatusLine { loading: true, ..calm() },
            &[
                "Connected. Everything is sent.",
                "The first copy of this facility's records is still loading. Some residents may be missing.",
            ],
        ),
        (
            StatusLine { loading: true, sync: SyncView { loaded: Some(40), ..sync.clone() }, ..calm() },
            &[
                "Connected. Everything is sent.",
                "Loading the facility's records: 40%. Some residents may be missing.",
            ],
        ),
        (
            StatusLine { waiting: 38_000, sync: sending.clone(), ..calm() },
            &["Connected. Sending 12,000 of 50,000."],
        ),
        (
            StatusLine { waiting: 38_000, sync: SyncView { slowed: true, ..sending }, ..calm() },
            &[
                "Connected. This device had very many entries to send, so the rest is sent slowly. 38,000 entries to go. Nothing is lost.",
            ],
        ),
        (
            StatusLine { sync: SyncView { held: Some(Hold::Quarantined), ..sync.clone() }, ..calm() },
            &[
                "Somebody has to confirm that this is the right device. What you chart is still sent, but nothing new arrives here. Call IT.",
                "Connected. Everything is sent.",
            ],
        ),
        (
            StatusLine {
                sync: SyncView { held: Some(Hold::NotEncrypted), ..sync.clone() },
                encryption: Some(Encryption {
                    exposed: vec![Exposure {
                        what: Exposed::PlainSwap,
                        place: "/dev/sda3".to_owned(),
                        cause: None,
                    }],
                }),
                ..calm()
            },
            &[
                "This facility serves encrypted devices only, and this one is not encrypted (/dev/sda3 is a swap in the clear: switch it off (swapoff, and remove it from /etc/fstab), use zram, or put it on dm-crypt). What you chart is still sent, but nothing new arrives here. Call IT.",
                "Connected. Everything is sent.",
            ],
        ),
        (
            StatusLine { waiting: 1, sync: SyncView { still: minutes(12), ..sync.clone() }, ..calm() },
            &[
                "Connected, but nothing has been sent or received for 12 min. What you chart is kept here. Call IT.",
                "Connected. Sending 1 entry.",
            ],
        ),
        (
            StatusLine {
                sync: SyncView { copy: Some(CopyTrouble::NoRoom), still: minutes(12), ..sync.clone() },
                ..calm()
            },
            &[
                "Nothing new arrives here: the disk is nearly full, and what is left is kept for what is charted here: nothing new is copied until 64 MiB are free. Free some space. You can keep charting. Call IT.",
                "Connected, but nothing has been sent or received for 12 min. What you chart is kept here. Call IT.",
                "Connected. Everything is sent.",
            ],
        ),
        (
            StatusLine { differs: vec![Collection::Patients], ..calm() },
            &[
                "Connected. Everything is sent.",
                "This device's copy of the residents differs from the server's. It is being fetched again; until then something may be missing or out of date here.",
            ],
        ),
        (
            StatusLine {
                differs: vec![Collection::Users, Collection::Patients, Collection::Records],
                ..calm()
            },
            &[
                "Connected. Everything is sent.",
                "This device's copy of the staff, the residents and the charts differs from the server's. It is being fetched again; until then something may be missing or out of date here.",
            ],
        ),
        (
            StatusLine { stepped_over: vec![over(1)], ..calm() },
            &[
                "Connected. Everything is sent.",
                "1 item on the server cannot be shown here, or is shown in an older version. Everything else is up to date. Look it up on another device, and call IT.",
            ],
        ),
        (
            StatusLine { stepped_over: vec![over(1), over(2)], ..calm() },
            &[
                "Connected. Everything is sent.",
                "3 items on the server cannot be shown here, or are shown in an older version. Everything else is up to date. Look it up on another device, and call IT.",
            ],
        ),
    ];
    for (line, words) in cases {
        assert_eq!(read(&line), words, "{line:?}");
    }
}

#[test]
fn lengths_of_time_stay_short() {
    let cases = [
        (0, "under 1 min"),
        (59, "under 1 min"),
        (60, "1 min"),
        (3_600, "1 h"),
        (90_000, "1 day"),
        (259_200, "3 days"),
    ];
    for (seconds, words) in cases {
        assert_eq!(long(Duration::from_secs(seconds)), words);
    }
}
