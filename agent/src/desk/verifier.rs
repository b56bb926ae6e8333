//! PINs and their verifiers: Argon2id, over memory that the system gets back after each check.

use argon2::password_hash::phc::{Output, ParamsString, Salt};
use argon2::password_hash::{self, CustomizedPasswordHasher, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Block, Params, PasswordHash, Version};
use secrecy::{ExposeSecret as _, SecretString};

/// How much of the address space a check asks for; it touches the 19 MiB that it works in. What is freed below
/// 32 MiB, glibc may keep for the thread that had it, and so for each of the agent's: four PINs, 80 MiB. What
/// is larger it takes from the system alone, and gives back at once.
const ASKED_FOR: usize = 33 * 1024 * 1024 / Block::SIZE;

/// Whether a PIN is the one that a verifier was made of.
pub(super) fn is_pin(verifier: &str, pin: &SecretString) -> bool {
    PasswordHash::new(verifier)
        .is_ok_and(|hash| Hasher.verify_password(pin.expose_secret().as_bytes(), &hash).is_ok())
}

/// The verifier of a PIN.
///
/// # Errors
/// When Argon2 refuses.
pub(super) fn of_pin(pin: &SecretString, salt: [u8; 16]) -> password_hash::Result<String> {
    let made = Hasher.hash_password_with_params(pin.expose_secret().as_bytes(), &salt, Params::default());
    made.map(|verifier| verifier.to_string())
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
    ) -> password_hash::Result<PasswordHash> {
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
    use argon2::PasswordHasher as _;

    use super::*;

    #[test]
    fn a_verifier_is_what_everybody_else_makes_and_opens_by_its_pin_alone() {
        let (pin, salt) = (SecretString::from("482913"), [7; 16]);
        let verifier = of_pin(&pin, salt).unwrap();
        let elsewhere: PasswordHash = Argon2::default().hash_password_with_salt(b"482913", &salt).unwrap();
        assert_eq!(verifier, elsewhere.to_string());
        assert!(verifier.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{verifier}");
        assert!(is_pin(&verifier, &pin));
        assert!(!is_pin(&verifier, &"482914".into()));
        for bad in ["", "482913", "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA"] {
            assert!(!is_pin(bad, &pin), "{bad}");
        }
    }
}
