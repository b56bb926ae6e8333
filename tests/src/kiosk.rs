//! A kiosk as somebody who stands before it knows it: its page, its badge reader, its network cable.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use carepost_reader::{Pcscd, Reader};
use reqwest::{Client, StatusCode};
use serde_json::Value;
use tempfile::TempDir;

use crate::children::{Running, free_port, run, until};
use crate::link::Link;
use crate::world::{Nurse, Server};

/// How long anything on a kiosk may take before a story fails, on a machine whose cores are all busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long somebody holds a badge to a reader that does not beep.
const HELD: Duration = Duration::from_secs(5);

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

/// A page: its status and its HTML.
#[derive(Debug, Clone)]
pub struct Page {
    /// The HTTP status.
    pub status: u16,
    /// Where a redirect leads.
    pub location: Option<String>,
    /// The HTML.
    pub html: String,
}

impl Page {
    /// What a person reads.
    #[must_use]
    pub fn words(&self) -> String {
        let mut words = String::new();
        let mut inside = false;
        for c in self.html.chars() {
            match c {
                '<' => inside = true,
                '>' => {
                    inside = false;
                    words.push(' ');
                }
                _ if inside => {}
                _ => words.push(c),
            }
        }
        let words = words.replace("&#39;", "'").replace("&quot;", "\"").replace("&amp;", "&");
        words.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The value of a hidden field.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn hidden(&self, name: &str) -> Result<String> {
        between(&self.html, &format!("name=\"{name}\" value=\""), "\"")
            .with_context(|| format!("no hidden {name} on the page: {}", self.words()))
    }
}

fn between(text: &str, before: &str, after: &str) -> Option<String> {
    Some(text.split_once(before)?.1.split_once(after)?.0.to_owned())
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

    /// Taps a badge until the page says these words: one tap too soon after the last is none.
    ///
    /// # Errors
    /// With what it says instead.
    pub async fn tap_until(&self, uid: &str, words: &[&str]) -> Result<()> {
        until(&format!("{words:?} after a tap"), PATIENCE, || async {
            let before = self.get("/").await?.words();
            if words.iter().all(|word| before.contains(word)) {
                return Ok(());
            }
            self.tap(uid).await?;
            let said = self.get("/").await?.words();
            match words.iter().find(|word| !said.contains(**word)) {
                None => Ok(()),
                Some(missing) => bail!("no {missing:?}: {said}"),
            }
        })
        .await
    }

    /// Fetches a page.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn get(&self, path: &str) -> Result<Page> {
        let mut request = self.page.get(format!("{}{path}", self.address()));
        if let Some(cookie) = &*self.cookie.lock().await {
            request = request.header("cookie", cookie);
        }
        self.read(request.send().await?).await
    }

    /// Sends a form, as a page of the kiosk's own would.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Result<Page> {
        if self.cookie.lock().await.is_none() {
            self.get("/").await?;
        }
        let body = fields
            .iter()
            .map(|(key, value)| format!("{}={}", encode(key), encode(value)))
            .collect::<Vec<_>>()
            .join("&");
        let cookie = self.cookie.lock().await.clone().unwrap_or_default();
        let request = self
            .page
            .post(format!("{}{path}", self.address()))
            .header("cookie", cookie)
            .header("origin", self.address())
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body);
        self.read(request.send().await?).await
    }

    async fn read(&self, answer: reqwest::Response) -> Result<Page> {
        let header =
            |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok().map(str::to_owned));
        if let Some(set) = header("set-cookie") {
            let cookie = set.split(';').next().unwrap_or_default().to_owned();
            *self.cookie.lock().await = Some(cookie);
        }
        let (status, location) = (answer.status().as_u16(), header("location"));
        Ok(Page { status, location, html: answer.text().await? })
    }

    /// How the agent is, in a form for programs.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn status(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.get("/status.json").await?.html)?)
    }

    /// Waits until the agent says that of itself.
    ///
    /// # Errors
    /// With what it says instead.
    pub async fn status_is(&self, key: &str, value: impl Into<Value>) -> Result<()> {
        let value = value.into();
        let what = format!("{} to have {key} {value}", self.name);
        let waited = until(&what, PATIENCE, || async {
            let status = self.status().await?;
            if status.get(key) == Some(&value) { Ok(()) } else { bail!("{status}") }
        });
        waited.await.map_err(|error| error.context(format!("log of {}:\n{}", self.name, tail(&self.log()))))
    }

    /// Waits until the start page says all of these.
    ///
    /// # Errors
    /// With what it says instead.
    pub async fn says(&self, words: &[&str]) -> Result<String> {
        self.page_says("/", words).await
    }

    /// Waits until a page says all of these.
    ///
    /// # Errors
    /// With what it says instead.
    pub async fn page_says(&self, path: &str, words: &[&str]) -> Result<String> {
        let what = format!("{} to show {words:?} at {path}", self.name);
        let waited = until(&what, PATIENCE, || async {
            let page = self.get(path).await?;
            let said = page.words();
            match words.iter().find(|word| !said.contains(**word)) {
                None => Ok(said),
                Some(missing) => bail!("no {missing:?} on the page ({}): {said}", page.status),
            }
        });
        waited.await.map_err(|error| error.context(format!("log of {}:\n{}", self.name, tail(&self.log()))))
    }

    /// Badge and PIN, until the residents are on the screen.
    ///
    /// # Errors
    /// With what the screen says instead.
    pub async fn sign_in(&self, nurse: &Nurse) -> Result<()> {
        self.tap(&nurse.uid).await?;
        self.says(&[&nurse.name, "Enter your PIN"]).await?;
        self.enter_pin(&nurse.pin).await?;
        self.says(&[&nurse.name, "Lock"]).await?;
        Ok(())
    }

    /// Types a PIN into the pad that is shown.
    ///
    /// # Errors
    /// When there is no pad.
    pub async fn enter_pin(&self, pin: &str) -> Result<()> {
        let attempt = self.get("/").await?.hidden("attempt")?;
        self.post("/pin", &[("attempt", &attempt), ("pin", pin)]).await?;
        Ok(())
    }

    /// The path of a resident's page.
    ///
    /// # Errors
    /// When no such name is on the list.
    pub async fn path_of(&self, resident: &str) -> Result<String> {
        until(&format!("{resident} on the list of {}", self.name), PATIENCE, || async {
            let page = self.get("/").await?;
            let cards = page.html.split("href=\"/residents/").skip(1);
            for card in cards {
                let (id, rest) = card.split_once('"').unwrap_or_default();
                let card = rest.split("</a>").next().unwrap_or_default();
                // A link to a form about somebody is no card.
                if card.contains(resident) && !id.contains('/') {
                    return Ok(format!("/residents/{id}"));
                }
            }
            bail!("not there: {}", page.words())
        })
        .await
    }

    /// Fills in a form about a resident and saves it.
    ///
    /// # Errors
    /// With what the page says, unless it was saved.
    pub async fn chart(&self, resident: &str, workflow: &str, answers: &[(&str, &str)]) -> Result<()> {
        let path = format!("{}/chart/{workflow}", self.path_of(resident).await?);
        let answer = self.fill_in(&path, answers).await?;
        if answer.status != StatusCode::SEE_OTHER.as_u16()
            || !answer.location.iter().any(|to| to.contains("saved"))
        {
            bail!("not saved ({} to {:?}): {}", answer.status, answer.location, answer.words());
        }
        Ok(())
    }

    /// Opens a form and sends it filled in: whatever the kiosk answers.
    ///
    /// # Errors
    /// When no form is shown.
    pub async fn fill_in(&self, path: &str, answers: &[(&str, &str)]) -> Result<Page> {
        let form = self.get(path).await?;
        let (token, screen) = (form.hidden("_token")?, form.hidden("_screen")?);
        let units = form.hidden("_units").ok();
        let mut fields = vec![("_token", token.as_str()), ("_screen", screen.as_str())];
        fields.extend(units.iter().map(|units| ("_units", units.as_str())));
        fields.extend_from_slice(answers);
        self.post(path, &fields).await
    }

    /// Opens the stream on which a page hears which screen is the right one.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn listen(&self) -> Result<Listener> {
        let cookie = self.cookie.lock().await.clone().unwrap_or_default();
        let request = self.page.get(format!("{}/events", self.address())).header("cookie", cookie);
        Ok(Listener { answer: request.send().await?, heard: String::new() })
    }

    /// The code on the screen of a device that is not enrolled.
    ///
    /// # Errors
    /// When it shows none in time.
    pub async fn pairing_code(&self) -> Result<String> {
        self.in_large_letters(9).await
    }

    /// The two digits on the screen of a device that is being confirmed.
    ///
    /// # Errors
    /// When it shows none in time.
    pub async fn confirmation_number(&self) -> Result<String> {
        self.in_large_letters(2).await
    }

    async fn in_large_letters(&self, length: usize) -> Result<String> {
        until(&format!("{length} large letters on {}", self.name), PATIENCE, || async {
            let page = self.get("/").await?;
            let code = between(&page.html, "class=\"code\" translate=\"no\">", "<").unwrap_or_default();
            if code.len() == length { Ok(code) } else { bail!("{code:?}: {}", page.words()) }
        })
        .await
    }
}

/// A page's ear.
#[derive(Debug)]
pub struct Listener {
    answer: reqwest::Response,
    heard: String,
}

impl Listener {
    /// Waits until a screen is announced whose key begins so.
    ///
    /// # Errors
    /// When the stream ends first, or nothing comes for long.
    pub async fn until_says(&mut self, key: &str) -> Result<()> {
        let wanted = format!("\"screen\":\"{key}");
        while !self.heard.contains(&wanted) {
            let chunk = tokio::time::timeout(PATIENCE, self.answer.chunk()).await;
            let chunk = chunk.with_context(|| format!("no {key:?} within {PATIENCE:?}"))??;
            self.heard.push_str(&String::from_utf8_lossy(&chunk.context("the stream ended")?));
        }
        Ok(())
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

    /// The folder.
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

fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(40)).copied().collect::<Vec<_>>().join("\n")
}
