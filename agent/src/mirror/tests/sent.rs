//! How much of a resident is here.

use carepost_protocol::facility::PhiMode::{self, Free, Full, Minimal};

use super::*;

#[test]
fn what_is_sent_no_more_is_said_at_once_and_what_is_sent_again_once_all_of_it_is_here() {
    let kiosk = Kiosk::new();
    let mirror = kiosk.open();
    let after = |seq: u64, head: u64, sent: Option<PhiMode>| {
        let end = PageEnd { phi_mode: sent, ..end(1, seq, head) };
        mirror.apply(&Page::default(), &end).unwrap();
        mirror.phi_mode().unwrap()
    };
    assert_eq!(after(1, 9, Some(Minimal)), Minimal);
    assert_eq!(after(2, 9, None), Minimal, "most residents have no name here yet");
    assert_eq!(after(9, 9, None), Full);
    assert_eq!(after(10, 20, Some(Free)), Free);
    assert_eq!(after(11, 20, Some(Minimal)), Free);
    assert_eq!(after(20, 20, Some(Minimal)), Minimal);
}

#[test]
fn an_earlier_agents_copy_tells_by_what_its_residents_lack() {
    let cared = |mrn: &str, born: Option<&str>, room: Option<&str>| PatientDocument {
        mrn: mrn.to_owned(),
        date_of_birth: born.map(str::to_owned),
        room: room.map(str::to_owned),
        ..patient(1, "M.S.", None)
    };
    for (residents, is) in [
        (vec![], Full),
        (vec![cared("", None, Some("104")), cared("", None, None)], Minimal),
        (vec![cared("", None, None)], Free),
        (vec![cared("", None, Some("104")), cared("GY-1", None, None)], Full),
        (vec![cared("", Some("1934-03-05"), None)], Full),
    ] {
        let kiosk = Kiosk::new();
        let path = kiosk.path();
        let opening = sqlite::Opening {
            path: &path,
            key: &kiosk.key,
            durability: sqlite::Durability::ProcessCrash,
            cache_kib: 64,
            migrations: &schema::MIGRATIONS[..7],
        };
        let earlier = sqlite::open(&opening).unwrap();
        let own = "INSERT INTO state (one, organization, facility, epoch, seq) VALUES (1, ?, ?, 1, 4)";
        earlier.execute(own, rusqlite::params![ORGANIZATION.as_bytes(), FACILITY.as_bytes()]).unwrap();
        for (seq, resident) in (1_u8..).zip(&residents) {
            let put = "INSERT INTO documents (collection, id, seq, pass, body) VALUES (5, ?, ?, 1, ?)";
            let body = serde_json::to_vec(resident).unwrap();
            earlier.execute(put, rusqlite::params![[seq; 16], seq, body]).unwrap();
        }
        drop(earlier);
        assert_eq!(kiosk.open().phi_mode().unwrap(), is, "{residents:?}");
    }
}

#[test]
fn what_an_earlier_server_does_not_say_its_residents_do() {
    let hidden = |number: u8, name: &str, room: Option<&str>| PatientDocument {
        mrn: String::new(),
        ..patient(number, name, room)
    };
    for (residents, is) in [
        (vec![hidden(1, "M.S.", Some("104")), hidden(2, "Å.", None)], Minimal),
        (vec![hidden(1, "GY-0004", None), hidden(2, "Case abcdef", None)], Free),
        // The first who was admitted here, whose number and birthday nobody knows yet.
        (vec![hidden(1, "Nora New", None)], Full),
        (vec![hidden(1, "M.S.", Some("104")), patient(2, "Mary Smith", None)], Full),
        (vec![], Full),
    ] {
        let kiosk = Kiosk::new();
        let mirror = kiosk.open();
        let mut page = Page::default();
        for (seq, resident) in (1..).zip(&residents) {
            put(&mut page, Collection::Patients, resident.id, seq, resident);
        }
        mirror.apply(&page, &end(1, 5, 9)).unwrap();
        assert_eq!(mirror.phi_mode().unwrap(), Full, "not before all of them are here");
        for seq in [9, 10] {
            mirror.apply(&Page::default(), &end(1, seq, seq)).unwrap();
            assert_eq!(mirror.phi_mode().unwrap(), is, "{residents:?}");
        }
    }
}
