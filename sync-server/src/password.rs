//! Passwords: what is accepted, and Argon2id of them and of PINs off the async threads.
//!
//! A hash costs 19 MiB and about 40 ms, so only as many run at once as there are cores, and a
//! request that cannot get its turn in time is told to come back. Whoever is not signed in waits in the lane
//! of a network, which has one turn at a time: however many come from there, others wait for one of them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use carepost_protocol::hex::hex;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use crate::clock;

/// Why a secret could not be hashed or checked.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Too many are being checked already: the caller may retry.
    #[error("too many sign-ins at once; try again in a few seconds")]
    Busy,
    /// Argon2 itself failed: out of memory, or a verifier that is not one.
    #[error("the password could not be hashed: {0}")]
    Argon2(String),
}

/// How long a hash waits for its turn.
const TURN: Duration = Duration::from_secs(10);

/// How many wait in a lane at most: whoever comes then is told at once to come back.
const PLACES: usize = 8;
/// How long a wrong password holds a lane up from which many came.
const PENALTY: Duration = Duration::from_secs(1);
/// How many lanes are kept before those that nobody is in are forgotten.
const LANES: usize = 1_024;

/// The shortest password, in characters.
pub const MIN_PASSWORD: usize = 12;
/// The longest password or PIN, in bytes: hashing must not become a way to burn the server's time.
pub const MAX_SECRET_BYTES: usize = 256;

/// Hashes and checks passwords and PINs.
#[derive(Clone)]
pub struct Passwords {
    turns: Arc<Semaphore>,
    /// What an unknown name's password is checked against, so that it takes as long as a known one's.
    decoy: Arc<str>,
    lanes: Arc<Mutex<HashMap<Option<IpAddr>, Arc<Lane>>>>,
}

/// Where those wait who come from one network.
struct Lane {
    places: Arc<Semaphore>,
    turn: Arc<Semaphore>,
}

/// From where a password comes that is to be checked.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    /// The network.
    pub network: Option<IpAddr>,
    /// Whether many wrong ones came from there lately: then the next has to wait for a while after each. A
    /// right one does not.
    pub suspect: bool,
}

impl Passwords {
    /// Ready to hash on as many threads as there are cores.
    ///
    /// # Errors
    /// [`PasswordError::Argon2`] when not even one hash can be made.
    pub fn new() -> Result<Self, PasswordError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let decoy = hash_now(&hex(&clock::random::<16>()))?;
        Ok(Self { turns: Arc::new(Semaphore::new(cores)), decoy: decoy.into(), lanes: Arc::default() })
    }

    /// The Argon2id PHC string of a secret.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub async fn hash(&self, secret: SecretString) -> Result<String, PasswordError> {
        self.take_turn(move || hash_now(secret.expose_secret())).await
    }

    /// Whether the secret is the verifier's. Without a verifier the answer is no, after as long as a
    /// check takes.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub async fn verify(
        &self,
        from: Caller,
        secret: SecretString,
        verifier: Option<String>,
    ) -> Result<bool, PasswordError> {
        let (known, lane) = (verifier.is_some(), self.lane(from.network));
        let verifier = verifier.unwrap_or_else(|| self.decoy.to_string());
        let place = Arc::clone(&lane.places).try_acquire_owned().map_err(|_| PasswordError::Busy)?;
        let passwords = self.clone();
        // A task of its own: who hangs up gives the lane to the next no sooner.
        let checked = tokio::spawn(async move {
            let turn = tokio::time::timeout(TURN, Arc::clone(&lane.turn).acquire_owned());
            let turn = turn.await.map_err(|_| PasswordError::Busy)?.map_err(|_| PasswordError::Busy)?;
            let matches = passwords.take_turn(move || verify_now(secret.expose_secret(), &verifier)).await?;
            if from.suspect && !(known && matches) {
                tokio::spawn(async move {
                    tokio::time::sleep(PENALTY).await;
                    drop((turn, place, lane));
                });
            }
            Ok(known && matches)
        });
        checked.await.map_err(|fault| PasswordError::Argon2(fault.to_string()))?
    }

    fn lane(&self, network: Option<IpAddr>) -> Arc<Lane> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if lanes.len() >= LANES {
            // Whoever is in a lane holds it too.
            lanes.retain(|_, lane| Arc::strong_count(lane) > 1);
        }
        let lane = lanes.entry(network).or_insert_with(|| {
            Arc::new(Lane { places: Arc::new(Semaphore::new(PLACES)), turn: Arc::new(Semaphore::new(1)) })
        });
        Arc::clone(lane)
    }

    async fn take_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let turn = tokio::time::timeout(TURN, Arc::clone(&self.turns).acquire_owned());
        let turn = turn.await.map_err(|_| PasswordError::Busy)?.map_err(|_| PasswordError::Busy)?;
        tokio::task::spawn_blocking(move || {
            // Held until the hash is done, even when the request that wanted it has gone.
            let _turn = turn;
            work()
        })
        .await
        .map_err(|fault| PasswordError::Argon2(fault.to_string()))?
    }
}

/// The Argon2id PHC string of a secret, on this thread.
///
/// # Errors
/// [`PasswordError::Argon2`].
pub fn hash_now(secret: &str) -> Result<String, PasswordError> {
    let hash: Result<PasswordHash, _> =
        argon2()?.hash_password_with_salt(secret.as_bytes(), &clock::random::<16>());
    hash.map(|hash| hash.to_string()).map_err(|fault| PasswordError::Argon2(fault.to_string()))
}

fn verify_now(secret: &str, verifier: &str) -> Result<bool, PasswordError> {
    let verifier = PasswordHash::new(verifier).map_err(|fault| PasswordError::Argon2(fault.to_string()))?;
    Ok(argon2()?.verify_password(secret.as_bytes(), &verifier).is_ok())
}

/// 19 MiB, two passes, one lane (the OWASP minimum, which a Raspberry Pi can also bear).
fn argon2() -> Result<Argon2<'static>, PasswordError> {
    let params =
        Params::new(19 * 1024, 2, 1, None).map_err(|fault| PasswordError::Argon2(fault.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// Checks a new password.
///
/// # Errors
/// What is wrong with it, for whoever chose it.
pub fn check_password(password: &str) -> Result<(), &'static str> {
    if password.chars().count() < MIN_PASSWORD {
        return Err("a password has at least 12 characters; a sentence is easy to remember");
    }
    if password.len() > MAX_SECRET_BYTES {
        return Err("a password has at most 256 bytes");
    }
    let first = password.chars().next();
    if password.chars().all(|c| Some(c) == first) {
        return Err("a password has more than one different character");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_monotonous_passwords_are_refused() {
        assert!(check_password("short").is_err());
        assert!(check_password(&"a".repeat(20)).is_err());
        assert!(check_password(&"ab".repeat(200)).is_err());
        assert_eq!(check_password("correct horse battery"), Ok(()));
    }

    #[tokio::test]
    async fn a_password_is_known_again_and_an_absent_one_never_is() {
        let passwords = Passwords::new().unwrap();
        let verifier = passwords.hash("correct horse battery".into()).await.unwrap();
        assert!(verifier.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{verifier}");
        let verify = |secret: &str, verifier| passwords.verify(HERE, secret.into(), verifier);
        assert!(verify("correct horse battery", Some(verifier.clone())).await.unwrap());
        assert!(!verify("correct horse", Some(verifier)).await.unwrap());
        assert!(!verify("anything", None).await.unwrap());
        assert!(verify("anything", Some("no verifier".to_owned())).await.is_err());
    }

    const HERE: Caller = Caller { network: None, suspect: false };

    #[tokio::test]
    async fn a_lane_has_one_turn_and_few_places_and_holds_up_no_other() {
        let passwords = Passwords::new().unwrap();
        let network = Some(IpAddr::from([192, 0, 2, 1]));
        let flood = Caller { network, suspect: true };
        // Its turn is taken, so that all who come wait.
        let lane = passwords.lane(network);
        let _turn = lane.turn.acquire().await.unwrap();
        let one = || {
            let passwords = passwords.clone();
            tokio::spawn(async move { passwords.verify(flood, "wrong".into(), None).await })
        };
        let tried: Vec<_> = (0..PLACES).map(|_| one()).collect();
        while lane.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let refused = passwords.verify(flood, "one too many".into(), None).await;
        assert!(matches!(refused, Err(PasswordError::Busy)), "{refused:?}");
        let verifier = passwords.hash("correct horse battery".into()).await.unwrap();
        let elsewhere = Caller { network: Some(IpAddr::from([192, 0, 2, 2])), suspect: false };
        assert!(passwords.verify(elsewhere, "correct horse battery".into(), Some(verifier)).await.unwrap());
        assert_eq!(lane.places.available_permits(), 0, "the flood still waits");
        tried.iter().for_each(tokio::task::JoinHandle::abort);
    }
}
