//! `carepost-agent doctor`: everything this device needs, checked one by one. It changes nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use carepost_agent_core::clock::{AHEAD, EARLIEST};
use carepost_protocol::record::Collection;
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::enroll::Grant;
use carepost_protocol::wire::heartbeat::{Exposure, MirrorState, ReaderState};
use serde_json::json;

use super::disk::disk;
use super::finding::{Finding, Verdict, finding};
use super::running_agent::{reader_of_running, running_agent};
use super::set_aside::set_aside;
use super::state_copy::StateCopy;
use super::status::REVOKED;
use super::{Outcome, in_words, say};
use crate::badge::{BadgeEvent, pcsc};
use crate::clock::Clock;
use crate::config::{BadgeSource, Config, Kiosk, Mode};
use crate::identity::seal::Credential;
use crate::identity::{DeviceKey, Factors, exposure, vault};
use crate::kiosk::Owner;
use crate::kiosk::start::{self, LocalUser};
use crate::run::{StateDir, server_ca, token_refused};
use crate::upstream::{Credentials, Upstream};

/// How long the server and the reader have to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// A clock that is off by more than this is named.
const CLOCK_OFF: Duration = Duration::from_secs(120);

/// Checks everything, and says what to do about what is wrong.
pub(super) fn doctor(config: &Config, json: bool) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut findings =
        vec![mode(config), hardware(config), seal(), page(&config.kiosk, Owner::of_itself()), disk(config)];
    let (found, clock) = at_rest(config, &runtime);
    findings.extend(found);
    findings.extend(set_aside(config));
    // A running agent holds the floor: then the device's clock has to do.
    let clock = clock.unwrap_or_else(|| Arc::new(Clock::new(None)));
    let (found, server_time) = runtime.block_on(server(config, &clock));
    findings.extend(found);
    findings.push(time(clock.uncorrected(), clock.floor(), server_time));
    findings.push(reader(config, &runtime));
    runtime.shutdown_timeout(Duration::from_secs(1));
    if json {
        let checks: Vec<_> = findings
            .iter()
            .map(|it| json!({"check": it.check, "verdict": it.verdict.name(), "words": it.words}))
            .collect();
        say(&json!({ "checks": checks }).to_string());
    } else {
        for Finding { check, verdict, words } in &findings {
            say(&format!("{:6} {check:9} {words}", verdict.name()));
        }
    }
    let is_ill = |finding: &Finding| matches!(finding.verdict, Verdict::Wrong | Verdict::Unseen);
    Ok(if findings.iter().any(is_ill) { Outcome::NeedsAttention } else { Outcome::Done })
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

/// Whether the page is kept from the processes of other users, by whose each connection is and by the token of
/// the start page. `owner` is whose a connection of this process with itself is, where the kernel tells.
fn page(kiosk: &Kiosk, owner: Option<u32>) -> Finding {
    let name = kiosk.browser_user.as_deref();
    let user = match name.map(LocalUser::named).transpose() {
        Ok(user) => user,
        Err(error) => return finding("page", Verdict::Wrong, error.to_string()),
    };
    let (who, path) = (name.unwrap_or("the agent's own user"), kiosk.start_page.display());
    let blind = "whose a connection is cannot be told here (sock_diag)";
    let start = start::readable_by(&kiosk.start_page, user);
    let (verdict, words) = match (owner, user, start) {
        (Some(_), None, _) => (
            Verdict::Mind,
            format!(
                "for {who} alone. Where the browser runs as another user: name that user in kiosk.browser_user, \
                 give {} its group with mode 2750 (tmpfiles.d/carepost.conf), restart the agent, and let the \
                 browser begin with file://{path}",
                kiosk.start_page.parent().unwrap_or(Path::new("/")).display()
            ),
        ),
        (Some(_), Some(_), Ok(())) => (Verdict::Well, format!("for {who} alone, who opens file://{path}")),
        (Some(_), Some(_), Err(why)) => (
            Verdict::Wrong,
            format!(
                "the start page {path}: {why}; only the owner of a connection keeps others than {who} out"
            ),
        ),
        (None, _, Ok(())) => {
            (Verdict::Mind, format!("{blind}: the start page {path} alone keeps others than {who} out"))
        }
        (None, _, Err(why)) => {
            (Verdict::Wrong, format!("nobody can open it: {blind}, and the start page {path}: {why}"))
        }
    };
    finding("page", verdict, words)
}

/// The state directory and what rests there, and the clock with the floor that is kept there. Of one that no
/// agent has open a copy is looked at.
fn at_rest(config: &Config, runtime: &tokio::runtime::Runtime) -> (Vec<Finding>, Option<Arc<Clock>>) {
    let place = &config.state_dir;
    if !place.exists() {
        let words = format!("{} is made at the first start", place.display());
        return (vec![finding("state", Verdict::Mind, words)], None);
    }
    if vault::is_held(place) {
        let held = finding("state", Verdict::Well, "in use by the running agent, which says of itself:");
        return ([held, running_agent(config)].into_iter().chain(encryption(config, place)).collect(), None);
    }
    let copy = match StateCopy::begun(place) {
        Ok(copy) => copy,
        Err(error) => {
            // What is not there yet cannot be ill.
            let is_enrolled = !matches!(StateDir::beside(config), Ok(None));
            let verdict = if is_enrolled { Verdict::Unseen } else { Verdict::Mind };
            return (vec![finding("state", verdict, in_words(&error))], None);
        }
    };
    match copy.made() {
        Ok(copy) => {
            let looked = Config { state_dir: copy.path().to_owned(), ..config.clone() };
            let (mut found, clock) = state(&looked, runtime);
            found.extend(encryption(&looked, place));
            for finding in &mut found {
                finding.words = copy.of_itself(&finding.words);
            }
            (found, clock)
        }
        Err(error) => {
            let words = format!("{}; check the disk, and that it is the agent's user's", in_words(&error));
            (vec![finding("state", Verdict::Wrong, words)], None)
        }
    }
}

fn state(config: &Config, runtime: &tokio::runtime::Runtime) -> (Vec<Finding>, Option<Arc<Clock>>) {
    let opened = match StateDir::open(config) {
        Ok(opened) => opened,
        Err(error) => return (vec![finding("state", Verdict::Wrong, in_words(&error))], None),
    };
    let _inside = runtime.enter();
    let kept = match opened.kept_enrollment() {
        Ok(kept) => kept,
        Err(error) => {
            return (vec![finding("enrolled", Verdict::Wrong, in_words(&error))], Some(opened.clock));
        }
    };
    let refused = kept.token_refused.map(|why| token_refused(&why));
    let findings = match opened.vault.grant() {
        _ if opened.is_revoked().unwrap_or(false) => vec![finding("enrolled", Verdict::Wrong, REVOKED)],
        Ok(Some(grant)) => {
            let enrolled = format!("{} at {}", grant.device_name, grant.facility_name);
            vec![finding("enrolled", Verdict::Well, enrolled), files(&opened, &grant, config)]
        }
        Ok(None) => {
            let words =
                format!("not yet: start the agent and approve its code. {}", refused.unwrap_or_default());
            vec![finding("enrolled", Verdict::Mind, words.trim_end())]
        }
        Err(error) => vec![finding("enrolled", Verdict::Wrong, error.to_string())],
    };
    (findings, Some(opened.clock))
}

/// The mirror and the outbox of an enrolled device.
fn files(opened: &StateDir, grant: &Grant, config: &Config) -> Finding {
    let (mirror, outbox) = match opened.files(grant, config) {
        Ok(files) => files,
        Err(error) => return finding("files", Verdict::Wrong, in_words(&error)),
    };
    let ready = mirror.is_complete(Collection::Records).unwrap_or(false);
    let counts = outbox.counts().unwrap_or_default();
    let MirrorState { differs, stepped_over, .. } = mirror.agreement().unwrap_or_default();
    let over = stepped_over.iter();
    let over: Vec<_> =
        over.map(|it| format!("{} of {} ({})", it.count, it.collection, it.reason.words())).collect();
    let state = match (ready, differs.as_slice(), over.as_slice()) {
        (_, [_, ..], _) => format!("differs from the server's: {}", differs.join(", ")),
        (_, [], [_, ..]) => format!("without what it cannot take: {}", over.join(", ")),
        (true, [], []) => "complete".to_owned(),
        (false, [], []) => "still loading".to_owned(),
    };
    let words =
        format!("both open; mirror {state}; {} entries wait, {} are rejected", counts.care, counts.rejected);
    let trouble = outbox.trouble();
    let is_well = trouble.is_none() && counts.rejected == 0 && differs.is_empty() && over.is_empty();
    let words = trouble.into_iter().chain([words]).collect::<Vec<_>>().join("; ");
    finding("files", if is_well { Verdict::Well } else { Verdict::Wrong }, words)
}

/// What of an enrolled device rests in the clear at that place, of which the configuration may name a copy.
fn encryption(config: &Config, place: &Path) -> Option<Finding> {
    let measured = match StateDir::beside(config) {
        Ok(opened) => {
            let opened = opened?;
            exposure::measure(&opened.vault, place, &opened.root)
        }
        // It is said already.
        Err(_) => return None,
    };
    if measured.is_complete() {
        let words =
            "the files open with their keys and not without; the directory is private, no swap in the clear";
        return Some(finding("encrypted", Verdict::Well, words));
    }
    let verdict = match config.mode {
        Mode::Production => Verdict::Wrong,
        Mode::Demo => Verdict::Mind,
    };
    let words: Vec<String> = measured.exposed.iter().map(Exposure::words).collect();
    let words = format!("NOT: {}. A facility that demands encryption sends it nothing", words.join("; "));
    Some(finding("encrypted", verdict, words))
}

/// Whether the server is reached over TLS that this device trusts, and what time it says it is. The
/// handshake needs no enrollment.
async fn server(config: &Config, clock: &Arc<Clock>) -> (Vec<Finding>, Option<Timestamp>) {
    let url = &config.server.url;
    let ca = match server_ca(config) {
        Ok(ca) => ca,
        Err(error) => return (vec![finding("server", Verdict::Wrong, in_words(&error))], None),
    };
    let ca = ca.as_deref().map(Vec::as_slice);
    match tokio::time::timeout(PATIENCE, reach(config, ca, clock)).await {
        Ok(Ok((time, ends))) => {
            let words = format!("{url} answers, and its certificate is trusted");
            let ends = ends.map(|ends| {
                let words = format!("the server's ends at {ends}: have it renewed, or this device stays out");
                finding("expiry", Verdict::Mind, words)
            });
            ([finding("server", Verdict::Well, words)].into_iter().chain(ends).collect(), time)
        }
        Ok(Err(error)) => {
            (vec![finding("server", Verdict::Wrong, format!("{url}: {}", in_words(&error)))], None)
        }
        Err(_) => {
            let proxy = config.server.proxy.as_ref().map_or("", |_| ", and server.proxy");
            let words = format!("{url} does not answer: check network and firewall{proxy}");
            (vec![finding("server", Verdict::Wrong, words)], None)
        }
    }
}

/// What time the server says it is, and when its certificate ends, where that is soon.
async fn reach(
    config: &Config,
    ca: Option<&[u8]>,
    clock: &Arc<Clock>,
) -> anyhow::Result<(Option<Timestamp>, Option<Timestamp>)> {
    // Any key will do: the vault may be in use, and this asks for nothing but an answer.
    let key = DeviceKey::generate()?;
    let own = Credentials::new(key.certificate_der(), key.pkcs8());
    let upstream = Upstream::new(&config.server, ca, &own, Arc::clone(clock), None)?;
    let time = upstream.reach().await?.and_then(timestamp);
    Ok((time, upstream.certificate_ends()))
}

fn timestamp(time: SystemTime) -> Option<Timestamp> {
    let millis = time.duration_since(UNIX_EPOCH).ok()?.as_millis();
    Some(Timestamp::from_millis(i64::try_from(millis).ok()?))
}

/// Whether the device's own clock is right: by the server's where it answered, else by what cannot be.
fn time(own: Timestamp, floor: Option<Timestamp>, server: Option<Timestamp>) -> Finding {
    let least = floor.unwrap_or(EARLIEST);
    let (off, than) = match server {
        Some(server) if own.since(server).max(server.since(own)) <= CLOCK_OFF => {
            return finding("clock", Verdict::Well, format!("{own}, as the server's"));
        }
        Some(server) => (server, "the server's"),
        None if least.since(own) > CLOCK_OFF => (least, "the latest time known"),
        None if own.since(least) > AHEAD => (least, "the latest time known"),
        None => return finding("clock", Verdict::Well, format!("{own}; no server to compare it with")),
    };
    let (by, way) = if own > off { (own.since(off), "ahead of") } else { (off.since(own), "behind") };
    let words = format!(
        "{own}, {} {way} {than}: OFF. The agent corrects it; set it, or let it follow a time server \
         (timedatectl set-ntp true)",
        roughly(by)
    );
    finding("clock", Verdict::Mind, words)
}

fn roughly(time: Duration) -> String {
    match time.as_secs() / 60 {
        minutes @ ..120 => format!("{minutes} minutes"),
        minutes @ 120..2880 => format!("{} hours", minutes / 60),
        minutes => format!("{} days", minutes / 1440),
    }
}

fn is_in_use(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
}

/// What the running agent says of its reader, which it may reach in another way than this command; else how it is.
fn reader(config: &Config, runtime: &tokio::runtime::Runtime) -> Finding {
    if config.badge.source == BadgeSource::None {
        return finding("reader", Verdict::Well, "none, as configured");
    }
    if let Some(state) = vault::is_held(&config.state_dir).then(|| reader_of_running(config)).flatten() {
        return reader_finding(state);
    }
    let _inside = runtime.enter();
    let (source, mut events) = match crate::run::badges(config) {
        Ok(Some(badges)) => badges,
        Ok(None) => return finding("reader", Verdict::Well, "none, as configured"),
        Err(error) if is_in_use(&error) => {
            return finding("reader", Verdict::Mind, "scripted badges, taken by the running agent");
        }
        Err(error) => return finding("reader", Verdict::Wrong, in_words(&error)),
    };
    let state = runtime.block_on(async {
        let heard = async {
            while let Some(event) = events.recv().await {
                if let BadgeEvent::Reader(state) = event {
                    return Some(state);
                }
            }
            None
        };
        tokio::time::timeout(PATIENCE, heard).await.ok().flatten()
    });
    drop(source);
    reader_finding(state.unwrap_or(ReaderState::ServiceDown))
}

fn reader_finding(state: ReaderState) -> Finding {
    let (verdict, words) = match state {
        ReaderState::Ready => (Verdict::Well, "ready for a badge"),
        ReaderState::Missing | ReaderState::None => {
            (Verdict::Wrong, "pcscd runs, but no reader is plugged in")
        }
        ReaderState::ServiceDown if pcsc::is_there() => (
            Verdict::Wrong,
            "pcscd is there and refuses this user or the agent's: put carepost-pcscd.rules into /usr/share/polkit-1/rules.d and \
             restart polkit and pcscd, or run this as the agent's own user",
        ),
        ReaderState::ServiceDown => {
            (Verdict::Wrong, "pcscd does not answer: install and start it, or set badge.source to \"none\"")
        }
    };
    finding("reader", verdict, words)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_page_is_kept_from_others_by_either_of_two_ways_and_without_both_opens_for_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let kiosk = Kiosk { start_page: folder.path().join("start.html"), ..Kiosk::default() };
        let said = |owner, expected, parts: &[&str]| {
            let Finding { verdict, words, .. } = page(&kiosk, owner);
            assert_eq!(verdict, expected, "{words}");
            assert!(parts.iter().all(|part| words.contains(*part)), "{words}");
        };
        said(None, Verdict::Wrong, &["nobody can open it", "sock_diag", "is the agent running?"]);
        said(Some(7), Verdict::Mind, &["for the agent's own user alone"]);
        fs::write(&kiosk.start_page, "").unwrap();
        fs::set_permissions(&kiosk.start_page, Permissions::from_mode(0o600)).unwrap();
        said(None, Verdict::Mind, &["sock_diag", "alone keeps others than the agent's own user out"]);
    }

    #[test]
    fn a_clock_that_is_off_is_named_with_how_far_and_what_to_do() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let now = at("2026-05-01T14:10:00Z");
        let floor = Some(at("2026-04-30T00:00:00Z"));
        let said = |own, floor, server| {
            let Finding { check, verdict, words } = time(own, floor, server);
            assert_eq!(check, "clock");
            (verdict == Verdict::Well, words)
        };
        assert!(said(now.plus_millis(90_000), floor, Some(now)).0);
        let (well, words) = said(at("2026-05-01T17:10:00Z"), floor, Some(now));
        assert!(
            !well && words.contains("3 hours ahead of the server's: OFF") && words.contains("set-ntp"),
            "{words}"
        );
        let (well, words) = said(Timestamp::EPOCH, None, Some(now));
        assert!(!well && words.contains("20574 days behind the server's"), "{words}");
        // Without a server only what cannot be shows.
        let (well, words) = said(Timestamp::EPOCH, floor, None);
        assert!(!well && words.contains("behind the latest time known"), "{words}");
        assert!(!said(at("2099-01-01T00:00:00Z"), None, None).0);
        assert!(said(at("2027-01-01T00:00:00Z"), floor, None).0, "long off, perhaps");
    }
}
