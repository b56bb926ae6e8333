//! Whoever is refused again and again: written down at first, then counted.

use serde_json::Value;

use super::*;

impl Device {
    /// The refusals in the audit log that are of a kind: how many each event tells; none where it is one itself.
    fn refusals(&self, is_one: impl Fn(&AuditEvent) -> bool) -> Vec<Option<u64>> {
        let events: Vec<AuditEvent> = self.lane(Lane::Audit);
        let refused = events.into_iter().filter(|event| !event.success && is_one(event));
        refused.map(|event| event.details.get("count").and_then(Value::as_u64)).collect()
    }

    fn refused_accesses(&self) -> [Vec<Option<u64>>; 3] {
        [
            (AuditAction::View, "/"),
            (AuditAction::View, "/residents"),
            (AuditAction::Create, "/residents/chart"),
        ]
        .map(|what| {
            self.refusals(|event| event.endpoint.as_deref() == Some(what.1) && event.action == what.0)
        })
    }
}

/// Pages in turn, and forms that are sent: no row for each.
#[tokio::test]
async fn what_a_session_is_refused_again_and_again_is_counted_until_it_ends() {
    let device = Device::new();
    device.sign_in(AUDITOR);
    let sent = format!("_screen={}&_token=0190a5e2&_version=1&{ANSWERS}", device.screen_key());
    let before = device.lane::<AuditEvent>(Lane::Audit).len();
    for _ in 0..5 {
        for page in ["/".to_owned(), format!("/residents/{}", patient(1))] {
            assert_eq!(open(&device.pages, &page).await.status, StatusCode::FORBIDDEN);
        }
        assert_eq!(post(&device.pages, &chart(1), &sent).await.status, StatusCode::FORBIDDEN);
    }
    assert_eq!(device.refused_accesses(), [vec![None], vec![None], vec![None]], "the first at once");
    // The form that comes back is a page too.
    assert_eq!(device.lane::<AuditEvent>(Lane::Audit).len() - before, 4);
    device.agent.lock();
    assert_eq!(device.refused_accesses(), [vec![None], vec![None], vec![None]], "she may come back");
    device.sign_in(ANNA);
    let counted = vec![None, Some(4)];
    assert_eq!(device.refused_accesses(), [counted.clone(), counted.clone(), counted], "none is lost");
    let events: Vec<AuditEvent> = device.lane(Lane::Audit);
    let mut told = events.iter().filter(|event| event.details.contains_key("count"));
    assert!(told.all(|event| event.user_id == Some(UserId::from_bytes([AUDITOR; 16]))), "{events:?}");
    device.workspace.audit_trail().tell_all();
    assert_eq!(device.lane::<AuditEvent>(Lane::Audit).len(), events.len(), "nothing is told twice");
}

#[tokio::test]
async fn the_first_taps_of_a_card_are_written_down_and_the_others_counted() {
    let device = Device::new();
    let is_tap = |event: &AuditEvent| event.details.get("reason") == Some(&json!("unknown_badge"));
    for _ in 0..5 {
        device.tap(STRANGER);
        device.tap(STRANGER - 1);
    }
    assert_eq!(device.refusals(is_tap), [None; 6], "three of each");
    device.workspace.audit_trail().tell_all();
    let told = device.refusals(is_tap);
    assert_eq!(told[6..], [Some(2), Some(2)], "{told:?}");
    // Whose badge is known is written down each time.
    for _ in 0..4 {
        device.tap(ANNA);
    }
    let events: Vec<AuditEvent> = device.lane(Lane::Audit);
    let presented = events.iter().filter(|event| event.details.get("reason") == Some(&json!("presented")));
    assert_eq!(presented.count(), 4);
}

#[tokio::test]
async fn what_the_disk_does_not_take_of_counts_waits_as_every_event() {
    let device = Device::new();
    device.break_disk(true);
    for _ in 0..5 {
        device.tap(STRANGER);
    }
    device.workspace.audit_trail().tell_all();
    device.break_disk(false);
    assert!(device.workspace.audit_trail().retry());
    assert_eq!(device.refusals(|_| true), [None, None, None, Some(2)]);
}
