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
        let earlier = kiosk.earlier(7);
        for (seq, resident) in (1_u8..).zip(&residents) {
            let put = "INSERT INTO documents (collection, id, seq, pass, body) VALUES (5, ?, ?, 1, ?)";
            let body = serde_json::to_vec(resident).unwrap();
            earlier.execute(put, rusqlite::params![[seq; 16], seq, body]).unwrap();
        }
        drop(earlier);
        assert_eq!(kiosk.open().phi_mode().unwrap(), is, "{residents:?}");
    }
}
