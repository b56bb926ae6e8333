//! What is durable before it shows, and what happens in between.

use std::sync::Mutex;
use std::task::{Context, Wake, Waker};

use super::*;

/// Does something as soon as something is saved: before whoever saved it goes on.
struct OnSaved<F>(F);

impl<F: Fn() + Send + Sync> Wake for OnSaved<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

impl Device {
    /// Does the one while the other is saved: that is durable then, and nothing has come of it yet.
    fn while_saved<T>(&self, act: impl Fn() + Send + Sync + 'static, save: impl FnOnce() -> T) -> T {
        let waker = Waker::from(Arc::new(OnSaved(act)));
        let trail = self.workspace.audit_trail();
        let mut saved = Box::pin(trail.until_saved());
        // Of what was saved before, it is told at once.
        while saved.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            saved.set(trail.until_saved());
        }
        save()
    }

    /// What the screen shows when what something leads to is durable, and whether somebody may do anything then.
    fn shown_when_saved(&self, does: impl FnOnce()) -> (Screen, bool) {
        let shown = Arc::new(Mutex::new(None));
        let (agent, workspace, seen) =
            (Arc::clone(&self.agent), Arc::clone(&self.workspace), Arc::clone(&shown));
        let look = move || *seen.lock().unwrap() = Some((agent.screen(), workspace.active_user().is_some()));
        self.while_saved(look, does);
        shown.lock().unwrap().take().unwrap()
    }

    fn pad(&self) -> PinPad {
        let Screen::PinPad(pad) = self.agent.screen() else { panic!("{:?}", self.agent.screen()) };
        pad
    }
}

#[tokio::test]
async fn what_an_event_led_to_shows_once_it_is_durable_and_a_lock_at_once() {
    let device = Device::new();
    let shown = device.shown_when_saved(|| device.tap(ANNA));
    assert!(matches!(shown, (Screen::Locked(_), false)), "{shown:?}");
    // A guess that nobody counted is told to nobody.
    let wrong = || device.agent.enter_pin(device.pad().attempt, "111111".into());
    let (Screen::PinPad(pad), false) = device.shown_when_saved(wrong) else { panic!("no pad") };
    assert!(pad.checking && pad.notice.is_none(), "{pad:?}");
    assert!(device.pad().notice.is_some_and(|notice| notice.contains("That PIN is wrong")));
    // Nobody reads anything before it is written down that they signed in.
    let right = || device.agent.enter_pin(device.pad().attempt, PIN.into());
    let shown = device.shown_when_saved(right);
    assert!(matches!(shown, (Screen::PinPad(_), false)), "{shown:?}");
    assert!(device.workspace.active_user().is_some());
    // Whoever leaves the screen does not stay on it until that is written down.
    for leaves in [|device: &Device| device.tap(BEN), |device: &Device| device.agent.lock()] {
        let shown = device.shown_when_saved(|| leaves(&device));
        assert!(matches!(shown, (Screen::Locked(_), false)), "{shown:?}");
        device.sign_in(ANNA);
    }
    // She is back within her grace period, and Ben after her.
    device.sign_in(BEN);
    let shown = device.shown_when_saved(|| device.tap(ANNA));
    assert!(matches!(shown, (Screen::Locked(_), false)), "{shown:?}");
    assert_eq!(device.workspace.active_user(), Some(UserId::from_bytes([ANNA; 16])));
}

#[tokio::test]
async fn whoever_left_the_screen_while_a_form_was_saved_is_not_led_back_to_it() {
    let device = Device::new();
    let on = device.sign_in(ANNA);
    let form = device.form(4).await;
    let answers: Vec<(String, String)> = [
        ("_version", form.version.as_str()),
        ("taken_at", "2026-05-01T14:30"),
        ("pulse", "72"),
        ("position", "Sitting"),
    ]
    .map(|(key, text)| (key.to_owned(), text.to_owned()))
    .to_vec();
    let agent = Arc::clone(&device.agent);
    let saved = device.while_saved(
        move || agent.lock(),
        || device.workspace.forms().save(&on, &vitals(4), &form.token, &answers),
    );
    assert!(saved.is_ok(), "{saved:?}");
    assert!(matches!(device.agent.screen(), Screen::Locked(_)), "{:?}", device.agent.screen());
    device.tap(ANNA);
    let start = open(&device.pages, "/").await;
    assert_eq!((start.status, start.header("location")), (StatusCode::OK, ""), "{}", start.body);
    assert_eq!(device.entries().len(), 1);
}

#[tokio::test]
async fn nothing_is_saved_in_a_file_to_which_no_path_leads() {
    let device = Device::new();
    device.sign_in(ANNA);
    let form = device.form(4).await;
    let [path, away] = ["outbox.db", "away.db"].map(|name| device.directory.path().join(name));
    for is_replaced in [false, true] {
        std::fs::rename(&path, &away).unwrap();
        if is_replaced {
            std::fs::write(&path, "another file").unwrap();
        }
        // It is seen before anybody saves, and is news once.
        let trail = device.workspace.audit_trail();
        assert!(trail.retry() && !trail.retry());
        let page = open(&device.pages, "/").await.body;
        assert!(
            page.contains("This device cannot save") && page.contains("moved, deleted or replaced"),
            "{page}"
        );
        let refused = device.send(&form, ANSWERS).await;
        assert_eq!(refused.status, StatusCode::INSUFFICIENT_STORAGE);
        assert!(refused.body.contains("This entry is not saved"), "{}", refused.body);
        assert!(refused.body.contains(" data-unwritten>"), "{}", refused.body);
        std::fs::rename(&away, &path).unwrap();
        assert!(trail.retry(), "it is back");
        assert_eq!(device.agent.status().storage_trouble, None);
    }
    assert_eq!(device.entries(), []);
    assert_eq!(device.send(&form, ANSWERS).await.status, StatusCode::SEE_OTHER);
    assert_eq!(device.entries().len(), 1);
    let next = device.form(4).await.html;
    assert!(!next.contains("You began this earlier") && !next.contains("data-unwritten"), "{next}");
}
