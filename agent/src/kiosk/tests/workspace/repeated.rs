//! The same entry again and again: a nurse who presses on is asked, and nobody else.

use super::*;

impl Device {
    /// As if what was saved so far had been saved that much earlier.
    fn saved_earlier(&self, by: Duration) {
        self.outbox_file()
            .execute("UPDATE entries SET made_at = made_at - ?", [i64::try_from(by.as_millis()).unwrap()])
            .unwrap();
    }
}

#[tokio::test]
async fn the_same_entry_for_the_third_time_in_a_minute_is_asked_about() {
    let device = Device::new();
    device.sign_in(ANNA);
    for _ in 0..2 {
        let form = device.form(4).await;
        assert_eq!(device.send(&form, ANSWERS).await.status, StatusCode::SEE_OTHER);
        let pressed_again = device.send(&form, ANSWERS).await;
        assert_eq!(pressed_again.status, StatusCode::SEE_OTHER, "one form is one entry");
    }
    let third = device.form(4).await;
    let asked = device.send(&third, ANSWERS).await;
    assert_eq!(asked.status, StatusCode::UNPROCESSABLE_ENTITY);
    for words in ["Check it", "The same entry is already saved 2 times in the last minute", "Save as it is"] {
        assert!(asked.body.contains(words), "{words} is missing in {}", asked.body);
    }
    assert_eq!(device.entries().len(), 2);
    // Something else, somebody else's, and about somebody else: not the same.
    let other = device.form(4).await;
    assert_eq!(device.send(&other, &ANSWERS.replace("72", "73")).await.status, StatusCode::SEE_OTHER);
    let other = device.form(2).await;
    assert_eq!(device.send(&other, ANSWERS).await.status, StatusCode::SEE_OTHER);
    device.sign_in(BEN);
    let bens = device.form(4).await;
    assert_eq!(device.send(&bens, ANSWERS).await.status, StatusCode::SEE_OTHER);
    // She means it: saved, and no answer of it counts as unlikely.
    device.sign_in(ANNA);
    let third = device.form(4).await;
    let asked = OpenForm::of(&third.path, device.send(&third, ANSWERS).await.body);
    let doubt = asked.html.split(r#"name="_confirmed" value=""#).nth(1).unwrap().split('"').next().unwrap();
    let meant = device.send(&asked, &format!("{ANSWERS}&_confirmed={}", doubt.replace(' ', "+"))).await;
    assert_eq!(meant.status, StatusCode::SEE_OTHER, "{}", meant.body);
    let entries = device.entries();
    assert_eq!((entries.len(), entries[5].confirmed.len()), (6, 0));
    // A minute later it is another entry.
    device.saved_earlier(Duration::from_secs(61));
    let later = device.form(4).await;
    assert_eq!(device.send(&later, ANSWERS).await.status, StatusCode::SEE_OTHER);
}
