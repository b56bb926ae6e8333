use std::os::unix::fs::PermissionsExt as _;

use super::*;

const TABLE: &str = "CREATE TABLE notes (text TEXT NOT NULL)";

fn opening<'a>(path: &'a Path, key: &'a FileKey, migrations: &'a [&'a str]) -> Opening<'a> {
    Opening { path, key, durability: Durability::PowerCut, cache_kib: 256, migrations }
}

#[test]
fn nothing_is_written_in_the_clear_and_the_file_is_the_owners_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    let key = FileKey::from_bytes([7; 32]);
    let connection = open(&opening(&path, &key, &[TABLE])).unwrap();
    connection.execute("INSERT INTO notes VALUES ('Marigold Fenwick')", []).unwrap();
    let mut files = 0;
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(8).any(|window| window == b"Marigold"), "{}", path.display());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        files += 1;
    }
    assert_eq!(files, 3, "the file, its -wal and its -shm");
}

#[test]
fn whoever_opens_while_the_first_one_does_has_a_key_too() {
    const AS_ITSELF: &str = "CAREPOST_TEST_OPENS_FIRST";
    if std::env::var_os(AS_ITSELF).is_some() {
        let directory = tempfile::tempdir().unwrap();
        let all = std::sync::Barrier::new(8);
        return std::thread::scope(|scope| {
            for n in 0..8 {
                let (path, all) = (directory.path().join(format!("{n}.db")), &all);
                scope.spawn(move || {
                    all.wait();
                    drop(open(&opening(&path, &FileKey::from_bytes([7; 32]), &[TABLE])).unwrap());
                });
            }
        });
    }
    // Only a process of its own has nothing open yet.
    for _ in 0..10 {
        let itself = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sqlite::tests::whoever_opens_while_the_first_one_does_has_a_key_too"])
            .env(AS_ITSELF, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&itself.stdout);
        let and = String::from_utf8_lossy(&itself.stderr);
        assert!(itself.status.success() && said.contains("1 passed"), "{said}{and}");
    }
}

#[test]
fn another_key_or_a_flipped_bit_is_not_readable() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    let key = FileKey::from_bytes([7; 32]);
    open(&opening(&path, &key, &[TABLE])).unwrap().fold();
    let other = FileKey::from_bytes([8; 32]);
    assert!(matches!(open(&opening(&path, &other, &[TABLE])), Err(OpenError::NotReadable { .. })));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(matches!(open(&opening(&path, &key, &[TABLE])), Err(OpenError::NotReadable { .. })));
}

#[test]
fn after_a_page_that_could_not_be_read_what_can_be_had_again_is_folded_at_once() {
    for (durability, folds) in [(Durability::PowerCut, false), (Durability::ProcessCrash, true)] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        let key = FileKey::from_bytes([7; 32]);
        let how = Opening { durability, ..opening(&path, &key, &[TABLE]) };
        open(&how).unwrap().fold();
        let sound = std::fs::read(&path).unwrap();
        let mut connection = open(&how).unwrap();
        connection.fold();
        let root = "SELECT rootpage FROM sqlite_schema WHERE name = 'notes'";
        let page: u32 = connection.query_row(root, [], |row| row.get(0)).unwrap();
        let mut damaged = sound.clone();
        damaged[(page as usize - 1) * 4_096 + 100] ^= 1;
        std::fs::write(&path, damaged).unwrap();
        connection.query_row("SELECT count(*) FROM notes", [], |_| Ok(())).unwrap_err();
        std::fs::write(&path, sound).unwrap();
        connection.revive();
        assert_eq!(connection.folds(), folds, "{durability:?}");
        connection.execute("INSERT INTO notes VALUES ('a')", []).unwrap();
    }
}

#[test]
fn a_row_that_points_nowhere_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    let key = FileKey::from_bytes([7; 32]);
    let tables = "CREATE TABLE authors (id INTEGER PRIMARY KEY);
        CREATE TABLE words (author INTEGER NOT NULL REFERENCES authors (id))";
    let connection = open(&opening(&path, &key, &[tables])).unwrap();
    let orphan = connection.execute("INSERT INTO words VALUES (7)", []).unwrap_err();
    assert!(orphan.to_string().contains("FOREIGN KEY"), "{orphan}");
}

#[test]
fn each_migration_runs_once_and_a_newer_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    let key = FileKey::from_bytes([7; 32]);
    drop(open(&opening(&path, &key, &[TABLE])).unwrap());
    let second = "ALTER TABLE notes ADD COLUMN author TEXT";
    drop(open(&opening(&path, &key, &[TABLE, second])).unwrap());
    let connection = open(&opening(&path, &key, &[TABLE, second])).unwrap();
    connection.execute("INSERT INTO notes VALUES ('a', 'b')", []).unwrap();
    drop(connection);
    assert!(matches!(
        open(&opening(&path, &key, &[TABLE])),
        Err(OpenError::TooNew { found: 2, known: 1, .. })
    ));
}

#[test]
fn a_file_knows_what_made_it_and_one_from_before_that_is_believed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    let key = FileKey::from_bytes([7; 32]);
    let [second, edited] = ["author", "writer"].map(|it| format!("ALTER TABLE notes ADD COLUMN {it} TEXT"));
    let changes = |migrations: &[&str]| match open(&opening(&path, &key, migrations)) {
        Err(OpenError::ChangedMigration { version, .. }) => Some(version),
        opened => {
            opened.unwrap();
            None
        }
    };
    assert_eq!(changes(&[TABLE, &second]), None);
    assert_eq!(changes(&[TABLE, &edited]), Some(2));
    assert_eq!(changes(&[TABLE, &second]), None, "it is as it was");
    let before = open(&opening(&path, &key, &[TABLE, &second])).unwrap();
    before.execute_batch("DROP TABLE schema_migrations").unwrap();
    drop(before);
    assert_eq!(changes(&[TABLE, &edited]), None);
    let third = "CREATE TABLE authors (name TEXT)";
    assert_eq!(changes(&[TABLE, &second, third]), None);
    assert_eq!(changes(&["CREATE TABLE other (name TEXT)", &second, third]), Some(1));
}

#[test]
fn a_key_does_not_print() {
    let key = FileKey::from_bytes([0xab; 32]);
    assert_eq!(format!("{key:?}"), "FileKey([secret])");
    assert_eq!(key.to_hex().as_str(), "ab".repeat(32));
}
