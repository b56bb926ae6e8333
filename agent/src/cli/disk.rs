//! The disk check: what the agent's files lie on, whether it keeps them, has room for more, and is not at its end.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FsWord, StatVfsMountFlags, statfs, statvfs};

use super::finding::{Finding, Verdict, finding};
use crate::config::{Config, Mode};
use crate::mirror::RESERVE_MIB;

/// As the kernel names them (`statfs(2)`).
const TMPFS: FsWord = 0x0102_1994;
const RAMFS: FsWord = 0x8584_58f6;
const OVERLAY: FsWord = 0x794c_7630;
/// From which word on an eMMC says that its reserve is used up (80 %: 2, 90 %: 3).
const PRE_END: u32 = 2;

/// What is worth knowing of the disk.
pub(super) fn disk(config: &Config) -> Finding {
    // The state directory is made at the first start.
    let there = config.state_dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let lost = match config.mode {
        Mode::Production => Verdict::Wrong,
        Mode::Demo => Verdict::Mind,
    };
    let looked = look(there, &config.identity.factors_root)
        .map(|disk| disk.judged(lost, config.outbox.max_mib.into()));
    let (verdict, words) =
        looked.unwrap_or_else(|error| (Verdict::Wrong, format!("cannot be looked at: {error}")));
    finding("disk", verdict, format!("{}: {words}", there.display()))
}

/// What was seen of a disk.
struct Disk {
    kind: FsWord,
    read_only: bool,
    /// In MiB.
    free: u64,
    /// Errors that the file system has counted.
    errors: u64,
    /// What it says of its own end.
    ending: bool,
}

impl Disk {
    fn judged(&self, lost: Verdict, max_mib: u64) -> (Verdict, String) {
        let Self { kind, read_only, free, errors, ending } = self;
        let room = format!("{free} MiB free");
        match *kind {
            _ if *read_only => (
                Verdict::Wrong,
                "READ-ONLY: nothing can be saved. A card at its end is mounted so by the kernel (see dmesg): \
                 replace it"
                    .to_owned(),
            ),
            _ if *errors > 0 => {
                (Verdict::Wrong, format!("FAILING: its file system counted {errors} errors; replace it, {room}"))
            }
            _ if *ending => (Verdict::Wrong, format!("at its END, as it says itself: replace it soon; {room}")),
            TMPFS | RAMFS => {
                (lost, "in MEMORY (tmpfs): what waits here is lost when the device is switched off".to_owned())
            }
            OVERLAY => (
                lost,
                "an OVERLAY: what waits here may be lost with its upper layer; put state_dir on a disk of its own"
                    .to_owned(),
            ),
            _ if *free < RESERVE_MIB => {
                let words = format!(
                    "FULL, or nearly: {room}. Remove what does not belong here: nothing new is copied until there \
                     are {RESERVE_MIB}"
                );
                (Verdict::Wrong, words)
            }
            _ if *free < max_mib => (Verdict::Mind, format!("{room}, less than outbox.max_mib ({max_mib})")),
            _ => (Verdict::Well, room),
        }
    }
}

fn look(there: &Path, root: &Path) -> io::Result<Disk> {
    let (space, kind) = (statvfs(there)?, statfs(there)?.f_type);
    let device = device(root, std::fs::metadata(there)?.dev());
    let number = |path: PathBuf| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let name = device.as_ref().and_then(|device| device.file_name());
    let errors = name.and_then(|name| number(root.join("sys/fs/ext4").join(name).join("errors_count")));
    Ok(Disk {
        kind,
        read_only: space.f_flag.contains(StatVfsMountFlags::RDONLY),
        free: space.f_bavail.saturating_mul(space.f_frsize) / (1024 * 1024),
        errors: errors.unwrap_or(0),
        ending: device.is_some_and(|device| is_ending(&device)),
    })
}

/// The block device of that number, where the kernel describes it.
fn device(root: &Path, number: u64) -> Option<PathBuf> {
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    std::fs::canonicalize(root.join(format!("sys/dev/block/{major}:{minor}"))).ok()
}

/// What an eMMC says of itself, for the whole of it or beside one of its partitions.
fn is_ending(device: &Path) -> bool {
    [Some(device), device.parent()].into_iter().flatten().any(|device| {
        let word = std::fs::read_to_string(device.join("device/pre_eol_info"));
        let word =
            word.ok().and_then(|word| u32::from_str_radix(word.trim().trim_start_matches("0x"), 16).ok());
        word.is_some_and(|word| word >= PRE_END)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well() -> Disk {
        Disk { kind: 0xef53, read_only: false, free: 4_000, errors: 0, ending: false }
    }

    #[test]
    fn what_is_wrong_with_a_disk_is_said_with_what_to_do() {
        for (disk, verdict, words) in [
            (well(), Verdict::Well, "4000 MiB free"),
            (Disk { free: 200, ..well() }, Verdict::Mind, "less than outbox.max_mib (512)"),
            (Disk { free: 10, ..well() }, Verdict::Wrong, "FULL"),
            (Disk { kind: TMPFS, ..well() }, Verdict::Wrong, "MEMORY"),
            (Disk { kind: OVERLAY, ..well() }, Verdict::Wrong, "OVERLAY"),
            (Disk { read_only: true, ..well() }, Verdict::Wrong, "READ-ONLY"),
            (Disk { errors: 3, ..well() }, Verdict::Wrong, "3 errors; replace it"),
            (Disk { ending: true, ..well() }, Verdict::Wrong, "END"),
        ] {
            let (judged, said) = disk.judged(Verdict::Wrong, 512);
            assert!(judged == verdict && said.contains(words), "{said}");
        }
        assert!(Disk { kind: TMPFS, ..well() }.judged(Verdict::Mind, 512).0 == Verdict::Mind, "in a demo");
    }

    #[test]
    fn errors_and_the_end_of_a_card_are_read_where_the_kernel_says_them() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let number = std::fs::metadata(root).unwrap().dev();
        let card = root.join("sys/devices/mmc0/block/mmcblk0");
        let partition = card.join("mmcblk0p2");
        let (errors, end) = (root.join("sys/fs/ext4/mmcblk0p2"), card.join("device"));
        for made in [&partition, &errors, &end, &root.join("sys/dev/block")] {
            std::fs::create_dir_all(made).unwrap();
        }
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        std::os::unix::fs::symlink(&partition, root.join(format!("sys/dev/block/{major}:{minor}"))).unwrap();
        for (counted, said, expected) in
            [("0", "0x01", (0, false)), ("2", "0x01", (2, false)), ("0", "0x03", (0, true))]
        {
            std::fs::write(errors.join("errors_count"), format!("{counted}\n")).unwrap();
            std::fs::write(end.join("pre_eol_info"), format!("{said}\n")).unwrap();
            let disk = look(root, root).unwrap();
            assert_eq!((disk.errors, disk.ending), expected);
            assert!(!disk.read_only && disk.free > 0);
        }
    }
}
