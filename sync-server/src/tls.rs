//! TLS 1.3: the settings of both listeners, and whose key a device spoke with.
//!
//! A device's key is its identity: its certificate is self-signed, and nothing in it is believed but
//! the key. The handshake proves that the peer holds that key; whether the key is a device's, and
//! what state that device is in, is looked up on every request, because a resumed session is not
//! verified again.

mod certificate;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use carepost_host::files;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring as ring_provider, verify_tls13_signature,
};
use rustls::server::ResolvesServerCert;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, PeerIncompatible, ServerConfig,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY};
use x509_parser::prelude::{FromDer, X509Certificate};

pub use certificate::{Certificate, names_of};

/// Why a listener cannot speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or holds no PEM of the right kind.
    #[error("{path}: {fault}; run `carepost-server init`, or point tls_certificate and tls_key at PEM files")]
    Unreadable {
        path: PathBuf,
        /// What is wrong with it; its kind is `Other` where it was read and holds none.
        fault: std::io::Error,
    },
    /// Certificate and key do not belong together, or the key is of a kind that is not supported.
    #[error(
        "the TLS certificate and key cannot be used together: {0}; have tls_certificate and tls_key name one pair, in PEM"
    )]
    Mismatch(#[from] rustls::Error),
    /// Nobody would take it for this server's.
    #[error("{path}: no device and no program trusts this certificate as a server's: {fault}")]
    Unfit {
        path: PathBuf,
        /// Why not.
        fault: String,
    },
}

impl TlsError {
    /// Whether somebody has to put it right. What is half written, or one of two files that are renewed one by one, a
    /// later start finds whole.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Unreadable { fault, .. } => files::stays_unread(fault),
            Self::Unfit { .. } => true,
            Self::Mismatch(_) => false,
        }
    }
}

/// The TLS configurations of the two listeners.
pub struct Tls {
    /// For people and programs: no client certificate is asked for.
    pub people: Arc<ServerConfig>,
    /// For devices: a client certificate is mandatory.
    pub devices: Arc<ServerConfig>,
    pub certificate: Arc<Certificate>,
}

impl Tls {
    /// Reads the server's certificate chain and key, both in PEM.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let certificate = Arc::new(Certificate::load(certificate, key)?);
        let shown = || -> Arc<dyn ResolvesServerCert> { Arc::<Certificate>::clone(&certificate) };
        let provider = Arc::new(ring_provider::default_provider());
        let versions = &[&rustls::version::TLS13];
        let people = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)?
            .with_no_client_auth()
            .with_cert_resolver(shown());
        let verifier = Arc::new(DeviceKeys::new(&provider));
        let devices = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(shown());
        Ok(Self { people: speaking_http(people), devices: speaking_http(devices), certificate })
    }
}

fn speaking_http(mut config: ServerConfig) -> Arc<ServerConfig> {
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

/// The key that a device's connection was made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerKey {
    sha256: [u8; 32],
    point: [u8; 65],
}

impl PeerKey {
    /// The key in a certificate; none unless it is an ECDSA P-256 key.
    #[must_use]
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (rest, parsed) = X509Certificate::from_der(certificate).ok()?;
        let key = parsed.public_key();
        let curve = key.algorithm.parameters.as_ref()?.as_oid().ok()?;
        let is_p256 = key.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY && curve == OID_EC_P256;
        if !rest.is_empty() || !is_p256 {
            return None;
        }
        let digest = ring::digest::digest(&ring::digest::SHA256, key.raw);
        let point = <[u8; 65]>::try_from(key.subject_public_key.data.as_ref()).ok()?;
        Some(Self { sha256: digest.as_ref().try_into().ok()?, point })
    }

    /// SHA-256 over the DER of its SubjectPublicKeyInfo: what the devices table holds.
    #[must_use]
    pub const fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// The key itself: an uncompressed point, `04 || x || y`.
    #[must_use]
    pub const fn point(&self) -> &[u8; 65] {
        &self.point
    }
}

/// Accepts any certificate with a P-256 key whose holder signs the handshake.
#[derive(Debug)]
struct DeviceKeys {
    algorithms: WebPkiSupportedAlgorithms,
}

impl DeviceKeys {
    fn new(provider: &CryptoProvider) -> Self {
        Self { algorithms: provider.signature_verification_algorithms }
    }
}

impl ClientCertVerifier for DeviceKeys {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        // Names, dates and issuers of the certificate are not looked at: a device with a dead clock
        // must get in, and a forged name must gain nothing.
        if !intermediates.is_empty() || PeerKey::of(end_entity).is_none() {
            return Err(rustls::Error::InvalidCertificate(CertificateError::BadEncoding));
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::PeerIncompatible(PeerIncompatible::Tls13RequiredForQuic))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if signature.scheme != SignatureScheme::ECDSA_NISTP256_SHA256 {
            return Err(rustls::Error::InvalidCertificate(CertificateError::BadSignature));
        }
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
