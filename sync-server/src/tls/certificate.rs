//! The server's certificate and its key, reloaded when their files change: a renewed pair is shown without a restart.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use carepost_host::files;
use carepost_protocol::time::Timestamp;
use rustls::crypto::ring as ring_provider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::signal::unix::Signal;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};
use zeroize::Zeroizing;

use super::TlsError;
use crate::clock;
use crate::stopping::Stopping;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// How long before a certificate's end it is told that it ends.
const AHEAD: Duration = Duration::from_secs(30 * 24 * 3_600);
/// How often the log tells it.
const TELL_EVERY: Duration = Duration::from_secs(24 * 3_600);

/// What both listeners show. A pair that cannot be used takes the place of none that can.
#[derive(Debug)]
pub struct Certificate {
    chain: PathBuf,
    key: PathBuf,
    /// The files when they were read at first.
    read: Stamps,
    shown: RwLock<Arc<CertifiedKey>>,
}

/// By what a file that changed is known: whose inode, how long, and since when in nanoseconds.
type Stamps = [Option<(u64, u64, i64, i64)>; 2];

impl Certificate {
    /// Reads both files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub(super) fn load(chain: &Path, key: &Path) -> Result<Self, TlsError> {
        // Before they are read, so that what changes meanwhile is noticed.
        let read = stamps(chain, key);
        let shown = RwLock::new(Arc::new(pair(chain, key)?));
        Ok(Self { chain: chain.to_owned(), key: key.to_owned(), read, shown })
    }

    fn shown(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.shown.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// That it ends soon or has ended, in words.
    #[must_use]
    pub fn warning(&self, now: Timestamp) -> Option<String> {
        let shown = self.shown();
        let (_, leaf) = X509Certificate::from_der(shown.end_entity_cert().ok()?).ok()?;
        let ends = Timestamp::from_millis(leaf.validity().not_after.timestamp().saturating_mul(1_000));
        (ends.since(now) < AHEAD).then(|| {
            let word = if ends > now { "ends" } else { "ended" };
            format!("the server's certificate {word} at {ends}: renew it, or devices and people stay out")
        })
    }

    /// Reads the files again whenever they have changed, or at a signal, until the server stops; and says once a
    /// day that the certificate ends, where it does.
    pub(crate) async fn renew(&self, mut hangup: Signal, mut stopping: Stopping) {
        let (mut known, mut told) = (self.read, None::<Instant>);
        loop {
            if told.is_none_or(|told| told.elapsed() > TELL_EVERY)
                && let Some(warning) = self.warning(clock::now())
            {
                told = Some(Instant::now());
                tracing::warn!(certificate = %self.chain.display(), "{warning}");
            }
            let asked = tokio::select! {
                () = tokio::time::sleep(LOOK) => false,
                _ = hangup.recv() => true,
                () = stopping.wait() => return,
            };
            let seen = stamps(&self.chain, &self.key);
            if asked || seen != known {
                (known, told) = (seen, None);
                self.read_again();
            }
        }
    }

    fn read_again(&self) {
        let certificate = self.chain.display();
        match pair(&self.chain, &self.key) {
            Ok(pair) => {
                *self.shown.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pair);
                tracing::info!(%certificate, "the certificate was read again");
            }
            Err(fault) => {
                tracing::error!(%certificate, %fault, "the certificate that was read before stays");
            }
        }
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shown())
    }
}

fn pair(certificate: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let pem = read(certificate)?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|fault| nonsense(certificate, &fault))?;
    let pem = read(key)?;
    let private = PrivateKeyDer::from_pem_slice(&pem).map_err(|fault| nonsense(key, &fault))?;
    let pair = CertifiedKey::from_der(chain, private, &ring_provider::default_provider())?;
    match unfit(pair.end_entity_cert()?) {
        Some(fault) => Err(TlsError::Unfit { path: certificate.to_owned(), fault }),
        None => Ok(pair),
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    files::read(path).map_err(|fault| TlsError::Unreadable { path: path.to_owned(), fault })
}

fn nonsense(path: &Path, fault: &dyn std::fmt::Display) -> TlsError {
    TlsError::Unreadable { path: path.to_owned(), fault: std::io::Error::other(fault.to_string()) }
}

/// Why neither devices nor programs take it for a server's at any time, whichever authority they trust: what WebPKI,
/// which judges there, finds wrong with it alone. Of its days this machine's clock may be the wrong one.
fn unfit(leaf: &CertificateDer<'_>) -> Option<String> {
    let Ok((_, leaf)) = X509Certificate::from_der(leaf) else { return Some("it cannot be read".to_owned()) };
    let is_for_servers =
        leaf.extended_key_usage().is_ok_and(|usage| usage.is_none_or(|it| it.value.server_auth));
    if leaf.is_ca() {
        let own = "it is an authority's own (CA:TRUE): have an authority sign one for this server, or make one with \
                   `openssl req -x509 -addext basicConstraints=critical,CA:FALSE`";
        Some(own.to_owned())
    } else if names(&leaf).is_empty() {
        Some(
            "it names no host (subjectAltName): have one made for the name that devices and people use"
                .to_owned(),
        )
    } else {
        let other = "it is for other purposes than a server's: its extendedKeyUsage lacks serverAuth";
        (!is_for_servers).then(|| other.to_owned())
    }
}

/// The names and addresses that the first certificate of a file is for.
///
/// # Errors
/// [`TlsError`] where it cannot be read.
pub fn names_of(path: &Path) -> Result<Vec<String>, TlsError> {
    let leaf = CertificateDer::from_pem_slice(&read(path)?).map_err(|fault| nonsense(path, &fault))?;
    let (_, leaf) = X509Certificate::from_der(&leaf).map_err(|fault| nonsense(path, &fault))?;
    Ok(names(&leaf))
}

fn names(leaf: &X509Certificate<'_>) -> Vec<String> {
    let written = leaf.subject_alternative_name().ok().flatten();
    let written = written.iter().flat_map(|names| &names.value.general_names);
    let name = |written: &GeneralName<'_>| {
        if let GeneralName::DNSName(name) = written {
            return Some((*name).to_owned());
        }
        let GeneralName::IPAddress(bytes) = written else { return None };
        let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
        let address = four.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
        address.ok().map(|address| address.to_string())
    };
    written.filter_map(name).collect()
}

fn stamps(certificate: &Path, key: &Path) -> Stamps {
    [certificate, key].map(|path| {
        let file = std::fs::metadata(path).ok()?;
        Some((file.ino(), file.len(), file.mtime(), file.mtime_nsec()))
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair};

    use super::*;

    /// Why a pair is refused whose certificate is as `change` makes a good one; none where it is taken.
    fn refused(change: impl FnOnce(&mut CertificateParams)) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let mut params =
            CertificateParams::new(["care.example.test".to_owned(), "192.0.2.7".to_owned()]).unwrap();
        change(&mut params);
        let pair = KeyPair::generate().unwrap();
        let (chain, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
        std::fs::write(&chain, params.self_signed(&pair).unwrap().pem()).unwrap();
        std::fs::write(&key, pair.serialize_pem()).unwrap();
        let written = params.subject_alt_names.len();
        assert_eq!(names_of(&chain).unwrap().len(), written);
        Certificate::load(&chain, &key).err().map(|fault| fault.to_string())
    }

    #[test]
    fn a_certificate_that_no_device_would_take_is_refused_with_why() {
        assert_eq!(refused(|_| ()), None);
        let for_servers = |it: &mut CertificateParams| {
            it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        };
        assert_eq!(refused(for_servers), None);
        let said = refused(|it| it.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)).unwrap();
        assert!(said.contains("an authority's own (CA:TRUE)") && said.contains("CA:FALSE"), "{said}");
        let said = refused(|it| it.subject_alt_names.clear()).unwrap();
        assert!(said.contains("it names no host (subjectAltName)"), "{said}");
        let said = refused(|it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]).unwrap();
        assert!(said.contains("lacks serverAuth"), "{said}");
        // Its days are said, and it is shown.
        assert_eq!(refused(|it| it.not_after = rcgen::date_time_ymd(2020, 1, 1)), None);
        assert_eq!(refused(|it| it.not_before = rcgen::date_time_ymd(4000, 1, 1)), None);
    }
}
