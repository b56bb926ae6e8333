//! Requests that are done once however often they come: written down in the transaction that does them, and kept for
//! a day with their answers, which only the key that they came with opens.

use std::time::Duration;

use carepost_protocol::id::UserId;

use super::StoreError;
use super::engine::{Reach, Tx, params};
use super::handles::system::SystemStore;

/// For how long it is known what was done.
const KEPT: Duration = Duration::from_secs(24 * 3_600);
/// How many requests of one user are known.
const MOST: u64 = 10_000;
/// How many that are over are forgotten with each that is answered: more than come.
const FORGOTTEN_AT_ONCE: i64 = 64;

/// A request that is to be done once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Once {
    /// What it is known by: its key and whose that is, hashed.
    pub id: [u8; 16],
    /// What it asks for, hashed.
    pub request_sha256: [u8; 32],
}

/// Where a request that is to be done once stands.
#[derive(Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has not been done.
    New,
    /// It was done, and answered so; none where the answer could not be kept.
    Done(Option<Vec<u8>>),
    /// Something else was done under its key.
    Another,
    /// Its user has too many that are known.
    Full,
}

impl SystemStore {
    /// Where a request stands, of a user where that is known.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn standing_of(&self, once: Once, user: Option<UserId>) -> Result<Standing, StoreError> {
        self.read(move |tx| {
            let since = tx.now().before(KEPT);
            let known = "SELECT request_sha256, answer FROM system_idempotency_keys
                WHERE id = ?1 AND created_at > ?2";
            match tx.first::<([u8; 32], Option<Vec<u8>>)>(known, params![once.id, since])? {
                Some((request, answer)) if request == once.request_sha256 => {
                    return Ok(Standing::Done(answer));
                }
                Some(_) => return Ok(Standing::Another),
                None => {}
            }
            let Some(user) = user else { return Ok(Standing::New) };
            let all = "SELECT count(id) FROM system_idempotency_keys WHERE user_id = ?1 AND created_at > ?2";
            let all = tx.first::<u64>(all, params![user, since])?;
            Ok(if all.is_some_and(|all| all >= MOST) { Standing::Full } else { Standing::New })
        })
        .await
    }

    /// Keeps the answer of a request that was done, where it wrote anything.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn keep_answer(&self, once: Once, sealed: Vec<u8>) -> Result<(), StoreError> {
        self.write(move |tx| {
            let over =
                "DELETE FROM system_idempotency_keys WHERE id IN (SELECT id FROM system_idempotency_keys
                WHERE created_at <= ?1 ORDER BY created_at LIMIT ?2)";
            tx.execute(over, params![tx.now().before(KEPT), FORGOTTEN_AT_ONCE])?;
            let kept = "UPDATE system_idempotency_keys SET answer = ?2 WHERE id = ?1";
            tx.execute(kept, params![once.id, sealed]).map(drop)
        })
        .await
    }
}

/// Writes down that a request is done, in the transaction that does it.
///
/// # Errors
/// [`StoreError::Done`] where another has done it meanwhile: then this does nothing.
pub(super) fn done(tx: &Tx<'_>, once: Option<Once>, user: Option<UserId>) -> Result<(), StoreError> {
    let (Some(once), Some(user)) = (once, user) else { return Ok(()) };
    let [over, known, insert] = match tx.reach() {
        Reach::System(_) => [
            "DELETE FROM system_idempotency_keys WHERE id = ?1 AND created_at <= ?2",
            "SELECT 1 FROM system_idempotency_keys WHERE id = ?1",
            "INSERT INTO system_idempotency_keys (id, user_id, request_sha256, created_at)
                VALUES (?1, ?2, ?3, ?4)",
        ],
        Reach::Facility(_) | Reach::Organization(_) | Reach::Nothing => [
            "DELETE FROM idempotency_keys WHERE id = ?1 AND created_at <= ?2",
            "SELECT 1 FROM idempotency_keys WHERE id = ?1",
            "INSERT INTO idempotency_keys (id, user_id, request_sha256, created_at) VALUES (?1, ?2, ?3, ?4)",
        ],
    };
    let now = tx.now();
    tx.execute(over, params![once.id, now.before(KEPT)])?;
    if tx.exists(known, params![once.id])? {
        return Err(StoreError::Done);
    }
    tx.execute(insert, params![once.id, user, once.request_sha256, now]).map(drop)
}
