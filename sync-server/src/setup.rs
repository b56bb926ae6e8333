//! Set-up, `carepost-server init`: it makes what a server needs before it can serve. Nothing that exists is
//! overwritten.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use carepost_host::files;
use carepost_protocol::hex::hex;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, PKCS_ECDSA_P256_SHA256};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use crate::config::{Config, ConfigError, KeySource};
use crate::error::{FieldErrors, Refusal};
use crate::operations::users;
use crate::password::{PasswordError, check_password, hash_now};
use crate::store::StoreError;
use crate::{ServeError, clock, open_store};

/// Why a server could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A file or folder cannot be written.
    #[error("{path}: {fault}; check who owns the folder and whether the disk is full")]
    Unwritable {
        path: PathBuf,
        /// Why not.
        fault: std::io::Error,
    },
    /// The password is too weak.
    #[error("the administrator's password: {0}")]
    Password(&'static str),
    /// The names are none.
    #[error("{0}")]
    Names(String),
    /// The password could not be hashed.
    #[error(transparent)]
    Hash(#[from] PasswordError),
    /// A key that is there already cannot be used for the certificate.
    #[error("{path}: {fault}; restore the key, or move it away and run init again to make another")]
    Key {
        path: PathBuf,
        /// Why not.
        fault: String,
    },
    /// The certificate could not be made.
    #[error("the certificate could not be made: {0}; check the host names")]
    Certificate(#[from] rcgen::Error),
    /// The server could not be opened.
    #[error(transparent)]
    Open(#[from] ServeError),
    /// The administrator could not be created.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What `init` made, and what was there already.
#[derive(Debug, PartialEq, Eq)]
pub struct Made {
    /// The database key's file, if it was made now.
    pub database_key: Option<PathBuf>,
    /// The certificate's file, if it was made now.
    pub certificate: Option<PathBuf>,
    /// The platform administrators that were there already; where there were none, the first was created now.
    pub admins: Vec<String>,
}

/// Makes the state directory, the database key, a self-signed certificate for these host names and the
/// first platform administrator, each unless it is there.
///
/// # Errors
/// See [`SetupError`].
pub async fn init(
    config: &Config,
    hosts: &[String],
    (admin, name): (&str, Option<&str>),
    password: &SecretString,
) -> Result<Made, SetupError> {
    let (mut admin, mut name) = (admin.to_owned(), name.map(str::to_owned));
    let mut faults = FieldErrors::default();
    users::names(&mut faults, ["--admin", "--admin-name"], &mut admin, name.as_mut());
    faults.check().map_err(|refused| SetupError::Names(in_words(&refused)))?;
    check_password(password.expose_secret()).map_err(SetupError::Password)?;
    let folder = &config.state_dir;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|fault| SetupError::Unwritable { path: folder.clone(), fault })?;
    let database_key = make_database_key(config)?;
    let certificate = make_certificate(config, hosts)?;
    let store = open_store(config).await?;
    let admins = store.system().platform_admins().await?;
    if admins.is_empty() {
        let hash = hash_now(password.expose_secret())?;
        let name = name.as_ref().unwrap_or(&admin);
        store.system().create_platform_admin(&admin, name, &hash).await?;
    }
    store.close();
    Ok(Made { database_key, certificate, admins })
}

fn in_words(refused: &Refusal) -> String {
    let errors = refused.problem().errors.iter().map(|error| format!("{}: {}", error.field, error.detail));
    errors.collect::<Vec<_>>().join("\n")
}

fn make_database_key(config: &Config) -> Result<Option<PathBuf>, SetupError> {
    let (path, source) = config.database_key_path();
    if source == KeySource::Credential || path.exists() {
        return Ok(None);
    }
    // Another key opens no database that is there, and would stand where the copy of its own belongs.
    if config.database_path().exists() {
        return Err(ServeError::from(ConfigError::NoKey(path)).into());
    }
    let digits = Zeroizing::new(hex(&*Zeroizing::new(clock::random::<32>())));
    write_new(&path, digits.as_bytes(), 0o600)?;
    Ok(Some(path))
}

fn make_certificate(config: &Config, hosts: &[String]) -> Result<Option<PathBuf>, SetupError> {
    let (certificate, key) = (config.certificate_path(), config.key_path());
    if certificate.exists() {
        return Ok(None);
    }
    let pair = key_pair(&key)?;
    let mut params = CertificateParams::new(hosts.to_vec())?;
    params.distinguished_name.push(DnType::CommonName, "Carepost sync-server");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let signed = params.self_signed(&pair)?;
    write_new(&certificate, signed.pem().as_bytes(), 0o644)?;
    Ok(Some(certificate))
}

/// The certificate's key, which is there before the certificate: one alone is of an `init` that broke
/// off, or the operator's own.
fn key_pair(path: &Path) -> Result<KeyPair, SetupError> {
    if path.exists() {
        let unusable = |fault: &dyn std::fmt::Display| SetupError::Key {
            path: path.to_owned(),
            fault: fault.to_string(),
        };
        let pem = files::read_text(path).map_err(|fault| unusable(&fault))?;
        return KeyPair::from_pem(&pem).map_err(|fault| unusable(&fault));
    }
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    write_new(path, Zeroizing::new(pair.serialize_pem()).as_bytes(), 0o600)?;
    Ok(pair)
}

/// Writes a file that was not there: it has all of its bytes or does not exist, whenever the power goes.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), SetupError> {
    let mut half = path.as_os_str().to_owned();
    half.push(".half");
    let half = PathBuf::from(half);
    let write = || {
        match std::fs::remove_file(&half) {
            Err(fault) if fault.kind() != std::io::ErrorKind::NotFound => return Err(fault),
            Ok(()) | Err(_) => {}
        }
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&half)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        // A link, unlike a rename, never replaces what came to be there meanwhile.
        std::fs::hard_link(&half, path)?;
        std::fs::remove_file(&half)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        std::fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|fault| SetupError::Unwritable { path: path.to_owned(), fault })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_init_that_broke_off_after_the_key_is_finished_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { state_dir: folder.path().join("state"), ..Config::default() };
        let password = SecretString::from("correct horse battery staple 7");
        let hosts = ["carepost.example.test".to_owned()];
        let numbered = init(&config, &hosts, ("12345", None), &password).await.unwrap_err().to_string();
        assert_eq!(numbered, "--admin-name: the username has no letter: give the name, as people know it");
        assert!(!config.state_dir.exists(), "nothing was made");
        let run = || init(&config, &hosts, ("12345", Some("Root Example")), &password);
        let first = run().await.unwrap();
        assert_eq!(first.certificate, Some(config.certificate_path()));
        assert!(first.admins.is_empty());
        let key = std::fs::read(config.key_path()).unwrap();
        std::fs::remove_file(config.certificate_path()).unwrap();
        assert_eq!(run().await.unwrap().certificate, Some(config.certificate_path()));
        assert_eq!(std::fs::read(config.key_path()).unwrap(), key, "the same key");
        crate::tls::Tls::load(&config.certificate_path(), &config.key_path()).unwrap();
        let nothing = Made { database_key: None, certificate: None, admins: vec!["12345".to_owned()] };
        assert_eq!(run().await.unwrap(), nothing, "nothing is left to do");
        std::fs::remove_file(config.certificate_path()).unwrap();
        std::fs::write(config.key_path(), "no key").unwrap();
        let fault = run().await.unwrap_err();
        assert!(matches!(&fault, SetupError::Key { path, .. } if *path == config.key_path()), "{fault}");
        let left: Vec<_> =
            std::fs::read_dir(&config.state_dir).unwrap().map(|it| it.unwrap().path()).collect();
        assert!(left.iter().all(|path| path.extension().is_none_or(|it| it != "half")), "{left:?}");
    }

    #[tokio::test]
    async fn where_a_database_lost_its_key_none_is_made_and_its_copy_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { state_dir: folder.path().join("state"), ..Config::default() };
        let (password, hosts) =
            (SecretString::from("correct horse battery staple 7"), ["localhost".to_owned()]);
        let run = || init(&config, &hosts, ("root", None), &password);
        let key = run().await.unwrap().database_key.unwrap();
        let copy = std::fs::read(&key).unwrap();
        std::fs::remove_file(&key).unwrap();
        let said = run().await.unwrap_err().to_string();
        assert!(said.starts_with(&key.display().to_string()) && said.contains("Put the copy"), "{said}");
        assert!(!key.exists(), "no other key was made");
        assert_eq!(open_store(&config).await.unwrap_err().to_string(), said, "and so does `serve`");
        std::fs::write(&key, copy).unwrap();
        assert_eq!(run().await.unwrap().admins, ["root"]);
    }
}
