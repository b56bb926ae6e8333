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
        let saved = save(&outbox, &made, &format!("form {next}")).unwrap();
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
        assert!(matches!(open(), Err(OutboxError::Open(OpenError::Gone { .. }))));
        assert_eq!(std::fs::read(&log).unwrap(), beside, "SQLite would remove it");
    }
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
