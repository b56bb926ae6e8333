//! One entry was corrected again and again: its page stays one that a kiosk can draw, and loses nothing.

use carepost_protocol::id::ReviewId;
use carepost_protocol::record::{RecordDocument, ReviewDocument, ReviewKind};
use carepost_protocol::time::ClockQuality;
use carepost_protocol::wire::push::RejectionCode;

use super::*;

fn version(n: u16, amends: Option<u16>) -> RecordDocument {
    let id = |n: u16| RecordId::new(at("2026-04-01T08:00:00Z").plus_millis(n.into()), [0; 10]);
    let values = json!({"taken_at": "2026-04-01T08:00", "pulse": 20, "notes": format!("number {n}.")});
    RecordDocument {
        id: id(n),
        patient_id: patient(4),
        workflow: "vitals".into(),
        schema_version: 1,
        recorded_by: UserId::from_bytes([ANNA; 16]),
        recorded_at: at("2026-04-01T08:00:00Z").plus_millis(n.into()),
        clock_quality: ClockQuality::Synced,
        values: values.as_object().unwrap().clone(),
        confirmed: Vec::new(),
        reason: None,
        entered_in_error: false,
        amends: amends.map(id),
    }
}

impl Device {
    fn hold(&self, records: impl IntoIterator<Item = RecordDocument>) {
        let records: Vec<RecordDocument> = records.into_iter().collect();
        for part in records.chunks(1_000) {
            let mut page = Page::default();
            for record in part {
                put(&mut page, Collection::Records, record.id, record);
            }
            let end = PageEnd::new(Cursor { epoch: 1, seq: 101 }, 101, at("2026-05-01T14:10:00Z"));
            self.workspace.mirror().apply(&page, &end).unwrap();
        }
    }
}

/// The numbers of the versions on a page, as they are listed.
fn numbers(page: &str) -> Vec<u16> {
    page.split("number ").skip(1).map(|rest| rest.split('.').next().unwrap().parse().unwrap()).collect()
}

fn link(page: &str, words: &str) -> String {
    let before = page.split(words).next().unwrap();
    let address = before.rsplit("href=\"").next().unwrap().split('"').next().unwrap();
    address.replace("&#38;", "&").replace("&amp;", "&")
}

#[tokio::test]
async fn of_hundreds_of_versions_the_first_and_the_last_are_shown_and_the_rest_a_touch_away() {
    let device = Device::new();
    device.sign_in(ANNA);
    // 250 one after the other, and then 250 of the last of them side by side.
    let chain = (1..250).map(|n| version(n, Some(n - 1)));
    device.hold([version(0, None)].into_iter().chain(chain).chain((250..500).map(|n| version(n, Some(249)))));
    let first = open(&device.pages, &format!("/residents/{}", patient(4))).await.body;
    let shown: Vec<u16> = (250..255).chain(495..500).chain((245..250).rev()).chain((0..5).rev()).collect();
    assert_eq!(numbers(&first), shown, "{first}");
    assert!(first.contains("480 more versions are not shown"), "{first}");
    assert!(first.contains("by Anna Field") && !first.contains("entry of"), "her own: said once");
    let next = link(&first, "Show more versions");
    let second = open(&device.pages, &next).await.body;
    assert_eq!(numbers(&second).len(), 200);
    let all = open(&device.pages, &link(&second, "Show more versions")).await.body;
    assert_eq!(numbers(&all).len(), 500);
    assert!(!all.contains("more version"), "nothing is left out");

    // What is saved here counts, though what it corrects was not even read.
    let path = format!("/residents/{}/correct/{}", patient(4), version(400, None).id);
    let form = OpenForm::of(&path, open(&device.pages, &path).await.body);
    let sent = device.send(&form, &format!("{ANSWERS}&_reason=Misread")).await;
    assert_eq!(sent.status, StatusCode::SEE_OTHER, "{}", sent.body);
    let first = open(&device.pages, &format!("/residents/{}", patient(4))).await.body;
    assert!(first.contains("72 bpm") && first.contains("481 more versions"), "{first}");
}

#[tokio::test]
async fn of_corrections_without_end_none_passes_for_what_counts_and_the_page_says_so() {
    let device = Device::new();
    device.sign_in(ANNA);
    device.hold([version(0, None)].into_iter().chain((1..2_500).map(|n| version(n, Some(n - 1)))));
    let page = open(&device.pages, &format!("/residents/{}", patient(4))).await.body;
    assert!(page.contains("Corrected more often than a kiosk looks at"), "{page}");
    assert!(page.contains("10 earlier versions") && page.contains("more versions are not shown"), "{page}");
    assert_eq!(numbers(&page).len(), 10, "no version that was corrected is shown as what counts");
}

#[tokio::test]
async fn corrections_of_what_is_not_here_are_reached_too() {
    let device = Device::new();
    device.sign_in(ANNA);
    device.hold((1..=60).map(|n| version(n, Some(1_000))));
    let first = open(&device.pages, &format!("/residents/{}", patient(4))).await.body;
    assert_eq!(numbers(&first), (11..=60).rev().collect::<Vec<_>>());
    let all = open(&device.pages, &link(&first, "Show more entries")).await.body;
    assert_eq!(numbers(&all).len(), 60);
}

#[tokio::test]
async fn a_chain_whose_first_versions_are_not_here_is_one_entry() {
    let device = Device::new();
    device.sign_in(ANNA);
    device.hold((20..25).map(|n| version(n, Some(n - 1))));
    let page = open(&device.pages, &format!("/residents/{}", patient(4))).await.body;
    let (counts, before) = page.split_once("4 earlier versions").unwrap();
    assert_eq!((numbers(counts), numbers(before)), (vec![24], vec![23, 22, 21, 20]));
    assert!(!page.contains("Charted by"), "who charted it first is not here: {page}");
}

#[tokio::test]
async fn sixty_entries_are_reached_and_so_is_what_comes_after_the_longest_page() {
    let device = Device::new();
    device.sign_in(ANNA);
    device.hold((0..60).map(|n| version(n, None)));
    let path = format!("/residents/{}", patient(4));
    let first = open(&device.pages, &path).await.body;
    assert_eq!(numbers(&first), (10..60).rev().collect::<Vec<_>>());
    let all = open(&device.pages, &link(&first, "Show more entries")).await.body;
    assert_eq!(numbers(&all), (0..60).rev().collect::<Vec<_>>());
    assert!(!all.contains("Show more entries"), "{all}");

    // A page that can have no more is followed by another; what waits here is on that of what it corrects.
    let longest = Shown::of(None, Some(usize::MAX), None);
    let next = longest.more_entries();
    assert_eq!((next.after, next.entries), (longest.entries, longest.entries));
    let correct = format!("{path}/correct/{}", version(3, None).id);
    let form = OpenForm::of(&correct, open(&device.pages, &correct).await.body);
    assert_eq!(device.send(&form, &format!("{ANSWERS}&_reason=Misread")).await.status, StatusCode::SEE_OTHER);
    let rest = open(&device.pages, &format!("{path}?after=50")).await.body;
    assert_eq!(numbers(&rest), (0..10).rev().collect::<Vec<_>>());
    assert!(rest.contains("72 bpm") && !rest.contains("Show more entries"), "{rest}");
}

/// A list from its first page on, as far as each says that there is more.
async fn whole(device: &Device, path: &str) -> String {
    let (mut pages, mut next) = (String::new(), Some(path.to_owned()));
    while let Some(path) = next {
        let page = device.shown(&path).await;
        next = page.contains("Show more").then(|| link(&page, "Show more"));
        pages.push_str(&page);
    }
    pages
}

#[tokio::test]
async fn a_list_of_what_needs_somebody_ends_nowhere_in_silence() {
    let device = Device::new();
    device.sign_in(ANNA);
    for n in 0..120 {
        let form = device.form(4).await;
        let sent = device.send(&form, &format!("{ANSWERS}&notes=number+{n}.")).await;
        assert_eq!(sent.status, StatusCode::SEE_OTHER, "{}", sent.body);
    }
    device.settle(&(1..=120).map(|n| (n, RejectionCode::BreaksSchema)).collect::<Vec<_>>());
    let mut page = Page::default();
    for n in 1..=120 {
        let review = ReviewDocument {
            id: ReviewId::from_bytes([n; 16]),
            kind: ReviewKind::Duplicate,
            patient_id: patient(4),
            collection: Collection::Patients,
            record: patient(4).into(),
            fields: Vec::new(),
            others: vec![patient(2).into()],
            more: 0,
            opened_at: at("2026-05-01T14:12:00Z"),
            resolved: None,
        };
        put(&mut page, Collection::Reviews, review.id, &review);
    }
    let end = PageEnd::new(Cursor { epoch: 1, seq: 101 }, 101, at("2026-05-01T14:12:00Z"));
    device.workspace.mirror().apply(&page, &end).unwrap();

    let mut rejected = numbers(&whole(&device, "/rejected").await);
    rejected.sort_unstable();
    assert_eq!(rejected, (0..120).collect::<Vec<_>>(), "each once");
    let asked = whole(&device, "/reviews").await;
    for n in 1..=120 {
        let action = format!(r#"action="/reviews/{}""#, ReviewId::from_bytes([n; 16]));
        assert_eq!(asked.matches(&action).count(), 1, "{action}");
    }
}
