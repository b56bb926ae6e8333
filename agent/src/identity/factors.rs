//! Hardware factors: what the hardware says of itself, the device's UUID (S1-24) and its MAC addresses (S1-25).
//!
//! A label, and an ingredient of the sealing key; never proof of identity.

use std::fmt;
use std::path::Path;

use carepost_protocol::id::DeviceUuid;
use uuid::Uuid;

/// The namespace of Carepost's hardware UUIDs (UUIDv5): the same board always has the same one.
const NAMESPACE: Uuid = Uuid::from_u128(0x6d0f_5f3a_1c7b_4e0e_9a52_c9f1_7d84_2b36);

/// Where a factor was found, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FactorKind {
    /// The mainboard's product UUID (DMI). Only root can read it.
    DmiProductUuid,
    /// The Raspberry Pi's serial number.
    RaspberryPiSerial,
    /// The operating system's machine id: it goes where the disk goes.
    MachineId,
}

impl FactorKind {
    /// Every kind, strongest first.
    pub const ALL: [Self; 3] = [Self::DmiProductUuid, Self::RaspberryPiSerial, Self::MachineId];

    /// Its name, in files and for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DmiProductUuid => "dmi-product-uuid",
            Self::RaspberryPiSerial => "raspberry-pi-serial",
            Self::MachineId => "machine-id",
        }
    }
}

/// Why the hardware could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FactorsError {
    /// There is nothing that tells this device from another.
    #[error(
        "no usable product UUID, Raspberry Pi serial or machine-id under {root}: run \
         systemd-machine-id-setup, then start the agent again"
    )]
    None {
        /// Where it was looked for.
        root: String,
    },
}

/// What was found on the hardware. Values are an ingredient of the sealing key: they do not print.
#[derive(Clone)]
pub struct Factors {
    strongest: Factor,
    others: Vec<Factor>,
    mac_addresses: Vec<String>,
}

#[derive(Clone)]
struct Factor {
    kind: FactorKind,
    value: String,
}

impl Factors {
    /// Reads the hardware under `root`: `/`, or a directory laid out like it in demo and tests, where
    /// several agents on one machine would otherwise claim one UUID.
    ///
    /// # Errors
    /// [`FactorsError::None`] when nothing usable is there.
    pub fn read(root: &Path) -> Result<Self, FactorsError> {
        let mut found =
            FactorKind::ALL.into_iter().filter_map(|kind| Some(Factor { kind, value: value(kind, root)? }));
        let strongest =
            found.next().ok_or_else(|| FactorsError::None { root: root.display().to_string() })?;
        Ok(Self { strongest, others: found.collect(), mac_addresses: mac_addresses(root) })
    }

    /// The kind of the strongest factor, which names the device.
    #[must_use]
    pub fn kind(&self) -> FactorKind {
        self.strongest.kind
    }

    /// The hardware UUID: UUIDv5 over the strongest factor's kind and value.
    #[must_use]
    pub fn device_uuid(&self) -> DeviceUuid {
        let name = format!("{}:{}", self.strongest.kind.name(), self.strongest.value);
        DeviceUuid::from_bytes(Uuid::new_v5(&NAMESPACE, name.as_bytes()).into_bytes())
    }

    /// The addresses of all network interfaces, `aa:bb:cc:dd:ee:ff`, sorted.
    #[must_use]
    pub fn mac_addresses(&self) -> &[String] {
        &self.mac_addresses
    }

    /// The value of one kind of factor, if it is there.
    pub(crate) fn value(&self, kind: FactorKind) -> Option<&str> {
        std::iter::once(&self.strongest)
            .chain(&self.others)
            .find(|factor| factor.kind == kind)
            .map(|factor| factor.value.as_str())
    }
}

impl fmt::Debug for Factors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Factors")
            .field("kind", &self.strongest.kind)
            .field("mac_addresses", &self.mac_addresses)
            .finish_non_exhaustive()
    }
}

fn value(kind: FactorKind, root: &Path) -> Option<String> {
    match kind {
        FactorKind::DmiProductUuid => {
            let text = text(root, "sys/class/dmi/id/product_uuid")?;
            let uuid = Uuid::try_parse(&text).ok()?;
            Some(uuid.to_string()).filter(|uuid| !is_bogus(uuid))
        }
        FactorKind::RaspberryPiSerial => text(root, "proc/device-tree/serial-number")
            .or_else(|| cpu_serial(&text(root, "proc/cpuinfo")?))
            .map(|serial| serial.to_ascii_lowercase())
            .filter(|serial| serial.len() >= 8 && is_hex(serial) && !is_bogus(serial)),
        FactorKind::MachineId => {
            let id = if root == Path::new("/") {
                machine_uid::get().ok()?.trim().to_owned()
            } else {
                text(root, "etc/machine-id")?
            };
            Some(id).filter(|id| id.len() == 32 && is_hex(id) && !is_bogus(id))
        }
    }
}

fn text(root: &Path, path: &str) -> Option<String> {
    let bytes = std::fs::read(root.join(path)).ok()?;
    // The device tree ends its strings with a zero byte.
    let text =
        String::from_utf8(bytes).ok()?.trim_matches(|c: char| c == '\0' || c.is_whitespace()).to_owned();
    Some(text).filter(|text| !text.is_empty())
}

fn cpu_serial(cpuinfo: &str) -> Option<String> {
    let (_, serial) =
        cpuinfo.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.trim() == "Serial")?;
    Some(serial.trim().to_owned())
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Values that factories left on many boards at once: as a name they would be shared.
const BOGUS: [&str; 6] = [
    "03000200-0400-0500-0006-000700080009",
    "00020003-0004-0005-0006-000700080009",
    "12345678-1234-5678-90ab-cddeefaabbcc",
    "01234567-89ab-cdef-0123-456789abcdef",
    "4c4c4544-0000-2010-8020-80c04f202020",
    "fefefefe-fefe-fefe-fefe-fefefefefefe",
];

/// Texts such as "Not Settable" never get here: they are neither a UUID nor hexadecimal.
fn is_bogus(value: &str) -> bool {
    let mut digits = value.bytes().filter(|byte| *byte != b'-');
    let first = digits.next();
    digits.all(|digit| Some(digit) == first) || BOGUS.contains(&value)
}

/// The addresses of all network interfaces there are now, sorted.
pub(crate) fn mac_addresses(root: &Path) -> Vec<String> {
    let mut found: Vec<String> = if root == Path::new("/") {
        mac_address::MacAddressIterator::new()
            .map(|addresses| addresses.map(|address| address.to_string().to_ascii_lowercase()).collect())
            .unwrap_or_default()
    } else {
        simulated_mac_addresses(root)
    };
    found.retain(|address| is_mac_address(address));
    found.sort_unstable();
    found.dedup();
    found
}

fn simulated_mac_addresses(root: &Path) -> Vec<String> {
    let Ok(interfaces) = std::fs::read_dir(root.join("sys/class/net")) else {
        return Vec::new();
    };
    interfaces
        .filter_map(Result::ok)
        .filter(|interface| interface.file_name() != "lo")
        .filter_map(|interface| text(&interface.path(), "address"))
        .map(|address| address.to_ascii_lowercase())
        .collect()
}

/// Six octets, not all zero: the loopback interface has no address of its own.
fn is_mac_address(text: &str) -> bool {
    let octets: Vec<&str> = text.split(':').collect();
    octets.len() == 6
        && octets.iter().all(|octet| octet.len() == 2 && is_hex(octet))
        && octets.iter().any(|octet| *octet != "00")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        root
    }

    const DMI: &str = "sys/class/dmi/id/product_uuid";
    const TREE: &str = "proc/device-tree/serial-number";
    const CPU: &str = "proc/cpuinfo";
    const ID: (&str, &str) = ("etc/machine-id", "0f2c6e1d9b8a4c7e8d5f3a2b1c0d9e8f\n");

    #[test]
    fn the_strongest_factor_names_the_device() {
        let pi_cpu = "processor\t: 0\nHardware\t: BCM2835\nSerial\t\t: 10000000A1B2C3D4\n";
        for (files, kind) in [
            (&[(DMI, "4C4C4544-0042-3510-8052-B4C04F4A3832\n"), ID][..], FactorKind::DmiProductUuid),
            (&[(TREE, "10000000a1b2c3d4\0"), ID], FactorKind::RaspberryPiSerial),
            (&[(CPU, pi_cpu), ID], FactorKind::RaspberryPiSerial),
            (&[ID], FactorKind::MachineId),
        ] {
            let root = machine(files);
            let factors = Factors::read(root.path()).unwrap();
            assert_eq!(factors.kind(), kind);
            assert_eq!(factors.device_uuid(), Factors::read(root.path()).unwrap().device_uuid());
        }
        let tree = Factors::read(machine(&[(TREE, "10000000a1b2c3d4\0")]).path()).unwrap();
        let cpu = Factors::read(machine(&[(CPU, pi_cpu)]).path()).unwrap();
        assert_eq!(tree.device_uuid(), cpu.device_uuid(), "one board, two places to read it from");
    }

    #[test]
    fn what_factories_left_on_many_boards_is_skipped() {
        for bogus in [
            "00000000-0000-0000-0000-000000000000",
            "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
            "03000200-0400-0500-0006-000700080009",
            "Not Settable",
            "To be filled by O.E.M.",
            "",
        ] {
            let factors = Factors::read(machine(&[(DMI, bogus), ID]).path()).unwrap();
            assert_eq!(factors.kind(), FactorKind::MachineId, "{bogus:?}");
        }
        let none = machine(&[(TREE, "0000000000000000\0"), ("etc/machine-id", "uninitialized\n")]);
        let error = Factors::read(none.path()).unwrap_err();
        assert!(error.to_string().contains("systemd-machine-id-setup"));
    }

    #[test]
    fn every_interface_is_listed_but_loopback() {
        let root = machine(&[
            ID,
            ("sys/class/net/wlan0/address", "DC:A6:32:00:00:02\n"),
            ("sys/class/net/eth0/address", "dc:a6:32:00:00:01\n"),
            ("sys/class/net/lo/address", "00:00:00:00:00:00\n"),
            ("sys/class/net/dummy0/address", "00:00:00:00:00:00\n"),
            ("sys/class/net/ib0/address", "80:00:02:08:fe:80:00:00\n"),
        ]);
        let factors = Factors::read(root.path()).unwrap();
        assert_eq!(factors.mac_addresses(), ["dc:a6:32:00:00:01", "dc:a6:32:00:00:02"]);
    }

    #[test]
    fn this_machine_has_factors() {
        let factors = Factors::read(Path::new("/")).unwrap();
        assert!(factors.mac_addresses().iter().all(|address| is_mac_address(address)));
        assert!(!format!("{factors:?}").contains(factors.strongest.value.as_str()));
    }
}
