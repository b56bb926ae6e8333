//! Exposure: what of this device rests in the clear, or could be read by others (S1-26): measured on the real files,
//! the swap and the directory. What cannot be measured counts as exposed.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use carepost_protocol::wire::heartbeat::{Encryption, Exposed, Exposure};

use super::Vault;
use crate::sqlite::{self, FileKey, OpenError};

/// The mode's bits of everybody but the owner, and the sticky bit.
const OTHERS: u32 = 0o077;
const ANYBODY_WRITES: u32 = 0o002;
const STICKY: u32 = 0o1000;
/// How many devices may lie one on another before it is given up: dm-crypt on LVM on RAID are three.
const DEPTH: u32 = 8;

/// Measures all of it: some two milliseconds. `state` is the state directory, of which the vault may be a copy;
/// `root` is where the hardware is read from.
pub(crate) fn measure(vault: &Vault, state: &Path, root: &Path) -> Encryption {
    let mut exposed =
        files([(vault.mirror_path(), vault.mirror_key()), (vault.outbox_path(), vault.outbox_key())]);
    exposed.extend(directory(state));
    exposed.extend(swap(root));
    Encryption { exposed }
}

fn exposure(what: Exposed, place: impl std::fmt::Display) -> Exposure {
    Exposure { what, place: place.to_string(), cause: None }
}

fn unmeasured(place: impl std::fmt::Display, cause: impl std::fmt::Display) -> Exposure {
    Exposure { cause: Some(cause.to_string()), ..exposure(Exposed::Unmeasured, place) }
}

/// Each file opens with its key, and does not without. One that is not there yet, or empty, holds nothing.
fn files(files: [(PathBuf, &FileKey); 2]) -> Vec<Exposure> {
    let there = files.into_iter().filter(|(path, _)| fs::metadata(path).is_ok_and(|file| file.len() > 0));
    let measured = there.filter_map(|(path, key)| {
        let error = match (sqlite::opens(&path, Some(key)), sqlite::opens(&path, None)) {
            (Ok(true), Ok(false)) => return None,
            (_, Ok(true)) => return Some(exposure(Exposed::PlainFile, path.display())),
            (Err(error), _) | (_, Err(error)) => error,
            (Ok(false), Ok(false)) => OpenError::NotReadable { path: path.clone() },
        };
        // Of which file it is said already.
        let (place, error) = (path.display(), error.to_string());
        Some(unmeasured(&place, error.trim_start_matches(&format!("{place}: "))))
    });
    measured.collect()
}

/// The state directory is the agent's alone, and nobody can put another in its place.
fn directory(path: &Path) -> Vec<Exposure> {
    let look = || {
        let path = fs::canonicalize(path)?;
        let mut open = Vec::new();
        if !is_private(&path)? {
            open.push(exposure(Exposed::OpenDirectory, path.display()));
        }
        for above in path.ancestors().skip(1) {
            if fs::metadata(above)?.mode() & (ANYBODY_WRITES | STICKY) == ANYBODY_WRITES {
                open.push(exposure(Exposed::OpenDirectory, above.display()));
            }
        }
        Ok::<_, std::io::Error>(open)
    };
    look().unwrap_or_else(|error| {
        let cause = format!("{error}; check the disk, and that it is the agent's user's");
        vec![unmeasured(path.display(), cause)]
    })
}

/// Whether only its owner may enter it, who owns what is in it as well.
fn is_private(path: &Path) -> std::io::Result<bool> {
    let directory = fs::metadata(path)?;
    let mut owned = true;
    for file in fs::read_dir(path)? {
        match file?.metadata() {
            Ok(file) => owned &= file.uid() == directory.uid(),
            // The agent replaces its files while this looks.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(owned && directory.mode() & OTHERS == 0)
}

/// Swap that is neither memory nor on dm-crypt: what the agent and the browser hold may be written there.
fn swap(root: &Path) -> Vec<Exposure> {
    let table = match fs::read_to_string(root.join("proc/swaps")) {
        Ok(table) => table,
        // A kernel without swap, or a simulated machine; but not a /proc that is hidden from this process.
        Err(error) if error.kind() == ErrorKind::NotFound && !is_hidden(root) => String::new(),
        Err(error) => {
            return vec![unmeasured("/proc/swaps", format!("{error}; let the agent's user read it"))];
        }
    };
    let active = table.lines().skip(1).filter_map(|line| line.split_ascii_whitespace().next());
    let plain = active.filter(|name| !is_protected(root, name));
    plain.map(|name| exposure(Exposed::PlainSwap, name)).collect()
}

fn is_hidden(root: &Path) -> bool {
    root == Path::new("/") && !root.join("proc/meminfo").exists()
}

fn is_protected(root: &Path, name: &str) -> bool {
    // The kernel writes blanks in names in octal.
    let path = root.join(name.trim_start_matches('/').replace("\\040", " "));
    let devices = root.join("sys/class/block");
    let Some(device) = name.strip_prefix("/dev/") else {
        return fs::metadata(path).is_ok_and(|file| lies_on_dm_crypt(root, &file));
    };
    let device = fs::canonicalize(&path)
        .ok()
        .and_then(|real| Some(real.file_name()?.to_string_lossy().into_owned()))
        .filter(|real| devices.join(real).exists())
        .unwrap_or_else(|| device.to_owned());
    if device.strip_prefix("zram").is_some_and(|n| n.bytes().all(|digit| digit.is_ascii_digit())) {
        let backing = fs::read_to_string(devices.join(&device).join("backing_dev"));
        return backing.map_or_else(|error| error.kind() == ErrorKind::NotFound, |it| it.trim() == "none");
    }
    is_dm_crypt(&devices.join(device), DEPTH)
}

/// The device that holds a swap file.
fn lies_on_dm_crypt(root: &Path, file: &Metadata) -> bool {
    let number = file.dev();
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    is_dm_crypt(&root.join(format!("sys/dev/block/{major}:{minor}")), DEPTH)
}

/// Whether a block device is dm-crypt's, or all that it lies on is.
fn is_dm_crypt(device: &Path, depth: u32) -> bool {
    if fs::read_to_string(device.join("dm/uuid")).is_ok_and(|uuid| uuid.starts_with("CRYPT-")) {
        return true;
    }
    let Ok(below) = fs::read_dir(device.join("slaves")) else { return false };
    let below: BTreeSet<PathBuf> = below.filter_map(Result::ok).map(|entry| entry.path()).collect();
    depth > 0 && !below.is_empty() && below.iter().all(|device| is_dm_crypt(device, depth - 1))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::identity::Factors;

    struct Device {
        root: tempfile::TempDir,
        vault: Vault,
    }

    impl Device {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let device = |path: &str, content: &str| write(root.path(), path, content);
            device("etc/machine-id", "0f2c6e1d9b8a4c7e8d5f3a2b1c0d9e8f\n");
            let factors = Factors::read(root.path()).unwrap();
            let vault = Vault::open(&root.path().join("state"), &factors, None).unwrap();
            drop((
                open(vault.mirror_path(), vault.mirror_key()),
                open(vault.outbox_path(), vault.outbox_key()),
            ));
            Self { root, vault }
        }

        fn write(&self, path: &str, content: &str) {
            write(self.root.path(), path, content);
        }

        fn measured(&self) -> Encryption {
            measure(&self.vault, self.vault.directory(), self.root.path())
        }

        fn exposed(&self) -> Vec<(Exposed, String)> {
            self.measured().exposed.into_iter().map(|it| (it.what, it.place)).collect()
        }
    }

    fn open(path: PathBuf, key: &FileKey) -> sqlite::Connected {
        let opening = sqlite::Opening {
            path: &path,
            key,
            durability: sqlite::Durability::PowerCut,
            cache_kib: 256,
            migrations: &["CREATE TABLE notes (text TEXT NOT NULL)"],
        };
        sqlite::open(&opening).unwrap()
    }

    fn write(root: &Path, path: &str, content: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    #[test]
    fn encrypted_files_in_a_private_directory_without_swap_are_not_exposed() {
        let device = Device::new();
        assert_eq!(device.exposed(), []);
        // While they are in use, with a log beside them, and when this measuring was the last to close.
        let open = open(device.vault.outbox_path(), device.vault.outbox_key());
        open.execute("INSERT INTO notes VALUES ('kept')", []).unwrap();
        assert_eq!(device.exposed(), []);
        drop(open);
        assert_eq!(device.exposed(), []);
    }

    #[test]
    fn a_file_in_the_clear_or_under_another_key_is_found() {
        let device = Device::new();
        let (mirror, outbox) = (device.vault.mirror_path(), device.vault.outbox_path());
        fs::remove_file(&mirror).unwrap();
        let plain = rusqlite::Connection::open(&mirror).unwrap();
        plain.execute_batch("CREATE TABLE notes (text TEXT)").unwrap();
        assert_eq!(device.exposed(), [(Exposed::PlainFile, mirror.display().to_string())]);
        fs::copy(&outbox, &mirror).unwrap();
        assert_eq!(device.exposed(), [(Exposed::Unmeasured, mirror.display().to_string())]);
        let words = device.measured().exposed[0].words();
        assert!(
            words.contains("counts as in the clear: not readable with this device's key: it is damaged"),
            "{words}"
        );
        fs::remove_file(&mirror).unwrap();
        assert_eq!(device.exposed(), [], "a mirror that is not there yet");
    }

    #[test]
    fn a_directory_that_others_may_enter_or_replace_is_found() {
        let device = Device::new();
        let (root, state) = (device.root.path().canonicalize().unwrap(), device.vault.directory().to_owned());
        let chmod = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        chmod(&state, 0o755);
        assert_eq!(device.exposed(), [(Exposed::OpenDirectory, root.join("state").display().to_string())]);
        chmod(&state, 0o700);
        chmod(&root, 0o777);
        assert_eq!(device.exposed(), [(Exposed::OpenDirectory, root.display().to_string())]);
        chmod(&root, 0o1777);
        assert_eq!(device.exposed(), [], "as /tmp is");
    }

    #[test]
    fn swap_counts_unless_it_is_memory_or_lies_on_dm_crypt() {
        let device = Device::new();
        let swaps =
            |lines: &str| device.write("proc/swaps", &format!("Filename Type Size Used Priority\n{lines}"));
        let found = |what: &str| vec![(Exposed::PlainSwap, what.to_owned())];
        swaps("");
        assert_eq!(device.exposed(), []);
        swaps("/dev/zram0 partition 1 0 100\n");
        device.write("sys/class/block/zram0/size", "8");
        assert_eq!(device.exposed(), []);
        device.write("sys/class/block/zram0/backing_dev", "none\n");
        assert_eq!(device.exposed(), []);
        device.write("sys/class/block/zram0/backing_dev", "/dev/sda3\n");
        assert_eq!(device.exposed(), found("/dev/zram0"), "it writes to a disk what does not compress");
        swaps("/dev/mmcblk0p3 partition 1 0 -2\n");
        device.write("sys/class/block/mmcblk0p3/size", "8");
        assert_eq!(device.exposed(), found("/dev/mmcblk0p3"));
        swaps("/dev/dm-1 partition 1 0 -2\n");
        device.write("sys/class/block/dm-1/dm/uuid", "LVM-0123\n");
        device.write("sys/class/block/dm-1/slaves/dm-0/dm/uuid", "CRYPT-LUKS2-0123-swap\n");
        assert_eq!(device.exposed(), [], "LVM on dm-crypt");
        device.write("sys/class/block/dm-1/slaves/sdb/size", "8");
        assert_eq!(device.exposed(), found("/dev/dm-1"), "half of it is in the clear");
        swaps("/var/swap file 1 0 -2\n");
        assert_eq!(device.exposed(), found("/var/swap"));
        device.write("var/swap", "");
        assert_eq!(device.exposed(), found("/var/swap"));
        let number = fs::metadata(device.root.path().join("var/swap")).unwrap().dev();
        let (major, minor) = (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xfff00);
        device.write(&format!("sys/dev/block/{major}:{minor}/dm/uuid"), "CRYPT-LUKS2-0123-root\n");
        assert_eq!(device.exposed(), [], "a file on an encrypted root");
        fs::remove_file(device.root.path().join("proc/swaps")).unwrap();
        device.write("proc/swaps/unreadable", "");
        assert_eq!(device.exposed(), [(Exposed::Unmeasured, "/proc/swaps".to_owned())]);
    }
}
