//! Residents who look the same on a device: no page about one of them passes for knowing whose chart it is.

use super::leaving::fields;
use super::*;

impl Device {
    /// The server sends these two so, and Anna is signed in.
    fn with_two(sent: PhiMode, two: &[PatientDocument; 2]) -> Self {
        let device = Self::new();
        let mut page = Page::default();
        for one in two {
            put(&mut page, Collection::Patients, one.id, one);
        }
        let cursor = Cursor { epoch: 1, seq: 101 };
        let end = PageEnd { phi_mode: Some(sent), ..PageEnd::new(cursor, 101, Timestamp::EPOCH) };
        device.workspace.mirror().apply(&page, &end).unwrap();
        device.sign_in(ANNA);
        device
    }
}

/// Somebody of whom the name and the room alone are here.
fn barely_known(n: u8, name: &str, room: &str) -> PatientDocument {
    PatientDocument { mrn: String::new(), date_of_birth: None, ..resident(n, name, room) }
}

#[tokio::test]
async fn where_two_have_the_same_initials_in_one_room_every_page_says_that_it_cannot_tell_them_apart() {
    let device = Device::with_two(PhiMode::Minimal, &[4, 9].map(|n| barely_known(n, "A.A.", "101")));
    let list = device.shown("/").await;
    assert_eq!(list.matches("2 look the same here").count(), 2, "{list}");
    // Whoever charts all the same is not refused.
    let form = device.form(4).await;
    assert_eq!(device.send(&form, ANSWERS).await.status, StatusCode::SEE_OTHER);
    let [page, other] = [4, 9].map(|n| format!("/residents/{}", patient(n)));
    let charted = device.shown(&page).await;
    let of_entry = |act: &str| {
        let begin = format!("{page}/{act}/");
        let rest = charted.split(&begin).nth(1).unwrap_or_else(|| panic!("no {act} in {charted}"));
        format!("{begin}{}", rest.split('"').next().unwrap())
    };
    let discharge = format!("{other}/discharge");
    let forms = ["edit", "discharge", "older"].map(|form| format!("{page}/{form}"));
    let of_entries = ["correct", "strike"].map(of_entry);
    let pages = [page.clone(), other.clone(), chart(4), chart(9), discharge.clone()];
    for path in pages.iter().chain(&forms).chain(&of_entries) {
        let html = device.shown(path).await;
        for words in ["2 residents here look the same: A.A., room 101.", "use one that shows names"] {
            assert!(html.contains(words), "{words} is missing at {path}: {html}");
        }
    }
    // Who was discharged is told from who is in care.
    let asked = device.shown(&discharge).await;
    let done = post(&device.pages, &discharge, &fields(&asked, &discharge)).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.body);
    for path in ["/", &page, &other] {
        let html = device.shown(path).await;
        assert!(!html.contains("look the same"), "{path}: {html}");
    }
}

#[tokio::test]
async fn two_of_one_name_in_one_room_are_told_apart_by_all_that_is_known_of_them() {
    let mary = |n| resident(n, "Mary Smith", "104");
    let unborn = |n| PatientDocument { date_of_birth: None, ..mary(n) };
    let barely = |n| barely_known(n, "Mary Smith", "104");
    let warning = "2 residents here look the same: Mary Smith, room 104.";
    for (two, said, not_said) in [
        ([4, 9].map(mary), "Born 03/05/1934", "GY-0004"),
        ([4, 9].map(unborn), "MRN GY-0004", warning),
        ([4, 9].map(barely), warning, "shows names"),
    ] {
        let device = Device::with_two(PhiMode::Full, &two);
        let form = device.form(4).await.html;
        assert!(form.contains(said) && !form.contains(not_said), "{said}: {form}");
    }
}
