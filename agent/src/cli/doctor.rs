//! `carepost-agent doctor`: everything this device needs, checked one by one.

use std::path::Path;
use std::time::Duration;

use carepost_protocol::id::BootId;
use carepost_protocol::record::Collection;
use carepost_protocol::wire::heartbeat::ReaderState;
use serde_json::json;

use super::{Outcome, say};
use crate::badge::BadgeEvent;
use crate::clock::Clock;
use crate::config::{BadgeSource, Config, Mode};
use crate::identity::seal::Credential;
use crate::identity::{DeviceKey, Factors};
use crate::run::Opened;
use crate::upstream::{Credentials, Upstream};

/// How long the server and the reader have to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a check found.
struct Finding {
    check: &'static str,
    verdict: Verdict,
    words: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Well,
    /// It works, and somebody should know.
    Mind,
    Wrong,
}

/// Checks everything, and says what to do about what is wrong.
pub(super) fn doctor(config: &Config, json: bool) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut findings = vec![mode(config), hardware(config), seal()];
    findings.extend(state(config, &runtime));
    findings.push(runtime.block_on(server(config)));
    findings.push(runtime.block_on(reader(config)));
    runtime.shutdown_timeout(Duration::from_secs(1));
    if json {
        let checks: Vec<_> = findings
            .iter()
            .map(|it| json!({"check": it.check, "verdict": it.verdict.name(), "words": it.words}))
            .collect();
        say(&json!({ "checks": checks }).to_string());
    } else {
        for Finding { check, verdict, words } in &findings {
            say(&format!("{:5} {check:9} {words}", verdict.name()));
        }
    }
    let wrong = findings.iter().any(|finding| finding.verdict == Verdict::Wrong);
    Ok(if wrong { Outcome::NeedsAttention } else { Outcome::Done })
}

impl Verdict {
    const fn name(self) -> &'static str {
        match self {
            Self::Well => "ok",
            Self::Mind => "note",
            Self::Wrong => "WRONG",
        }
    }
}

fn finding(check: &'static str, verdict: Verdict, words: impl Into<String>) -> Finding {
    Finding { check, verdict, words: words.into() }
}

fn mode(config: &Config) -> Finding {
    match config.mode {
        Mode::Production => finding("mode", Verdict::Well, "production"),
        Mode::Demo => finding(
            "mode",
            Verdict::Mind,
            "demo: simulated hardware and badges are allowed; never with real residents",
        ),
    }
}

fn hardware(config: &Config) -> Finding {
    let root = &config.identity.factors_root;
    match Factors::read(root) {
        Ok(factors) => {
            let words = format!(
                "{} from {}; {} network addresses",
                factors.device_uuid(),
                factors.kind().name(),
                factors.mac_addresses().len()
            );
            if root == Path::new("/") {
                finding("hardware", Verdict::Well, words)
            } else {
                finding("hardware", Verdict::Mind, format!("{words}; SIMULATED by identity.factors_root"))
            }
        }
        Err(error) => finding("hardware", Verdict::Wrong, error.to_string()),
    }
}

fn seal() -> Finding {
    match Credential::read(std::env::var_os("CREDENTIALS_DIRECTORY").as_deref()) {
        Ok(Some(_)) => finding("seal", Verdict::Well, "systemd's credential device-seal"),
        Ok(None) => finding(
            "seal",
            Verdict::Mind,
            "derived from the hardware: it stops an SD card read elsewhere, not a stolen device that still runs",
        ),
        Err(error) => finding("seal", Verdict::Wrong, error.to_string()),
    }
}

/// The state directory. A running agent holds it; then the agent itself is asked.
fn state(config: &Config, runtime: &tokio::runtime::Runtime) -> Vec<Finding> {
    use crate::identity::vault::VaultError;
    if !config.state_dir.exists() {
        let words = format!("{} is made at the first start", config.state_dir.display());
        return vec![finding("state", Verdict::Mind, words)];
    }
    let opened = match Opened::open(config) {
        Ok(opened) => opened,
        Err(error) if matches!(error.downcast_ref(), Some(VaultError::InUse { .. })) => {
            return vec![finding(
                "state",
                Verdict::Well,
                "in use by the running agent; ask it with `status`",
            )];
        }
        Err(error) => return vec![finding("state", Verdict::Wrong, format!("{error:#}"))],
    };
    let _inside = runtime.enter();
    match opened.vault.grant() {
        Ok(Some(grant)) => {
            let enrolled = format!("{} at {}", grant.device_name, grant.facility_name);
            let mut findings = vec![finding("enrolled", Verdict::Well, enrolled)];
            findings.push(match opened.files(&grant, config) {
                Ok((mirror, outbox)) => {
                    let ready = mirror.is_complete(Collection::Records).unwrap_or(false);
                    let counts = outbox.counts().unwrap_or_default();
                    let differs = mirror.agreement().unwrap_or_default().differs;
                    let state = match (ready, differs.as_slice()) {
                        (_, [_, ..]) => format!("differs from the server's: {}", differs.join(", ")),
                        (true, []) => "complete".to_owned(),
                        (false, []) => "still loading".to_owned(),
                    };
                    let words = format!(
                        "both open, encrypted; mirror {state}; {} entries wait, {} need attention",
                        counts.care, counts.wedged
                    );
                    let wrong = counts.wedged > 0 || !differs.is_empty();
                    finding("files", if wrong { Verdict::Wrong } else { Verdict::Well }, words)
                }
                Err(error) => finding("files", Verdict::Wrong, format!("{error:#}")),
            });
            findings
        }
        Ok(None) => vec![finding("enrolled", Verdict::Mind, "not yet: start the agent and approve its code")],
        Err(error) => vec![finding("enrolled", Verdict::Wrong, error.to_string())],
    }
}

/// Whether the server is reached over TLS that this device trusts. The handshake needs no enrollment.
async fn server(config: &Config) -> Finding {
    let url = &config.server.url;
    match tokio::time::timeout(PATIENCE, reach(config)).await {
        Ok(Ok(())) => {
            finding("server", Verdict::Well, format!("{url} answers, and its certificate is trusted"))
        }
        Ok(Err(error)) => finding("server", Verdict::Wrong, format!("{url}: {error:#}")),
        Err(_) => {
            finding("server", Verdict::Wrong, format!("{url} does not answer: check network and firewall"))
        }
    }
}

async fn reach(config: &Config) -> anyhow::Result<()> {
    let ca = config.server.ca_file.as_deref().map(std::fs::read).transpose()?;
    // Any key will do: the vault may be in use, and this asks for nothing but an answer.
    let key = DeviceKey::generate()?;
    let clock = Clock::new(None);
    let boot = BootId::new(clock.now(), clock.random());
    let own = Credentials::new(key.certificate_der(), key.pkcs8());
    Ok(Upstream::new(&config.server.url, ca.as_deref(), &own, boot)?.reach().await?)
}

fn is_in_use(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
}

async fn reader(config: &Config) -> Finding {
    if config.badge.source == BadgeSource::None {
        return finding("reader", Verdict::Well, "none, as configured");
    }
    let source = match crate::run::badges(config) {
        Ok(Some(badges)) => badges,
        Ok(None) => return finding("reader", Verdict::Well, "none, as configured"),
        Err(error) if is_in_use(&error) => {
            return finding("reader", Verdict::Mind, "scripted badges, taken by the running agent");
        }
        Err(error) => return finding("reader", Verdict::Wrong, format!("{error:#}")),
    };
    let (source, mut events) = source;
    let state = tokio::time::timeout(PATIENCE, async {
        while let Some(event) = events.recv().await {
            if let BadgeEvent::Reader(state) = event {
                return Some(state);
            }
        }
        None
    });
    let state = state.await.ok().flatten();
    drop(source);
    match state {
        Some(ReaderState::Ready) => finding("reader", Verdict::Well, "ready for a badge"),
        Some(ReaderState::Missing | ReaderState::None) => {
            finding("reader", Verdict::Wrong, "pcscd runs, but no reader is plugged in")
        }
        Some(ReaderState::ServiceDown) | None => finding(
            "reader",
            Verdict::Wrong,
            "pcscd does not answer: install and start it, or set badge.source to \"none\"",
        ),
    }
}
