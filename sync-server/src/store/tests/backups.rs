//! Backups of a store in use, and stores put back to them.

use std::os::unix::fs::PermissionsExt as _;

use carepost_protocol::wire::pull::SyncPosition;

use super::book::{Scene, noticed, pulses};
use super::*;

impl World {
    fn back_up(&self, name: &str) -> Result<Copied, BackupError> {
        backup(&self.file("server.db"), &key(), &self.ambient, &self.file(name))
    }

    /// Stops the store, puts a backup in its place and starts it again.
    fn put_back(&mut self, name: &str) -> Restored {
        self.store.close();
        let path = self.file("server.db");
        let restored = restore(&path, &key(), &self.ambient, &self.file(name)).unwrap();
        self.store = Store::open(&path, &key(), self.ambient.clone()).unwrap();
        restored
    }

    pub(super) fn files(&self) -> Vec<String> {
        let listed = std::fs::read_dir(self.directory.path()).unwrap();
        let mut names: Vec<_> = listed.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[tokio::test]
async fn a_backup_of_a_store_in_use_is_whole_and_tells_devices_what_it_holds() {
    let Scene { world, tenant, kiosk, mut book } = Scene::of(&[70, 71, 72]).await;
    assert_eq!(book.probe(&world, &kiosk).await.unwrap().durable_through, None);
    let other = tenant.facility.facility();
    let registry = world.store.organization(&tenant.organization);
    let writing = async {
        for n in 0..100 {
            registry
                .audited(event(&world))
                .create_patient(new_patient(other, &format!("P-{n}")))
                .await
                .unwrap();
        }
    };
    let (path, to, ambient) = (world.file("server.db"), world.file("copy.db"), world.ambient.clone());
    let copying = tokio::task::spawn_blocking(move || backup(&path, &key(), &ambient, &to));
    let ((), copied) = tokio::join!(writing, copying);
    let copied = copied.unwrap().unwrap();
    assert_eq!(copied.chains, 1);
    let kept = std::fs::metadata(world.file("copy.db")).unwrap();
    assert_eq!((kept.len(), kept.permissions().mode() & 0o777), (copied.bytes, 0o600));
    assert!(!world.files().iter().any(|name| name.starts_with("copy.db.")), "{:?}", world.files());
    assert_eq!(book.probe(&world, &kiosk).await.unwrap().durable_through, Some(3));
    book.chart(&world, &kiosk, &tenant, &[73]);
    assert_eq!(book.push(&world, &kiosk, 4..=4).await.unwrap().durable_through, Some(3));
    // The next one replaces it, and holds more.
    world.back_up("copy.db").unwrap();
    assert_eq!(book.probe(&world, &kiosk).await.unwrap().durable_through, Some(4));
    let copy = Store::open(&world.file("copy.db"), &key(), world.ambient.clone()).unwrap();
    assert_eq!(copy.organization(&tenant.organization).all_patients().await.unwrap().len(), 101);
    let stranger = Store::open(&world.file("copy.db"), &DatabaseKey::new([8; 32]), world.ambient.clone());
    assert!(matches!(stranger, Err(StoreError::WrongKey(_))), "it is encrypted like the database");
}

#[tokio::test]
async fn a_backup_that_cannot_be_made_changes_nothing() {
    let Scene { world, kiosk, book, .. } = Scene::of(&[70, 71, 72]).await;
    assert!(matches!(world.back_up("server.db"), Err(BackupError::Itself(_))));
    assert!(matches!(world.back_up("nowhere/copy.db"), Err(BackupError::File { .. })));
    let wrong = DatabaseKey::new([8; 32]);
    let refused = backup(&world.file("server.db"), &wrong, &world.ambient, &world.file("copy.db"));
    assert!(matches!(refused, Err(BackupError::Store(StoreError::WrongKey(_)))), "{refused:?}");
    let missing = backup(&world.file("none.db"), &key(), &world.ambient, &world.file("copy.db"));
    assert!(matches!(missing, Err(BackupError::File { .. })), "{missing:?}");
    assert!(!world.files().iter().any(|name| name.contains("copy")), "{:?}", world.files());
    assert_eq!(book.probe(&world, &kiosk).await.unwrap().durable_through, None);
}

#[tokio::test]
async fn a_server_put_back_asks_devices_for_what_it_lost_and_gets_it() {
    let Scene { mut world, tenant, kiosk, mut book } = Scene::of(&[70, 71, 72]).await;
    world.back_up("copy.db").unwrap();
    let facility = world.store.facility(&tenant.facility);
    let before = facility.page(after(None, 2_000)).await.unwrap().end.cursor;
    book.chart(&world, &kiosk, &tenant, &[73, 74]);
    book.push(&world, &kiosk, 4..=5).await.unwrap();
    world.pass(60);
    let restored = world.put_back("copy.db");
    assert_eq!(restored.facilities, 1);
    assert!(restored.replaced.unwrap().exists(), "what was replaced is kept");
    assert_eq!(pulses(&world, &tenant).await, [70, 71, 72]);
    let facility = world.store.facility(&tenant.facility);
    let head = facility.page(after(None, 2_000)).await.unwrap().end.cursor;
    assert!(head.epoch > before.epoch, "{head:?}");
    let position = SyncPosition {
        epoch: Some(before.epoch),
        seq: Some(before.seq + 2),
        incarnation: Some(book.incarnation),
        care: Some(5),
        ..SyncPosition::default()
    };
    let refused = facility.check_sync_position(&kiosk.identity, &position).await;
    let Err(StoreError::CursorRefused { expects: Some(expects) }) = refused else { panic!("{refused:?}") };
    assert_eq!((expects.care, expects.audit), (Some(4), None));
    let still = facility.page(after(None, 2_000)).await.unwrap().end.cursor;
    assert_eq!(still, head, "raised by the restore already");
    let receipt = book.push(&world, &kiosk, 4..=5).await.unwrap();
    assert_eq!((receipt.next_n, receipt.durable_through), (6, Some(3)));
    assert_eq!(pulses(&world, &tenant).await, [70, 71, 72, 73, 74]);
    assert_eq!(noticed(&world, &tenant, "server_restored").await.len(), 1);
}

#[tokio::test]
async fn the_log_of_a_database_that_was_not_closed_does_not_leak_into_what_is_put_back() {
    let Scene { mut world, tenant, kiosk, mut book } = Scene::of(&[70, 71, 72]).await;
    world.back_up("copy.db").unwrap();
    book.chart(&world, &kiosk, &tenant, &[73]);
    book.push(&world, &kiosk, 4..=4).await.unwrap();
    // The files as a power cut leaves them: the last writes are in the log only.
    let torn = tempfile::tempdir().unwrap();
    for name in ["server.db", "server.db-wal"] {
        std::fs::copy(world.file(name), torn.path().join(name)).unwrap();
    }
    assert!(std::fs::metadata(torn.path().join("server.db-wal")).unwrap().len() > 0);
    let restored = restore(&torn.path().join("server.db"), &key(), &world.ambient, &world.file("copy.db"));
    let replaced = restored.unwrap().replaced.unwrap();
    world.store = Store::open(&torn.path().join("server.db"), &key(), world.ambient.clone()).unwrap();
    assert_eq!(pulses(&world, &tenant).await, [70, 71, 72]);
    world.store = Store::open(&replaced, &key(), world.ambient.clone()).unwrap();
    assert_eq!(pulses(&world, &tenant).await, [70, 71, 72, 73], "and what was replaced is whole");
}

#[tokio::test]
async fn a_damaged_backup_is_not_put_back() {
    let Scene { mut world, tenant, .. } = Scene::of(&[70, 71, 72]).await;
    world.back_up("copy.db").unwrap();
    let good = std::fs::read(world.file("copy.db")).unwrap();
    world.store.close();
    let before = std::fs::read(world.file("server.db")).unwrap();
    let (middle, end) = (good.len() / 2, good.len() - 4096);
    for (name, bytes) in [
        ("flipped.db", good.iter().enumerate().map(|(at, byte)| byte ^ u8::from(at == middle)).collect()),
        ("short.db", good[..end].to_vec()),
        ("empty.db", Vec::new()),
        ("text.db", b"no database".to_vec()),
    ] {
        std::fs::write(world.file(name), bytes).unwrap();
        let refused = restore(&world.file("server.db"), &key(), &world.ambient, &world.file(name));
        assert!(refused.is_err(), "{name}: {refused:?}");
        let is_none = matches!(refused, Err(BackupError::NoBackup(_)));
        assert!(is_none || ["flipped.db", "short.db"].contains(&name), "{name}: {refused:?}");
    }
    assert_eq!(std::fs::read(world.file("server.db")).unwrap(), before, "the database is as it was");
    assert!(!world.files().iter().any(|name| name.contains("restoring") || name.contains("replaced")));
    world.store = Store::open(&world.file("server.db"), &key(), world.ambient.clone()).unwrap();
    assert_eq!(pulses(&world, &tenant).await, [70, 71, 72]);
}

#[tokio::test]
async fn a_backup_starts_a_server_where_there_was_none() {
    let Scene { mut world, tenant, .. } = Scene::of(&[70, 71, 72]).await;
    world.back_up("copy.db").unwrap();
    world.store.close();
    for name in world.files().iter().filter(|name| name.starts_with("server.db")) {
        std::fs::remove_file(world.file(name)).unwrap();
    }
    assert_eq!(world.put_back("copy.db").replaced, None);
    assert_eq!(pulses(&world, &tenant).await, [70, 71, 72]);
}
