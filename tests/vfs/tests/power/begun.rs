//! Power cuts while a device that was just let in begins its outbox, which its inventory does not list yet.

use std::path::Path;

use carepost_agent::identity::{Factors, Vault};
use carepost_protocol::change::Lane;
use carepost_vfs::Watch;

use crate::cuts::{cut, directory, tell};
use crate::device::{Device, grant, save};

#[test]
fn a_cut_while_an_outbox_is_begun_keeps_no_device_out_and_loses_no_save() {
    let (device, hardware, state) = (Device::new(), directory(), directory());
    std::fs::create_dir(hardware.path().join("etc")).unwrap();
    std::fs::write(hardware.path().join("etc/machine-id"), "0f2c6e1d9b8a4c7e8d5f3a2b1c0d9e8f").unwrap();
    let factors = Factors::read(hardware.path()).unwrap();
    Vault::open(state.path(), &factors, None).unwrap().keep_grant(&grant()).unwrap();

    let place = directory();
    let watch = Watch::over(place.path());
    let outbox = device.open(place.path()).unwrap();
    save(&outbox, "first", 200).unwrap();
    let (saved, recording) = (watch.moment(), watch.recording());
    drop(outbox);
    let tally = cut(&recording, 60, |moment, found| {
        let log = std::fs::metadata(found.join("outbox.db-wal")).map_or(0, |log| log.len());
        copy(state.path(), found);
        let vault = Vault::open(found, &factors, None).unwrap();
        assert!(vault.has_begun_outbox() || log == 0, "SQLite would remove what lies there");
        let outbox = device.open_begun(found, vault.has_begun_outbox()).unwrap();
        let lost = moment >= saved && outbox.head(Lane::Care).unwrap().0 == 0;
        vault.keep_begun_outbox().unwrap();
        assert_eq!(save(&outbox, "first", 200).unwrap().n, 1);
        lost
    });
    tell("an outbox that is begun", &tally);
    assert_eq!(tally.lost, 0, "{tally:?}");
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}
