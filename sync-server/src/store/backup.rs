//! Backups: a copy of the database that was read from end to end, and the way back.
//!
//! A copy is taken while the server runs. What it holds of each device's chains is then noted in the live
//! database: only from there on do devices forget what they have sent.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};

use carepost_host::files;
use carepost_protocol::audit::AuditEventType;
use carepost_protocol::id::{DeviceId, FacilityId, IncarnationId, OrganizationId};
use serde_json::json as object;

use super::carry_over::AccessState;
use super::engine::{self, AccessScope, Tx, params};
use super::handles::organization::{TOKEN_LIFE, finish_with_lost};
use super::row::{row, select};
use super::rules::{audit, sync_position};
use super::{Ambient, DatabaseKey, StoreError};
use crate::scope::FacilityScope;

/// Why there is no backup, or why it was not put back.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file or folder cannot be read or written.
    #[error("{path}: {fault}; check that it exists, who owns it and whether the disk is full")]
    File {
        path: PathBuf,
        /// Why not.
        fault: std::io::Error,
    },
    /// The backup would be written over the database.
    #[error("{0} is the database itself; name another file")]
    Itself(PathBuf),
    /// What is to be put back is none.
    #[error(
        "{0} is no backup of this server: name a file that `carepost-server backup` made, and have database.key be the \
         one of then"
    )]
    NoBackup(PathBuf),
    /// The copy, or the backup, is damaged.
    #[error("{path} is damaged ({fault}) and was not used; check the disk, and take another backup")]
    Damaged { path: PathBuf, fault: String },
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

type Result<T> = std::result::Result<T, BackupError>;

/// A backup that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    pub bytes: u64,
    /// How many lanes of devices it holds.
    pub chains: usize,
}

/// A backup that was put back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// How many facilities' devices will fetch their copies anew.
    pub facilities: usize,
    /// Where the database that it replaced is kept, if there was one.
    pub replaced: Option<PathBuf>,
    /// What was carried over from it, a sentence for each; none when it could not be read.
    pub carried: Option<Vec<String>>,
    /// What nobody knows any more, and what to do about it; empty when that database was read and is whole.
    pub unknown: Vec<String>,
}

/// What could be learned from the database that is replaced.
struct Replaced {
    known: Option<AccessState>,
    /// Why that is not all of it.
    trouble: Option<String>,
}

/// How many chains are marked in one commit.
const MARKED_AT_ONCE: usize = 1_000;

row! {
    /// A device's lane, as far as a copy holds it.
    struct Held {
        device: DeviceId = "device_id",
        incarnation: IncarnationId = "incarnation_id",
        lane: String,
        last_n: u64 = "next_n - 1",
    }
}

/// Copies the database at `path` to a file, which is replaced when it is there, reads the copy from end to
/// end, and notes in the database how far it holds each device's chains. The server may run. Blocks.
///
/// # Errors
/// [`BackupError`]; what was at `to` before is still there then.
pub fn backup(path: &Path, key: &DatabaseKey, ambient: &Ambient, to: &Path) -> Result<Copied> {
    if is_same(path, to) {
        return Err(BackupError::Itself(to.to_owned()));
    }
    let half = beside(to, ".half");
    let held = fresh_copy(path, &half, key).and_then(|()| {
        let held = engine::beside(&half, key, ambient, held)?;
        settle(&half, key)?;
        Ok(held)
    });
    let held = held.inspect_err(|_| discard(&half))?;
    let bytes = fs::metadata(&half).map_err(|fault| of_file(&half, fault))?.len();
    put(&half, to)?;
    let chains = held.len();
    // In portions: whoever writes meanwhile comes in between.
    for held in held.chunks(MARKED_AT_ONCE) {
        engine::beside(path, key, ambient, |tx| held.iter().try_for_each(|held| mark(tx, held)))?;
    }
    engine::beside(path, key, ambient, move |tx| {
        let details = object!({"chains": chains, "bytes": bytes});
        audit::noticed(tx, AuditEventType::Sync, "backup", None, details)
    })?;
    Ok(Copied { bytes, chains })
}

/// Puts a backup in the place of the database at `path`, brought up to this build, with every feed's epoch
/// raised: devices fetch their copies anew, and send again what the backup does not hold. What the database
/// that was there knows of who may do less is carried over first; where it cannot be read, every device is
/// quarantined. It is kept beside the other. Nobody else may have it open. Blocks.
///
/// # Errors
/// [`BackupError`]; the database is as it was then.
pub fn restore(path: &Path, key: &DatabaseKey, ambient: &Ambient, from: &Path) -> Result<Restored> {
    if is_same(path, from) {
        return Err(BackupError::Itself(from.to_owned()));
    }
    let half = beside(path, ".restoring");
    let is_none = |fault: &BackupError| {
        matches!(fault, BackupError::Store(StoreError::WrongKey(_) | StoreError::Unreadable(_)))
    };
    let copied = fresh_copy(from, &half, key)
        .map_err(|fault| if is_none(&fault) { BackupError::NoBackup(from.to_owned()) } else { fault });
    let made = copied.and_then(|()| {
        // Before anything is written to it, so that what is damaged is never brought up.
        settle(&half, key)?;
        let Replaced { known, trouble } = learn(path, key, ambient);
        let whole = trouble.is_none();
        let made = engine::migrated(&half, key, ambient, |tx| {
            let facilities = raise_all(tx, whole)?;
            let carried = known.map(|known| known.carry_over(tx)).transpose()?;
            let unknown = trouble.map_or_else(|| Ok(Vec::new()), |why| doubt(tx, &why))?;
            forget_visits(tx)?;
            Ok((facilities, carried, unknown))
        })?;
        settle(&half, key)?;
        Ok((made, whole))
    });
    let ((facilities, carried, unknown), whole) = made.inspect_err(|_| discard(&half))?;
    give_to_owner_of_folder(&half)?;
    let replaced = set_aside(path, ambient, whole)?;
    put(&half, path)?;
    Ok(Restored { facilities, replaced, carried, unknown })
}

/// What the database at `path` knows, whatever build wrote it, if it can be read; and what is wrong with it.
fn learn(path: &Path, key: &DatabaseKey, ambient: &Ambient) -> Replaced {
    if !path.exists() {
        return Replaced { known: None, trouble: Some("there was no database in its place".to_owned()) };
    }
    let known = match engine::observed(path, key, ambient, AccessState::read) {
        Err(StoreError::Older { .. }) => learn_from_copy(path, key, ambient),
        read => read.map_err(BackupError::from),
    };
    let trouble = match settle(path, key) {
        Err(fault) => Some(fault.to_string()),
        Ok(()) => known.as_ref().err().map(ToString::to_string),
    };
    Replaced { known: known.ok(), trouble }
}

/// The same of one that has to be brought up first; it stays as it is.
fn learn_from_copy(path: &Path, key: &DatabaseKey, ambient: &Ambient) -> Result<AccessState> {
    let copy = beside(path, ".replacing");
    let known = fresh_copy(path, &copy, key)
        .and_then(|()| Ok(engine::migrated(&copy, key, ambient, AccessState::read)?));
    discard(&copy);
    known
}

/// Takes back what a database allows that nobody can say is still allowed, where that costs no charting: a
/// quarantined device may push. Says that, and what stays open.
fn doubt(tx: &Tx<'_>, why: &str) -> std::result::Result<Vec<String>, StoreError> {
    let mut unknown = vec![format!("What was changed since the backup was taken is not known: {why}.")];
    for scope in facilities(tx)? {
        tx.within(AccessScope::Facility(scope), |tx| {
            let active = "SELECT id, name FROM devices WHERE state = 'ACTIVE' ORDER BY name";
            let active = tx.all::<(DeviceId, String)>(active, params![])?;
            for (id, name) in active {
                let sql = "UPDATE devices SET state = 'QUARANTINED', quarantine = 'restored' WHERE id = ?1";
                tx.execute(sql, params![id])?;
                let details = object!({"reason": "restored"});
                audit::noticed(tx, AuditEventType::Device, "device_quarantined", Some(id), details)?;
                unknown.push(format!(
                    "Device {name} ({id}) may have been deactivated since, so it is quarantined: it sends, and \
                     is sent nothing. `device release` it once somebody has seen it where it belongs."
                ));
            }
            tx.execute("UPDATE devices SET token_sha256 = NULL WHERE token_sha256 IS NOT NULL", params![]).map(drop)
        })?;
    }
    unknown.extend(OPEN_QUESTIONS.map(str::to_owned));
    Ok(unknown)
}

/// What a backup alone cannot say.
const OPEN_QUESTIONS: [&str; 5] = [
    "Users who were switched off since can sign in again, and those whose role or facility changed have the \
     earlier one: go through `user list`.",
    "Passwords and PINs are those of the backup: have those set again that were changed because somebody else \
     knew them.",
    "Badges that were revoked since work again: revoke them.",
    "Devices that were lost since cost their facilities nothing: `device deactivate --reason lost` them again.",
    "Users, badges, devices and facilities that were added since are not there, and tokens for devices that \
     were to come are void: add them again.",
];

/// Who was signed in has to sign in again, and who waited in the lobby gets another code: what was confirmed
/// or ended since must not begin anew. Nor do tokens, though a backup from before they ran out says so.
fn forget_visits(tx: &Tx<'_>) -> std::result::Result<(), StoreError> {
    for scope in facilities(tx)? {
        let sql = "UPDATE devices SET token_expires_at = created_at + ?1
            WHERE token_sha256 IS NOT NULL AND token_expires_at > created_at + ?1";
        let valid_for = i64::try_from(TOKEN_LIFE.as_millis()).unwrap_or(i64::MAX);
        tx.within(AccessScope::Facility(scope), |tx| tx.execute(sql, params![valid_for]))?;
    }
    tx.execute("DELETE FROM system_sessions", params![])?;
    tx.execute("DELETE FROM system_enrollments", params![]).map(drop)
}

/// Every facility, with its organization. System access.
pub(super) fn facilities(tx: &Tx<'_>) -> std::result::Result<Vec<FacilityScope>, StoreError> {
    let sql = "SELECT organization_id, id FROM system_facilities ORDER BY organization_id, id";
    let facilities = tx.all::<(OrganizationId, FacilityId)>(sql, params![])?;
    let scope = |(organization, facility)| FacilityScope::of_operator(organization, facility);
    Ok(facilities.into_iter().map(scope).collect())
}

fn held(tx: &Tx<'_>) -> std::result::Result<Vec<(FacilityScope, Held)>, StoreError> {
    let sql = select!(Held, "chain_heads WHERE next_n > 1");
    let mut all = Vec::new();
    for scope in facilities(tx)? {
        let of_facility: Vec<Held> = tx.within(AccessScope::Facility(scope), |tx| tx.all(sql, params![]))?;
        all.extend(of_facility.into_iter().map(|held| (scope, held)));
    }
    Ok(all)
}

fn mark(tx: &Tx<'_>, (scope, held): &(FacilityScope, Held)) -> std::result::Result<(), StoreError> {
    // A database that was put back meanwhile may end before what the copy holds.
    let sql = "UPDATE chain_heads SET durable_n = ?4
        WHERE device_id = ?1 AND incarnation_id = ?2 AND lane = ?3 AND next_n > ?4
            AND coalesce(durable_n, 0) < ?4";
    let key = params![held.device, held.incarnation, held.lane, held.last_n];
    tx.within(AccessScope::Facility(*scope), |tx| tx.execute(sql, key)).map(drop)
}

/// What is put back is in the backup, so it is durable to its end. What was begun for a lost device is done.
fn raise_all(tx: &Tx<'_>, knows_the_rest: bool) -> std::result::Result<usize, StoreError> {
    let facilities = facilities(tx)?;
    for scope in &facilities {
        tx.within(AccessScope::Facility(*scope), |tx| {
            let epoch = tx.first::<u64>("SELECT epoch FROM feeds", params![])?;
            let epoch = sync_position::raised(epoch.ok_or(StoreError::NotFound("facility"))?, tx.now());
            let raise = "UPDATE feeds SET epoch = ?1, raised_at = ?2";
            tx.execute(raise, params![epoch, tx.now()])?;
            tx.execute("UPDATE chain_heads SET durable_n = next_n - 1 WHERE next_n > 1", params![])?;
            finish_with_lost(tx)?;
            let details = object!({"epoch": epoch, "replaced_was_read": knows_the_rest});
            audit::noticed(tx, AuditEventType::Sync, "server_restored", None, details)
        })?;
    }
    Ok(facilities.len())
}

/// An empty file that only its owner may read, with the database in it.
fn fresh_copy(from: &Path, to: &Path, key: &DatabaseKey) -> Result<()> {
    // SQLite says no more than that it cannot open it.
    File::open(from).map_err(|fault| of_file(from, fault))?;
    discard(to);
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    made.map_err(|fault| of_file(to, fault))?;
    Ok(engine::copy(from, to, key)?)
}

fn settle(path: &Path, key: &DatabaseKey) -> Result<()> {
    match engine::settle(path, key)? {
        None => Ok(()),
        Some(fault) => Err(BackupError::Damaged { path: path.to_owned(), fault }),
    }
}

/// Gives a finished file its name: it has all of its bytes under it or is not there, whenever the power goes.
fn put(half: &Path, to: &Path) -> Result<()> {
    let sync = |path: &Path| File::open(path).and_then(|file| file.sync_all());
    let put = || {
        sync(half)?;
        fs::rename(half, to)?;
        sync(folder_of(to))
    };
    put().map_err(|fault| of_file(to, fault))
}

/// Keeps the database under another name too, whole in itself: a log that stayed beside the place would be
/// taken for that of what comes there.
fn set_aside(path: &Path, ambient: &Ambient, readable: bool) -> Result<Option<PathBuf>> {
    let aside = beside(path, &format!(".replaced-{}", ambient.now().as_millis()));
    let keep = || {
        for log in ["-wal", "-shm"] {
            let log_path = beside(path, log);
            if !readable && log_path.exists() {
                fs::rename(&log_path, beside(&aside, log))?;
            }
        }
        // A second name, so that there is a database under the first at every moment.
        let there = path.exists();
        if there {
            files::make_private(path)?;
            fs::hard_link(path, &aside)?;
        }
        Ok(there)
    };
    let kept = keep().map_err(|fault| of_file(&aside, fault))?;
    Ok(kept.then_some(aside))
}

/// The server may run as another user than who puts the backup back.
fn give_to_owner_of_folder(path: &Path) -> Result<()> {
    let give = || {
        let (file, folder) = (fs::metadata(path)?, fs::metadata(folder_of(path))?);
        if (file.uid(), file.gid()) == (folder.uid(), folder.gid()) {
            return Ok(());
        }
        chown(path, Some(folder.uid()), Some(folder.gid()))
    };
    give().map_err(|fault| of_file(path, fault))
}

/// Removes what a copy that broke off left behind.
fn discard(half: &Path) {
    for end in ["", "-journal", "-wal", "-shm"] {
        let left = beside(half, end);
        if let Err(fault) = fs::remove_file(&left)
            && fault.kind() != ErrorKind::NotFound
        {
            tracing::warn!(%fault, "a half-made copy could not be removed: {}", left.display());
        }
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    let known = |path: &Path| fs::metadata(path).map(|it| (it.dev(), it.ino()));
    matches!((known(one), known(other)), (Ok(one), Ok(other)) if one == other)
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn of_file(path: &Path, fault: std::io::Error) -> BackupError {
    BackupError::File { path: path.to_owned(), fault }
}
