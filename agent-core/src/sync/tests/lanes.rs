//! How much a lane sends, and where its history parts from the server's.

use super::*;

#[test]
fn batches_grow_while_the_line_is_quick_and_shrink_when_it_is_slow() {
    let mut device = Device::online();
    device.check(Saved(Care), "push-care(1000)");
    for (took, next) in
        [(10_001, "500"), (10_000, "500"), (30_000, "250"), (2_000, "250"), (1_999, "500"), (100, "1000")]
    {
        device.at += Duration::from_millis(took);
        let alive: Vec<SyncEffect> = device.on(KeepAlive(StreamId(1)));
        assert_eq!(alive, []);
        device.check(pushed(Care, 9_000), &format!("push-care({next})"));
    }
    // The same where it broke meanwhile.
    for (took, wait, next) in [(10_000, 500, "1000"), (10_001, 1_000, "500")] {
        device.at += Duration::from_millis(took);
        device.check(KeepAlive(StreamId(1)), "");
        device.check(failed(Care, 1_000, Trouble::Unreachable), "");
        device.check_after(wait, &format!("push-care({next})"));
    }
}

#[test]
fn a_batch_that_the_server_broke_over_twice_is_halved() {
    let mut device = Device::online();
    device.check(Saved(Care), "push-care(1000)");
    for (sent, wait, next) in [(40, 500, "1000"), (40, 1_000, "20"), (20, 2_000, "10"), (2, 4_000, "1")] {
        device.check(failed(Care, sent, Trouble::Broken), "");
        device.check_after(wait, &format!("push-care({next})"));
    }
}

#[test]
fn the_outbox_forks_where_the_histories_part() {
    let mut device = Device::online();
    device.check(Saved(Care), "push-care(1000)");
    device.check(broken(Care, 60, Some(50)), "fork(Some(50), None)");
    device.check(Saved(Care), "");
    device.check(SyncEvent::Forked, "push-care(1000)");
    device.check(pushed(Care, 0), "push-audit(1000)");
    device.check(SyncEvent::NothingToPush(Audit), "");
}

#[test]
fn a_fork_waits_until_it_is_known_how_far_the_other_lane_is_shared() {
    let mut device = Device::online();
    device.check(Saved(Audit), "push-audit(1000)");
    device.check(Saved(Care), "push-care(1000)");
    device.check(broken(Care, 60, Some(50)), "");
    device.check(failed(Audit, 9, Trouble::Busy { retry_after: None }), "");
    device.check_after(500, "push-audit(1000)");
    // The server has more of it than was acknowledged so far: not yet.
    device.check(SyncEvent::Pushed { lane: Audit, left: 90, level: false }, "push-audit(1000)");
    device.check(broken(Audit, 80, Some(70)), "fork(Some(50), Some(70))");
    device.check(SyncEvent::ForkFailed, "");
    device.check_after(1_000, "fork(Some(50), Some(70))");
    device.check(SyncEvent::Forked, "push-care(1000)");
    device.check(pushed(Care, 0), "push-audit(1000)");
}

#[test]
fn a_lane_whose_receipt_was_level_holds_up_no_fork_though_more_waits_in_it() {
    let mut device = Device::online();
    device.check(Saved(Audit), "push-audit(1000)");
    device.check(Saved(Care), "push-care(1000)");
    device.check(pushed(Audit, 5), "");
    device.check(broken(Care, 60, Some(50)), "fork(Some(50), None)");
}

#[test]
fn a_fork_that_failed_is_tried_again_in_a_while_once_the_other_lane_allows_it() {
    let mut device = Device::online();
    device.check(Saved(Care), "push-care(1000)");
    device.check(broken(Care, 60, Some(50)), "fork(Some(50), None)");
    device.check(SyncEvent::ForkFailed, "");
    assert_eq!(device.engine.next_deadline(), Some(device.at + Duration::from_millis(500)));
    device.check(Saved(Audit), "push-audit(1000)");
    device.check_after(500, "");
    assert!(device.engine.next_deadline().unwrap() > device.at, "a tick would spin");
    device.check(pushed(Audit, 0), "fork(Some(50), None)");
}
