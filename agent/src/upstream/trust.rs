//! Certificate trust: whether the server is to be trusted, on a device whose clock may be wrong.
//!
//! Names, signatures, chains and purposes are WebPKI's to check, always. Only the moment at which a
//! certificate's dates are judged is ours. A stopped clock would refuse a certificate that was renewed
//! meanwhile, and one set years ahead every certificate there is; so until time was compared with the
//! server's in this run, the device's clock has no say: a certificate that is not valid yet by the
//! latest time that the server ever attested is taken to be valid by now, and one that had ended by
//! then is refused. See [`CertificateTime`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use carepost_agent_core::clock::CertificateTime;
use carepost_protocol::time::Timestamp;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring as ring_provider};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::{Credentials, UpstreamError};
use crate::clock::Clock;

/// How often the moment is put off in one handshake: as often as a chain can be long that WebPKI
/// follows (a certificate and six above it), so that each of them may be newer than the last.
const LONGEST_CHAIN: usize = 7;
/// How long before its end it is known that a certificate ends, in milliseconds.
const AHEAD: i64 = 30 * 24 * 3_600_000;

/// TLS 1.3 with the device's key, and HTTP/2 where the server speaks it. The server is trusted by the
/// certificates in `ca` (PEM), or by the system's where there are none.
pub(super) fn tls(
    ca: Option<&[u8]>,
    own: &Credentials,
    clock: Arc<Clock>,
    ends: Arc<Ends>,
) -> Result<ClientConfig, UpstreamError> {
    let set_up = |error: &dyn std::fmt::Display| UpstreamError::SetUp(error.to_string());
    let provider = Arc::new(ring_provider::default_provider());
    let trust = ServerTrust::new(roots(ca)?, &provider, Arc::clone(&clock), ends)?;
    let key = ring_provider::sign::any_supported_type(&PrivatePkcs8KeyDer::from(own.pkcs8.as_slice()).into())
        .map_err(|error| set_up(&error))?;
    let own = CertifiedKey::new(vec![CertificateDer::from(own.certificate.clone())], key);
    let mut tls = ClientConfig::builder_with_details(provider, Arc::new(Corrected(clock)))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| set_up(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(trust))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own)));
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(tls)
}

/// Whom to trust.
fn roots(ca: Option<&[u8]>) -> Result<RootCertStore, UpstreamError> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| UpstreamError::SetUp(error.to_string()))?;
                roots.add(certificate).map_err(|error| UpstreamError::SetUp(error.to_string()))?;
            }
        }
        // A system's bundle may hold some that are damaged or of kinds unknown here.
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    if roots.is_empty() {
        return Err(UpstreamError::SetUp("there is no certificate to trust".to_owned()));
    }
    Ok(roots)
}

/// When the certificate of the server ends, where that is soon by this device's clock.
#[derive(Debug, Default)]
pub(super) struct Ends(Mutex<Option<Timestamp>>);

impl Ends {
    pub(super) fn soon(&self) -> Option<Timestamp> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What would be wrong with the server's certificates after [`AHEAD`].
    fn heard(&self, wrong: Option<rustls::Error>) {
        let ends = match wrong {
            Some(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext {
                not_after, ..
            })) => i64::try_from(not_after.as_secs()).ok().map(|ends| Timestamp::from_millis(ends * 1_000)),
            Some(_) | None => None,
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = ends;
    }
}

/// See the module.
#[derive(Debug)]
struct ServerTrust {
    webpki: Arc<WebPkiServerVerifier>,
    clock: Arc<Clock>,
    ends: Arc<Ends>,
}

impl ServerTrust {
    fn new(
        roots: RootCertStore,
        provider: &Arc<CryptoProvider>,
        clock: Arc<Clock>,
        ends: Arc<Ends>,
    ) -> Result<Self, UpstreamError> {
        let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        let webpki = webpki.build().map_err(|error| UpstreamError::SetUp(error.to_string()))?;
        Ok(Self { webpki, clock, ends })
    }
}

impl ServerTrust {
    fn judged(
        &self,
        judge: impl Fn(UnixTime) -> Result<ServerCertVerified, rustls::Error>,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut at = match self.clock.certificate_time() {
            CertificateTime::At(at) => return judge(unix(at)),
            CertificateTime::NotBefore(at) => unix(at),
        };
        for _ in 0..LONGEST_CHAIN {
            match judge(at) {
                Err(rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext {
                    not_before,
                    ..
                })) if not_before > at => at = not_before,
                judged => return judged,
            }
        }
        judge(at)
    }
}

impl ServerCertVerifier for ServerTrust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let judge =
            |at| self.webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, at);
        let trusted = self.judged(judge)?;
        self.ends.heard(judge(unix(self.clock.now().plus_millis(AHEAD))).err());
        Ok(trusted)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// The corrected time, by which rustls ages the tickets of earlier connections.
#[derive(Debug)]
struct Corrected(Arc<Clock>);

impl TimeProvider for Corrected {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix(self.0.now()))
    }
}

fn unix(time: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(0)))
}

#[cfg(test)]
mod tests;
