//! Somebody is found by the beginning of a name, a room or a number.

use super::*;

/// Who is on a page, in its order.
fn names(page: &str) -> Vec<String> {
    page.split("<strong>").skip(1).map(|rest| rest.split('<').next().unwrap().to_owned()).skip(1).collect()
}

#[tokio::test]
async fn a_resident_is_found_in_any_order_of_words() {
    let device = Device::new();
    device.sign_in(ANNA);
    let list = open(&device.pages, "/").await.body;
    assert!(list.contains(r#"<input id="find" name="q" type="search""#), "{list}");
    for (asked, found) in [
        ("smith+ma", &["Mary Smith"][..]),
        ("SMITH", &["John Smith", "Mary Smith"]),
        ("L%C3%ADndqvist", &["Ada Lindqvist"]),
        ("105", &["Walter Brandt"]),
        ("Room+105", &["Walter Brandt"]),
        ("gy-0003", &["Maria Ortega"]),
        ("+", &["Ada Lindqvist", "John Smith", "Maria Ortega", "Mary Smith", "Walter Brandt"]),
        ("nobody", &[]),
        // What has no letter and no digit finds nobody.
        ("+%2C+", &[]),
        ("%25", &[]),
        ("%F0%9F%99%82", &[]),
        ("%3Cs%3E", &["John Smith", "Mary Smith"]),
        ("smith%25", &["John Smith", "Mary Smith"]),
    ] {
        let page = open(&device.pages, &format!("/?q={asked}")).await.body;
        assert_eq!(names(&page), found, "{asked}");
        assert_eq!(page.contains("No resident matches"), found.is_empty(), "{page}");
    }
    let hostile = open(&device.pages, "/?q=%22%3E%3Cscript%3E").await.body;
    assert!(!hostile.contains("<script>"), "{hostile}");
    let long = open(&device.pages, &format!("/?q=smith+{}", "x".repeat(5_000))).await;
    assert!(
        long.status == StatusCode::OK && !long.body.contains(&"x".repeat(101)),
        "what was typed is bounded"
    );
}

#[tokio::test]
async fn a_name_and_a_room_are_found_apart_and_run_together_whatever_sign_is_in_them() {
    let device = Device::new();
    let mut page = Page::default();
    let new = [
        (60, "Sean O’Dwyer", "12A"),
        (61, "Pat O'Brien", "12 a"),
        (62, "Claire d´Été", "14-B"),
        (63, "Anne–Marie Obrien", "15"),
    ];
    for (n, name, room) in new {
        put(&mut page, Collection::Patients, resident(n, name, room).id, &resident(n, name, room));
    }
    let end = PageEnd::new(Cursor { epoch: 1, seq: 101 }, 101, Timestamp::EPOCH);
    device.workspace.mirror().apply(&page, &end).unwrap();
    device.sign_in(ANNA);
    let (sean, pat, claire, anne) = ("Sean O’Dwyer", "Pat O&#39;Brien", "Claire d´Été", "Anne–Marie Obrien");
    for (asked, found) in [
        ("dwyer", &[sean][..]),
        ("o%60dwyer", &[sean]),
        ("brien", &[pat]),
        ("O+Brien", &[pat, anne]),
        ("o%CA%BCbrien", &[pat, anne]),
        ("OBRIEN", &[pat, anne]),
        ("ete", &[claire]),
        ("dete+claire", &[claire]),
        ("annemarie", &[anne]),
        ("anne-marie", &[anne]),
        ("anne+marie+o+brien", &[anne]),
        ("+12+a+", &[pat, sean]),
        ("12a", &[pat, sean]),
        ("14b", &[claire]),
    ] {
        let page = open(&device.pages, &format!("/?q={asked}")).await.body;
        assert_eq!(names(&page), found, "{asked}");
    }
}

#[tokio::test]
async fn who_was_discharged_is_found_and_listed_for_whoever_may_readmit_them() {
    let device = Device::new();
    let mut page = Page::default();
    for n in [2, 4] {
        let gone = PatientDocument { is_active: false, ..residents().residents[n - 1].document.clone() };
        put(&mut page, Collection::Patients, gone.id, &gone);
    }
    // Many more have left, with names of their own.
    for n in 60..120 {
        let gone = PatientDocument { is_active: false, ..resident(n, &format!("Gone {n}"), "1") };
        put(&mut page, Collection::Patients, gone.id, &gone);
    }
    let end = PageEnd::new(Cursor { epoch: 1, seq: 101 }, 101, Timestamp::EPOCH);
    device.workspace.mirror().apply(&page, &end).unwrap();
    device.sign_in(ANNA);
    let list = open(&device.pages, "/").await.body;
    assert!(!list.contains("Mary Smith") && list.contains(r#"href="/?discharged=1""#), "{list}");
    let left = open(&device.pages, "/?discharged=1").await.body;
    assert_eq!(names(&left).len(), 50);
    assert!(left.contains("There are more") && !left.contains("Ada Lindqvist"), "{left}");
    let found = open(&device.pages, "/?q=mary").await.body;
    let (_, discharged) = found.split_once("<h2>Discharged</h2>").unwrap();
    assert!(discharged.contains("Mary Smith"), "{found}");
    assert_eq!(names(&open(&device.pages, "/?q=gone").await.body).len(), 50);
}

#[tokio::test]
async fn who_was_merged_away_is_found_by_their_own_name_and_number_as_whoever_they_are_now() {
    let device = Device::new();
    let mut page = Page::default();
    let known = |n: usize| residents().residents[n - 1].document.clone();
    let gone = PatientDocument { replaced_by: Some(patient(2)), is_active: false, ..known(4) };
    let stays = PatientDocument { replaces: vec![patient(4)], ..known(2) };
    for resident in [gone, stays] {
        put(&mut page, Collection::Patients, resident.id, &resident);
    }
    let end = PageEnd::new(Cursor { epoch: 1, seq: 101 }, 101, Timestamp::EPOCH);
    device.workspace.mirror().apply(&page, &end).unwrap();
    device.sign_in(ANNA);
    for asked in ["mary", "gy-0004", "smith", "john"] {
        assert_eq!(
            names(&open(&device.pages, &format!("/?q={asked}")).await.body),
            ["John Smith"],
            "{asked}"
        );
    }
    let form = OpenForm::of("/admit", open(&device.pages, "/admit").await.body);
    let asked = device.send(&form, "name=Mary+Smith&mrn=GY-0004").await.body;
    let known = format!("/admit/known/{}", patient(2));
    assert_eq!(asked.matches("/admit/known/").count(), 1, "{asked}");
    assert!(asked.contains(&known), "{asked}");
}
