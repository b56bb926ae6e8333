//! A process killed in the middle of saving loses nothing that it acknowledged.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use super::*;

const DIRECTORY: &str = "CAREPOST_TEST_SAVES_UNTIL_KILLED";
const ROUNDS: usize = 5;
const SAVES_A_ROUND: usize = 20;

/// In its own process, started by itself, it saves and says so until it is killed.
#[test]
fn what_was_acknowledged_survives_kill_9() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        save_forever(Path::new(&directory));
    }
    let kiosk = Kiosk::new();
    std::fs::write(kiosk.directory.path().join("key"), kiosk.device_key.pkcs8()).unwrap();
    let mut acknowledged = Vec::new();
    for _ in 0..ROUNDS {
        acknowledged.extend(kill_after_some_saves(kiosk.directory.path()));
    }
    assert_eq!(acknowledged.len(), ROUNDS * SAVES_A_ROUND);
    let outbox = kiosk.open();
    let there: Vec<u64> = shown(&outbox, 0).into_iter().map(|(n, _)| n).collect();
    assert!(acknowledged.iter().all(|n| there.contains(n)), "{acknowledged:?} of {there:?}");
    // The chain has neither gap nor fork: it verifies from the genesis to the last entry.
    let batch = care(&outbox);
    assert_eq!(batch.sent.count, there.len() as u64);
    verify(&kiosk, &serde_json::from_slice(&batch.body).unwrap());
    assert_eq!(outbox.counts().unwrap().audit, there.len() as u64, "each with its audit event");
}

fn kill_after_some_saves(directory: &Path) -> Vec<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "outbox::tests::crash::what_was_acknowledged_survives_kill_9", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let saved = lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("saved ")?.parse().ok());
    let acknowledged: Vec<u64> = saved.take(SAVES_A_ROUND).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    acknowledged
}

fn save_forever(directory: &Path) -> ! {
    let pkcs8 = std::fs::read(directory.join("key")).unwrap();
    let device_key = Arc::new(DeviceKey::from_pkcs8(&pkcs8).unwrap());
    let outbox = open_at(&directory.join("outbox.db"), 9, 1, &device_key).unwrap();
    loop {
        let next = outbox.head(Lane::Care).unwrap().0 + 1;
        let made = change(i64::try_from(next).unwrap(), &"x".repeat(2_000));
        let saved = match save(&outbox, &made, &format!("form {next}")) {
            // Whoever is to kill it is slow: there is a mebibyte, and all that was saved is told.
            Err(OutboxError::Full) => loop {
                std::thread::park();
            },
            saved => saved.unwrap(),
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nsaved {}", saved.n).unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn what_lies_beside_a_damaged_file_is_left_as_it_is() {
    let kiosk = Kiosk::new();
    drop(kiosk.open());
    let outbox = kiosk.open();
    save_some(&outbox, 3);
    // As a power cut leaves them, in a directory of their own: this process has the others open.
    let folder = tempfile::tempdir().unwrap();
    let (path, log) = (folder.path().join("outbox.db"), folder.path().join("outbox.db-wal"));
    std::fs::copy(kiosk.path(), &path).unwrap();
    std::fs::copy(sqlite::sidecar(&kiosk.path(), "-wal"), &log).unwrap();
    let (kept, beside) = (std::fs::read(&path).unwrap(), std::fs::read(&log).unwrap());
    let open = || open_at(&path, 9, 1, &kiosk.device_key);
    let garbage = vec![0xa5; 64 * 1024];
    std::fs::write(&path, &garbage).unwrap();
    assert!(matches!(open(), Err(OutboxError::Open(OpenError::NotReadable { .. }))));
    assert_eq!((std::fs::read(&path).unwrap(), std::fs::read(&log).unwrap()), (garbage, beside.clone()));
    for empty in [true, false] {
        if empty {
            std::fs::write(&path, "").unwrap()
        } else {
            std::fs::remove_file(&path).unwrap()
        }
        // Also where nobody kept that it was begun.
        assert!(matches!(open(), Err(OutboxError::Gone { .. })));
        assert_eq!(std::fs::read(&log).unwrap(), beside, "SQLite would remove it");
    }
    let aside = folder.path().join("aside");
    std::fs::rename(&log, &aside).unwrap();
    let key = FileKey::from_bytes([9; 32]);
    let begun = OutboxOpening { is_begun: true, ..opening(&path, &key, 1, &kiosk.device_key) };
    let gone = Outbox::open(begun).unwrap_err();
    assert!(matches!(gone, OutboxError::Gone { .. }) && !path.exists());
    assert!(gone.to_string().contains("enroll the device anew") && !gone.to_string().contains("recovery"));
    std::fs::rename(&aside, &log).unwrap();
    // Damaged further on: what can be read of it is, and the file that is put back finds all beside it.
    let deep: Vec<u8> =
        kept.iter().enumerate().map(|(at, byte)| if at < kept.len() / 2 { *byte } else { !byte }).collect();
    std::fs::write(&path, &deep).unwrap();
    drop(open());
    assert_eq!(std::fs::read(&log).unwrap()[..beside.len()], beside, "it is folded into a damaged file");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(matches!(open(), Err(OutboxError::Open(OpenError::NotAFile { .. }))));
    std::fs::remove_dir(&path).unwrap();
    std::fs::write(&path, &kept).unwrap();
    assert_eq!(shown(&open().unwrap(), 0).len(), 3, "put back, nothing is lost");
}

/// A file with an entry in it, and beside it three more, as a power cut leaves them: in a directory of their own.
fn cut() -> Kiosk {
    let kiosk = Kiosk::new();
    save(&kiosk.open(), &change(1, "before"), "before").unwrap();
    let outbox = kiosk.open();
    save_some(&outbox, 3);
    let found = Kiosk { directory: tempfile::tempdir().unwrap(), device_key: Arc::clone(&kiosk.device_key) };
    for suffix in ["", "-wal"] {
        let [from, to] = [&kiosk, &found].map(|it| sqlite::sidecar(&it.path(), suffix));
        std::fs::copy(from, to).unwrap();
    }
    found
}

fn files(kiosk: &Kiosk) -> [Vec<u8>; 2] {
    ["", "-wal"].map(|suffix| std::fs::read(sqlite::sidecar(&kiosk.path(), suffix)).unwrap_or_default())
}

/// By how many pages in its WAL it folds that back.
fn folds_at(outbox: &Outbox) -> i64 {
    outbox.lock().query_row("PRAGMA wal_autocheckpoint", [], |row| row.get(0)).unwrap()
}

#[test]
fn whoever_runs_on_a_sound_file_folds_what_lies_beside_it_and_a_command_leaves_it() {
    let found = cut();
    let before = files(&found);
    let key = FileKey::from_bytes([9; 32]);
    let path = found.path();
    let command = OutboxOpening { runs: false, ..opening(&path, &key, 1, &found.device_key) };
    let command = Outbox::open(command).unwrap();
    assert_eq!((shown(&command, 0).len(), folds_at(&command)), (4, 0));
    assert!(!command.folds() && command.trouble().is_none());
    drop(command);
    assert!(files(&found) == before, "a command changed what it looked at");

    let outbox = found.open();
    assert_eq!((shown(&outbox, 0).len(), folds_at(&outbox)), (4, 1_000));
    assert!(files(&found)[0] != before[0], "nothing was written again");
    drop(outbox);
    assert!(files(&found)[1].is_empty(), "a clean end leaves nothing beside it");
}

#[test]
fn a_command_that_writes_while_nobody_runs_folds_first() {
    let found = cut();
    let (path, key) = (found.path(), FileKey::from_bytes([9; 32]));
    let command = OutboxOpening { runs: false, ..opening(&path, &key, 1, &found.device_key) };
    let command = Outbox::open(command).unwrap();
    command.fold_at_start();
    assert!(command.folds() && command.trouble().is_none());
    save(&command, &change(10, "after"), "after").unwrap();
    drop(command);
    assert!(files(&found)[1].is_empty(), "all of it is in the file");
    assert_eq!(shown(&found.open(), 0).len(), 5);
}

/// Damages a page that neither opening nor saving reads: that of the PIN throttles. What the file was before.
fn damage(kiosk: &Kiosk, outbox: Outbox) -> Vec<u8> {
    let sql = "SELECT rootpage FROM sqlite_schema WHERE name = 'throttles'";
    let page: u32 = outbox.lock().query_row(sql, [], |row| row.get(0)).unwrap();
    drop(outbox);
    let [sound, _] = files(kiosk);
    let mut file = sound.clone();
    file[(page as usize - 1) * 4_096 + 100] ^= 1;
    std::fs::write(kiosk.path(), file).unwrap();
    sound
}

/// The same as [`cut`], and the file is damaged within.
fn cut_and_damaged() -> (Kiosk, Vec<u8>) {
    let found = cut();
    let (path, key) = (found.path(), FileKey::from_bytes([9; 32]));
    let command = OutboxOpening { runs: false, ..opening(&path, &key, 1, &found.device_key) };
    let sound = damage(&found, Outbox::open(command).unwrap());
    (found, sound)
}

#[test]
fn what_is_saved_beside_a_file_that_is_damaged_within_stays_beside_it_and_is_there() {
    let (found, sound) = cut_and_damaged();
    let [file, beside] = files(&found);
    for n in 5..7 {
        let outbox = found.open();
        let why = outbox.trouble().unwrap();
        assert!(why.contains("outbox.db is damaged") && why.contains("let what waits be sent"), "{why}");
        assert_eq!((outbox.folds(), folds_at(&outbox)), (false, 0));
        let made = change(n, "after");
        assert_eq!(u64::try_from(n).unwrap(), save(&outbox, &made, &format!("after {n}")).unwrap().n);
        drop(outbox);
        let now = files(&found);
        assert!(now[0] == file && now[1].starts_with(&beside), "it is folded into a damaged file");
    }
    let outbox = found.open();
    assert_eq!(shown(&outbox, 0).len(), 6, "of what was saved something is gone");
    // As where the disk had failed to read it.
    std::fs::write(found.path(), &sound).unwrap();
    outbox.fold_if_sound();
    assert_eq!((outbox.folds(), folds_at(&outbox), outbox.trouble()), (true, 1_000, None));
    assert_eq!(shown(&outbox, 0).len(), 6);
}

#[test]
fn a_file_that_turns_out_damaged_is_folded_into_no_more_before_it_is_looked_at() {
    let kiosk = Kiosk::new();
    drop(kiosk.open());
    let sound = damage(&kiosk, kiosk.open());
    let outbox = kiosk.open();
    assert!(outbox.folds(), "there was nothing to lose");
    save_some(&outbox, 1);
    outbox.throttle(NURSE).unwrap_err();
    save(&outbox, &change(2, "a"), "form 2").unwrap();
    assert!(!outbox.folds() && outbox.trouble().is_none(), "who saves waits for no look at the file");
    assert!(outbox.fold_if_sound(), "that it is damaged is known");
    assert!(!outbox.folds() && outbox.trouble().is_some());
    std::fs::write(kiosk.path(), &sound).unwrap();
    outbox.fold_if_sound();
    assert!(outbox.folds() && outbox.trouble().is_none());
    assert_eq!(shown(&outbox, 0).len(), 2);
}

#[test]
fn what_lies_beside_a_damaged_file_takes_no_more_room_than_an_outbox_may() {
    let (found, _) = cut_and_damaged();
    let outbox = found.open();
    let (saved, full) = fill(&outbox);
    let taken = files(&found)[1].len();
    assert!(saved > 3 && taken < 1 << 20, "{saved} entries in {taken} bytes");
    assert!(full.to_string().contains("what may lie beside the outbox is full"), "{full}");
    assert!(full.to_string().contains("outbox.db is damaged"), "{full}");
    let is_full = |tried: Result<(), OutboxError>| matches!(tried, Err(OutboxError::WalFull { .. }));
    assert!(is_full(outbox.make_room(u64::MAX).map(drop)), "copies would make none");
    // What may lie beside it besides is for what the server says.
    assert!(is_full(outbox.keep_throttle(NURSE, &Throttle { failures: 1, ..Throttle::default() })));
    assert!(is_full(outbox.drop_draft(NURSE, &DraftOf::Admission)));
    // What waits is sent, and that it was is noted.
    let sent = care(&outbox).sent;
    let all = run(sent.first_n, sent.count, Verdict::Applied, Some(1));
    outbox.settle(&sent, &receipt(vec![all])).unwrap();
    assert_eq!(outbox.counts().unwrap().care, 0);
    let before = files(&found);
    assert_eq!(
        outbox.prune(u64::MAX, Timestamp::from_millis(i64::MAX)).unwrap(),
        0,
        "that would make no room"
    );
    assert!(files(&found) == before);
}

#[test]
fn a_file_that_could_not_be_read_is_not_known_to_be_damaged() {
    let found = cut();
    let (path, key) = (found.path(), FileKey::from_bytes([9; 32]));
    let command = OutboxOpening { runs: false, ..opening(&path, &key, 1, &found.device_key) };
    let outbox = Outbox::open(command).unwrap();
    let away = found.directory.path().join("away");
    std::fs::rename(&path, &away).unwrap();
    // What lies there is not what is open.
    std::fs::copy(&away, &path).unwrap();
    assert!(!outbox.fold_if_sound() && !outbox.folds() && outbox.trouble().is_none());
    std::fs::remove_file(&path).unwrap();
    // Nor can be told what it is: nobody is kept from charting by that.
    std::os::unix::fs::symlink(&path, &path).unwrap();
    outbox.in_place().unwrap();
    assert!(!outbox.fold_if_sound() && !outbox.folds());
    let why = outbox.trouble().unwrap();
    assert!(why.contains("kept, but") && why.contains("cannot be read to its end"), "{why}");
    std::fs::rename(&away, &path).unwrap();
    assert!(outbox.fold_if_sound() && outbox.folds() && outbox.trouble().is_none());
    assert_eq!(shown(&outbox, 0).len(), 4);
}

#[test]
fn a_log_that_was_taken_from_beside_a_damaged_file_does_not_make_it_sound() {
    let (found, _) = cut_and_damaged();
    let outbox = found.open();
    let (log, away) = (sqlite::sidecar(&found.path(), "-wal"), found.directory.path().join("away"));
    std::fs::rename(&log, &away).unwrap();
    outbox.fold_if_sound();
    assert!(!outbox.folds() && outbox.trouble().is_some());
    std::fs::rename(&away, &log).unwrap();
    assert!(outbox.fold_if_sound() && !outbox.folds() && outbox.trouble().is_some());
    assert_eq!(shown(&outbox, 0).len(), 4, "put back, nothing is lost");
    std::fs::write(&log, "").unwrap();
    outbox.fold_if_sound();
    assert!(!outbox.folds() && outbox.trouble().is_some());
}

#[test]
fn nothing_is_saved_while_the_outbox_or_its_log_is_away() {
    let kiosk = Kiosk::new();
    let outbox = kiosk.open();
    let away = kiosk.directory.path().join("away");
    for (n, suffix) in (1..).zip(["", "-wal"]) {
        let (path, made, form) =
            (sqlite::sidecar(&kiosk.path(), suffix), change(n, "a"), format!("form {n}"));
        std::fs::rename(&path, &away).unwrap();
        for is_replaced in [false, true] {
            if is_replaced {
                std::fs::copy(&away, &path).unwrap();
            }
            let refused = save(&outbox, &made, &form).unwrap_err();
            assert!(matches!(&refused, OutboxError::Moved { path: which } if *which == path), "{refused}");
        }
        std::fs::rename(&away, &path).unwrap();
        save(&outbox, &made, &form).unwrap();
    }
    let directory = kiosk.directory.path();
    let away = directory.with_extension("away");
    std::fs::rename(directory, &away).unwrap();
    std::fs::write(directory, "a file").unwrap();
    let refused = outbox.in_place();
    std::fs::remove_file(directory).unwrap();
    std::fs::rename(&away, directory).unwrap();
    assert!(matches!(refused, Err(OutboxError::Moved { .. })), "{refused:?}");
    drop(outbox);
    assert_eq!(shown(&kiosk.open(), 0).len(), 2);
}

#[test]
fn a_log_stays_in_place_whoever_folds_it_or_closes_beside_it() {
    let kiosk = Kiosk::new();
    let outbox = kiosk.open();
    outbox.in_place().unwrap();
    for n in 1..4 {
        save(&outbox, &change(n, "a"), &format!("form {n}")).unwrap();
        drop(kiosk.open());
        outbox.in_place().unwrap();
        outbox.lock().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        outbox.in_place().unwrap();
    }
}
