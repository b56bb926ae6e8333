//! Idempotency: a request with a key is recorded in the transaction that does it, so that it is done once however
//! often it comes. It is known for a day, with its answer, which only the key that it came with opens.

use std::time::Duration;

use carepost_protocol::id::UserId;

use crate::store::StoreError;
use crate::store::engine::{AccessScope, Tx, params};

/// For how long a request is known.
const KNOWN_FOR: Duration = Duration::from_secs(24 * 3_600);
/// How many requests of one user are known.
const MOST: u64 = 10_000;
/// How many that are over are forgotten in one transaction.
const FORGOTTEN_AT_ONCE: u64 = 500;

/// A request that is to be done once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdempotentRequest {
    /// What it is known by: its key and whose that is, hashed.
    pub id: [u8; 16],
    /// What it asks for, hashed.
    pub request_sha256: [u8; 32],
}

/// What is known of a request that is to be done once.
#[derive(Debug, PartialEq, Eq)]
pub enum IdempotencyState {
    /// It has not been done.
    New,
    /// It was done, and answered so; none where the answer could not be kept.
    Done(Option<Vec<u8>>),
    /// Something else was done under its key.
    Reused,
    /// Its user has too many that are known.
    Full,
}

/// What is known of a request, of a user where that is known. System access.
pub(in crate::store) fn state(
    tx: &Tx<'_>,
    request: IdempotentRequest,
    user: Option<UserId>,
) -> Result<IdempotencyState, StoreError> {
    let since = tx.now().before(KNOWN_FOR);
    let known =
        "SELECT request_sha256, answer FROM system_idempotency_keys WHERE id = ?1 AND created_at > ?2";
    match tx.first::<([u8; 32], Option<Vec<u8>>)>(known, params![request.id, since])? {
        Some((done, answer)) if done == request.request_sha256 => return Ok(IdempotencyState::Done(answer)),
        Some(_) => return Ok(IdempotencyState::Reused),
        None => {}
    }
    let is_full = user.map(|user| is_full(tx, user)).transpose()?;
    Ok(if is_full == Some(true) { IdempotencyState::Full } else { IdempotencyState::New })
}

/// Whether a user has as many as anybody may. System access.
fn is_full(tx: &Tx<'_>, user: UserId) -> Result<bool, StoreError> {
    let all = "SELECT count(id) FROM system_idempotency_keys WHERE user_id = ?1 AND created_at > ?2";
    let all = tx.first::<u64>(all, params![user, tx.now().before(KNOWN_FOR)])?;
    Ok(all.is_some_and(|all| all >= MOST))
}

/// Forgets a portion of those that are over; whether there may be more. System access.
pub(in crate::store) fn purge(tx: &Tx<'_>) -> Result<bool, StoreError> {
    let over = "DELETE FROM system_idempotency_keys WHERE id IN (SELECT id FROM system_idempotency_keys
        WHERE created_at <= ?1 ORDER BY created_at LIMIT ?2)";
    let forgotten = tx.execute(over, params![tx.now().before(KNOWN_FOR), FORGOTTEN_AT_ONCE])?;
    Ok(forgotten >= FORGOTTEN_AT_ONCE)
}

/// Keeps the answer of a request that was done, where it wrote anything. System access.
pub(in crate::store) fn keep_answer(
    tx: &Tx<'_>,
    request: IdempotentRequest,
    sealed: Vec<u8>,
) -> Result<(), StoreError> {
    let kept = "UPDATE system_idempotency_keys SET answer = ?2 WHERE id = ?1";
    tx.execute(kept, params![request.id, sealed]).map(drop)
}

/// Records that a request is done, in the transaction that does it.
///
/// # Errors
/// [`StoreError::Done`] where another has done it meanwhile, [`StoreError::TooManyKeys`] for a user who was not known
/// when that was asked, as at a sign-in: then this does nothing.
pub(in crate::store) fn record(
    tx: &Tx<'_>,
    request: Option<IdempotentRequest>,
    user: Option<UserId>,
) -> Result<(), StoreError> {
    let (Some(request), Some(user)) = (request, user) else { return Ok(()) };
    let [over, known, insert] = match tx.access() {
        AccessScope::System(_) => [
            "DELETE FROM system_idempotency_keys WHERE id = ?1 AND created_at <= ?2",
            "SELECT 1 FROM system_idempotency_keys WHERE id = ?1",
            "INSERT INTO system_idempotency_keys (id, user_id, request_sha256, created_at)
                VALUES (?1, ?2, ?3, ?4)",
        ],
        AccessScope::Facility(_) | AccessScope::Organization(_) | AccessScope::Nothing => [
            "DELETE FROM idempotency_keys WHERE id = ?1 AND created_at <= ?2",
            "SELECT 1 FROM idempotency_keys WHERE id = ?1",
            "INSERT INTO idempotency_keys (id, user_id, request_sha256, created_at) VALUES (?1, ?2, ?3, ?4)",
        ],
    };
    let now = tx.now();
    tx.execute(over, params![request.id, now.before(KNOWN_FOR)])?;
    if tx.exists(known, params![request.id])? {
        return Err(StoreError::Done);
    }
    if matches!(tx.access(), AccessScope::System(_)) && is_full(tx, user)? {
        return Err(StoreError::TooManyKeys);
    }
    tx.execute(insert, params![request.id, user, request.request_sha256, now]).map(drop)
}
