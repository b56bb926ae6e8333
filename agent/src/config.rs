//! `agent.toml`: parsed once, at the start, into values that cannot be wrong.
//!
//! Every key can be overridden by an environment variable: `CAREPOST_AGENT__SERVER__URL` stands for
//! `url` in `[server]`. Unknown keys are refused: a misspelt safeguard would otherwise be off.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use carepost_host::files;
use serde::Deserialize;
use url::Url;

/// Where the configuration is, unless the command line names another place.
pub const DEFAULT_PATH: &str = "/etc/carepost/agent.toml";
const ENV_PREFIX: &str = "CAREPOST_AGENT__";

/// The agent's configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `production`, or `demo`, which alone allows simulated hardware factors and badges.
    #[serde(default)]
    pub mode: Mode,
    /// Where the agent keeps its keys and files.
    #[serde(default = "default_state_dir")]
    pub state_dir: PathBuf,
    pub server: Server,
    #[serde(default)]
    pub kiosk: Kiosk,
    /// What identifies this hardware.
    #[serde(default)]
    pub identity: Identity,
    #[serde(default)]
    pub badge: Badge,
    /// Sessions of the people at this device.
    #[serde(default)]
    pub session: Session,
    #[serde(default)]
    pub mirror: Mirror,
    /// What waits for the server.
    #[serde(default)]
    pub outbox: Outbox,
}

/// Whether residents' data or a demonstration's is at stake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Real hardware only.
    #[default]
    Production,
    /// Simulated factors, virtual readers and scripted badges are allowed.
    Demo,
}

/// `[server]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// The server's address for devices, such as `https://devices.care.example.test:8444`.
    pub url: Url,
    /// PEM file of the certificates to trust, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// The HTTP proxy through which it is reached (CONNECT), such as `http://proxy.example.test:3128`.
    pub proxy: Option<Url>,
}

/// `[kiosk]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kiosk {
    /// Where the page is served: a loopback address.
    pub listen: SocketAddr,
    /// The user of this machine whose browser shows the page; without one it is the agent's own.
    pub browser_user: Option<String>,
    /// The file that this user alone can read, and that opens the page in its browser.
    pub start_page: PathBuf,
}

impl Default for Kiosk {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 3000)),
            browser_user: None,
            start_page: PathBuf::from("/run/carepost-kiosk/start.html"),
        }
    }
}

/// `[identity]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Identity {
    /// Where hardware factors are read from; anything but `/` is a simulation, for demos and tests.
    pub factors_root: PathBuf,
}

impl Default for Identity {
    fn default() -> Self {
        Self { factors_root: PathBuf::from("/") }
    }
}

/// `[badge]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Badge {
    pub source: BadgeSource,
    /// With `source = "scripted"`: the socket that badges are tapped on.
    pub socket: Option<PathBuf>,
}

/// Where badges come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BadgeSource {
    /// Readers that pcscd drives.
    #[default]
    Pcsc,
    /// A socket, for demos and tests.
    Scripted,
    /// This device has no reader.
    None,
}

/// `[session]`: times in seconds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Session {
    /// Idle seconds until the screen locks. A wall kiosk locks after 2 minutes.
    pub screen_lock: u64,
    /// For how many of those seconds a countdown warns.
    pub screen_warning: u64,
    /// For how long after a PIN the badge alone is enough; 0 asks for the PIN each time.
    pub pin_grace: u64,
}

impl Default for Session {
    fn default() -> Self {
        Self { screen_lock: 120, screen_warning: 20, pin_grace: 4 * 3600 }
    }
}

/// `[mirror]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mirror {
    /// Memory for pages of the copy, in KiB: best as large as the copy itself.
    pub cache_kib: u32,
    /// Every how many seconds the copy is read through, to find what was lost, damaged or edited behind
    /// the agent's back.
    pub check_every: u64,
}

impl Default for Mirror {
    fn default() -> Self {
        Self { cache_kib: 8 * 1024, check_every: 3600 }
    }
}

/// `[outbox]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Outbox {
    /// The most of the disk that waiting entries may take, in MiB. A save that would need more is
    /// refused, and the page says so.
    pub max_mib: u32,
}

impl Default for Outbox {
    fn default() -> Self {
        Self { max_mib: 512 }
    }
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}. Create it, or name another with --config", path = path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// It is not what this version understands.
    #[error("{path}: {detail}", path = path.display())]
    Malformed {
        path: PathBuf,
        /// What is wrong, with its place.
        detail: String,
    },
    /// A value makes no sense.
    #[error("{path}: {key}: {detail}", path = path.display())]
    Invalid {
        path: PathBuf,
        key: &'static str,
        /// What is wrong and what to write instead.
        detail: &'static str,
    },
}

impl Config {
    /// Reads the file and the environment's overrides.
    ///
    /// # Errors
    /// When the file cannot be read, has a key that does not exist, or a value that makes no sense.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = files::read_text(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        let of_text = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        };
        Self::parse(path, &text, std::env::vars_os().filter_map(of_text))
    }

    fn parse(
        path: &Path,
        text: &str,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let malformed = |detail: String| ConfigError::Malformed { path: path.to_owned(), detail };
        // Parsed as it stands first: this error knows the line.
        let _: Self = toml::from_str(text).map_err(|error| malformed(error.to_string()))?;
        let mut table: toml::Table = toml::from_str(text).map_err(|error| malformed(error.to_string()))?;
        for (name, value) in environment {
            if let Some(key) = name.strip_prefix(ENV_PREFIX) {
                let wrong = |detail: String| malformed(format!("{name}: {detail}"));
                let read = |table: &toml::Table| table.clone().try_into::<Self>();
                let number = value.parse::<i64>();
                override_key(&mut table, key, value.into()).map_err(wrong)?;
                // Whether it is a number is its key's to say: a user of this machine may be called 1001.
                if let (Err(_), Ok(number)) = (read(&table), number) {
                    override_key(&mut table, key, number.into()).map_err(wrong)?;
                }
                read(&table).map_err(|error| wrong(error.to_string()))?;
            }
        }
        let config: Self = table.try_into().map_err(|error| malformed(error.to_string()))?;
        config.check().map_err(|(key, detail)| ConfigError::Invalid {
            path: path.to_owned(),
            key,
            detail,
        })?;
        Ok(config)
    }

    fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if self.server.url.scheme() != "https" {
            return Err(("server.url", "must begin with https://"));
        }
        if self.server.proxy.as_ref().is_some_and(|proxy| proxy.scheme() != "http") {
            return Err((
                "server.proxy",
                "must begin with http://; what goes through it is encrypted all the same",
            ));
        }
        if !self.kiosk.listen.ip().is_loopback() {
            return Err(("kiosk.listen", "must be a loopback address such as 127.0.0.1:3000"));
        }
        if self.kiosk.listen.port() == 0 {
            return Err(("kiosk.listen", "must name the port, such as 127.0.0.1:3000"));
        }
        if !self.kiosk.start_page.is_absolute() {
            return Err(("kiosk.start_page", "must be a whole path, for a browser to open"));
        }
        if self.mode == Mode::Production {
            if self.identity.factors_root != Path::new("/") {
                return Err(("identity.factors_root", "simulated hardware is for mode = \"demo\" only"));
            }
            if self.badge.source == BadgeSource::Scripted {
                return Err(("badge.source", "scripted badges are for mode = \"demo\" only"));
            }
        }
        if (self.badge.source == BadgeSource::Scripted) != self.badge.socket.is_some() {
            return Err(("badge.socket", "goes with source = \"scripted\", and only with that"));
        }
        if self.session.screen_lock < 5 || self.session.screen_lock > 30 * 60 {
            return Err(("session.screen_lock", "must be between 5 and 1800 seconds"));
        }
        if self.session.screen_warning >= self.session.screen_lock {
            return Err(("session.screen_warning", "must be shorter than session.screen_lock"));
        }
        if self.session.pin_grace > 12 * 3600 {
            return Err(("session.pin_grace", "must be at most 43200 seconds: one long shift"));
        }
        if !(1024..=262_144).contains(&self.mirror.cache_kib) {
            return Err(("mirror.cache_kib", "must be between 1024 and 262144"));
        }
        if !(1..=7 * 86_400).contains(&self.mirror.check_every) {
            return Err(("mirror.check_every", "must be between 1 and 604800 seconds: once a week at least"));
        }
        if !(1..=1024 * 1024).contains(&self.outbox.max_mib) {
            return Err(("outbox.max_mib", "must be between 1 and 1048576"));
        }
        Ok(())
    }
}

fn default_state_dir() -> PathBuf {
    PathBuf::from("/var/lib/carepost-agent")
}

/// Sets `SERVER__URL` to a value.
fn override_key(table: &mut toml::Table, key: &str, value: toml::Value) -> Result<(), String> {
    let key = key.to_ascii_lowercase();
    let (section, name) = match key.split_once("__") {
        Some((section, name)) => (Some(section), name),
        None => (None, key.as_str()),
    };
    let table = match section {
        None => table,
        Some(section) => table
            .entry(section)
            .or_insert_with(|| toml::Value::Table(toml::Table::new()))
            .as_table_mut()
            .ok_or_else(|| format!("{section} is not a section"))?,
    };
    table.insert(name.to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "[server]\nurl = \"https://devices.example.test:8444\"\n";

    fn parse(text: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::parse(Path::new("agent.toml"), text, environment).map_err(|error| error.to_string())
    }

    #[test]
    fn a_server_is_all_that_must_be_said() {
        let config = parse(SERVER, &[]).unwrap();
        assert_eq!(config.kiosk.listen.to_string(), "127.0.0.1:3000");
        assert_eq!(config.session.screen_lock, 120);
        assert_eq!(config.badge.source, BadgeSource::Pcsc);
    }

    #[test]
    fn the_example_names_every_key_at_its_default() {
        let example = include_str!("../../systemd/agent.example.toml");
        let least = format!("[server]\nurl = \"{}\"\n", "https://devices.care.example.test:8444");
        let defaults = format!("{:?}", parse(&least, &[]).unwrap());
        assert_eq!(format!("{:?}", parse(example, &[]).unwrap()), defaults);
        let uncommented: String = example
            .lines()
            .map(|line| line.strip_prefix('#').filter(|line| !line.starts_with(' ')).unwrap_or(line))
            .filter(|line| !["ca_file", "proxy", "browser_user"].iter().any(|key| line.starts_with(key)))
            .flat_map(|line| [line, "\n"])
            .collect();
        assert_eq!(format!("{:?}", parse(&uncommented, &[]).unwrap()), defaults);
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let config = parse(
            SERVER,
            &[
                ("CAREPOST_AGENT__SESSION__PIN_GRACE", "5"),
                ("CAREPOST_AGENT__MODE", "demo"),
                ("PATH", "/bin"),
                // Of a cluster's service link.
                ("CAREPOST_AGENT_PORT", "tcp://10.96.0.12:3000"),
            ],
        )
        .unwrap();
        assert_eq!((config.session.pin_grace, config.mode), (5, Mode::Demo));
        for (name, value) in
            [("CAREPOST_AGENT__NONSENSE", "1"), ("CAREPOST_AGENT__SESSION__PIN_GRACE", "long")]
        {
            let error = parse(SERVER, &[(name, value)]).unwrap_err();
            assert!(error.contains(name), "{error}");
        }
        let config = parse(SERVER, &[("CAREPOST_AGENT__KIOSK__BROWSER_USER", "1001")]).unwrap();
        assert_eq!(config.kiosk.browser_user.as_deref(), Some("1001"));
    }

    #[test]
    fn nonsense_is_refused_with_its_key() {
        for (text, part) in [
            ("colour = 1\n", "colour"),
            ("[kiosk]\nlisten = \"0.0.0.0:3000\"\n", "kiosk.listen"),
            ("[kiosk]\nlisten = \"[::]:3000\"\n", "kiosk.listen"),
            ("[kiosk]\nlisten = \"127.0.0.1:0\"\n", "kiosk.listen"),
            ("[kiosk]\nstart_page = \"start.html\"\n", "kiosk.start_page"),
            ("[identity]\nfactors_root = \"/tmp/x\"\n", "identity.factors_root"),
            ("[badge]\nsource = \"scripted\"\nsocket = \"s\"\n", "badge.source"),
            ("mode = \"demo\"\n[badge]\nsource = \"scripted\"\n", "badge.socket"),
            ("[session]\nscreen_lock = 1\n", "session.screen_lock"),
            ("[mirror]\ncheck_every = 0\n", "mirror.check_every"),
            ("[outbox]\nmax_mib = 0\n", "outbox.max_mib"),
        ] {
            let text =
                format!("{text}\n{SERVER}").replacen("colour = 1\n\n[server]", "colour = 1\n[server]", 1);
            assert!(parse(&text, &[]).unwrap_err().contains(part), "{text}");
        }
        assert!(parse("[server]\nurl = \"http://x.example.test\"\n", &[]).unwrap_err().contains("https://"));
        let proxied = format!("{SERVER}proxy = \"https://proxy.example.test\"\n");
        assert!(parse(&proxied, &[]).unwrap_err().contains("server.proxy"));
        assert!(parse("", &[]).unwrap_err().contains("server"));
    }
}
