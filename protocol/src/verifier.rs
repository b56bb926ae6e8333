//! Verifiers: what a password or a PIN is checked against, Argon2id, over memory that the system gets back after each
//! hash.

pub use argon2::password_hash::Error;
use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::password_hash::{CustomizedPasswordHasher, PasswordVerifier as _, Result};
use argon2::{Algorithm, Argon2, Block, Params, Version};

/// How a verifier that is made here begins: Argon2id over 19 MiB in two passes, one lane (the OWASP minimum, which a
/// Raspberry Pi can also bear).
pub(crate) const BEGINS: &str = "$argon2id$v=19$m=19456,t=2,p=1$";

/// How much of the address space a hash asks for; it touches the 19 MiB that it works in. What is freed below
/// 32 MiB, glibc may keep for the thread that had it, and so for each that ever hashed. What is larger it takes
/// from the system alone, and gives back at once.
const ASKED_FOR: usize = 33 * 1024 * 1024 / Block::SIZE;

/// The verifier of a secret: a PHC string.
///
/// # Errors
/// When Argon2 refuses.
pub fn of_secret(secret: &str, salt: [u8; 16]) -> Result<String> {
    let made = Hasher.hash_password_with_params(secret.as_bytes(), &salt, Params::default());
    made.map(|verifier| verifier.to_string())
}

/// Whether a secret is the one that a verifier was made of.
///
/// # Errors
/// When it is no verifier.
pub fn is_secret(verifier: &str, secret: &str) -> Result<bool> {
    let verifier = PasswordHash::new(verifier)?;
    Ok(Hasher.verify_password(secret.as_bytes(), &verifier).is_ok())
}

struct Hasher;

impl CustomizedPasswordHasher<PasswordHash> for Hasher {
    type Params = Params;

    fn hash_password_customized(
        &self,
        password: &[u8],
        salt: &[u8],
        algorithm: Option<&str>,
        version: Option<u32>,
        params: Params,
    ) -> Result<PasswordHash> {
        let algorithm = algorithm.map(Algorithm::try_from).transpose()?.unwrap_or_default();
        let version = version.map(Version::try_from).transpose()?.unwrap_or_default();
        let mut out = [0; Params::DEFAULT_OUTPUT_LEN];
        let blocks = params.block_count();
        let mut memory = Vec::with_capacity(blocks.max(ASKED_FOR));
        memory.resize(blocks, Block::new());
        let argon2 = Argon2::new(algorithm, version, params.clone());
        argon2.hash_password_into_with_memory(password, salt, &mut out, &mut memory)?;
        Ok(PasswordHash {
            algorithm: algorithm.ident(),
            version: Some(version.into()),
            params: ParamsString::try_from(&params)?,
            salt: Some(Salt::new(salt)?),
            hash: Some(Output::new(&out)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::PasswordHasher as _;

    use super::*;

    #[test]
    fn a_hash_asks_for_more_than_what_a_thread_keeps() {
        assert_eq!(ASKED_FOR * Block::SIZE, 33 << 20);
    }

    #[test]
    fn a_verifier_is_what_everybody_else_makes_and_opens_by_its_secret_alone() {
        let verifier = of_secret("482913", [7; 16]).unwrap();
        let elsewhere: PasswordHash = Argon2::default().hash_password_with_salt(b"482913", &[7; 16]).unwrap();
        assert_eq!(verifier, elsewhere.to_string());
        assert!(verifier.starts_with(BEGINS), "{verifier}");
        assert_eq!((is_secret(&verifier, "482913"), is_secret(&verifier, "482914")), (Ok(true), Ok(false)));
        let without_hash = format!("{BEGINS}BwcHBwcHBwcHBwcHBwcHBw");
        assert_eq!(is_secret(&without_hash, "482913"), Ok(false));
        for bad in ["", "482913", "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA"] {
            assert!(is_secret(bad, "482913").is_err(), "{bad}");
        }
    }
}
