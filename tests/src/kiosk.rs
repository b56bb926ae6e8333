//! A kiosk as somebody who stands before it knows it: its screen, its badge reader, its network cable.

mod screen;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use carepost_reader::{Pcscd, Reader};
use reqwest::Client;
use tempfile::TempDir;

pub use self::screen::{Listener, Page};
use crate::children::{Running, free_port, run, until};
use crate::link::Link;
use crate::world::Server;

/// How long anything on a kiosk may take before a story fails, on a machine whose cores are all busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long somebody holds a badge to a reader that does not beep.
const HELD: Duration = Duration::from_secs(5);
/// A tap that is one is answered by then.
const ANSWERED: Duration = Duration::from_secs(5);

/// Where a kiosk's badges come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Badges {
    /// A virtual reader behind the real pcscd, one for this kiosk alone.
    Pcsc,
    /// The scripted source.
    Scripted,
    /// No reader.
    None,
}

/// A running (or stopped) agent with its surroundings.
#[derive(Debug)]
pub struct Kiosk {
    /// What the administrator calls it.
    pub name: String,
    /// Its files: `agent.toml`, `state/`, `factors/`, `agent.log`.
    pub folder: PathBuf,
    /// The port of its page.
    pub port: u16,
    /// Its network cable.
    pub link: Link,
    badges: Badges,
    sockets: Sockets,
    pcscd: Option<Pcscd>,
    agent: Option<Running>,
    page: Client,
    cookie: tokio::sync::Mutex<Option<String>>,
    /// More lines for its configuration.
    extra: String,
    /// The time zone that the machine is set to, from its next start on; this machine's unless given.
    pub time_zone: Option<&'static str>,
}

impl Kiosk {
    /// A new device on the wall, its network cable plugged in, its agent started.
    ///
    /// # Errors
    /// When a part of it does not start.
    pub async fn hang(
        folder: &Path,
        name: &str,
        server: &Server,
        port: Option<u16>,
        badges: Badges,
        extra: &str,
    ) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        make_factors(&folder.join("factors"), name)?;
        let mut kiosk = Self::assemble(folder, name, server, port, badges, extra).await?;
        kiosk.start().await?;
        Ok(kiosk)
    }

    /// A second machine with this one's files and hardware, as somebody makes who copies its disk: a network
    /// cable and a page of its own. It is not started, and this one should not run meanwhile.
    ///
    /// # Errors
    /// When a file cannot be copied.
    pub async fn copy(&self, folder: &Path, server: &Server) -> Result<Self> {
        for part in ["state", "factors"] {
            copy_tree(&self.folder.join(part), &folder.join(part))?;
        }
        Self::assemble(folder, &self.name, server, None, self.badges, &self.extra).await
    }

    async fn assemble(
        folder: &Path,
        name: &str,
        server: &Server,
        port: Option<u16>,
        badges: Badges,
        extra: &str,
    ) -> Result<Self> {
        let link = Link::start(server.devices).await?;
        let sockets = Sockets::near(folder)?;
        let pcscd = match badges {
            Badges::Pcsc => Some(Pcscd::start(&sockets.folder().join("pcsc"), 1)?),
            Badges::Scripted | Badges::None => None,
        };
        let page = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(PATIENCE)
            .no_proxy()
            .build()?;
        let port = port.map_or_else(free_port, Ok)?;
        let kiosk = Self {
            name: name.to_owned(),
            folder: folder.to_owned(),
            port,
            link,
            badges,
            sockets,
            pcscd,
            agent: None,
            page,
            cookie: tokio::sync::Mutex::new(None),
            extra: extra.to_owned(),
            time_zone: None,
        };
        kiosk.configure(server)?;
        Ok(kiosk)
    }

    fn configure(&self, server: &Server) -> Result<()> {
        let source = match self.badges {
            Badges::Pcsc => "source = \"pcsc\"".to_owned(),
            Badges::Scripted => {
                format!("source = \"scripted\"\nsocket = \"{}\"", self.scripted().display())
            }
            Badges::None => "source = \"none\"".to_owned(),
        };
        let text = format!(
            "mode = \"demo\"\nstate_dir = \"{folder}/state\"\n\n[server]\nurl = \"https://localhost:{link}\"\n\
             ca_file = \"{ca}\"\n\n[kiosk]\nlisten = \"127.0.0.1:{port}\"\n\
             start_page = \"{folder}/start.html\"\n\n[identity]\n\
             factors_root = \"{folder}/factors\"\n\n[badge]\n{source}\n\n{extra}\n",
            folder = self.folder.display(),
            link = self.link.address().port(),
            ca = server.ca.display(),
            port = self.port,
            extra = self.extra,
        );
        Ok(std::fs::write(self.config(), text)?)
    }

    /// Its configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.join("agent.toml")
    }

    /// The address of its page.
    #[must_use]
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The cookie that its page gave.
    pub async fn cookie(&self) -> Option<String> {
        self.cookie.lock().await.clone()
    }

    /// Changes its configuration for the next start.
    ///
    /// # Errors
    /// When `old` does not stand in it.
    pub fn reconfigure(&self, old: &str, new: &str) -> Result<()> {
        let text = std::fs::read_to_string(self.config())?;
        if !text.contains(old) {
            bail!("no {old:?} in {text}");
        }
        Ok(std::fs::write(self.config(), text.replace(old, new))?)
    }

    /// Runs `carepost-agent` with this kiosk's configuration: its exit code and what it said.
    ///
    /// # Errors
    /// When it cannot be started or hangs.
    pub async fn command(&self, arguments: &[&str]) -> Result<(i32, String)> {
        let config = self.config().display().to_string();
        let all: Vec<&str> = ["--config", &config].into_iter().chain(arguments.iter().copied()).collect();
        let (code, out, error) = run("carepost-agent", &all, &self.environment()).await?;
        Ok((code, out + &error))
    }

    /// Waits until the device has written down that the server refuses it for good: its page says so before.
    ///
    /// # Errors
    /// With what `doctor` says instead.
    pub async fn keeps_that_it_is_revoked(&self) -> Result<()> {
        self.says(&["This device is no longer in use"]).await?;
        until("it to be kept that the device is revoked", PATIENCE, || async {
            let (code, said) = self.command(&["doctor"]).await?;
            ensure!(code == 5 && said.contains("REVOKED"), "{code}: {said}");
            Ok(())
        })
        .await
    }

    /// Starts the agent and waits for its page.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start(&mut self) -> Result<()> {
        let config = self.config().display().to_string();
        let agent = Running::start(
            "carepost-agent",
            &["--config", &config, "run"],
            &self.environment(),
            &self.folder.join("agent.log"),
        )?;
        self.agent = Some(agent);
        self.expect_page().await
    }

    /// What the agent's programs need in their environment.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let mut environment = vec![("CAREPOST_LOG", "info,carepost_agent=debug".to_owned())];
        if let Some(pcscd) = &self.pcscd {
            environment.push(("PCSCLITE_CSOCK_NAME", pcscd.socket().display().to_string()));
        }
        environment.extend(crate::clock::environment(&self.folder));
        environment.extend(self.time_zone.map(|zone| ("TZ", zone.to_owned())));
        environment
    }

    async fn expect_page(&mut self) -> Result<()> {
        let started = std::time::Instant::now();
        loop {
            if let Some(agent) = &mut self.agent {
                agent.expect_alive()?;
            }
            if self.get("/").await.is_ok() {
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                bail!("{} shows no page; its log:\n{}", self.name, self.log());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Pulls the plug: kill -9.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn pull_the_plug(&mut self) -> Result<()> {
        self.agent.take().context("it does not run")?.kill().await
    }

    /// Stops the agent in good order.
    ///
    /// # Errors
    /// When it does not stop in good order.
    pub async fn stop(&mut self) -> Result<()> {
        self.agent.take().context("it does not run")?.stop().await
    }

    /// The process's id.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.agent.as_ref().and_then(Running::pid)
    }

    /// The agent's log.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("agent.log")).unwrap_or_default()
    }

    /// The badge reader on the wall.
    ///
    /// # Errors
    /// When this kiosk has none.
    pub fn reader(&self) -> Result<Reader> {
        match (&self.pcscd, self.badges) {
            (Some(pcscd), _) => Ok(pcscd.reader(0)),
            (None, Badges::Scripted) => Ok(Reader::at(self.scripted())),
            (None, Badges::Pcsc | Badges::None) => bail!("{} has no badge reader", self.name),
        }
    }

    fn scripted(&self) -> PathBuf {
        self.sockets.folder().join("badge.sock")
    }

    /// The service that drives the reader.
    ///
    /// # Errors
    /// When this kiosk has none.
    pub fn pcscd(&mut self) -> Result<&mut Pcscd> {
        self.pcscd.as_mut().context("this kiosk has no pcscd")
    }

    /// Waits until the kiosk says that its reader is ready, and this device's people are known.
    ///
    /// # Errors
    /// With how it is instead.
    pub async fn reader_ready(&self) -> Result<()> {
        until(&format!("the reader of {}", self.name), PATIENCE, || async {
            let status = self.status().await?;
            let ready = status.get("reader").is_some_and(|reader| reader == "READY")
                && status.get("loading").is_some_and(|loading| loading == false);
            if ready { Ok(()) } else { bail!("{status}") }
        })
        .await
    }

    /// Taps a badge and takes it away.
    ///
    /// # Errors
    /// When the reader is not ready in time, or does not take it.
    pub async fn tap(&self, uid: &str) -> Result<()> {
        self.reader_ready().await?;
        let (reader, uid) = (self.reader()?, uid.to_owned());
        let is_real = self.pcscd.is_some();
        let held = tokio::task::spawn_blocking(move || match is_real {
            // On a machine whose cores are busy a short tap ends before the agent has looked.
            true => reader.hold(&uid, HELD),
            false => reader.tap(&uid, Duration::from_millis(60)),
        });
        Ok(held.await??)
    }

    /// Taps a badge until the page says these words.
    ///
    /// # Errors
    /// With what it says instead.
    pub async fn tap_until(&self, uid: &str, words: &[&str]) -> Result<()> {
        self.tap_till(uid, &format!("{words:?}"), async || {
            let said = self.visit("/").await?.words();
            match words.iter().find(|word| !said.contains(**word)) {
                None => Ok(()),
                Some(missing) => bail!("no {missing:?}: {said}"),
            }
        })
        .await
    }

    /// Taps a badge until the screen is one whose key begins so. No page is opened, so that the one which is there
    /// is led back to where its user was.
    ///
    /// # Errors
    /// With the key that it has instead.
    pub async fn tap_to(&self, uid: &str, key: &str) -> Result<()> {
        self.tap_till(uid, key, async || {
            let screen = self.screen().await?;
            if screen.starts_with(key) { Ok(()) } else { bail!("it is {screen}") }
        })
        .await
    }

    /// One tap too soon after the last is none, and one that is not answered yet may be answered still: a second
    /// would undo what it does.
    async fn tap_till(&self, uid: &str, what: &str, is_so: impl AsyncFn() -> Result<()>) -> Result<()> {
        until(&format!("{what} after a tap"), PATIENCE, || async {
            if is_so().await.is_err() {
                self.tap(uid).await?;
                until(what, ANSWERED, || is_so()).await?;
            }
            Ok(())
        })
        .await
    }
}

/// Where sockets are made: in the folder asked for, or, where that lies so deep that no socket's name
/// would fit (107 bytes), in a short folder of its own that goes when this does.
#[derive(Debug)]
pub enum Sockets {
    /// There.
    Here(PathBuf),
    /// Elsewhere.
    Short(TempDir),
}

impl Sockets {
    /// A folder for sockets, near `folder` if that is short enough.
    ///
    /// # Errors
    /// When a short one cannot be made.
    pub fn near(folder: &Path) -> Result<Self> {
        // The longest name inside is 16 bytes: `/pcsc/pcscd.comm`.
        if folder.as_os_str().len() <= 88 {
            return Ok(Self::Here(folder.to_owned()));
        }
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|it| it.is_dir());
        let home = runtime.unwrap_or_else(std::env::temp_dir);
        let short = tempfile::Builder::new().prefix("carepost-").tempdir_in(&home);
        Ok(Self::Short(short.with_context(|| format!("no folder for sockets in {}", home.display()))?))
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        match self {
            Self::Here(folder) => folder,
            Self::Short(folder) => folder.path(),
        }
    }
}

/// Hardware of its own for each simulated device.
fn make_factors(root: &Path, name: &str) -> Result<()> {
    let net = root.join("sys/class/net/eth0");
    std::fs::create_dir_all(&net)?;
    std::fs::create_dir_all(root.join("etc"))?;
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in root.display().to_string().bytes().chain(name.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let mac: Vec<String> = hash.to_be_bytes().iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    std::fs::write(net.join("address"), format!("02:{}\n", mac.join(":")))?;
    let machine = root.join("etc/machine-id");
    if !machine.exists() {
        std::fs::write(machine, format!("{hash:016x}{:016x}\n", hash.rotate_left(17)))?;
    }
    Ok(())
}

/// Copies a folder with all that is in it, permissions and all: the agent takes only a directory that is its
/// owner's alone.
///
/// # Errors
/// When the disk refuses.
pub fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (old, new) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_tree(&old, &new)?;
        } else if kind.is_file() {
            std::fs::copy(&old, &new)?;
        }
    }
    Ok(std::fs::set_permissions(to, std::fs::metadata(from)?.permissions())?)
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(40)).copied().collect::<Vec<_>>().join("\n")
}
