//! The server's certificate and its key, reloaded when their files change: a renewed pair is shown without a restart.

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
use x509_parser::prelude::{FromDer as _, X509Certificate};

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
    let unreadable = |path: &Path, fault: &dyn std::fmt::Display| TlsError::Unreadable {
        path: path.to_owned(),
        fault: fault.to_string(),
    };
    let pem = files::read(certificate).map_err(|fault| unreadable(certificate, &fault))?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|fault| unreadable(certificate, &fault))?;
    let pem = files::read(key).map_err(|fault| unreadable(key, &fault))?;
    let private = PrivateKeyDer::from_pem_slice(&pem).map_err(|fault| unreadable(key, &fault))?;
    Ok(CertifiedKey::from_der(chain, private, &ring_provider::default_provider())?)
}

fn stamps(certificate: &Path, key: &Path) -> Stamps {
    [certificate, key].map(|path| {
        let file = std::fs::metadata(path).ok()?;
        Some((file.ino(), file.len(), file.mtime(), file.mtime_nsec()))
    })
}
