//! Argon2id, over memory that the system gets back after each hash.

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::password_hash::{CustomizedPasswordHasher, Result};
use argon2::{Algorithm, Argon2, Block, Params, Version};

/// How much of the address space a hash asks for; it touches the 19 MiB that it works in. What is freed below
/// 32 MiB, glibc may keep for the thread that had it, and so for each that ever hashed. What is larger it takes
/// from the system alone, and gives back at once.
const ASKED_FOR: usize = 33 * 1024 * 1024 / Block::SIZE;

pub(super) struct Hasher;

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
    use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};

    use super::*;

    #[test]
    fn a_hash_is_what_everybody_else_makes() {
        let made = Hasher.hash_password_with_params(b"482913", &[7; 16], Params::default()).unwrap();
        let elsewhere: PasswordHash = Argon2::default().hash_password_with_salt(b"482913", &[7; 16]).unwrap();
        assert_eq!(made.to_string(), elsewhere.to_string());
        assert!(Hasher.verify_password(b"482913", &elsewhere).is_ok());
        assert!(Hasher.verify_password(b"482914", &elsewhere).is_err());
    }
}
