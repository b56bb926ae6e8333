//! Passwords: what is accepted, and Argon2id of them and of PINs off the async threads.
//!
//! A hash costs 19 MiB and about 40 ms, so only as many run at once as there are cores, each in its turn, and a
//! request that cannot get its turn in time is told to come back. A wrong password with an accent that is a character of
//! its own costs two hashes in one turn: it is tried as it is hashed today, and as it was before that.

mod turns;

use std::sync::Arc;
use std::time::Duration;

use carepost_protocol::hex::hex;
use carepost_protocol::text::composed;
use carepost_protocol::verifier;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::clock;
pub use turns::Caller;
use turns::{Turn, Turns};

/// Why a secret could not be hashed or checked.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Too many are being checked already: the caller may retry.
    #[error("too many passwords and PINs are checked or set at once; try again in a few seconds")]
    Busy,
    /// Argon2 itself failed: out of memory, or a verifier that is not one.
    #[error("the password could not be hashed: {0}")]
    Argon2(String),
}

impl From<verifier::Error> for PasswordError {
    fn from(fault: verifier::Error) -> Self {
        Self::Argon2(fault.to_string())
    }
}

/// How long a wrong password holds a lane up from which many came.
const PENALTY: Duration = Duration::from_secs(1);

/// The shortest password, in characters.
pub const MIN_PASSWORD: usize = 12;
/// The longest password, in characters: hashing must not become a way to burn the server's time.
pub const MAX_PASSWORD: usize = 256;
/// What is said of a longer one.
pub const TOO_LONG: &str = "a password has at most 256 characters";

/// Hashes and checks passwords and PINs.
#[derive(Clone)]
pub struct Passwords {
    turns: Arc<Turns>,
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
        let decoy = hash_now(&hex(&clock::random::<16>()))?;
        Ok(Self { turns: Turns::new(cores), decoy: decoy.into() })
    }

    /// The Argon2id PHC string of a secret.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub async fn hash(&self, by: Caller, secret: SecretString) -> Result<String, PasswordError> {
        self.work(by, move |_| hash_now(secret.expose_secret())).await
    }

    /// Whether the secret is the verifier's. Without a verifier the answer is no, after as long as a
    /// check takes. Of a suspect, from where many wrong ones came lately, the next has to wait for a while
    /// after each; after a right one it does not.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub async fn verify(
        &self,
        by: Caller,
        is_suspect: bool,
        secret: SecretString,
        verifier: Option<String>,
    ) -> Result<bool, PasswordError> {
        let is_known = verifier.is_some();
        let verifier = verifier.unwrap_or_else(|| self.decoy.to_string());
        let check = move |turn: Turn| {
            let (given, typed) = (secret.expose_secret(), typed(secret.expose_secret()));
            let is_it = |secret: &str| verifier::is_secret(&verifier, secret);
            // One from before passwords were composed is known as it was given.
            let matches = (is_it(&typed)? || typed.as_str() != given && is_it(given)?) && is_known;
            if is_suspect && !matches {
                turn.rest(PENALTY);
            }
            Ok(matches)
        };
        self.work(by, check).await
    }

    /// Has something done in a turn of the caller's, which lasts as long, also when the request that wanted it
    /// has gone.
    async fn work<T: Send + 'static>(
        &self,
        by: Caller,
        work: impl FnOnce(Turn) -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let turn = self.turns.take(by).await.ok_or(PasswordError::Busy)?;
        let done = tokio::task::spawn_blocking(move || work(turn)).await;
        done.map_err(|fault| PasswordError::Argon2(fault.to_string()))?
    }
}

/// The Argon2id PHC string of a secret, on this thread.
///
/// # Errors
/// [`PasswordError::Argon2`].
pub fn hash_now(secret: &str) -> Result<String, PasswordError> {
    Ok(verifier::of_secret(&typed(secret), clock::random())?)
}

/// How many characters a password has.
#[must_use]
pub fn length(password: &str) -> usize {
    typed(password).chars().count()
}

/// Checks a new password.
///
/// # Errors
/// What is wrong with it, for whoever chose it.
pub fn check_password(password: &str) -> Result<(), &'static str> {
    if length(password) < MIN_PASSWORD {
        return Err("a password has at least 12 characters; a sentence is easy to remember");
    }
    if length(password) > MAX_PASSWORD {
        return Err(TOO_LONG);
    }
    let first = password.chars().next();
    if password.chars().all(|c| Some(c) == first) {
        return Err("a password has more than one different character");
    }
    Ok(())
}

/// A secret as it is hashed: an accent that is a character of its own is one with its letter.
fn typed(secret: &str) -> Zeroizing<String> {
    Zeroizing::new(composed(secret).into_owned())
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
        // By characters, whatever they are made of.
        assert_eq!(check_password(&"日本".repeat(128)), Ok(()));
        assert_eq!(check_password(&"日本e\u{301}".repeat(86)), Err(TOO_LONG));
        assert!(check_password("e\u{301}a".repeat(5).as_str()).is_err(), "ten");
    }

    #[tokio::test]
    async fn a_password_is_the_same_from_every_keyboard() {
        let (passwords, here) = (Passwords::new().unwrap(), Caller::Stranger(None));
        let [composed, parted] = ["café au lait chaud", "cafe\u{301} au lait chaud"];
        let before = verifier::of_secret(parted, [7; 16]).unwrap();
        let verify = |secret: &str, verifier: &String| {
            passwords.verify(here, false, secret.into(), Some(verifier.clone()))
        };
        for set in [composed, parted] {
            let verifier = passwords.hash(here, set.into()).await.unwrap();
            for typed in [composed, parted] {
                assert!(verify(typed, &verifier).await.unwrap(), "{set:?} {typed:?}");
            }
            assert!(!verify("cafe au lait chaud", &verifier).await.unwrap());
        }
        assert!(verify(parted, &before).await.unwrap(), "one that was set before opens as it did");
    }

    #[tokio::test]
    async fn a_password_is_known_again_and_an_absent_one_never_is() {
        let (passwords, here) = (Passwords::new().unwrap(), Caller::Stranger(None));
        let verifier = passwords.hash(here, "correct horse battery".into()).await.unwrap();
        assert!(verifier.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{verifier}");
        let verify = |secret: &str, verifier| passwords.verify(here, false, secret.into(), verifier);
        assert!(verify("correct horse battery", Some(verifier.clone())).await.unwrap());
        assert!(!verify("correct horse", Some(verifier)).await.unwrap());
        assert!(!verify("anything", None).await.unwrap());
        assert!(verify("anything", Some("no verifier".to_owned())).await.is_err());
    }
}
