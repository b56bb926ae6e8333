//! What is in the file of a store that was closed.

use std::path::PathBuf;

use super::book::Book;
use super::security::BASE;
use super::*;
use crate::store::engine::without_walls;

impl World {
    fn path(&self) -> PathBuf {
        self.directory.path().join("server.db")
    }

    /// One number out of a copy of the main file, without what lies beside it.
    fn alone(&self, what: &str, table: &str) -> i64 {
        let copy = self.directory.path().join("alone.db");
        std::fs::copy(self.path(), &copy).unwrap();
        let sql = format!("SELECT {what} FROM {BASE}{table}");
        without_walls(&copy, &key()).query_row(&sql, [], |row| row.get(0)).unwrap()
    }

    fn open_again(&mut self) {
        self.store = Store::open(&self.path(), &key(), self.ambient.clone()).unwrap();
    }
}

#[tokio::test]
async fn the_file_of_a_closed_store_alone_holds_every_committed_row() {
    let mut world = World::new();
    let tenant = world.tenant("alpha").await;
    let before = world.store.organization(&tenant.organization).all_patients().await.unwrap().len();
    for round in 1..=20 {
        // Who closes last of two that close side by side, nobody knows: somebody who does not close at all
        // is the same to the store. Every other time there is nobody.
        let beside = (round % 2 == 1).then(|| without_walls(&world.path(), &key()));
        let registry = world.store.organization(&tenant.organization);
        let new = new_patient(tenant.facility.facility(), &format!("P-{round}"));
        registry.audited(event(&world)).create_patient(new).await.unwrap();
        world.store.close();
        let held = world.alone("count(*)", "patients");
        assert_eq!(held, i64::try_from(before + round).unwrap(), "round {round}");
        drop(beside);
        world.open_again();
    }
}

#[tokio::test]
async fn what_a_command_commits_beside_others_is_in_the_file_when_it_ends() {
    let mut world = World::new();
    let tenant = world.tenant("alpha").await;
    let kiosk = world.kiosk(&tenant, 1).await;
    let mut book = Book::new(&kiosk, Lane::Care);
    for n in 1..=4 {
        book.chart(&world, &kiosk, &tenant, &[70]);
        book.push(&world, &kiosk, n..=n).await.unwrap();
        let _beside = without_walls(&world.path(), &key());
        let (path, to) = (world.path(), world.directory.path().join("backup.db"));
        let ambient = world.ambient.clone();
        // Its last commit says up to where devices may forget what they sent.
        let copying = std::thread::spawn(move || backup(&path, &key(), &ambient, &to));
        world.store.close();
        copying.join().unwrap().unwrap();
        let durable = world.alone("durable_n", "chain_heads");
        assert_eq!(durable, i64::try_from(n).unwrap(), "of backup {n}");
        world.open_again();
    }
}
