//! `server.toml`: what an operator may set. Unknown keys are refused, and every key can be
//! overridden by an environment variable: `CAREPOST_SERVER__` and the key in capitals, a table's name and `__`
//! before it where it is in one.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use carepost_host::files;
use carepost_protocol::device::SyncThresholds;
use carepost_protocol::hex::unhex;
use ipnet::IpNet;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use crate::quota::{Allowance, Allowances, MADE_BY_ONE};
use crate::store::Retention;

/// For how many days records may stay on devices: at least as long as somebody is away for a week.
pub const RECORD_DAYS: RangeInclusive<u32> = 7..=3_650;

/// Where the configuration is unless `--config` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/carepost/server.toml";
/// What the names of overriding environment variables begin with. All of these are ours.
const ENV_PREFIX: &str = "CAREPOST_SERVER__";
/// What they began with, and still may where the rest is a key, a table's name and `_` before it. Others begin
/// so too: a cluster with a service `carepost-server` sets `CAREPOST_SERVER_PORT`.
const OLDER_PREFIX: &str = "CAREPOST_SERVER_";
/// The systemd credential that may hold the database key.
const CREDENTIAL: &str = "database-key";

/// Why the server cannot be configured.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {fault}; run `carepost-server init`, or name the file with --config")]
    Unreadable {
        path: PathBuf,
        /// Why not.
        fault: std::io::Error,
    },
    /// The file, or an overriding variable, is not a configuration.
    #[error("{origin}: {fault}")]
    Invalid {
        /// Which file or variable.
        origin: String,
        fault: String,
    },
    /// The database key is not there.
    #[error(
        "{0}: there is no database key. Put the copy of it back there: no other opens the database or its backups. Only \
         a server that has no database yet gets one, by `carepost-server init`"
    )]
    NoKey(PathBuf),
    /// The database key is not 32 bytes.
    #[error("{0}: the database key is 64 hexadecimal digits; restore it from your backup of the key")]
    BadKey(PathBuf),
}

impl ConfigError {
    /// Whether somebody has to change the configuration, and no later start finds it better.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Unreadable { fault, .. } => files::stays_unread(fault),
            Self::Invalid { .. } | Self::NoKey(_) | Self::BadKey(_) => true,
        }
    }
}

/// The configuration, with the product's defaults for what is not set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the database, its key and the self-signed certificate are.
    pub state_dir: PathBuf,
    pub people_address: SocketAddr,
    /// Where devices connect, with their own certificates.
    pub devices_address: SocketAddr,
    /// The server's certificate chain in PEM; `tls.crt` in the state directory unless set.
    pub tls_certificate: Option<PathBuf>,
    /// The certificate's key in PEM; `tls.key` in the state directory unless set.
    pub tls_key: Option<PathBuf>,
    /// The database key: 64 hexadecimal digits. The systemd credential `database-key` comes first;
    /// without either it is `database.key` in the state directory.
    pub database_key_file: Option<PathBuf>,
    /// Organizations are also found by subdomain under this name: `SLUG.BASE_DOMAIN`.
    pub base_domain: Option<String>,
    /// The most connections on each listener; on the devices', of devices that are known.
    pub max_connections: usize,
    /// Proxies that say whose connections they pass on: addresses and networks.
    #[serde(deserialize_with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
    /// Hours until a person has to sign in again.
    pub session_hours: u32,
    /// How many requests a person may send in a minute, and a network of which nobody is known.
    pub requests_per_minute: NonZeroU32,
    /// Minutes after which a device without a sync is STALE.
    pub stale_after_minutes: u32,
    /// Hours after which a device without a sync is OUT_OF_SYNC.
    pub out_of_sync_after_hours: u32,
    /// What devices hold, and what is kept for those that come late.
    pub sync: Sync,
}

/// The table `[sync]`; in the environment, `CAREPOST_SERVER__SYNC__` and the key in capitals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sync {
    /// The most documents that a device may have to hold; beyond that it is refused, and told so.
    pub max_documents: u64,
    /// How many changes a device may send in an hour before an administrator is told; ten times as many at
    /// once, and it is slowed to that.
    #[serde(deserialize_with = "an_hours")]
    pub changes_per_hour: u64,
    /// How many documents what a device charts may make in an hour, once it has made a tenth of
    /// `max_documents` at once: no device takes the room that its facility needs.
    #[serde(deserialize_with = "an_hours")]
    pub entries_per_hour: u64,
    /// For how many days it is kept that a document is gone. A device that was away for longer makes its
    /// copy anew; what waits on it is not affected.
    pub tombstone_days: u32,
    /// For how many days records stay on devices, where a facility does not say otherwise. Older ones are
    /// kept on the server, and kiosks ask for them.
    #[serde(deserialize_with = "record_days")]
    pub record_days: u32,
}

impl Default for Sync {
    fn default() -> Self {
        Self {
            max_documents: 250_000,
            changes_per_hour: 200_000,
            entries_per_hour: 5_000,
            tombstone_days: 90,
            record_days: 90,
        }
    }
}

fn record_days<'de, D: serde::Deserializer<'de>>(given: D) -> Result<u32, D::Error> {
    let days = u32::deserialize(given)?;
    let otherwise = || serde::de::Error::custom("record_days is a number of days from 7 to 3650");
    RECORD_DAYS.contains(&days).then_some(days).ok_or_else(otherwise)
}

/// What an hour allows: of nothing, who was slowed once would be for good.
fn an_hours<'de, D: Deserializer<'de>>(given: D) -> Result<u64, D::Error> {
    let most = u64::deserialize(given)?;
    let otherwise = || D::Error::custom("changes_per_hour and entries_per_hour are numbers, at least 1");
    (most > 0).then_some(most).ok_or_else(otherwise)
}

/// How many hours' allowance of changes a device may send at once before it is slowed.
const BURST: u64 = 10;
/// Which part of what its facility's devices may hold one device may make at once.
const PART: u64 = 10;

impl Sync {
    /// What each device may send.
    #[must_use]
    pub fn allowances(&self) -> Allowances {
        let per_hour = self.changes_per_hour;
        let changes = Allowance { per_hour, at_once: per_hour.saturating_mul(BURST) };
        // At least as much as one change may make.
        let at_once = (self.max_documents / PART).max(MADE_BY_ONE);
        Allowances { changes, documents: Allowance { per_hour: self.entries_per_hour, at_once } }
    }

    /// How long tombstones are kept.
    #[must_use]
    pub fn tombstones_kept(&self) -> Duration {
        Duration::from_secs(u64::from(self.tombstone_days) * 24 * 3_600)
    }

    /// For how long things stay in the feeds.
    #[must_use]
    pub fn retention(&self) -> Retention {
        let (record_days, most_documents) = (self.record_days, self.max_documents);
        Retention { tombstones: self.tombstones_kept(), record_days, most_documents }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state_dir: PathBuf::from("/var/lib/carepost-server"),
            people_address: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 8443)),
            devices_address: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 8444)),
            tls_certificate: None,
            tls_key: None,
            database_key_file: None,
            base_domain: None,
            max_connections: 4_096,
            trusted_proxies: Vec::new(),
            session_hours: 12,
            requests_per_minute: NonZeroU32::MIN.saturating_add(5_999),
            stale_after_minutes: 15,
            out_of_sync_after_hours: 24,
            sync: Sync::default(),
        }
    }
}

/// What `init` writes: every key, explained, at its default.
pub const TEMPLATE: &str = r#"# Carepost server. Unknown keys are refused. Every key can be overridden by an environment variable:
# CAREPOST_SERVER__ and the key in capitals, such as CAREPOST_SERVER__PEOPLE_ADDRESS; for a key of [sync],
# CAREPOST_SERVER__SYNC__RECORD_DAYS.

# Where the database, its key and the self-signed certificate are.
#state_dir = "/var/lib/carepost-server"

# Where people and programs connect. [::] is every address of this machine, IPv4 and IPv6.
#people_address = "[::]:8443"

# Where devices connect. They bring their own certificates: a balancer must pass this TCP through.
#devices_address = "[::]:8444"

# The server's certificate chain and key in PEM. Unset: tls.crt and tls.key in state_dir.
#tls_certificate = "/etc/carepost/tls.crt"
#tls_key = "/etc/carepost/tls.key"

# The database key, 64 hexadecimal digits. The systemd credential `database-key` comes first; without
# either it is database.key in state_dir. Keep a copy: without it the database cannot be read.
#database_key_file = "/etc/carepost/database.key"

# Organizations are also found by subdomain under this name: SLUG.carepost.example.test.
#base_domain = "carepost.example.test"

# The most connections on each listener. On the devices', of devices that are known; an eighth as many more
# are for those that are not yet. On the people's, one address has at most a quarter of them.
#max_connections = 4096

# Proxies and balancers that pass TCP through and say whose connection it is, as addresses and networks. From
# them a PROXY protocol v2 header is required, and its address is the one that is counted and written down;
# from everybody else none is read. In the environment, with commas between.
#trusted_proxies = []

# Hours until a person has to sign in again, however busy.
#session_hours = 12

# How many requests a person, or a program in a person's name, may send in a minute, and as many at once; so many may
# come from a network (an address, of IPv6 a /64) of which nobody is known.
#requests_per_minute = 6000

# When a device without a sync is STALE, and when it is OUT_OF_SYNC.
#stale_after_minutes = 15
#out_of_sync_after_hours = 24

#[sync]
# The most documents that a device may have to hold (residents, staff, records and so on, as far as it
# sees them). A device that would have to hold more is refused until this is raised; from four fifths of it
# on, `carepost-server device list` and the log warn.
#max_documents = 250000
# How many changes (of up to 1 KiB each) a device may send in an hour before administrators are told that it
# sends unusually much. Ten times as many at once, a week offline and more, and it is slowed to this; what
# waits on it is not lost.
#changes_per_hour = 200000
# How many entries (what is charted, corrected and admitted) a device may send in an hour, once it has sent a
# tenth of max_documents at once; one that needs to be looked at counts twice. So no device, stolen or broken,
# takes the room that its facility needs. Beyond, it is slowed to this; what waits on it is not lost.
#entries_per_hour = 5000
# For how many days it is kept that something is gone. A device that was away for longer fetches its copy
# anew; what waits on it is not affected.
#tombstone_days = 90
# For how many days records stay on devices, 7 to 3650; `carepost-server facility record-days` says otherwise
# for one facility. Older ones are kept on the server, and kiosks ask for them. It counts from when a record
# came to the server. Once a day they leave; what has left does not come back when this is raised.
#record_days = 90
"#;

impl Config {
    /// Reads the file at `path` and lays the environment over it. A missing file at the default path
    /// means the defaults.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let file = path.unwrap_or_else(|| Path::new(DEFAULT_PATH));
        let text = match files::read_text(file) {
            Ok(text) => text,
            Err(fault) if path.is_none() && fault.kind() == std::io::ErrorKind::NotFound => {
                Zeroizing::default()
            }
            Err(fault) => return Err(ConfigError::Unreadable { path: file.to_owned(), fault }),
        };
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        });
        Self::parse(&text, &file.display().to_string(), variables)
    }

    /// Parses a configuration and lays overriding variables over it.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`].
    pub fn parse(
        text: &str,
        origin: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let invalid = |origin: &str, fault: &dyn std::fmt::Display| ConfigError::Invalid {
            origin: origin.to_owned(),
            fault: fault.to_string(),
        };
        let mut table: toml::Table = text.parse().map_err(|fault| invalid(origin, &fault))?;
        // Checked before the environment is laid over it, so that a fault names the right place.
        let _: Self = table.clone().try_into().map_err(|fault: toml::de::Error| invalid(origin, &fault))?;
        let keys = every_key();
        for (name, value) in variables {
            let Some((section, key)) = overridden(&name, &keys) else { continue };
            let known = section.as_ref().map_or(Some(&keys), |section| keys.get(section)?.as_table());
            let value = match known.and_then(|keys| keys.get(&key)) {
                Some(toml::Value::Integer(_)) => {
                    toml::Value::Integer(value.parse().map_err(|fault| invalid(&name, &fault))?)
                }
                Some(toml::Value::Array(_)) => {
                    let items = value.split(',').map(str::trim).filter(|item| !item.is_empty());
                    toml::Value::Array(items.map(|item| toml::Value::String(item.to_owned())).collect())
                }
                _ => toml::Value::String(value),
            };
            match section {
                Some(section) => {
                    let section = table.entry(section).or_insert_with(|| toml::Table::new().into());
                    section.as_table_mut().and_then(|section| section.insert(key, value));
                }
                None => drop(table.insert(key, value)),
            }
            let _: Self =
                table.clone().try_into().map_err(|fault: toml::de::Error| invalid(&name, &fault))?;
        }
        table.try_into().map_err(|fault: toml::de::Error| invalid(origin, &fault))
    }

    /// The certificate chain's file.
    #[must_use]
    pub fn certificate_path(&self) -> PathBuf {
        self.tls_certificate.clone().unwrap_or_else(|| self.state_dir.join("tls.crt"))
    }

    #[must_use]
    pub fn key_path(&self) -> PathBuf {
        self.tls_key.clone().unwrap_or_else(|| self.state_dir.join("tls.key"))
    }

    #[must_use]
    pub fn database_path(&self) -> PathBuf {
        self.state_dir.join("carepost.db")
    }

    /// The file that holds the database key, and whether it is systemd's to give.
    #[must_use]
    pub fn database_key_path(&self) -> (PathBuf, KeySource) {
        let credential =
            std::env::var_os("CREDENTIALS_DIRECTORY").map(|dir| Path::new(&dir).join(CREDENTIAL));
        if let Some(path) = credential.filter(|path| path.exists()) {
            return (path, KeySource::Credential);
        }
        let path = self.database_key_file.clone().unwrap_or_else(|| self.state_dir.join("database.key"));
        (path, KeySource::File)
    }

    /// Reads the database key.
    ///
    /// # Errors
    /// [`ConfigError::NoKey`], [`ConfigError::Unreadable`] or [`ConfigError::BadKey`].
    pub fn database_key(&self) -> Result<Zeroizing<[u8; 32]>, ConfigError> {
        let (path, _) = self.database_key_path();
        let text = match files::read_text(&path) {
            Ok(text) => text,
            Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => {
                return Err(ConfigError::NoKey(path));
            }
            Err(fault) => return Err(ConfigError::Unreadable { path, fault }),
        };
        unhex(text.trim()).map(Zeroizing::new).ok_or(ConfigError::BadKey(path))
    }

    /// When a device's sync counts as old.
    #[must_use]
    pub fn thresholds(&self) -> SyncThresholds {
        SyncThresholds {
            stale_after: Duration::from_secs(u64::from(self.stale_after_minutes) * 60),
            out_of_sync_after: Duration::from_secs(u64::from(self.out_of_sync_after_hours) * 3_600),
        }
    }
}

/// Every key that there is, with a value of its kind: the template without its `#`.
fn every_key() -> toml::Table {
    let lines =
        TEMPLATE.lines().filter_map(|line| line.strip_prefix('#').filter(|line| !line.starts_with(' ')));
    lines.flat_map(|line| [line, "\n"]).collect::<String>().parse().unwrap_or_default()
}

/// Which key a variable overrides, with its table, if it is one of ours.
fn overridden(name: &str, keys: &toml::Table) -> Option<(Option<String>, String)> {
    if let Some(key) = name.strip_prefix(ENV_PREFIX).map(str::to_lowercase) {
        return Some(match key.split_once("__") {
            Some((section, key)) => (Some(section.to_owned()), key.to_owned()),
            None => (None, key),
        });
    }
    let older = name.strip_prefix(OLDER_PREFIX)?.to_lowercase();
    keys.iter().find_map(|(name, value)| match value.as_table() {
        Some(section) => {
            let key = older.strip_prefix(name.as_str())?.strip_prefix('_')?;
            section.contains_key(key).then(|| (Some(name.clone()), key.to_owned()))
        }
        None => (*name == older).then(|| (None, older.clone())),
    })
}

/// Addresses and networks; an address alone is a network of one.
fn networks<'de, D: Deserializer<'de>>(reader: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(reader)?;
    let network = |text: &String| {
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map_err(|_| {
            D::Error::custom(format!(
                "{text:?} is no address and no network; write 192.0.2.7 or 2001:db8::/32"
            ))
        })
    };
    texts.iter().map(network).collect()
}

/// Who looks after the database key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeySource {
    /// systemd gives it as a credential.
    Credential,
    /// It is in a file of our own.
    File,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::parse(text, "server.toml", variables).map_err(|fault| fault.to_string())
    }

    #[test]
    fn the_template_names_every_key_at_its_default() {
        assert_eq!(parse(TEMPLATE, &[]), Ok(Config::default()));
        let optional = Config {
            tls_certificate: Some("/etc/carepost/tls.crt".into()),
            tls_key: Some("/etc/carepost/tls.key".into()),
            database_key_file: Some("/etc/carepost/database.key".into()),
            base_domain: Some("carepost.example.test".into()),
            ..Config::default()
        };
        assert_eq!(every_key().try_into(), Ok(optional));
    }

    #[test]
    fn unknown_keys_are_refused_by_name_wherever_they_stand() {
        assert!(parse("sate_dir = \"x\"", &[]).unwrap_err().contains("sate_dir"));
        let fault = parse("", &[("CAREPOST_SERVER__SATE_DIR", "x")]).unwrap_err();
        assert!(fault.contains("CAREPOST_SERVER__SATE_DIR") && fault.contains("sate_dir"), "{fault}");
        let fault = parse("", &[("CAREPOST_SERVER__SYNC__TOMBSTONES", "7")]).unwrap_err();
        assert!(fault.contains("tombstones"), "{fault}");
        assert!(parse("", &[("CAREPOST_SERVER__SINK__RECORD_DAYS", "7")]).unwrap_err().contains("sink"));
        assert!(parse("", &[("CAREPOST_SERVER__STATE_DIR__X", "7")]).is_err());
    }

    #[test]
    fn a_clusters_service_links_are_not_ours() {
        let links = [
            ("CAREPOST_SERVER_PORT", "tcp://10.96.0.12:8443"),
            ("CAREPOST_SERVER_PORT_8443_TCP", "tcp://10.96.0.12:8443"),
            ("CAREPOST_SERVER_PORT_8443_TCP_ADDR", "10.96.0.12"),
            ("CAREPOST_SERVER_SERVICE_HOST", "10.96.0.12"),
            ("CAREPOST_SERVER_SERVICE_PORT", "8443"),
            ("CAREPOST_SERVER_SYNC_SERVICE_PORT", "8443"),
        ];
        assert_eq!(parse("", &links), Ok(Config::default()));
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let variables =
            [("CAREPOST_SERVER__MAX_CONNECTIONS", "7"), ("CAREPOST_SERVER__STATE_DIR", "/y"), ("HOME", "/")];
        let config = parse("max_connections = 5\nstate_dir = \"/x\"", &variables).unwrap();
        assert_eq!((config.max_connections, config.state_dir), (7, PathBuf::from("/y")));
        assert!(parse("", &[("CAREPOST_SERVER__MAX_CONNECTIONS", "many")]).is_err());
        let stale = [("CAREPOST_SERVER__STALE_AFTER_MINUTES", "5")];
        let thresholds = parse("out_of_sync_after_hours = 12", &stale).unwrap().thresholds();
        let minutes = [thresholds.stale_after, thresholds.out_of_sync_after].map(|it| it.as_secs() / 60);
        assert_eq!(minutes, [5, 12 * 60]);
        // As they were named at first.
        let config =
            parse("", &[("CAREPOST_SERVER_SYNC_RECORD_DAYS", "8"), ("CAREPOST_SERVER_SESSION_HOURS", "1")]);
        assert_eq!(config.map(|it| (it.sync.record_days, it.session_hours)), Ok((8, 1)));
        let variables = [("CAREPOST_SERVER__SYNC__TOMBSTONE_DAYS", "7")];
        let config = parse("[sync]\nmax_documents = 5", &variables).unwrap();
        assert_eq!(config.sync, Sync { max_documents: 5, tombstone_days: 7, ..Sync::default() });
        let variables = [("CAREPOST_SERVER__TRUSTED_PROXIES", "192.0.2.7, 2001:db8::/32")];
        let config = parse("trusted_proxies = [\"10.0.0.0/8\"]", &variables).unwrap();
        assert_eq!(config.trusted_proxies, ["192.0.2.7/32", "2001:db8::/32"].map(|net| net.parse().unwrap()));
        assert!(parse("trusted_proxies = [\"balancer\"]", &[]).unwrap_err().contains("balancer"));
        for days in ["6", "3651"] {
            let fault = parse("", &[("CAREPOST_SERVER__SYNC__RECORD_DAYS", days)]).unwrap_err();
            assert!(fault.contains("7 to 3650"), "{fault}");
        }
        // Who was slowed once would be for good.
        for key in ["changes_per_hour", "entries_per_hour"] {
            let fault = parse(&format!("[sync]\n{key} = 0"), &[]).unwrap_err();
            assert!(fault.contains(key) && fault.contains("at least 1"), "{fault}");
        }
    }
}
