//! The facility and the workflows are parsed once, and are never other than the file has them.

use std::sync::Arc;

use carepost_protocol::id::WorkflowId;
use carepost_protocol::workflow::Workflow;

use super::super::kept::Kept;
use super::damage::{destroy, reopened};
use super::feed::Feed;
use super::*;

fn named(name: &str) -> FacilityDocument {
    FacilityDocument {
        id: FACILITY,
        name: name.to_owned(),
        organization_name: "Lakeside Care".to_owned(),
        phone: None,
        facility_type: FacilityType::Alf,
        licensed_beds: None,
        current_census: 2,
        time_zone: None,
        units: Units::default(),
    }
}

fn form(number: u8, label: &str) -> Workflow {
    Workflow {
        id: WorkflowId::from_bytes([number; 16]),
        key: format!("form_{number}"),
        label: label.to_owned(),
        version: 1,
        enabled: true,
        fields: Vec::new(),
        rules: Vec::new(),
        corrected_by: Vec::new(),
    }
}

fn seen(mirror: &Mirror) -> (Option<String>, Vec<String>) {
    let facility = mirror.facility().unwrap().map(|facility| facility.name.clone());
    (facility, mirror.workflows().unwrap().iter().map(|form| form.label.clone()).collect())
}

#[test]
fn what_a_page_brings_changes_or_takes_away_is_seen_at_once() {
    let kiosk = Kiosk::new();
    let mirror = kiosk.open();
    let mut feed = Feed::of(2, 5);
    assert_eq!(seen(&mirror), (None, vec![]));
    feed.put(Collection::Facilities, 2, &named("Lakeside House"));
    feed.put(Collection::Workflows, 4, &form(4, "Vitals"));
    feed.put(Collection::Workflows, 5, &form(5, "Meals"));
    feed.catch_up(&mirror);
    assert_eq!(seen(&mirror), (Some("Lakeside House".into()), vec!["Meals".into(), "Vitals".into()]));
    feed.put(Collection::Facilities, 2, &named("Lakeside Manor"));
    feed.put(Collection::Workflows, 4, &form(4, "Signs"));
    feed.catch_up(&mirror);
    assert_eq!(seen(&mirror), (Some("Lakeside Manor".into()), vec!["Meals".into(), "Signs".into()]));
    feed.bury(Collection::Workflows, 5);
    feed.catch_up(&mirror);
    assert_eq!(seen(&mirror).1, ["Signs"]);
    // Nothing names them any more, as where the server was restored from a copy.
    mirror.refetch().unwrap();
    Feed::of(2, 5).catch_up(&mirror);
    assert_eq!(seen(&mirror), (None, vec![]));
}

#[test]
fn an_entry_that_comes_back_leaves_them_as_they_were_parsed() {
    let kiosk = Kiosk::new();
    let mirror = kiosk.open();
    let mut feed = Feed::of(1, 1);
    feed.put(Collection::Facilities, 2, &named("Lakeside House"));
    feed.put(Collection::Workflows, 4, &form(4, "Vitals"));
    feed.catch_up(&mirror);
    let (facility, forms) = (mirror.facility().unwrap().unwrap(), mirror.workflows().unwrap());
    feed.put(Collection::Records, 9, &record(9, 1, 9));
    feed.catch_up(&mirror);
    assert!(Arc::ptr_eq(&facility, &mirror.facility().unwrap().unwrap()), "parsed again");
    assert!(Arc::ptr_eq(&forms, &mirror.workflows().unwrap()), "parsed again");
}

#[test]
fn they_go_with_a_file_that_is_set_aside() {
    let kiosk = Kiosk::new();
    let mut feed = Feed::of(200, 200);
    feed.put(Collection::Facilities, 2, &named("Lakeside House"));
    feed.put(Collection::Workflows, 4, &form(4, "Vitals"));
    let mirror = reopened(&kiosk, &feed);
    assert_eq!(seen(&mirror), (Some("Lakeside House".into()), vec!["Vitals".into()]));
    destroy(&kiosk);
    mirror.all_residents(&permit(FACILITY)).unwrap_err();
    assert_eq!(seen(&mirror), (None, vec![]), "a list out of the file before passes for the fresh one's");
}

#[test]
fn what_changes_while_it_is_read_is_read_again() {
    let kept = Kept::default();
    let read = |kept: &Kept, is: &str, meanwhile: &dyn Fn()| {
        let read = kept.get(&kept.workflows, || {
            meanwhile();
            Ok([Arc::new(form(1, is))].into())
        });
        read.unwrap()[0].label.clone()
    };
    assert_eq!(read(&kept, "before", &|| kept.give_up()), "before");
    assert_eq!(read(&kept, "after", &|| {}), "after");
    assert_eq!(read(&kept, "not read", &|| {}), "after");
}
