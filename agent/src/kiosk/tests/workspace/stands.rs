//! Forms about what is not as it was, or as it seems: an entry that was corrected since, a correction that
//! corrects nothing, a resident who was discharged.

use carepost_protocol::record::{PatientDocument, RecordDocument};
use carepost_protocol::wire::push::RejectionCode;

use super::needs::{field, hidden, record};
use super::*;

fn id(n: u8) -> RecordId {
    RecordId::from_bytes([n; 16])
}

fn of(what: &str, n: u8) -> String {
    format!("/residents/{}/{what}/{}", patient(4), id(n))
}

impl Device {
    /// A device that has an entry of Ben's, with Anna signed in.
    fn with_an_entry() -> Self {
        let device = Self::new();
        device.bring(101, Collection::Records, id(31), &record(31, BEN, "2026-05-01T14:10:00Z", 72, None));
        device.sign_in(ANNA);
        device
    }
}

const CORRECTED: &str = "taken_at=2026-05-01T14:30&pulse=78&position=Sitting&_reason=Read+anew";

#[tokio::test]
async fn a_form_of_an_entry_that_was_corrected_since_says_so_and_forks_nothing() {
    let device = Device::with_an_entry();
    let (correct, strike) =
        (device.open_form(&of("correct", 31)).await, device.open_form(&of("strike", 31)).await);
    let stale = device.open_form(&of("correct", 31)).await;
    assert_eq!(device.send(&correct, CORRECTED).await.status, StatusCode::SEE_OTHER);
    // As if the answer had been lost: what is saved is no stranger to itself.
    assert_eq!(device.send(&correct, CORRECTED).await.status, StatusCode::SEE_OTHER);
    assert_eq!(device.entries().len(), 1);
    let said = |answer: Answer| {
        assert_eq!(answer.status, StatusCode::CONFLICT, "{}", answer.body);
        for words in
            ["Anna Field", "corrected this entry", &format!(r#"href="/residents/{}#entry-"#, patient(4))]
        {
            assert!(answer.body.contains(words), "{words} is missing in {}", answer.body);
        }
    };
    let late = device.send(&stale, &CORRECTED.replace("78", "79")).await;
    assert!(late.body.contains(r#"value="79""#), "what was typed stays: {}", late.body);
    said(late);
    said(device.send(&strike, "_reason=Wrong+resident").await);
    assert_eq!(device.entries().len(), 1, "nothing stands side by side");
    // Both wait as drafts, and the form says it when it is opened.
    let page = device.shown(&format!("/residents/{}", patient(4))).await;
    for words in ["Correction of Vital signs", "Striking out Vital signs", r#"id="entry-"#] {
        assert!(page.contains(words), "{words} is missing in {page}");
    }
    let opened = device.shown(&of("correct", 31)).await;
    assert!(opened.contains("corrected this entry") && field(&opened, "pulse") == "79", "{opened}");
    assert!(!opened.contains(">Save</button>"), "{opened}");
}

#[tokio::test]
async fn what_came_from_elsewhere_meanwhile_is_said_too_and_what_has_not_come_forks_as_ever() {
    let device = Device::with_an_entry();
    let correct = device.open_form(&of("correct", 31)).await;
    assert_eq!(device.send(&correct, CORRECTED).await.status, StatusCode::SEE_OTHER, "nothing has come yet");
    let struck = RecordDocument {
        entered_in_error: true,
        values: serde_json::Map::new(),
        ..record(32, BEN, "2026-05-01T14:20:00Z", 0, Some(31))
    };
    device.bring(102, Collection::Records, id(32), &struck);
    let page = device.shown(&format!("/residents/{}", patient(4))).await;
    assert!(page.contains("side by side"), "two devices did it at once: {page}");

    let device = Device::with_an_entry();
    let late = device.open_form(&of("correct", 31)).await;
    device.bring(102, Collection::Records, id(32), &struck);
    let answer = device.send(&late, CORRECTED).await;
    assert_eq!(answer.status, StatusCode::CONFLICT, "{}", answer.body);
    assert!(
        answer.body.contains("Ben Harbor") && answer.body.contains("struck this entry out"),
        "{}",
        answer.body
    );
    assert_eq!(device.entries(), []);
}

#[tokio::test]
async fn a_correction_that_changes_nothing_is_not_saved_and_putting_back_is() {
    let device = Device::with_an_entry();
    let same = CORRECTED.replace("78", "72");
    let correct = device.open_form(&of("correct", 31)).await;
    let nothing = device.send(&correct, &same).await;
    assert_eq!(nothing.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        nothing.body.contains("Nothing was changed") && nothing.body.contains("Read anew"),
        "{}",
        nothing.body
    );
    assert_eq!(device.entries(), []);
    let strike = device.open_form(&of("strike", 31)).await;
    assert!(strike.html.contains("Strike out this entry</button>"), "{}", strike.html);
    let struck = device.send(&strike, "_reason=Wrong+resident").await;
    let page = format!("/residents/{}", patient(4));
    assert_eq!(struck.header("location"), format!("{page}?saved=struck"), "{}", struck.body);
    let page = device.shown(struck.header("location")).await;
    assert!(page.contains("<b>Struck out.</b>") && !page.contains("The entry is safe"), "{page}");
    let back = page.split(">Put back<").next().unwrap().rsplit("href=\"").next().unwrap();
    let back = back.split('"').next().unwrap().to_owned();
    let back = device.open_form(&back).await;
    assert_eq!(field(&back.html, "pulse"), "72");
    for words in [
        "You put back an entry that was struck out by Anna Field (“Wrong resident”).",
        "Why it is put back",
        "Put back this entry</button>",
    ] {
        assert!(back.html.contains(words), "{words} is missing in {}", back.html);
    }
    assert_eq!(
        device.send(&back, &same).await.status,
        StatusCode::SEE_OTHER,
        "it was struck out, and is not now"
    );
    // Rejected, it is asked for as what it is.
    device.settle(&[(2, RejectionCode::BreaksSchema)]);
    let rejected = device.open_form("/rejected/2").await;
    for words in ["The server rejected this", "Why it is put back", "Put back this entry</button>"] {
        assert!(rejected.html.contains(words), "{words} is missing in {}", rejected.html);
    }
}

#[tokio::test]
async fn a_form_about_somebody_who_was_discharged_says_so_once() {
    let device = Device::with_an_entry();
    let before = device.form(4).await;
    let gone = PatientDocument { is_active: false, ..resident(4, "Mary Smith", "104") };
    device.bring(102, Collection::Patients, gone.id, &gone);
    for path in [chart(4), of("correct", 31), of("strike", 31)] {
        let form = device.open_form(&path).await;
        assert!(form.html.contains("<b>Discharged.</b>"), "{path}: {}", form.html);
    }
    // Where the form had not said it, the save asks.
    let asked = device.send(&before, ANSWERS).await;
    assert_eq!(asked.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        asked.body.contains("Mary Smith was discharged") && asked.body.contains("Save as it is"),
        "{}",
        asked.body
    );
    assert!(!asked.body.contains("<b>Discharged.</b>"), "said once: {}", asked.body);
    assert_eq!(device.entries(), []);
    // Where it had, it is saved like any other.
    let form = device.form(4).await;
    let confirmed = hidden(&form.html, "_confirmed");
    let saved = device.send(&form, &format!("{ANSWERS}&_confirmed={confirmed}")).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    let entry = device.entries().pop().unwrap();
    assert!(entry.confirmed.is_empty(), "it is about no field: {:?}", entry.confirmed);
    // Whose place another took is not discharged.
    let john = PatientDocument { replaces: vec![gone.id], ..resident(2, "John Smith", "102") };
    let gone = PatientDocument { replaced_by: Some(john.id), ..gone };
    device.bring(103, Collection::Patients, gone.id, &gone);
    device.bring(104, Collection::Patients, john.id, &john);
    assert!(!device.form(4).await.html.contains("Discharged"));
}

#[tokio::test]
async fn a_form_in_which_nothing_is_filled_in_is_refused_in_words() {
    let device = Device::new();
    let mut rounds = every_type();
    rounds.id = carepost_protocol::id::WorkflowId::from_bytes([77; 16]);
    (rounds.key, rounds.label) = ("rounds".to_owned(), "Rounds".to_owned());
    rounds.fields.iter_mut().for_each(|field| field.required = false);
    device.bring(101, Collection::Workflows, rounds.id, &rounds);
    device.sign_in(ANNA);
    let path = format!("/residents/{}/chart/rounds", patient(4));
    let form = device.open_form(&path).await;
    let nothing = device.send(&form, "notes=+&pulse=&position=").await;
    assert_eq!(nothing.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", nothing.body);
    assert!(nothing.body.contains("Nothing is filled in: answer at least one"), "{}", nothing.body);
    assert_eq!(device.entries(), []);
    assert_eq!(device.send(&form, "notes=Calm&pulse=").await.status, StatusCode::SEE_OTHER);
    // Nor does a correction take out all of it: that is what striking out is for.
    let page = device.shown(&format!("/residents/{}", patient(4))).await;
    let correct = page.split('"').find(|part| part.contains("/correct/")).unwrap().to_owned();
    let emptied = device.send(&device.open_form(&correct).await, "notes=&_reason=Wrong+resident").await;
    assert_eq!(emptied.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(emptied.body.contains("press Charted in error"), "{}", emptied.body);
    assert_eq!(device.entries().len(), 1);
    // What was struck out is not put back without any of it.
    let strike = correct.replace("/correct/", "/strike/");
    device.send(&device.open_form(&strike).await, "_reason=Wrong+resident").await;
    let page = device.shown(&format!("/residents/{}", patient(4))).await;
    let back = page.split(">Put back<").next().unwrap().rsplit("href=\"").next().unwrap();
    let back = device.open_form(back.split('"').next().unwrap()).await;
    let emptied = device.send(&back, "notes=&_reason=Wrong+resident").await;
    assert_eq!(emptied.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(emptied.body.contains("or go back: the entry stays struck out"), "{}", emptied.body);
    assert!(!emptied.body.contains("press Charted in error"), "{}", emptied.body);
    assert_eq!(device.entries().len(), 2);
}

#[tokio::test]
async fn an_entry_without_answers_is_struck_out_where_all_is_shown() {
    let device = Device::with_an_entry();
    let empty =
        RecordDocument { values: serde_json::Map::new(), ..record(32, BEN, "2026-05-01T14:20:00Z", 0, None) };
    device.bring(102, Collection::Records, empty.id, &empty);
    let page = device.shown(&format!("/residents/{}", patient(4))).await;
    assert!(page.contains("Nothing was filled in.") && page.contains(&of("strike", 32)), "{page}");
    assert!(!page.contains(&of("correct", 32)), "there is nothing to correct: {page}");
    let struck = device.send(&device.open_form(&of("strike", 32)).await, "_reason=Empty").await;
    assert_eq!(struck.status, StatusCode::SEE_OTHER, "{}", struck.body);
    assert!(device.entries().pop().unwrap().entered_in_error);
}

#[tokio::test]
async fn a_strike_that_the_server_rejected_shows_what_it_was_to_strike_out() {
    let device = Device::with_an_entry();
    device.send(&device.open_form(&of("strike", 31)).await, "_reason=Wrong+resident").await;
    device.settle(&[(1, carepost_protocol::wire::push::RejectionCode::NotAuthorized)]);
    let page = device.shown(&format!("/residents/{}", patient(4))).await;
    let (strike, entry) = page.split_once("See what to do").unwrap();
    assert!(strike.contains("72 bpm") && entry.contains("72 bpm"), "it stands still: {page}");
    assert!(!page.contains("Nothing was filled in") && !page.contains("is not here"), "{page}");
}

#[tokio::test]
async fn a_page_says_which_entry_it_strikes_out_and_when_what_was_corrected_was_charted() {
    let device = Device::with_an_entry();
    // Another of the same minute: what tells them apart is on the page.
    device.bring(102, Collection::Records, id(32), &record(32, BEN, "2026-05-01T14:10:30Z", 88, None));
    let strike = device.open_form(&of("strike", 31)).await.html;
    for words in ["72 bpm", "Ben Harbor", r#"datetime="2026-05-01T14:10:00.000Z""#] {
        assert!(strike.contains(words), "{words} is missing in {strike}");
    }
    assert!(!strike.contains("88 bpm"), "{strike}");
    device.sign_in(BEN);
    let correct = device.open_form(&of("correct", 31)).await;
    assert_eq!(device.send(&correct, CORRECTED).await.status, StatusCode::SEE_OTHER);
    let page = device.shown(&format!("/residents/{}", patient(4))).await;
    let counts = page.split("1 earlier version").next().unwrap();
    let charted = r#"Charted by Ben Harbor · <time datetime="2026-05-01T14:10:00.000Z""#;
    assert!(counts.contains(charted) && counts.contains("Corrected by Ben Harbor · <time"), "{page}");
    let of_now = counts.rsplit('"').find(|part| part.contains("/strike/")).unwrap().to_owned();
    let strike = device.open_form(&of_now).await;
    assert!(strike.html.contains("78 bpm"), "what waits here too: {}", strike.html);
    assert!(strike.html.contains(charted), "and whose it is: {}", strike.html);
    assert_eq!(device.send(&strike, "_reason=Wrong+resident").await.status, StatusCode::SEE_OTHER);
    let page = device.shown(&format!("/residents/{}", patient(4))).await;
    let (counts, earlier) = page.split_once("2 earlier versions").unwrap();
    assert!(counts.contains(charted) && counts.contains("Struck out by Ben Harbor · <time"), "{page}");
    // What was before does not look as if it stood: the one that is sent least of all.
    let (earlier, _) = earlier.split_once("</details>").unwrap();
    let (_, first) =
        earlier.split_once("72 bpm").map(|(before, _)| before).unwrap().rsplit_once("<del>").unwrap();
    assert!(first.contains(r#"<span class="mark gone">Struck out</span>"#), "{earlier}");
    assert!(!earlier.contains("Sent</span>"), "{earlier}");
}

#[tokio::test]
async fn who_is_not_of_the_staff_is_the_office_or_was_of_it() {
    let device = Device::with_an_entry();
    let struck = RecordDocument {
        entered_in_error: true,
        values: serde_json::Map::new(),
        ..record(32, STRANGER, "2026-05-01T14:20:00Z", 0, Some(31))
    };
    device.bring(102, Collection::Records, struck.id, &struck);
    let page = device.shown(&format!("/residents/{}", patient(4))).await;
    assert!(page.contains("Struck out by the office or former staff"), "{page}");
}
