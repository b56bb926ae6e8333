//! Passwords: what is accepted, and Argon2id of them and of PINs off the async threads.
//!
//! A hash costs 19 MiB and about 40 ms, so only as many run at once as there are cores, and a
//! request that cannot get its turn in time is told to come back.

use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
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
}

impl Passwords {
    /// Ready to hash on as many threads as there are cores.
    ///
    /// # Errors
    /// [`PasswordError::Argon2`] when not even one hash can be made.
    pub fn new() -> Result<Self, PasswordError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let decoy = hash_now(&clock::hex(&clock::random::<16>()))?;
        Ok(Self { turns: Arc::new(Semaphore::new(cores)), decoy: decoy.into() })
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
        secret: SecretString,
        verifier: Option<String>,
    ) -> Result<bool, PasswordError> {
        let known = verifier.is_some();
        let verifier = verifier.unwrap_or_else(|| self.decoy.to_string());
        let matches = self.take_turn(move || verify_now(secret.expose_secret(), &verifier)).await?;
        Ok(known && matches)
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
        assert!(passwords.verify("correct horse battery".into(), Some(verifier.clone())).await.unwrap());
        assert!(!passwords.verify("correct horse".into(), Some(verifier)).await.unwrap());
        assert!(!passwords.verify("anything".into(), None).await.unwrap());
        assert!(passwords.verify("anything".into(), Some("no verifier".to_owned())).await.is_err());
    }
}
