//! A facility's time on a device whose own zone is another.

use carepost_protocol::facility::FacilityType;
use carepost_protocol::record::FacilityDocument;
use carepost_protocol::unit::Units;
use carepost_protocol::workflow::FieldError;

use super::needs::field;
use super::*;

impl Device {
    /// The facility's document comes, with that time zone.
    fn stand_in(&self, time_zone: Option<&str>, seq: u64) {
        let facility = FacilityDocument {
            id: FACILITY,
            name: "Riverside".to_owned(),
            organization_name: "Golden Years".to_owned(),
            phone: None,
            facility_type: FacilityType::Alf,
            licensed_beds: None,
            current_census: 44,
            time_zone: time_zone.map(str::to_owned),
            units: Units::default(),
        };
        let mut page = Page::default();
        put(&mut page, Collection::Facilities, FACILITY, &facility);
        let end = PageEnd::new(Cursor { epoch: 1, seq }, seq, at("2026-05-01T14:10:00Z"));
        self.workspace.mirror().apply(&page, &end).unwrap();
    }

    async fn answer(&self, time: &str, said: &str) -> Answer {
        let form = self.form(4).await;
        let said = if said.is_empty() { String::new() } else { format!("&_offset_taken_at={said}") };
        self.send(&form, &format!("taken_at={time}&pulse=72&position=Sitting{said}")).await
    }

    fn times(&self) -> Vec<String> {
        let entries = self.entries().into_iter();
        entries.map(|change| change.fields["taken_at"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn before_the_facilitys_zone_has_come_the_page_says_whose_time_it_shows() {
    let device = Device::new();
    device.sign_in(ANNA);
    let words = "time zone has not arrived here yet, so times are this device's own";
    for path in ["/".to_owned(), format!("/residents/{}", patient(4))] {
        let page = open(&device.pages, &path).await.body.replace("&#39;", "'");
        assert!(page.contains(words), "{page}");
    }
    device.stand_in(Some("America/Chicago"), 101);
    let page = open(&device.pages, "/").await.body;
    assert!(!page.contains("has not arrived here yet"), "{page}");
}

#[tokio::test]
async fn an_hour_that_does_not_exist_is_refused_and_the_one_that_comes_twice_is_asked() {
    let device = Device::new();
    device.stand_in(Some("America/Chicago"), 101);
    device.sign_in(ANNA);
    let form = device.form(4).await;
    assert!(form.html.contains(r#"data-zone="America/Chicago""#), "{}", form.html);
    assert!(form.html.contains("Time zone: America/Chicago"), "{}", form.html);

    let skipped = device.answer("2026-03-08T02:30", "").await;
    assert_eq!(skipped.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(skipped.body.contains("there is no such time"), "{}", skipped.body);
    assert!(skipped.body.contains(r#"value="03/08/2026 02:30""#), "what was typed stays: {}", skipped.body);

    for typed in ["2026-11-01T01:30", "11/01/2026 01:30 AM"] {
        let asked = device.answer(typed, "").await;
        assert_eq!(asked.status, StatusCode::UNPROCESSABLE_ENTITY);
        for words in ["comes twice", "First: daylight time (CDT)", "Second: standard time (CST)"] {
            assert!(asked.body.contains(words), "no {words:?} in {}", asked.body);
        }
    }
    assert_eq!(device.times(), [""; 0]);
    for offset in ["-05:00", "-06:00"] {
        let saved = device.answer("2026-11-01T01:30", &format!("2026-11-01T01:30{offset}")).await;
        assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    }
    // What was said of another time is asked anew.
    let other = device.answer("2026-11-01T01:45", "2026-11-01T01:30-05:00").await;
    assert!(other.body.contains("comes twice"), "{}", other.body);
    assert_eq!(device.answer("05/01/2026 10:30 PM", "").await.status, StatusCode::SEE_OTHER);
    let stored = ["2026-11-01T01:30-05:00", "2026-11-01T01:30-06:00", "2026-05-01T22:30-05:00"];
    assert_eq!(device.times(), stored);
    let page = open(&device.pages, &format!("/residents/{}", patient(4))).await.body;
    for words in ["11/01/2026 01:30 CDT", "11/01/2026 01:30 CST", "05/01/2026 22:30"] {
        assert!(page.contains(&format!("<dd>{words}</dd>")), "no {words:?} in {page}");
    }
}

#[tokio::test]
async fn a_range_of_times_is_refused_and_stays_as_it_was_typed() {
    let device = Device::new();
    device.stand_in(Some("America/Chicago"), 101);
    device.sign_in(ANNA);
    for range in ["12/10/2026 09:00-10:00", "12/10/2026 09:00 -10:00", "12/10/2026 05:00-06:00"] {
        let refused = device.answer(range, "").await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{range}");
        assert!(refused.body.contains("without a range"), "{}", refused.body);
        for page in [refused.body, device.form(4).await.html] {
            assert!(page.contains(&format!(r#"value="{range}""#)), "{page}");
        }
    }
    assert_eq!(device.times(), [""; 0]);
    assert_eq!(device.answer("2026-11-01T01:30-06:00", "").await.status, StatusCode::SEE_OTHER);
    assert_eq!(device.times(), ["2026-11-01T01:30-06:00"]);
}

#[tokio::test]
async fn an_unlikely_time_is_asked_about_and_saved_as_confirmed() {
    let device = Device::new();
    device.stand_in(Some("America/Chicago"), 101);
    let clock = device.agent.clock();
    let _floor = clock.compared(at("2026-11-28T14:42:00Z"), clock.monotonic());
    device.sign_in(ANNA);
    for (typed, words) in [
        ("0026-11-28T10:00", "the year 0026 is before 1900: check the year"),
        ("2206-11-28T10:00", "the year 2206 is after 2199: check the year"),
    ] {
        let refused = device.answer(typed, "").await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{typed}");
        assert!(refused.body.contains(words) && !refused.body.contains("Save as it is"), "{}", refused.body);
    }
    assert_eq!(device.answer("11/28/2026 08:40 AM", "").await.status, StatusCode::SEE_OTHER);
    for (typed, words) in [
        ("2026-11-28T23:59", "11/28/2026 23:59 is in the future: check the day and the time"),
        ("11/28/1926 09:00", "11/28/1926 09:00 is more than a year ago: check the year"),
    ] {
        let asked = device.answer(typed, "").await;
        assert_eq!(asked.status, StatusCode::UNPROCESSABLE_ENTITY, "{typed}");
        assert!(asked.body.contains(words) && asked.body.contains("Save as it is"), "{}", asked.body);
        let form = OpenForm::of(&chart(4), asked.body);
        let doubt =
            form.html.split(r#"name="_confirmed" value=""#).nth(1).unwrap().split('"').next().unwrap();
        let meant =
            format!("taken_at={typed}&pulse=72&position=Sitting&_confirmed={}", doubt.replace(' ', "+"));
        let saved = device.send(&form, &meant).await;
        assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    }
    let stored = ["2026-11-28T08:40-06:00", "2026-11-28T23:59-06:00", "1926-11-28T09:00-06:00"];
    assert_eq!(device.times(), stored);
    let confirmed: Vec<_> = device.entries().into_iter().map(|change| change.confirmed).collect();
    assert_eq!(confirmed, [vec![], vec!["taken_at".to_owned()], vec!["taken_at".to_owned()]]);
}

#[tokio::test]
async fn a_birthday_in_a_form_is_kept_as_far_as_it_is_known_and_never_in_the_future() {
    let mut workflow = every_type();
    let born = json!({"key": "date_of_birth", "label": "Date of birth", "type": "date", "display_order": 11});
    workflow.fields.push(serde_json::from_value(born).unwrap());
    let device = Device::new();
    device.bring(101, Collection::Workflows, workflow.id, &workflow);
    device.stand_in(Some("America/Chicago"), 102);
    let clock = device.agent.clock();
    let _floor = clock.compared(at("2026-06-28T14:42:00Z"), clock.monotonic());
    device.sign_in(ANNA);
    let form = device.form(4).await;
    let ahead = device.send(&form, &format!("{ANSWERS}&date_of_birth=03/2041")).await;
    assert_eq!(ahead.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(ahead.body.contains("obody is born in the future"), "{}", ahead.body);
    assert!(!ahead.body.contains("Save as it is"), "{}", ahead.body);
    let saved = device.send(&form, &format!("{ANSWERS}&date_of_birth=3/1941")).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    assert_eq!(device.entries().pop().unwrap().fields["date_of_birth"], "1941-03");
    let page = device.shown(&format!("/residents/{}", patient(4))).await;
    assert!(page.contains("<dd>03/1941</dd>"), "{page}");
    let correct = page.split("href=\"").find(|rest| rest.contains("/correct/")).unwrap();
    let correct = device.open_form(correct.split('"').next().unwrap()).await;
    assert_eq!(field(&correct.html, "date_of_birth"), "03/1941");
    // Left as it stands there, nothing is unfinished.
    assert_eq!(device.keep(&correct, "date_of_birth=03/1941").await.status, StatusCode::RESET_CONTENT);
}

#[tokio::test]
async fn all_that_is_wrong_with_a_form_is_said_at_once() {
    let device = Device::new();
    device.stand_in(Some("America/Chicago"), 101);
    let on = device.sign_in(ANNA);
    let answers = [("taken_at", "2026-03-08T02:30"), ("pulse", "fast"), ("position", "Sitting")];
    let answers = answers.map(|(key, text)| (key.to_owned(), text.to_owned()));
    let Err(NotSaved::Answers(faults)) = device.workspace.forms().save(&on, &vitals(4), "t", &answers) else {
        panic!()
    };
    let fields: Vec<_> = faults.iter().map(|FieldError { field, .. }| field.as_str()).collect();
    assert_eq!(fields, ["pulse", "taken_at"]);
}

#[tokio::test]
async fn a_time_that_comes_twice_is_corrected_and_resumed_as_it_was_said() {
    let device = Device::new();
    device.stand_in(Some("America/Chicago"), 101);
    device.sign_in(ANNA);
    let chosen = r#"value="2026-11-01T01:30-06:00" checked"#;
    let form = device.form(4).await;
    let draft = "taken_at=2026-11-01T01:30&_offset_taken_at=2026-11-01T01:30-06:00&pulse=7";
    assert_eq!(device.keep(&form, draft).await.status, StatusCode::NO_CONTENT);
    assert!(device.form(4).await.html.contains(chosen));
    let saved = device.answer("2026-11-01T01:30", "2026-11-01T01:30-06:00").await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    let page = open(&device.pages, &format!("/residents/{}", patient(4))).await.body;
    let correct = page.split("href=\"").find(|rest| rest.contains("/correct/")).unwrap();
    let html = open(&device.pages, correct.split('"').next().unwrap()).await.body;
    assert!(html.contains(r#"value="11/01/2026 01:30""#) && html.contains(chosen), "{html}");
}

#[tokio::test]
async fn a_half_typed_day_or_time_is_kept_and_never_saved_as_no_answer() {
    let device = Device::new();
    device.stand_in(Some("America/Chicago"), 101);
    device.sign_in(ANNA);
    let form = device.form(4).await;
    let half = "taken_at=05/01/2026&pulse=72&position=Sitting&seen_on=05/01/";
    assert_eq!(device.keep(&form, half).await.status, StatusCode::NO_CONTENT);
    device.agent.lock();
    device.tap(ANNA);
    let form = device.form(4).await;
    let refused = device.send(&form, half).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    for words in ["Taken at: finish the time", "Seen on: give a date such as"] {
        assert!(refused.body.contains(words), "no {words:?} in {}", refused.body);
    }
    for html in [&form.html, &refused.body] {
        for typed in [r#"value="05/01/2026""#, r#"value="05/01/""#] {
            assert!(html.contains(typed), "no {typed} in {html}");
        }
    }
    assert!(refused.body.contains(&form.token) && device.times().is_empty(), "{}", refused.body);
}

#[tokio::test]
async fn a_time_without_its_day_is_refused_with_words_and_no_draft_makes_a_moment_of_it() {
    let device = Device::new();
    device.stand_in(Some("America/Chicago"), 101);
    device.sign_in(ANNA);
    for typed in ["14:30", "2:30 pm", "1430", "now"] {
        let refused = device.answer(typed, "").await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{typed}");
        // The form that came back, and the draft that was kept of it.
        let again = device.form(4).await;
        for html in [&refused.body, &again.html] {
            assert!(html.contains(&format!(r#"value="{typed}""#)), "no {typed} in {html}");
        }
        assert!(refused.body.contains("Taken at: write the day as well"), "{}", refused.body);
    }
    assert_eq!(device.times(), [""; 0]);
}

#[tokio::test]
async fn a_form_says_of_which_day_a_time_typed_alone_is() {
    let device = Device::new();
    device.stand_in(Some("America/Chicago"), 101);
    let clock = device.agent.clock();
    // It is the 28th there still.
    let _floor = clock.compared(at("2026-11-29T03:42:00Z"), clock.monotonic());
    device.sign_in(ANNA);
    let form = device.form(4).await;
    for part in [r#" data-day="">"#, r#" data-now="2026-11-29T03:42:"#, "Such as 11/28/2026 14:30"] {
        assert!(form.html.contains(part), "no {part} in {}", form.html);
    }
    assert_eq!(device.answer("11/27/2026 10:30 PM", "").await.status, StatusCode::SEE_OTHER);
    // A correction is about the entry's day, whatever was typed into it before.
    let page = open(&device.pages, &format!("/residents/{}", patient(4))).await.body;
    let path = page.split("href=\"").find(|rest| rest.contains("/correct/")).unwrap();
    let path = path.split('"').next().unwrap();
    let correct = OpenForm::of(path, open(&device.pages, path).await.body);
    assert!(correct.html.contains(r#" data-day="11/27/2026">"#), "{}", correct.html);
    for (typed, shown) in [("11/26/2026+09:00", "11/26/2026 09:00"), ("", "")] {
        let draft = format!("taken_at={typed}&pulse=72&position=Sitting");
        assert_eq!(device.keep(&correct, &draft).await.status, StatusCode::NO_CONTENT, "{typed}");
        let again = open(&device.pages, path).await.body;
        for part in [format!(r#"value="{shown}" "#), r#" data-day="11/27/2026">"#.to_owned()] {
            assert!(again.contains(&part), "no {part} in {again}");
        }
    }
}

#[tokio::test]
async fn days_and_times_that_are_left_as_a_form_shows_them_are_nothing_typed() {
    let device = Device::new();
    device.stand_in(Some("America/Chicago"), 101);
    device.sign_in(ANNA);
    let answers = "taken_at=05/01/2026+1430&pulse=72&position=Sitting&seen_on=2026-05-01";
    let form = device.form(4).await;
    let saved = device.send(&form, answers).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    let page = open(&device.pages, &format!("/residents/{}", patient(4))).await.body;
    let correct = page.split("href=\"").find(|rest| rest.contains("/correct/")).unwrap();
    let path = correct.split('"').next().unwrap();
    let correct = OpenForm::of(path, open(&device.pages, path).await.body);
    let shown = ["05/01/2026 14:30", "05/01/2026"].map(|shown| format!(r#"value="{shown}""#));
    assert!(shown.iter().all(|shown| correct.html.contains(shown)), "{}", correct.html);
    let left = "taken_at=05/01/2026+14:30&pulse=72&position=Sitting&seen_on=05/01/2026";
    assert_eq!(device.keep(&correct, left).await.status, StatusCode::RESET_CONTENT);
    let again = device.send(&correct, &format!("{left}&_reason=None")).await;
    assert!(again.body.contains("Nothing was changed"), "{}", again.body);
}

#[tokio::test]
async fn until_a_zone_is_set_and_known_the_devices_own_counts_and_pages_say_so() {
    let device = Device::new();
    let status = || device.agent.status().time;
    assert_eq!(status().whose, Whose::Coming, "its document has not come");
    let own = status().zone;
    device.stand_in(None, 101);
    assert_eq!((status().whose, status().zone), (Whose::Unset, own.clone()));
    let page = open(&device.pages, "/").await.body;
    assert!(
        page.contains("time zone is not set") && page.contains("Ask an administrator to set it"),
        "{page}"
    );
    // A zone that only a later build knows holds nothing up.
    device.stand_in(Some("America/New_Town"), 102);
    assert_eq!((status().whose, status().zone), (Whose::Unknown("America/New_Town".to_owned()), own));
    let page = open(&device.pages, "/").await.body;
    assert!(page.contains("America/New_Town") && page.contains("has to be updated"), "{page}");
    device.stand_in(Some("Australia/Lord_Howe"), 103);
    assert_eq!(status().whose, Whose::Facility);
    assert!(!open(&device.pages, "/").await.body.contains("time zone"));
}

#[tokio::test]
async fn moments_are_shown_as_the_facilitys_wall_shows_them() {
    let device = Device::new();
    device.stand_in(Some("America/Chicago"), 101);
    device.sign_in(ANNA);
    let record = |n: u8, recorded_at: &str, taken_at: &str| {
        let values = json!({"taken_at": taken_at, "pulse": 72, "position": "Sitting"});
        let id = RecordId::new(at(recorded_at), [n; 10]);
        let body = json!({"id": id, "patient_id": patient(4), "workflow": "vitals", "schema_version": 1,
            "recorded_by": UserId::from_bytes([BEN; 16]), "recorded_at": recorded_at,
            "clock_quality": "synced", "values": values});
        (id, body)
    };
    let mut page = Page::default();
    for (id, body) in [
        record(1, "2026-05-02T03:30:00.000Z", "2026-05-01T22:15"),
        record(2, "2026-11-01T07:30:00.000Z", "2026-11-01T01:30-06:00"),
    ] {
        put(&mut page, Collection::Records, id, &body);
    }
    let end = PageEnd::new(Cursor { epoch: 1, seq: 102 }, 102, at("2026-11-02T00:00:00Z"));
    device.workspace.mirror().apply(&page, &end).unwrap();
    let page = open(&device.pages, &format!("/residents/{}", patient(4))).await.body;
    for part in [
        r#"<time datetime="2026-05-02T03:30:00.000Z">05/01/2026 22:30 CDT</time>"#,
        r#"<time datetime="2026-11-01T07:30:00.000Z" data-of="CST">11/01/2026 01:30 CST</time>"#,
        // From an agent that knows no zones: as it was typed.
        "<dd>05/01/2026 22:15</dd>",
    ] {
        assert!(page.contains(part), "no {part} in {page}");
    }
}

#[tokio::test]
async fn a_day_that_was_charted_is_shown_as_every_other_day_is() {
    let device = Device::new();
    device.sign_in(ANNA);
    let form = device.form(4).await;
    let saved = device.send(&form, &format!("{ANSWERS}&seen_on=May+2,+2026")).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    assert_eq!(device.entries().pop().unwrap().fields["seen_on"], "2026-05-02");
    let page = open(&device.pages, &format!("/residents/{}", patient(4))).await.body;
    assert!(page.contains("<dd>05/02/2026</dd>") && !page.contains("<dd>2026-"), "{page}");
}

#[tokio::test]
async fn nobody_is_born_tomorrow_by_the_facilitys_calendar() {
    let device = Device::new();
    device.sign_in(ANNA);
    // Where the day begins, and where it ends a day later: what is today here is tomorrow there, always.
    let (first, last) = ("Pacific/Kiritimati", "Etc/GMT+12");
    let born = Zone::named(first).unwrap().clock(device.agent.clock().now()).day;
    let form = OpenForm::of("/admit", open(&device.pages, "/admit").await.body);
    let answers = format!("name=Nora+New&date_of_birth={born}");
    device.stand_in(Some(last), 101);
    let refused = device.send(&form, &answers).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.body.contains("nobody is born in the future"), "{}", refused.body);
    device.stand_in(Some(first), 102);
    let asked = device.send(&form, &answers).await;
    assert!(asked.body.contains("is less than a year ago"), "{}", asked.body);
    let newborn = super::admission::confirmed(&asked.body).join("&_confirmed=");
    let saved = device.send(&form, &format!("{answers}&_confirmed={newborn}")).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
}
