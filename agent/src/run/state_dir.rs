//! The state directory, opened: the vault, the clock's floor, and the two files. One process has it open to run on
//! it; commands open it beside that one.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;
use carepost_host::files;
use carepost_protocol::badge;
use carepost_protocol::id::BootId;
use carepost_protocol::time::Timestamp;
use carepost_protocol::wire::enroll::Grant;
use carepost_protocol::wire::heartbeat::Encryption;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::config::Config;
use crate::identity::exposure;
use crate::identity::seal::Credential;
use crate::identity::vault::{Kept, VaultError};
use crate::identity::{Factors, Vault};
use crate::mirror::{Found, Mirror, MirrorOpening};
use crate::outbox::{Binding, Outbox, OutboxOpening};
use crate::upstream::{Credentials, Upstream};

/// What it takes of the disk to begin anew, at the most: some ten small files, most of them twice for a moment.
const ANEW_BYTES: u64 = 48 * 1024;

/// An opened state directory, with what was read of the hardware.
#[derive(Debug)]
pub(crate) struct StateDir {
    pub(crate) vault: Vault,
    pub(crate) factors: Factors,
    /// Where the hardware is read from.
    pub(crate) root: PathBuf,
    pub(crate) clock: Arc<Clock>,
    /// This run of the process.
    pub(crate) boot: BootId,
    /// Whether the server has answered this run.
    answered: Arc<AtomicBool>,
    /// When it began, on monotonic time.
    pub(crate) started: std::time::Duration,
}

/// Where the enrollment stands, as it is kept.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct KeptEnrollment {
    pub(crate) step: Step,
    /// The one-time token of a device registered beforehand, until it is used. Sealed with the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// Why the server refused the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token_refused: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Step {
    #[default]
    Nothing,
    Asking,
    Enrolled,
    Revoked,
    /// Somebody wants the revoked device to enroll anew: what it has is set aside before it is opened next.
    Anew,
}

impl StateDir {
    /// Opens the state directory, and makes what it lacks. What is to enroll anew begins here: with a new key,
    /// and with what it had under the refused one set aside.
    pub(crate) fn open(config: &Config) -> anyhow::Result<Self> {
        Self::open_under(None, config)
    }

    /// The same under the directory's lock, where this process has that already.
    pub(super) fn open_under(lock: Option<File>, config: &Config) -> anyhow::Result<Self> {
        let factors = Factors::read(&config.identity.factors_root)?;
        let credential = Credential::read(std::env::var_os("CREDENTIALS_DIRECTORY").as_deref())?;
        let vault = match lock {
            Some(lock) => Vault::under(lock, &config.state_dir, &factors, credential.as_ref())?,
            None => Vault::open(&config.state_dir, &factors, credential.as_ref())?,
        };
        let opened = Self::with(vault, factors, config)?;
        let kept = opened.kept_enrollment()?;
        if kept.step != Step::Anew {
            return Ok(opened);
        }
        let Self { vault, factors, clock, .. } = opened;
        let vault = vault.set_aside(&factors, credential.as_ref(), clock.now())?;
        // Last: until then a power cut has it done again.
        vault.keep(Kept::Enrollment, &KeptEnrollment { step: Step::Asking, ..kept })?;
        Self::with(vault, factors, config)
    }

    /// Opens an enrolled device's state directory beside the agent that runs on it; none when it is not
    /// enrolled.
    pub(crate) fn beside(config: &Config) -> anyhow::Result<Option<Self>> {
        let Some(opened) = Self::beside_any(config)? else { return Ok(None) };
        Ok(opened.vault.grant()?.is_some().then_some(opened))
    }

    /// The same, enrolled or not; none where no agent was ever started.
    pub(crate) fn beside_any(config: &Config) -> anyhow::Result<Option<Self>> {
        let factors = Factors::read(&config.identity.factors_root)?;
        let credential = Credential::read(std::env::var_os("CREDENTIALS_DIRECTORY").as_deref())?;
        let vault = Vault::beside(&config.state_dir, &factors, credential.as_ref())?;
        vault.map(|vault| Self::with(vault, factors, config)).transpose()
    }

    fn with(vault: Vault, factors: Factors, config: &Config) -> anyhow::Result<Self> {
        // The grant bears a time of the server as well: one that stands should the floor be lost.
        let granted = vault.grant().ok().flatten().map(|grant| grant.server_time);
        let floor = vault.kept::<Timestamp>(Kept::Clock)?.max(granted);
        let clock = Arc::new(Clock::new(floor));
        let boot = BootId::new(clock.now(), clock.random());
        let started = clock.monotonic();
        let root = config.identity.factors_root.clone();
        Ok(Self { vault, factors, root, clock, boot, answered: Arc::default(), started })
    }

    /// The server, reached with this device's key. `boot` is given by the agent that runs, and by no
    /// other command: by it the server tells two agents with one key apart.
    pub(crate) fn upstream(&self, config: &Config, boot: Option<BootId>) -> anyhow::Result<Upstream> {
        let ca = server_ca(config)?;
        let key = self.vault.device_key();
        let own = Credentials::new(key.certificate_der(), key.pkcs8());
        let clock = Arc::clone(&self.clock);
        let mut upstream =
            Upstream::new(&config.server, ca.as_deref().map(Vec::as_slice), &own, clock, boot)?;
        // A line that broke is made anew by the same run: forgotten, a copy that was heard meanwhile stays unseen.
        upstream.answered = Arc::clone(&self.answered);
        Ok(upstream)
    }

    /// The mirror and the outbox of an enrolled device.
    pub(crate) fn files(&self, grant: &Grant, config: &Config) -> anyhow::Result<(Arc<Mirror>, Arc<Outbox>)> {
        // First, so that the copy does not take the room that it needs to be read.
        let outbox = self.outbox(grant, config)?;
        Ok((self.mirror(grant, config)?, outbox))
    }

    /// The mirror alone.
    pub(crate) fn mirror(&self, grant: &Grant, config: &Config) -> anyhow::Result<Arc<Mirror>> {
        let (mirror, found) = Mirror::open(&MirrorOpening {
            path: &self.vault.mirror_path(),
            key: self.vault.mirror_key(),
            facility: (grant.organization_id, grant.facility_id),
            cache_kib: config.mirror.cache_kib,
        })?;
        match found {
            Found::Intact => {}
            Found::SetAside(aside) => {
                tracing::error!(
                    aside = %aside.display(),
                    "the mirror was damaged, or made by another build, and is pulled afresh"
                );
            }
            Found::OtherFacility => tracing::warn!("the mirror was another facility's and is pulled afresh"),
        }
        Ok(Arc::new(mirror))
    }

    /// The outbox alone. That it was begun is kept before anything is charted in it.
    pub(crate) fn outbox(&self, grant: &Grant, config: &Config) -> anyhow::Result<Arc<Outbox>> {
        let outbox = Outbox::open(OutboxOpening {
            path: &self.vault.outbox_path(),
            key: self.vault.outbox_key(),
            binding: Binding::from(grant),
            device_key: Arc::clone(self.vault.device_key()),
            max_mib: config.outbox.max_mib,
            now: self.clock.now(),
            is_begun: self.vault.has_begun_outbox(),
            runs: self.vault.runs(),
        })?;
        self.vault.keep_begun_outbox()?;
        Ok(Arc::new(outbox))
    }

    /// What of this device rests in the clear, as it is now.
    pub(crate) fn encryption(&self) -> Encryption {
        exposure::measure(&self.vault, self.vault.directory(), &self.root)
    }

    /// Whether the server refuses this device's key for good.
    pub(crate) fn is_revoked(&self) -> anyhow::Result<bool> {
        Ok(matches!(self.kept_enrollment()?.step, Step::Revoked | Step::Anew))
    }

    /// Has a revoked device enroll anew when it is opened next, with a token if one is given.
    ///
    /// # Errors
    /// Where the disk has no room for it, also without the mirror: what cannot be finished is not begun, because in
    /// the middle of it no page is there to say why.
    pub(crate) fn enroll_anew(&self, token: Option<&SecretString>) -> anyhow::Result<()> {
        let has_room = || files::room(self.vault.directory()).map_or(true, |bytes| bytes >= ANEW_BYTES);
        if !has_room() {
            self.vault.remove_mirror()?;
            anyhow::ensure!(has_room(), VaultError::NoRoom { path: self.vault.directory().to_owned() });
        }
        let token = token.map(|token| token.expose_secret().to_owned());
        self.keep_refused(&KeptEnrollment { step: Step::Anew, token, token_refused: None })
    }

    /// Keeps that the server refuses this device's key for good.
    pub(crate) fn keep_revoked(&self) -> anyhow::Result<()> {
        self.keep_refused(&KeptEnrollment { step: Step::Revoked, ..KeptEnrollment::default() })
    }

    /// Where the disk is full the mirror makes room: nobody sees it any more, and whoever enrolls anew gets another.
    fn keep_refused(&self, kept: &KeptEnrollment) -> anyhow::Result<()> {
        match self.vault.keep(Kept::Enrollment, kept) {
            Err(VaultError::NoRoom { .. }) => {
                self.vault.remove_mirror()?;
                Ok(self.vault.keep(Kept::Enrollment, kept)?)
            }
            kept => Ok(kept?),
        }
    }

    pub(crate) fn kept_enrollment(&self) -> anyhow::Result<KeptEnrollment> {
        Ok(self.vault.kept(Kept::Enrollment)?.unwrap_or_default())
    }

    /// Keeps the step; a token that waits goes on waiting until the device is let in, and so does why one was
    /// refused.
    pub(crate) fn keep_step(&self, step: Step) -> anyhow::Result<()> {
        let kept = match step {
            Step::Revoked => return self.keep_revoked(),
            Step::Enrolled => KeptEnrollment { step, ..KeptEnrollment::default() },
            Step::Nothing | Step::Asking | Step::Anew => KeptEnrollment { step, ..self.kept_enrollment()? },
        };
        Ok(self.vault.keep(Kept::Enrollment, &kept)?)
    }

    pub(crate) fn keep_token(&self, token: &SecretString) -> anyhow::Result<()> {
        let token = Some(token.expose_secret().to_owned());
        let kept = KeptEnrollment { step: Step::Asking, token, token_refused: None };
        Ok(self.vault.keep(Kept::Enrollment, &kept)?)
    }

    /// Forgets the token, and keeps why the server refused it.
    pub(crate) fn forget_token(&self, detail: &str) -> anyhow::Result<()> {
        let kept = self.kept_enrollment()?;
        let kept = KeptEnrollment { token: None, token_refused: Some(detail.to_owned()), ..kept };
        Ok(self.vault.keep(Kept::Enrollment, &kept)?)
    }

    /// The server said its time in answer to a request sent at `sent`, or in passing: the floor to keep,
    /// when it is time to.
    pub(crate) fn hear_time(
        &self,
        server: Timestamp,
        sent: Option<std::time::Duration>,
    ) -> Option<Timestamp> {
        match sent {
            Some(sent) => self.clock.compared(server, sent),
            None => self.clock.heard(server),
        }
    }

    pub(crate) fn keep_floor(&self, floor: Timestamp) {
        if let Err(error) = self.vault.keep(Kept::Clock, &floor) {
            tracing::error!(%error, "the clock's floor could not be kept");
        }
    }
}

impl KeptEnrollment {
    pub(crate) fn token(self) -> Option<String> {
        self.token
    }
}

/// What the server's certificate has to be signed by, where the configuration says.
pub(crate) fn server_ca(config: &Config) -> anyhow::Result<Option<Zeroizing<Vec<u8>>>> {
    let read = |path: &Path| {
        files::read(path).with_context(|| {
            format!("cannot read server.ca_file {}, which the agent's user has to be able to", path.display())
        })
    };
    config.server.ca_file.as_deref().map(read).transpose()
}

/// The facility's badge key out of a grant.
pub(crate) fn badge_key(grant: &Grant) -> anyhow::Result<Zeroizing<[u8; 32]>> {
    badge::key_of(&grant.badge_key).context("the grant's badge key is not 32 bytes: enroll the device again")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use rcgen::generate_simple_self_signed;

    use super::*;

    #[test]
    fn a_line_made_anew_says_that_the_server_answered_this_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(path("root/etc")).unwrap();
        std::fs::write(path("root/etc/machine-id"), "0123456789abcdef0123456789abcdef\n").unwrap();
        let authority = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(path("ca.pem"), authority.cert.pem()).unwrap();
        let mut config: Config = toml::from_str("[server]\nurl = \"https://localhost:1\"").unwrap();
        config.state_dir = path("state");
        config.server.ca_file = Some(path("ca.pem"));
        config.identity.factors_root = path("root");
        let opened = || StateDir::open(&config).unwrap();
        let line = |state: &StateDir| state.upstream(&config, Some(state.boot)).unwrap().answered;
        let state = opened();
        line(&state).store(true, Ordering::Relaxed);
        assert!(line(&state).load(Ordering::Relaxed));
        drop(state);
        assert!(!line(&opened()).load(Ordering::Relaxed), "that is another run");
    }
}
