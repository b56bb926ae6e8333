//! A facility that charts in Celsius: asked, bounded and shown in it, stored in the schema's Fahrenheit.

use carepost_protocol::facility::FacilityType;
use carepost_protocol::record::FacilityDocument;
use carepost_protocol::unit::Units;

use super::admission::confirmed;
use super::*;

impl Device {
    /// The facility says in which measures it charts.
    fn charts_in(&self, seq: u64, units: Units) {
        let facility = FacilityDocument {
            id: FACILITY,
            name: "Riverside".into(),
            organization_name: "Golden Years".into(),
            phone: None,
            facility_type: FacilityType::Alf,
            licensed_beds: None,
            current_census: 5,
            units,
            time_zone: None,
        };
        let mut page = Page::default();
        put(&mut page, Collection::Facilities, FACILITY, &facility);
        let end = PageEnd::new(Cursor { epoch: 1, seq }, seq, Timestamp::EPOCH);
        self.workspace.mirror().apply(&page, &end).unwrap();
    }

    /// Saves a form, as its page sends it.
    async fn saves(&self, form: &OpenForm, answers: &str) -> Answer {
        let units =
            if form.html.contains("name=\"_units\" value=\"metric\"") { "_units=metric&" } else { "" };
        self.send(form, &format!("{units}{ANSWERS}&{answers}")).await
    }

    /// The temperatures of the entries so far, as they go to the server.
    fn temperatures(&self) -> Vec<serde_json::Value> {
        self.entries().iter().map(|change| change.fields["temperature"].clone()).collect()
    }

    /// The form that corrects the entry which is shown with these words.
    async fn correction(&self, words: &str) -> OpenForm {
        let page = open(&self.pages, &format!("/residents/{}", patient(4))).await.body;
        let (_, after) = page.split_once(words).unwrap_or_else(|| panic!("no {words} in {page}"));
        let path = after.split('"').find(|part| part.contains("/correct/")).unwrap().to_owned();
        let html = open(&self.pages, &path).await.body;
        OpenForm::of(&path, html)
    }
}

#[tokio::test]
async fn what_is_charted_in_celsius_is_stored_in_fahrenheit_and_comes_back_as_it_was_typed() {
    let device = Device::new();
    device.charts_in(101, Units::Metric);
    device.sign_in(ANNA);
    let form = device.form(4).await;
    for shown in
        ["Plausible: 29.5 to 43.3 °C", "<span class=\"unit\">°C</span>", "<span class=\"unit\">bpm</span>"]
    {
        assert!(form.html.contains(shown), "no {shown}: {}", form.html);
    }
    assert!(!form.html.contains("°F"), "{}", form.html);

    // What is unlikely is asked about in the facility's unit.
    let asked = device.saves(&form, "temperature=43.4").await;
    assert_eq!(asked.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(asked.body.contains("43.4 °C is high: 43.3 or less is plausible"), "{}", asked.body);
    let again = OpenForm::of(&form.path, asked.body);
    let saved = device.saves(&again, "temperature=37.2").await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    assert_eq!(device.temperatures(), [json!(98.96)]);

    // It comes back as it was typed, and stays when something else is corrected.
    let form = device.correction("37.2 °C").await;
    assert!(
        form.html.contains("name=\"temperature\"") && form.html.contains("value=\"37.2\""),
        "{}",
        form.html
    );
    let saved = device.saves(&form, "temperature=37.2&notes=Calm&_reason=Misread").await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    assert_eq!(device.temperatures(), [json!(98.96), json!(98.96)]);
}

#[tokio::test]
async fn what_is_asked_about_a_number_says_which_and_what_to_type() {
    let device = Device::new();
    device.sign_in(ANNA);
    let form = device.form(4).await;
    for (typed, words) in [
        ("pulse=7O", "“O” is no part of a number"),
        ("pulse=fast", "give the number alone, such as 135"),
        ("pulse=72+at+rest", "“at rest” is no part of a number: write it where the form takes text"),
        ("pulse=1.2e2", "write the number out"),
        ("pulse=120%2F80", "write a blood pressure in its two fields"),
        ("pulse=7%2F10", "give 7 alone"),
        ("pulse=150%C2%BD", "write a fraction as a decimal"),
        ("temperature=37,2", "Temperature 37.2 °F is low"),
        ("temperature=37.2", "type 37.2 °C if that is meant"),
        ("temperature=1,000", "is this 1000 or 1?"),
        ("temperature=1.000", "is this 1000 or 1?"),
        ("pulse=16-18%2Fmin", "give one number, not a range"),
        ("pulse=1", "Pulse 1 bpm is low"),
    ] {
        let (key, _) = typed.split_once('=').unwrap();
        let rest = if key == "pulse" { "temperature=98.6" } else { "pulse=72" };
        let answers = format!("taken_at=2026-05-01T14:30&position=Sitting&{rest}&{typed}");
        let asked = device.send(&form, &answers).await;
        assert_eq!(asked.status, StatusCode::UNPROCESSABLE_ENTITY, "{typed}");
        assert!(asked.body.contains(words), "{typed}: {}", asked.body);
    }
    let saved = device.saves(&form, "temperature=٩٨٫٦٢٥").await;
    assert_eq!(saved.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", saved.body);
    let saved = device.saves(&form, "temperature=٩٨٫٦٢٥٠").await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    // What has three decimals is corrected as it is shown.
    let form = device.correction("98.625 °F").await;
    assert!(form.html.contains("value=\"98.625\""), "{}", form.html);
    let saved = device.saves(&form, "temperature=98.625&notes=Calm&_reason=Misread").await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    assert_eq!(device.temperatures(), [json!(98.625), json!(98.625)]);
}

#[tokio::test]
async fn what_was_confirmed_is_not_asked_again_with_what_is_doubtful_since() {
    let device = Device::new();
    device.sign_in(ANNA);
    let form = device.form(4).await;
    let answers = |temperature: &str| {
        format!("taken_at=2026-05-01T14:30&position=Sitting&pulse=1&temperature={temperature}")
    };
    let asked = device.send(&form, &answers("98.6")).await;
    let pulse = confirmed(&asked.body).join("&_confirmed=");
    let asked = device.send(&form, &format!("{}&_confirmed={pulse}", answers("37.2"))).await;
    assert_eq!(asked.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", asked.body);
    let is_listed = |words: &str| asked.body.contains(&format!("<li>{words}"));
    assert!(is_listed("Temperature 37.2 °F is low") && !is_listed("Pulse"), "{}", asked.body);
    // Each of them is confirmed with the next press.
    let both = confirmed(&asked.body);
    assert_eq!(both.len(), 2, "{both:?}");
    let saved = format!("{}&_confirmed={}", answers("37.2"), both.join("&_confirmed="));
    let saved = device.send(&form, &saved).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
}

#[tokio::test]
async fn a_sign_says_which_unit_it_is_and_nothing_that_was_charted_is_rounded() {
    let device = Device::new();
    device.sign_in(ANNA);
    // In a Fahrenheit facility.
    let form = device.form(4).await;
    assert!(form.html.contains("Plausible: 85 to 110 °F") && !form.html.contains("_units"), "{}", form.html);
    let saved = device.saves(&form, "temperature=37.2+%C2%B0C").await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    let page = open(&device.pages, &format!("/residents/{}", patient(4))).await.body;
    assert!(page.contains("<dd>99 °F</dd>"), "{page}");
    let saved = device.saves(&device.form(4).await, "temperature=98.7").await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);

    // It begins to chart in Celsius: what was charted before is shown in it, and corrected without a change.
    device.charts_in(101, Units::Metric);
    let form = device.correction("37.1 °C").await;
    assert!(form.html.contains("value=\"37.1\""), "{}", form.html);
    let saved = device.saves(&form, "temperature=37.1&notes=Calm&_reason=Misread").await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    let saved = device.saves(&device.form(4).await, "temperature=98.6F").await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    assert_eq!(device.temperatures(), [98.96, 98.7, 98.7, 98.6].map(|it| json!(it)));
}

#[tokio::test]
async fn what_was_typed_before_the_facility_changed_its_measures_means_what_it_meant() {
    let device = Device::new();
    device.sign_in(ANNA);
    let (open_form, other) = (device.form(4).await, device.form(3).await);
    assert_eq!(device.keep(&other, "temperature=99.1").await.status, StatusCode::NO_CONTENT);
    device.charts_in(101, Units::Metric);
    let saved = device.saves(&open_form, "temperature=98.6").await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    // The draft is shown in the unit that it was typed in.
    let draft = device.form(3).await;
    assert!(draft.html.contains("value=\"99.1\"") && draft.html.contains("°F"), "{}", draft.html);
    let saved = device.saves(&draft, "temperature=99.1").await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    // And the other way.
    let metric = device.form(4).await;
    assert_eq!(device.keep(&metric, "_units=metric&temperature=37.2").await.status, StatusCode::NO_CONTENT);
    device.charts_in(102, Units::UsCustomary);
    let draft = device.form(4).await;
    assert!(draft.html.contains("value=\"37.2\"") && draft.html.contains("°C"), "{}", draft.html);
    let saved = device.saves(&draft, "temperature=37.2").await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    assert_eq!(device.temperatures(), [98.6, 99.1, 98.96].map(|it| json!(it)));
}
