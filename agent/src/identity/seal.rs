//! Sealing: what rests on the disk opens only on this hardware, or under systemd's credential.
//!
//! The sealing key is derived (HKDF-SHA256) from the credential `device-seal` where systemd gives one,
//! which a TPM can back, else from the strongest hardware factor; and from a random salt. Which of
//! them it was is written beside the salt and holds for the directory's life, so that running once as
//! root, who can read more of the hardware, does not change the key. A derived key stops an SD card
//! read elsewhere; it does not stop whoever has the running device.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

use carepost_protocol::hex::{hex, unhex};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use zeroize::Zeroizing;

use super::durable;
use super::factors::{FactorKind, Factors};

/// The file that holds the salt and says what the key is derived from. Not a secret.
pub(crate) const SALT_FILE: &str = "seal.salt";
/// The name of systemd's credential.
pub const CREDENTIAL: &str = "device-seal";

const SALT_HEADER: &str = "carepost-seal-1";
const SEALED_HEADER: &[u8; 4] = b"CPS1";
/// What is left to do where files open no more.
pub(crate) const ANEW: &str = "stop the agent, move its state directory aside and enroll the device anew";
/// Besides, where the outbox is there.
pub(super) const WITH_KEY: &str = "the outbox in it opens with the organization's recovery key";
const CREDENTIAL_SOURCE: &str = "credential";

/// Why something could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The hardware is not the one that sealed it.
    #[error("these files were sealed on other hardware ({source_name}): {ANEW}; {WITH_KEY}")]
    OtherHardware {
        /// What the sealing key was derived from.
        source_name: String,
    },
    /// What the key was derived from cannot be read now.
    #[error(
        "these files were sealed with {source_name}, which cannot be read now: start the agent as its \
         systemd unit does; if the hardware was replaced, {ANEW}; {WITH_KEY}"
    )]
    SourceMissing {
        /// What the sealing key was derived from.
        source_name: String,
    },
    /// The salt is gone while sealed files are there.
    #[error("{path} is missing or damaged: put a copy of it back if there is one; else {ANEW}; {WITH_KEY}")]
    NoSalt { path: PathBuf },
    /// A sealed file is damaged, or another one was put in its place.
    #[error(
        "{name}: the sealed file is damaged: put a copy of it back if there is one; else {ANEW}; {WITH_KEY}"
    )]
    Damaged {
        /// What was sealed.
        name: String,
    },
    /// The system's random source failed.
    #[error("the system's random source failed: restart the device")]
    Random,
    /// The disk refused.
    #[error("{path}: {source}; check the disk, and that this file is the agent's user's")]
    Io { path: PathBuf, source: std::io::Error },
}

/// The secret of systemd's credential `device-seal`.
pub struct Credential(Zeroizing<Vec<u8>>);

impl Credential {
    /// Reads it from systemd's credentials directory (`$CREDENTIALS_DIRECTORY`); none without that
    /// directory, without the file, or when it is empty.
    ///
    /// # Errors
    /// [`SealError::Io`] when it is there and cannot be read.
    pub fn read(credentials_directory: Option<&OsStr>) -> Result<Option<Self>, SealError> {
        let Some(directory) = credentials_directory else {
            return Ok(None);
        };
        let path = Path::new(directory).join(CREDENTIAL);
        match durable::read(&path) {
            Ok(secret) => {
                Ok(secret.filter(|secret| !secret.is_empty()).map(|secret| Self(Zeroizing::new(secret))))
            }
            Err(source) => Err(SealError::Io { path, source }),
        }
    }

    /// The credential that these bytes are.
    #[must_use]
    pub fn from_bytes(secret: Vec<u8>) -> Self {
        Self(Zeroizing::new(secret))
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential([secret])")
    }
}

/// The sealing key of a state directory.
pub struct Seal {
    key: LessSafeKey,
    source_name: &'static str,
}

#[derive(Clone, Copy)]
enum Source {
    Credential,
    Factor(FactorKind),
}

impl Seal {
    /// The sealing key of `directory`: the one its salt file describes, or a new one when the directory
    /// has none yet.
    ///
    /// # Errors
    /// [`SealError::OtherHardware`] when the directory was copied here from another device.
    pub fn open_or_create(
        directory: &Path,
        factors: &Factors,
        credential: Option<&Credential>,
    ) -> Result<Self, SealError> {
        let path = directory.join(SALT_FILE);
        let io = |source| SealError::Io { path: path.clone(), source };
        if let Some(text) = durable::read(&path).map_err(io)? {
            let parsed = std::str::from_utf8(&text).ok().and_then(parse_salt);
            let (source, salt, check) = parsed.ok_or_else(|| SealError::NoSalt { path: path.clone() })?;
            let key = derive(source, &salt, factors, credential)?;
            let same = key_check(&key)? == check;
            return if same { Self::from_key(&key, source) } else { Err(other_hardware(source)) };
        }
        let source = match credential {
            Some(_) => Source::Credential,
            None => Source::Factor(factors.kind()),
        };
        let mut salt = [0; 32];
        getrandom::fill(&mut salt).map_err(|_| SealError::Random)?;
        let key = derive(source, &salt, factors, credential)?;
        let check = key_check(&key)?;
        let text = format!("{SALT_HEADER} {} {} {}\n", source.name(), hex(&salt), hex(&check));
        durable::replace(&path, text.as_bytes()).map_err(io)?;
        Self::from_key(&key, source)
    }

    /// Seals a secret under a name. It opens under that name only, so that one sealed file cannot be
    /// put in another's place.
    ///
    /// # Errors
    /// [`SealError::Random`] without a random source.
    pub fn seal(&self, name: &str, secret: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(|_| SealError::Random)?;
        let mut sealed = Vec::with_capacity(SEALED_HEADER.len() + NONCE_LEN + secret.len() + 16);
        sealed.extend_from_slice(SEALED_HEADER);
        sealed.extend_from_slice(&nonce);
        let mut content = Zeroizing::new(secret.to_vec());
        let tag = self
            .key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), associated(name), &mut content)
            .map_err(|_| SealError::Damaged { name: name.to_owned() })?;
        sealed.extend_from_slice(&content);
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// Opens what was sealed under that name.
    ///
    /// # Errors
    /// [`SealError::Damaged`] when a bit of it, or its name, is another.
    pub fn unseal(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let damaged = || SealError::Damaged { name: name.to_owned() };
        let rest = sealed.strip_prefix(SEALED_HEADER).ok_or_else(damaged)?;
        let (nonce, content) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(damaged)?;
        let mut secret = Zeroizing::new(content.to_vec());
        let length = self
            .key
            .open_in_place(Nonce::assume_unique_for_key(*nonce), associated(name), &mut secret)
            .map_err(|_| damaged())?
            .len();
        secret.truncate(length);
        Ok(secret)
    }

    fn from_key(key: &[u8; 32], source: Source) -> Result<Self, SealError> {
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| SealError::Random)?;
        Ok(Self { key: LessSafeKey::new(key), source_name: source.name() })
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seal").field("source_name", &self.source_name).finish_non_exhaustive()
    }
}

impl Source {
    const fn name(self) -> &'static str {
        match self {
            Self::Credential => CREDENTIAL_SOURCE,
            Self::Factor(kind) => kind.name(),
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        let factor = || FactorKind::ALL.into_iter().find(|kind| kind.name() == name).map(Self::Factor);
        if name == CREDENTIAL_SOURCE { Some(Self::Credential) } else { factor() }
    }
}

fn associated(name: &str) -> Aad<Vec<u8>> {
    Aad::from([SEALED_HEADER.as_slice(), b"carepost sealed\0", name.as_bytes()].concat())
}

fn derive(
    source: Source,
    salt: &[u8; 32],
    factors: &Factors,
    credential: Option<&Credential>,
) -> Result<Zeroizing<[u8; 32]>, SealError> {
    let secret = match source {
        Source::Credential => credential.map(|credential| credential.0.as_slice()),
        Source::Factor(kind) => factors.value(kind).map(str::as_bytes),
    };
    let secret = secret.ok_or_else(|| SealError::SourceMissing { source_name: source.name().to_owned() })?;
    let extracted = Salt::new(HKDF_SHA256, salt).extract(secret);
    expand(&extracted, &[b"carepost sealing key\0", source.name().as_bytes()])
}

/// A value that tells the right key from another and gives neither away.
fn key_check(key: &[u8; 32]) -> Result<[u8; 32], SealError> {
    Ok(*expand(&Prk::new_less_safe(HKDF_SHA256, key), &[b"carepost key check"])?)
}

fn expand(extracted: &Prk, info: &[&[u8]]) -> Result<Zeroizing<[u8; 32]>, SealError> {
    struct Length;
    impl KeyType for Length {
        fn len(&self) -> usize {
            32
        }
    }
    let mut key = Zeroizing::new([0; 32]);
    // ring refuses only lengths over 255 hashes.
    extracted
        .expand(info, Length)
        .and_then(|output| output.fill(key.as_mut_slice()))
        .map_err(|_| SealError::Random)?;
    Ok(key)
}

fn other_hardware(source: Source) -> SealError {
    SealError::OtherHardware { source_name: source.name().to_owned() }
}

fn parse_salt(text: &str) -> Option<(Source, [u8; 32], [u8; 32])> {
    let mut words = text.split_ascii_whitespace();
    let (header, source, salt, check) = (words.next()?, words.next()?, words.next()?, words.next()?);
    if header != SALT_HEADER || words.next().is_some() {
        return None;
    }
    Some((Source::from_name(source)?, unhex(salt)?, unhex(check)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(machine_id: &str) -> Factors {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("etc")).unwrap();
        std::fs::write(root.path().join("etc/machine-id"), machine_id).unwrap();
        Factors::read(root.path()).unwrap()
    }

    const HERE: &str = "0f2c6e1d9b8a4c7e8d5f3a2b1c0d9e8f";
    const ELSEWHERE: &str = "9e8f0f2c6e1d9b8a4c7e8d5f3a2b1c0d";

    #[test]
    fn what_is_sealed_opens_here_and_under_its_name_only() {
        let directory = tempfile::tempdir().unwrap();
        let seal = Seal::open_or_create(directory.path(), &factors(HERE), None).unwrap();
        let sealed = seal.seal("a", b"secret").unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        assert_ne!(sealed, seal.seal("a", b"secret").unwrap(), "a nonce is never used twice");
        let again = Seal::open_or_create(directory.path(), &factors(HERE), None).unwrap();
        assert_eq!(again.unseal("a", &sealed).unwrap().as_slice(), b"secret");
        assert!(matches!(again.unseal("b", &sealed), Err(SealError::Damaged { .. })));
        for position in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[position] ^= 1;
            assert!(matches!(again.unseal("a", &damaged), Err(SealError::Damaged { .. })), "{position}");
            assert!(again.unseal("a", &sealed[..position]).is_err(), "{position}");
        }
    }

    #[test]
    fn a_directory_copied_to_other_hardware_says_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        Seal::open_or_create(directory.path(), &factors(HERE), None).unwrap();
        let error = Seal::open_or_create(directory.path(), &factors(ELSEWHERE), None).unwrap_err();
        assert!(matches!(error, SealError::OtherHardware { .. }));
        assert!(error.to_string().contains("aside") && error.to_string().contains("recovery key"));
    }

    #[test]
    fn a_credential_stands_in_for_the_hardware() {
        let directory = tempfile::tempdir().unwrap();
        let credential = Credential::from_bytes(b"from the TPM".to_vec());
        let seal = Seal::open_or_create(directory.path(), &factors(HERE), Some(&credential)).unwrap();
        assert_eq!(seal.source_name, "credential");
        let sealed = seal.seal("a", b"secret").unwrap();
        let swapped = Seal::open_or_create(directory.path(), &factors(ELSEWHERE), Some(&credential)).unwrap();
        assert_eq!(swapped.unseal("a", &sealed).unwrap().as_slice(), b"secret");
        let without = Seal::open_or_create(directory.path(), &factors(HERE), None);
        assert!(matches!(without, Err(SealError::SourceMissing { .. })));
        let other = Credential::from_bytes(b"from another".to_vec());
        let wrong = Seal::open_or_create(directory.path(), &factors(HERE), Some(&other));
        assert!(matches!(wrong, Err(SealError::OtherHardware { .. })));
    }

    #[test]
    fn the_credential_is_read_where_systemd_puts_it() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Credential::read(None).unwrap().is_none());
        assert!(Credential::read(Some(directory.path().as_os_str())).unwrap().is_none());
        std::fs::write(directory.path().join(CREDENTIAL), "s3cret").unwrap();
        let credential = Credential::read(Some(directory.path().as_os_str())).unwrap().unwrap();
        assert_eq!(credential.0.as_slice(), b"s3cret");
        assert_eq!(format!("{credential:?}"), "Credential([secret])");
    }

    #[test]
    fn a_damaged_salt_is_not_replaced_by_a_new_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(SALT_FILE);
        std::fs::write(&path, "carepost-seal-1 machine-id 00").unwrap();
        let opened = Seal::open_or_create(directory.path(), &factors(HERE), None);
        assert!(matches!(opened, Err(SealError::NoSalt { .. })));
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("00"));
    }
}
