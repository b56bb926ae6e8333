//! The office publishes a form anew: what was charted is read and corrected by its own version, and what was begun
//! goes on in it.

use carepost_protocol::change::ChangeKind;
use carepost_protocol::id::ReviewId;
use carepost_protocol::record::{RecordDocument, ReviewDocument, ReviewKind};
use carepost_protocol::wire::push::RejectionCode;

use super::needs::{by, field, record};
use super::*;

/// The first version asks for the glucose, of which 400 is critical.
fn first() -> Workflow {
    let mut form = every_type();
    let glucose = json!({"key": "glucose", "label": "Glucose", "type": "integer", "unit": "mg/dL",
        "critical_max": 400.0, "display_order": 11});
    form.fields.push(serde_json::from_value(glucose).unwrap());
    form
}

/// The second asks for the mood in its place, and has to be answered.
fn second() -> Workflow {
    let mut form = every_type();
    let mood =
        json!({"key": "mood", "label": "Mood", "type": "string", "required": true, "display_order": 11});
    form.fields.push(serde_json::from_value(mood).unwrap());
    Workflow { version: 2, ..form }
}

/// The third is the second, switched off.
fn third() -> Workflow {
    Workflow { version: 3, enabled: false, ..second() }
}

const GLUCOSE: &str = "taken_at=2026-05-01T14:30&pulse=78&position=Sitting&glucose=412";

fn charted() -> RecordDocument {
    let mut charted = record(31, BEN, "2026-05-01T14:10:00Z", 72, None);
    charted.values.insert("glucose".into(), json!(412));
    charted
}

fn of(what: &str) -> String {
    format!("/residents/{}/{what}/{}", patient(4), charted().id)
}

impl Device {
    /// A device with the first version and an entry of Ben's in it, where Anna is signed in.
    fn of_first() -> Self {
        let device = Self::new();
        device.publishes(101, &first(), &[]);
        device.bring(102, Collection::Records, charted().id, &charted());
        device.sign_in(ANNA);
        device
    }

    /// What a server puts into the feed.
    fn publishes(&self, seq: u64, latest: &Workflow, superseded: &[Workflow]) {
        let mut page = Page::default();
        for form in superseded {
            let id = WorkflowId::of_version(&form.key, form.version);
            put(&mut page, Collection::Workflows, id, &Workflow { enabled: false, ..form.clone() });
        }
        put(&mut page, Collection::Workflows, latest.id, latest);
        let end = PageEnd::new(Cursor { epoch: 1, seq }, seq, Timestamp::EPOCH);
        self.workspace.mirror().apply(&page, &end).unwrap();
    }

    async fn takes(&self, form: &OpenForm, answers: &str) -> Answer {
        let saved = self.send(form, answers).await;
        assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
        saved
    }

    /// What was saved last: in which version, and the glucose in it.
    fn last(&self) -> (Option<u32>, Option<serde_json::Value>) {
        let last = self.entries().pop().unwrap();
        (last.schema_version, last.fields.get("glucose").cloned())
    }
}

fn asks_for(form: &OpenForm, key: &str) -> bool {
    form.html.contains(&format!(r#"name="{key}""#))
}

#[tokio::test]
async fn forms_are_offered_in_the_order_in_which_people_look_for_them() {
    let device = Device::new();
    for (n, label) in [(1, "Ängste"), (2, "Bath"), (3, "round 9"), (4, "Round 10"), (5, "Zoster")] {
        let id = WorkflowId::from_bytes([40 + n; 16]);
        let form = Workflow { id, key: format!("form_{n}"), label: label.to_owned(), ..every_type() };
        device.bring(100 + u64::from(n), Collection::Workflows, id, &form);
    }
    device.sign_in(ANNA);
    let page = device.shown(&format!("/residents/{}", patient(4))).await;
    let places = ["form_1", "form_2", "form_3", "form_4", "vitals", "form_5"]
        .map(|key| page.find(&format!("id=\"chart-{key}\"")).unwrap_or_else(|| panic!("no {key}: {page}")));
    assert!(places.is_sorted(), "{places:?}: {page}");
}

#[tokio::test]
async fn an_entry_keeps_the_words_and_marks_of_the_version_that_it_was_charted_in() {
    let device = Device::of_first();
    let mut corrected = record(32, ANNA, "2026-05-01T14:20:00Z", 73, Some(31));
    corrected.values.insert("glucose".into(), json!(401));
    device.bring(103, Collection::Records, corrected.id, &corrected);
    let review = ReviewDocument {
        id: ReviewId::from_bytes([41; 16]),
        kind: ReviewKind::Amendments,
        patient_id: patient(4),
        collection: Collection::Records,
        record: charted().id,
        fields: Vec::new(),
        others: vec![corrected.id],
        more: 0,
        opened_at: at("2026-05-01T14:22:00Z"),
        resolved: None,
    };
    device.bring(104, Collection::Reviews, review.id, &review);
    let path = format!("/residents/{}", patient(4));
    let chart = format!("href=\"{}\"", chart(4));
    let versions: [(u64, Workflow, &[Workflow], bool); 3] = [
        (105, first(), &[], true),
        (106, second(), &[first()], true),
        (107, third(), &[first(), second()], false),
    ];
    for (seq, latest, superseded, is_offered) in versions {
        device.publishes(seq, &latest, superseded);
        for page in [device.shown(&path).await, device.shown("/reviews").await] {
            for glucose in ["<dt>Glucose</dt><dd>412 mg/dL", "<dt>Glucose</dt><dd>401 mg/dL"] {
                let shown = page.split_once(glucose).and_then(|(_, rest)| rest.split("</dd>").next());
                assert!(shown.is_some_and(|rest| rest.contains("Critical")), "beside {seq}: {page}");
            }
        }
        let page = device.shown(&path).await;
        assert!(page.contains("/correct/") && page.contains("/strike/"), "beside {seq}: {page}");
        assert_eq!(page.contains(&chart), is_offered, "beside {seq}: {page}");
    }
}

#[tokio::test]
async fn a_correction_asks_what_its_entry_was_asked_and_drops_nothing() {
    for (latest, superseded) in [(second(), vec![first()]), (third(), vec![first(), second()])] {
        let device = Device::of_first();
        device.publishes(103, &latest, &superseded);
        let form = device.open_form(&of("correct")).await;
        assert_eq!(field(&form.html, "glucose"), "412");
        assert!(!asks_for(&form, "mood"), "{}", form.html);
        let saved = device.takes(&form, &format!("{GLUCOSE}&_reason=Misread")).await;
        assert!(saved.header("location").contains("critical"), "{}", saved.header("location"));
        let told = device.shown(saved.header("location")).await;
        assert!(told.contains("with a critical value: Glucose 412 mg/dL."), "{told}");
        assert_eq!(device.last(), (Some(1), Some(json!(412))));
        // The correction is an entry of that version too.
        let page = device.shown(&format!("/residents/{}", patient(4))).await;
        let again = page.split('"').find(|part| part.contains("/correct/")).unwrap();
        let form = device.open_form(again).await;
        device.takes(&form, &format!("{}&_reason=Misread", GLUCOSE.replace("412", "388"))).await;
        assert_eq!(device.last(), (Some(1), Some(json!(388))));
    }
}

#[tokio::test]
async fn what_was_struck_out_in_a_later_version_is_put_back_in_its_own() {
    let device = Device::of_first();
    device.publishes(103, &second(), &[first()]);
    let form = device.open_form(&of("strike")).await;
    device.takes(&form, "_reason=Wrong+resident").await;
    let strike = device.entries().pop().unwrap();
    assert_eq!((strike.schema_version, strike.entered_in_error), (Some(1), true));
    assert!(strike.fields.is_empty());

    // As an earlier agent struck it out.
    let device = Device::of_first();
    device.publishes(103, &second(), &[first()]);
    let struck = RecordDocument {
        schema_version: 2,
        values: serde_json::Map::new(),
        entered_in_error: true,
        ..record(32, BEN, "2026-05-01T14:20:00Z", 0, Some(31))
    };
    device.bring(104, Collection::Records, struck.id, &struck);
    let back = device.open_form(&format!("/residents/{}/correct/{}", patient(4), struck.id)).await;
    assert_eq!(field(&back.html, "glucose"), "412");
    device.takes(&back, &format!("{GLUCOSE}&_reason=Hers+after+all")).await;
    assert_eq!(device.last(), (Some(1), Some(json!(412))));
}

#[tokio::test]
async fn a_page_that_was_open_is_saved_in_its_version_and_the_next_one_is_of_the_latest() {
    for (latest, superseded) in [(second(), vec![first()]), (third(), vec![first(), second()])] {
        let device = Device::of_first();
        let form = device.form(4).await;
        device.publishes(103, &latest, &superseded);
        let refused = device.send(&form, &GLUCOSE.replace("78", "7O")).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
        let again = OpenForm::of(&form.path, refused.body);
        assert_eq!((field(&again.html, "glucose"), again.version.as_str()), ("412", "1"));
        assert!(!asks_for(&again, "mood") && !again.html.contains("no such field"), "{}", again.html);
        device.takes(&again, GLUCOSE).await;
        assert_eq!(device.last(), (Some(1), Some(json!(412))));

        let next = open(&device.pages, &chart(4)).await;
        if latest.enabled {
            let next = OpenForm::of(&chart(4), next.body);
            assert!(asks_for(&next, "mood") && !asks_for(&next, "glucose"), "{}", next.html);
            device.takes(&next, &format!("{ANSWERS}&mood=calm")).await;
            assert_eq!(device.last(), (Some(2), None));
        } else {
            assert_eq!(next.status, StatusCode::NOT_FOUND, "{}", next.body);
        }
    }
}

#[tokio::test]
async fn a_draft_is_opened_and_saved_in_the_version_that_it_was_begun_in() {
    for (latest, superseded) in [(second(), vec![first()]), (third(), vec![first(), second()])] {
        let device = Device::of_first();
        let form = device.form(4).await;
        assert_eq!(device.keep(&form, "pulse=78").await.status, StatusCode::NO_CONTENT);
        device.publishes(103, &latest, &superseded);
        // The last words are typed after that, and after the screen has locked.
        device.agent.lock();
        assert_eq!(device.keep(&form, GLUCOSE).await.status, StatusCode::NO_CONTENT);
        device.sign_in(BEN);
        device.sign_in(ANNA);
        let page = device.shown(&format!("/residents/{}", patient(4))).await;
        assert!(page.contains("Not finished"), "{page}");
        let begun = device.form(4).await;
        assert_eq!((field(&begun.html, "glucose"), begun.version.as_str()), ("412", "1"));
        assert_eq!(device.keep(&begun, &GLUCOSE.replace("412", "388")).await.status, StatusCode::NO_CONTENT);

        // Dropped, and had back.
        let dropped = post(&device.pages, &format!("{}/discard", begun.path), &begun.with(GLUCOSE)).await;
        assert_eq!(dropped.status, StatusCode::SEE_OTHER, "{}", dropped.body);
        let page = device.shown(&format!("/residents/{}", patient(4))).await;
        assert!(page.contains("Discarded: Vital signs"), "{page}");
        let next = open(&device.pages, &chart(4)).await;
        assert_eq!(next.body.contains(r#"name="mood""#), latest.enabled, "{}", next.body);
        let undo = format!("_screen={}", begun.screen);
        post(&device.pages, &format!("{}/undo", begun.path), &undo).await;
        let begun = device.form(4).await;
        assert_eq!(field(&begun.html, "glucose"), "412");
        device.takes(&begun, GLUCOSE).await;
        assert_eq!(device.last(), (Some(1), Some(json!(412))));
    }
}

#[tokio::test]
async fn a_draft_that_did_not_ask_everything_leaves_the_rest_as_it_was_charted() {
    let device = Device::of_first();
    // As an agent kept it that corrected every entry by the latest version.
    let typed = ["taken_at=2026-05-01T14:30", "pulse=78", "position=Sitting", "mood=calm", "notes="];
    let typed = typed.map(|answer| answer.split_once('=').unwrap());
    let typed = typed.map(|(key, text)| (key.to_owned(), text.to_owned()));
    let name = format!("@{}", charted().id);
    device.workspace.outbox().put_draft(by(ANNA), patient(4), &name, &typed, Timestamp::EPOCH).unwrap();
    device.publishes(103, &second(), &[first()]);
    let form = device.open_form(&of("correct")).await;
    assert_eq!((field(&form.html, "pulse"), field(&form.html, "glucose")), ("78", "412"));
}

#[tokio::test]
async fn a_rejected_entry_is_corrected_in_the_version_that_it_was_charted_in() {
    for (latest, superseded) in [(second(), vec![first()]), (third(), vec![first(), second()])] {
        let device = Device::of_first();
        device.takes(&device.form(4).await, GLUCOSE).await;
        device.settle(&[(1, RejectionCode::BreaksSchema)]);
        device.publishes(103, &latest, &superseded);
        let page = device.shown("/rejected").await;
        for words in ["Glucose", "412 mg/dL", "Critical", r#"href="/rejected/1""#] {
            assert!(page.contains(words), "{words} is missing in {page}");
        }
        let form = device.open_form("/rejected/1").await;
        assert_eq!(field(&form.html, "glucose"), "412");
        device.takes(&form, &GLUCOSE.replace("78", "75")).await;
        assert_eq!(device.last(), (Some(1), Some(json!(412))));
    }
}

#[tokio::test]
async fn a_form_that_was_begun_before_a_newer_version_came_says_so() {
    let device = Device::of_first();
    let newer = "A newer version of this form is there; this one is saved as it was begun.";
    let form = device.form(4).await;
    assert!(!form.html.contains(newer), "{}", form.html);
    device.keep(&form, GLUCOSE).await;
    device.publishes(103, &second(), &[first()]);
    let again = device.form(4).await;
    assert!(again.html.contains(newer) && asks_for(&again, "glucose"), "{}", again.html);
    // A page that was left open says it where it comes back.
    let faulty = device.send(&form, &GLUCOSE.replace("78", "many")).await;
    assert!(faulty.body.contains(newer), "{}", faulty.body);
    device.takes(&again, GLUCOSE).await;
    let anew = device.form(4).await;
    assert!(!anew.html.contains(newer) && asks_for(&anew, "mood"), "{}", anew.html);
}

#[tokio::test]
async fn an_entry_whose_version_is_not_here_is_read_without_measures_and_can_only_be_struck_out() {
    let device = Device::of_first();
    // Of the next one's pulse 72 is critical.
    let mut latest = second();
    latest.fields[1].critical_min = Some(75.0);
    device.publishes(103, &latest, &[]);
    let page = device.shown(&format!("/residents/{}", patient(4))).await;
    let pulse = page.split_once("<dt>Pulse</dt><dd>72").and_then(|(_, rest)| rest.split("</dd>").next());
    assert!(pulse.is_some_and(|rest| !rest.contains("bpm") && !rest.contains("Critical")), "{page}");
    assert!(page.contains("<dt>glucose</dt><dd>412"), "{page}");
    assert!(page.contains(&of("strike")) && !page.contains(&of("correct")), "{page}");
    let refused = open(&device.pages, &of("correct")).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(refused.body.contains("another version of its form"), "{}", refused.body);
    let form = device.open_form(&of("strike")).await;
    assert!(form.html.contains("cannot be put back on this device until"), "{}", form.html);
    device.takes(&form, "_reason=Misread").await;
    let page = device.shown(&format!("/residents/{}", patient(4))).await;
    assert!(!page.contains("Put back"), "{page}");
    let strike = device.entries().pop().unwrap();
    assert_eq!((strike.kind, strike.schema_version), (ChangeKind::Amend, Some(1)));
    assert!(strike.entered_in_error && strike.fields.is_empty());
    // Rejected, it is saved again as it was.
    device.settle(&[(1, RejectionCode::BreaksSchema)]);
    let again = device.open_form("/rejected/1").await;
    device.takes(&again, "_reason=Misread+twice").await;
    let again = device.entries().pop().unwrap();
    assert_eq!((again.schema_version, again.entered_in_error), (Some(1), true));
}

#[tokio::test]
async fn what_was_begun_in_a_version_that_is_not_here_is_kept_until_it_comes_or_is_discarded() {
    for comes in [true, false] {
        let device = Device::of_first();
        let form = device.form(4).await;
        assert_eq!(device.keep(&form, GLUCOSE).await.status, StatusCode::NO_CONTENT);
        device.publishes(103, &second(), &[]);
        // The page that is open, and what is kept of it.
        let sent = device.send(&form, &GLUCOSE.replace("412", "388")).await;
        let discard = format!("{}/discard", chart(4));
        for answer in [sent, open(&device.pages, &chart(4)).await] {
            assert_eq!(answer.status, StatusCode::CONFLICT);
            for words in ["<dt>glucose</dt><dd>388</dd>", &discard] {
                assert!(answer.body.contains(words), "{words} is missing in {}", answer.body);
            }
        }
        // It is on the lists.
        let page = device.shown(&format!("/residents/{}", patient(4))).await;
        assert!(page.contains("Not finished") && page.contains(&discard), "{page}");
        assert!(device.entries().is_empty());
        if comes {
            device.publishes(104, &second(), &[first()]);
            let begun = device.form(4).await;
            assert_eq!((field(&begun.html, "glucose"), begun.version.as_str()), ("388", "1"));
        } else {
            let screen = format!("_screen={}", form.screen);
            let dropped = post(&device.pages, &format!("{}/discard", form.path), &screen).await;
            assert_eq!(dropped.status, StatusCode::SEE_OTHER, "{}", dropped.body);
            let page = device.shown(&format!("/residents/{}", patient(4))).await;
            assert!(page.contains("Discarded: ") && page.contains("/undo"), "{page}");
            let next = device.form(4).await;
            assert!(asks_for(&next, "mood") && !asks_for(&next, "glucose"), "{}", next.html);
        }
    }
}

#[tokio::test]
async fn what_is_saved_is_not_refused_when_it_is_sent_again_after_its_version_has_gone() {
    let device = Device::of_first();
    let form = device.form(4).await;
    device.takes(&form, GLUCOSE).await;
    device.publishes(103, &second(), &[]);
    // Its answer was lost, and the browser sends it again.
    device.takes(&form, GLUCOSE).await;
    let page = device.shown(&format!("/residents/{}", patient(4))).await;
    assert!(!page.contains("Not finished"), "nothing is left from which it would be saved twice: {page}");
    // What differs was not saved, and is not lost.
    let other = device.send(&form, &GLUCOSE.replace("412", "388")).await;
    assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY);
    for words in ["This form was saved before with other values", "<dd>388</dd>", "kept here until"] {
        assert!(other.body.contains(words), "{words} is missing in {}", other.body);
    }
    assert_eq!(device.entries().len(), 1);
}

#[tokio::test]
async fn an_older_page_does_not_take_the_place_of_what_was_begun_in_a_newer_one() {
    for is_here in [true, false] {
        let device = Device::of_first();
        let older = device.form(4).await;
        device.publishes(103, &second(), &if is_here { vec![first()] } else { Vec::new() });
        let newer = device.form(4).await;
        assert_eq!(device.keep(&newer, "pulse=91&mood=calm").await.status, StatusCode::NO_CONTENT);
        let refused = device.keep(&older, GLUCOSE).await;
        assert_eq!(refused.status, StatusCode::CONFLICT);
        assert!(refused.body.contains("begun this in another version"), "{}", refused.body);
        assert_eq!(device.keep(&older, "pulse=").await.status, StatusCode::RESET_CONTENT);
        let screen = format!("_screen={}&_version=1", older.screen);
        post(&device.pages, &format!("{}/discard", older.path), &screen).await;
        let sent = device.send(&older, GLUCOSE).await;
        if is_here {
            assert_eq!(sent.status, StatusCode::SEE_OTHER, "{}", sent.body);
            assert_eq!(device.last(), (Some(1), Some(json!(412))));
        } else {
            assert_eq!(sent.status, StatusCode::CONFLICT);
            for words in ["<dd>412</dd>", "begun this in another version", "Copy it to paper"] {
                assert!(sent.body.contains(words), "{words} is missing in {}", sent.body);
            }
            assert!(!sent.body.contains("/discard"), "that would discard the other: {}", sent.body);
        }
        let begun = device.form(4).await;
        assert_eq!((field(&begun.html, "mood"), begun.version.as_str()), ("calm", "2"));
        device.takes(&begun, &format!("{ANSWERS}&mood=calm")).await;
        assert_eq!(device.last(), (Some(2), None));
    }
}

#[tokio::test]
async fn whoever_comes_back_is_led_to_what_she_typed_though_its_version_has_gone() {
    let device = Device::of_first();
    let form = device.form(4).await;
    device.keep(&form, GLUCOSE).await;
    device.publishes(103, &second(), &[]);
    device.agent.lock();
    device.tap(ANNA);
    let back = open(&device.pages, "/").await;
    assert_eq!(back.header("location"), chart(4));
    let page = open(&device.pages, &chart(4)).await;
    assert!(page.body.contains("<dd>412</dd>") && page.body.contains("another version"), "{}", page.body);
}

#[tokio::test]
async fn a_rejected_entry_waits_for_its_version() {
    let device = Device::of_first();
    device.takes(&device.form(4).await, GLUCOSE).await;
    device.settle(&[(1, RejectionCode::BreaksSchema)]);
    device.publishes(103, &second(), &[]);
    assert_eq!(open(&device.pages, "/rejected/1").await.status, StatusCode::CONFLICT);
    let offers = async || device.shown("/rejected").await.contains(r#"href="/rejected/1""#);
    assert!(!offers().await, "nothing is offered that can only be refused");
    device.publishes(104, &second(), &[first()]);
    assert!(offers().await);
    assert_eq!(field(&device.open_form("/rejected/1").await.html, "glucose"), "412");
    let settled = open(&device.pages, "/rejected/9").await.body;
    assert!(settled.contains("chart it anew if it does not"), "{settled}");
}

#[tokio::test]
async fn the_latest_version_says_who_may_correct_an_entry_of_any() {
    let device = Device::of_first();
    device.publishes(103, &Workflow { corrected_by: vec![Role::Lpn], ..second() }, &[first()]);
    let page = device.shown(&format!("/residents/{}", patient(4))).await;
    assert!(page.contains("412 mg/dL") && !page.contains("/correct/"), "{page}");
    for what in ["correct", "strike"] {
        assert_eq!(open(&device.pages, &of(what)).await.status, StatusCode::FORBIDDEN);
    }
    device.sign_in(BEN);
    assert!(device.shown(&format!("/residents/{}", patient(4))).await.contains("/correct/"), "his own");
}
