//! The vault: the state directory with the device's secrets, sealed, each file written whole or not at all.
//!
//! | file | holds |
//! |---|---|
//! | `agent.lock` | the lock that keeps a second agent out |
//! | `seal.salt` | salt and source of the sealing key |
//! | `device.key` | the device key (PKCS #8), sealed |
//! | `mirror.key`, `outbox.key` | the keys of the two encrypted files, sealed |
//! | `outbox.recovery` | the outbox key once more, for the organization's recovery key (age) |
//! | `inventory` | that the device was let in, and whether it began an outbox: none of it is begun anew; sealed |
//! | `grant`, `enrollment`, `clock` | what the server granted, where enrollment stands, the clock's floor; sealed |
//! | `kiosk.cookie` | what the kiosk's browser is known by, since the device enrolled anew; sealed |
//! | `revoked-.../` | what was made under a key that was refused for good, and what opens it |

mod anew;
mod inventory;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use carepost_protocol::hex::hex;
use carepost_protocol::wire::enroll::Grant;
use ring::hmac;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use self::inventory::{INVENTORY, Inventory};
use super::durable;
use super::factors::Factors;
use super::key::{DeviceKey, KeyError};
use super::seal::{ANEW, Credential, SALT_FILE, Seal, SealError, WITH_KEY};
use crate::sqlite::FileKey;

pub use anew::aside;
pub(crate) use inventory::{is_begun, made_anew};

const LOCK: &str = "agent.lock";
/// How often an agent that starts tries to get the lock from commands, and how long it waits in between: some fifteen
/// seconds in all.
const LOCK_TRIES: usize = 75;
const LOCK_WAIT: Duration = Duration::from_millis(200);
const DEVICE_KEY: &str = "device.key";
const MIRROR_KEY: &str = "mirror.key";
const OUTBOX_KEY: &str = "outbox.key";
const OUTBOX: &str = "outbox.db";
const OUTBOX_WAL: &str = "outbox.db-wal";
const MIRROR: &str = "mirror.db";
const RECOVERY: &str = "outbox.recovery";
const GRANT: &str = "grant";
const COOKIE: &str = "kiosk.cookie";

/// Why the state directory could not be used.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// Another agent runs on it.
    #[error("{directory}: another carepost-agent runs on this directory; stop that one first")]
    InUse { directory: PathBuf },
    /// Sealing or opening failed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The device key is unusable.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A file opened, and what it holds is not what belongs there.
    #[error("{name}: not what this version of the agent wrote there: {ANEW}; {WITH_KEY}")]
    NotUnderstood { name: &'static str },
    /// What was begun here is gone.
    #[error("{path} is missing: put it back if there is a copy of it; else {ANEW}; {WITH_KEY}")]
    Missing { path: PathBuf },
    /// What was begun here is not known, and not all of it is there.
    #[error(
        "{path}: the sealed file is damaged, and not all that it lists may be there: put a copy of it back if there is \
         one; else move it away, and another is made of what is there"
    )]
    NoInventory { path: PathBuf },
    /// The server gave a recovery recipient that is not an age recipient.
    #[error("the server's recovery recipient is not an age recipient (age1...): {0}")]
    NotARecipient(String),
    /// The recovery recipient is pinned at enrollment, and another came.
    #[error(
        "the server names another recovery key than the one pinned at enrollment: ask the organization's \
         administrator; if it was changed on purpose, {ANEW}; {WITH_KEY}"
    )]
    RecipientChanged,
    /// The outbox key could not be wrapped.
    #[error("the outbox key could not be wrapped to the recovery key: {0}")]
    NotWrapped(String),
    /// The disk is full.
    #[error("{path}: the disk is full: free some space")]
    NoRoom { path: PathBuf },
    /// The disk refused.
    #[error("{path}: {source}; check the disk, and that this file is the agent's user's")]
    Io { path: PathBuf, source: std::io::Error },
}

/// A sealed document of the agent's own, besides the [`Grant`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Where enrollment stands, so that power loss in the middle of it resumes.
    Enrollment,
    /// The clock's floor and its offset to the server.
    Clock,
}

impl Kept {
    const fn file(self) -> &'static str {
        match self {
            Self::Enrollment => "enrollment",
            Self::Clock => "clock",
        }
    }
}

/// An open state directory. While it lives, no other agent can open it.
#[derive(Debug)]
pub struct Vault {
    directory: PathBuf,
    seal: Seal,
    device_key: Arc<DeviceKey>,
    mirror_key: FileKey,
    outbox_key: FileKey,
    begun: Mutex<Option<Inventory>>,
    lock: Option<File>,
}

impl Vault {
    /// Opens a state directory. What it lacks is made: the directory, the sealing key, the device key
    /// and the file keys.
    ///
    /// # Errors
    /// [`VaultError::InUse`] while another agent has it; [`SealError::OtherHardware`] when it was
    /// copied from another device; [`VaultError::Missing`] when what was begun in it is gone.
    pub fn open(
        directory: &Path,
        factors: &Factors,
        credential: Option<&Credential>,
    ) -> Result<Self, VaultError> {
        let io = |source| VaultError::Io { path: directory.to_owned(), source };
        durable::directory(directory).map_err(io)?;
        let lock = lock_after_commands(directory)?;
        // Only now: who merely looks while another agent has it changes nothing.
        durable::make_private(directory).map_err(io)?;
        Self::under(lock, directory, factors, credential)
    }

    /// The same under a lock that this process has already.
    ///
    /// # Errors
    /// As [`open`](Self::open), but for [`VaultError::InUse`].
    pub(crate) fn under(
        lock: File,
        directory: &Path,
        factors: &Factors,
        credential: Option<&Credential>,
    ) -> Result<Self, VaultError> {
        Self::unsealed(directory, factors, credential, Some(lock))
    }

    /// Opens the state directory also while an agent has it: for commands that read it or write into the outbox,
    /// which two processes may do. None when no agent has made one there.
    ///
    /// # Errors
    /// As [`open`](Self::open), but for [`VaultError::InUse`].
    pub fn beside(
        directory: &Path,
        factors: &Factors,
        credential: Option<&Credential>,
    ) -> Result<Option<Self>, VaultError> {
        // What an agent lacks before it is let in, or while it begins anew, is its to make.
        let is_made = [SALT_FILE, OUTBOX_KEY, DEVICE_KEY].iter().all(|name| directory.join(name).exists());
        if !is_made && !inventory::is_enrolled(directory) {
            return Ok(None);
        }
        match Self::unsealed(directory, factors, credential, None) {
            // An agent has begun to set it aside meanwhile.
            Err(VaultError::Missing { .. }) if !inventory::is_enrolled(directory) => Ok(None),
            opened => opened.map(Some),
        }
    }

    fn unsealed(
        directory: &Path,
        factors: &Factors,
        credential: Option<&Credential>,
        lock: Option<File>,
    ) -> Result<Self, VaultError> {
        refuse_new_salt_for_old_secrets(directory)?;
        let seal = Seal::open_or_create(directory, factors, credential)?;
        let (begun, is_new) = inventory::read(directory, &seal)?;
        // A new one would hide that the one is gone by which the server knows the device, or that opens its outbox.
        if let Some(path) = begun.and_then(|_| inventory::gone(directory)) {
            return Err(VaultError::Missing { path });
        }
        let mirror_key = file_key(directory, &seal, MIRROR_KEY)?;
        let outbox_key = file_key(directory, &seal, OUTBOX_KEY)?;
        let device_key = Arc::new(device_key(directory, &seal)?);
        let (directory, begun) = (directory.to_owned(), Mutex::new(begun));
        let vault = Self { directory, seal, device_key, mirror_key, outbox_key, begun, lock };
        if is_new && vault.runs() {
            // On a full disk it is made again at the next start.
            if let Err(error) = vault.store(INVENTORY, &*vault.begun()) {
                tracing::error!(%error, "what was begun here is not kept yet");
            }
        }
        Ok(vault)
    }

    /// Whether this process has the directory to run on, and not beside the agent that does.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.lock.is_some()
    }

    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    #[must_use]
    pub fn device_key(&self) -> &Arc<DeviceKey> {
        &self.device_key
    }

    #[must_use]
    pub fn mirror_key(&self) -> &FileKey {
        &self.mirror_key
    }

    #[must_use]
    pub fn outbox_key(&self) -> &FileKey {
        &self.outbox_key
    }

    /// What the kiosk's browser is known by: the same at every start on this directory, and nowhere else.
    #[must_use]
    pub fn kiosk_cookie(&self) -> SecretString {
        let kept = self.load::<String>(COOKIE).unwrap_or_else(|error| {
            tracing::error!(%error, "the kiosk's browser has to begin with the start page again");
            None
        });
        kept.unwrap_or_else(|| self.cookie_of_key()).into()
    }

    /// It outlives the device key.
    fn keep_kiosk_cookie(&self) -> Result<(), VaultError> {
        self.store(COOKIE, &self.kiosk_cookie().expose_secret())
    }

    fn cookie_of_key(&self) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.device_key.pkcs8());
        hex(hmac::sign(&key, b"carepost kiosk cookie").as_ref())
    }

    /// Where the mirror's file belongs.
    #[must_use]
    pub fn mirror_path(&self) -> PathBuf {
        self.directory.join(MIRROR)
    }

    /// Where the outbox's file belongs.
    #[must_use]
    pub fn outbox_path(&self) -> PathBuf {
        self.directory.join(OUTBOX)
    }

    /// Whether an outbox was begun here.
    #[must_use]
    pub fn has_begun_outbox(&self) -> bool {
        self.begun().is_some_and(|begun| begun.outbox)
    }

    /// Keeps that an outbox was begun here: before anything is charted in it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn keep_begun_outbox(&self) -> Result<(), VaultError> {
        self.keep_begun(Inventory { outbox: true })
    }

    fn keep_begun(&self, all: Inventory) -> Result<(), VaultError> {
        let mut begun = self.begun();
        if *begun != Some(all) && self.runs() {
            self.store(INVENTORY, &all)?;
            *begun = Some(all);
        }
        Ok(())
    }

    fn begun(&self) -> MutexGuard<'_, Option<Inventory>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the server granted at enrollment; none before.
    ///
    /// # Errors
    /// When the file is damaged or the disk refuses.
    pub fn grant(&self) -> Result<Option<Grant>, VaultError> {
        self.load(GRANT)
    }

    /// Keeps what the server granted, and wraps the outbox key to the organization's recovery key. The
    /// wrap comes first: no grant is on the disk without it, so no care is charted that nobody could
    /// salvage. Keeping the same grant again is harmless.
    ///
    /// # Errors
    /// [`VaultError::RecipientChanged`] when an earlier grant pinned another recovery recipient;
    /// [`VaultError::NotARecipient`] when it is none.
    pub fn keep_grant(&self, grant: &Grant) -> Result<(), VaultError> {
        let pinned = self.grant()?.map(|earlier| earlier.recovery_recipient);
        if pinned.is_some_and(|pinned| pinned != grant.recovery_recipient) {
            return Err(VaultError::RecipientChanged);
        }
        self.wrap_outbox_key(&grant.recovery_recipient)?;
        self.store(GRANT, grant)?;
        self.keep_begun(Inventory { outbox: self.has_begun_outbox() })
    }

    /// Keeps a document of the agent's own.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn keep<T: Serialize>(&self, kept: Kept, document: &T) -> Result<(), VaultError> {
        self.store(kept.file(), document)
    }

    /// The document kept last; none before there is one.
    ///
    /// # Errors
    /// When the file is damaged, of another form, or the disk refuses.
    pub fn kept<T: DeserializeOwned>(&self, kept: Kept) -> Result<Option<T>, VaultError> {
        self.load(kept.file())
    }

    fn wrap_outbox_key(&self, recipient: &str) -> Result<(), VaultError> {
        let recipient: age::x25519::Recipient =
            recipient.parse().map_err(|error: &str| VaultError::NotARecipient(error.to_owned()))?;
        // In hexadecimal, as the sqlcipher tool takes it.
        let wrapped = age::encrypt(&recipient, self.outbox_key.to_hex().as_bytes())
            .map_err(|error| VaultError::NotWrapped(error.to_string()))?;
        self.write(RECOVERY, &wrapped)
    }

    fn store<T: Serialize>(&self, name: &'static str, document: &T) -> Result<(), VaultError> {
        let json = serde_json::to_vec(document).map_err(|_| VaultError::NotUnderstood { name })?;
        let sealed = self.seal.seal(name, &Zeroizing::new(json))?;
        self.write(name, &sealed)
    }

    fn load<T: DeserializeOwned>(&self, name: &'static str) -> Result<Option<T>, VaultError> {
        load(&self.directory, &self.seal, name)
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<(), VaultError> {
        let path = self.directory.join(name);
        durable::replace(&path, content).map_err(|source| refused(path, source))
    }
}

/// Keeps other agents out of a state directory, while the file lives.
pub(crate) fn lock(directory: &Path) -> Result<File, VaultError> {
    let path = directory.join(LOCK);
    let file = lock_file(&path).map_err(|source| VaultError::Io { path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(VaultError::InUse { directory: directory.to_owned() }),
        Err(TryLockError::Error(source)) => Err(VaultError::Io { path, source }),
    }
}

/// The same for an agent that starts: commands are waited for.
fn lock_after_commands(directory: &Path) -> Result<File, VaultError> {
    for _ in 0..LOCK_TRIES {
        match lock(directory) {
            Err(VaultError::InUse { .. }) if !is_held(directory) => thread::sleep(LOCK_WAIT),
            locked => return locked,
        }
    }
    lock(directory)
}

/// Keeps agents out of a state directory for a command, while the file lives; none while an agent runs on it. Other
/// commands may do so too.
pub(crate) fn lock_for_command(directory: &Path) -> Option<File> {
    let file = lock_file(&directory.join(LOCK)).ok()?;
    file.try_lock_shared().is_ok().then_some(file)
}

fn lock_file(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// Whether an agent runs on a state directory. Nothing is made or changed.
#[must_use]
pub fn is_held(directory: &Path) -> bool {
    let lock = File::open(directory.join(LOCK));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Without its salt, what is sealed here is lost. A new salt would hide that behind "damaged".
fn refuse_new_salt_for_old_secrets(directory: &Path) -> Result<(), VaultError> {
    let salt = directory.join(SALT_FILE);
    if !salt.exists() && is_begun(directory) {
        return Err(SealError::NoSalt { path: salt }.into());
    }
    Ok(())
}

fn device_key(directory: &Path, seal: &Seal) -> Result<DeviceKey, VaultError> {
    if let Some(pkcs8) = unseal_file(directory, seal, DEVICE_KEY)? {
        return Ok(DeviceKey::from_pkcs8(&pkcs8)?);
    }
    let key = DeviceKey::generate()?;
    seal_file(directory, seal, DEVICE_KEY, key.pkcs8())?;
    Ok(key)
}

fn file_key(directory: &Path, seal: &Seal, name: &'static str) -> Result<FileKey, VaultError> {
    if let Some(secret) = unseal_file(directory, seal, name)? {
        let bytes =
            <[u8; 32]>::try_from(secret.as_slice()).map_err(|_| VaultError::NotUnderstood { name })?;
        return Ok(FileKey::from_bytes(bytes));
    }
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|_| SealError::Random)?;
    seal_file(directory, seal, name, bytes.as_slice())?;
    Ok(FileKey::from_bytes(*bytes))
}

fn seal_file(directory: &Path, seal: &Seal, name: &str, secret: &[u8]) -> Result<(), VaultError> {
    let path = directory.join(name);
    durable::replace(&path, &seal.seal(name, secret)?).map_err(|source| refused(path, source))
}

/// Why the disk takes nothing.
fn refused(path: PathBuf, source: std::io::Error) -> VaultError {
    if matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
        VaultError::NoRoom { path }
    } else {
        VaultError::Io { path, source }
    }
}

fn load<T: DeserializeOwned>(
    directory: &Path,
    seal: &Seal,
    name: &'static str,
) -> Result<Option<T>, VaultError> {
    let Some(secret) = unseal_file(directory, seal, name)? else {
        return Ok(None);
    };
    serde_json::from_slice(&secret).map(Some).map_err(|_| VaultError::NotUnderstood { name })
}

fn unseal_file(directory: &Path, seal: &Seal, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
    let path = directory.join(name);
    let sealed = durable::read(&path).map_err(|source| VaultError::Io { path, source })?;
    Ok(sealed.map(|sealed| seal.unseal(name, &sealed)).transpose()?)
}

#[cfg(test)]
mod tests;
