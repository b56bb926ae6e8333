//! The device's key: ECDSA P-256, made here and never leaving. It is what the server knows the device
//! by.

use std::fmt;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::seal::{ANEW, WITH_KEY};

/// Why a key could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The bytes are not a P-256 private key in PKCS #8.
    #[error("the device key on the disk is not a P-256 key: the file is damaged; {ANEW}; {WITH_KEY}")]
    NotAKey,
    /// The key could not be made, or its certificate not be signed.
    #[error("the device key could not be made: {0}; check the system's random source")]
    NotMade(#[from] rcgen::Error),
    /// The random source failed while signing.
    #[error("signing failed: check the system's random source")]
    NotSigned,
}

/// The device's private key, and the self-signed certificate that carries its public half.
pub struct DeviceKey {
    pkcs8: Zeroizing<Vec<u8>>,
    signer: EcdsaKeyPair,
    random: SystemRandom,
    certificate: CertificateDer<'static>,
    public_key_sha256: [u8; 32],
}

impl DeviceKey {
    /// A new key.
    ///
    /// # Errors
    /// [`KeyError::NotMade`] without a random source.
    pub fn generate() -> Result<Self, KeyError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        Self::from_pkcs8(&Zeroizing::new(key.serialize_der()))
    }

    /// The key that was kept.
    ///
    /// # Errors
    /// [`KeyError::NotAKey`] when the bytes are not one.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        let signer = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &random)
            .map_err(|_| KeyError::NotAKey)?;
        let key =
            KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(pkcs8), &PKCS_ECDSA_P256_SHA256)
                .map_err(|_| KeyError::NotAKey)?;
        let spki = ring::digest::digest(&ring::digest::SHA256, &key.subject_public_key_info());
        let mut public_key_sha256 = [0; 32];
        public_key_sha256.copy_from_slice(spki.as_ref());
        Ok(Self {
            pkcs8: Zeroizing::new(pkcs8.to_vec()),
            signer,
            random,
            certificate: self_signed(&key)?,
            public_key_sha256,
        })
    }

    /// The private key as it is kept, in PKCS #8. A secret.
    #[must_use]
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The certificate for mutual TLS. It does not expire: no renewal can be missed after months
    /// offline, and a device is shut out by its state, not by a date.
    #[must_use]
    pub fn certificate_der(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// A copy of the private key for rustls' client configuration.
    #[must_use]
    pub fn private_key_der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pkcs8.to_vec()))
    }

    /// SHA-256 of the public key (SPKI, DER): what the server knows the device by.
    #[must_use]
    pub fn public_key_sha256(&self) -> [u8; 32] {
        self.public_key_sha256
    }

    /// An ECDSA signature with SHA-256 over `message`, of fixed length.
    ///
    /// # Errors
    /// [`KeyError::NotSigned`] without a random source.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; 64], KeyError> {
        let signature = self.signer.sign(&self.random, message).map_err(|_| KeyError::NotSigned)?;
        signature.as_ref().try_into().map_err(|_| KeyError::NotSigned)
    }
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceKey([secret])")
    }
}

fn self_signed(key: &KeyPair) -> Result<CertificateDer<'static>, KeyError> {
    let mut parameters = CertificateParams::default();
    let mut name = DistinguishedName::new();
    // The certificate says nothing but the key: the server looks the key up and believes no name.
    name.push(DnType::CommonName, "Carepost device");
    parameters.distinguished_name = name;
    parameters.not_before = rcgen::date_time_ymd(2000, 1, 1);
    // RFC 5280, 4.1.2.5: the date for a certificate without an end.
    parameters.not_after = rcgen::date_time_ymd(9999, 12, 31);
    Ok(parameters.self_signed(key)?.der().clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    #[test]
    fn what_it_signs_verifies_under_the_certificate_key() {
        let key = DeviceKey::generate().unwrap();
        let signature = key.sign(b"a link").unwrap();
        use ring::signature::KeyPair as _;
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.signer.public_key().as_ref());
        assert!(public.verify(b"a link", &signature).is_ok());
        assert!(public.verify(b"another", &signature).is_err());
        // The certificate carries that very key: an uncompressed P-256 point.
        let point = key.signer.public_key().as_ref();
        assert!(key.certificate_der().as_ref().windows(point.len()).any(|window| window == point));
        // And it has no end.
        assert!(key.certificate_der().as_ref().windows(15).any(|window| window == b"99991231000000Z"));
    }

    #[test]
    fn a_kept_key_is_the_same_device() {
        let key = DeviceKey::generate().unwrap();
        let again = DeviceKey::from_pkcs8(key.pkcs8()).unwrap();
        assert_eq!(key.public_key_sha256(), again.public_key_sha256());
        assert_ne!(key.public_key_sha256(), DeviceKey::generate().unwrap().public_key_sha256());
    }

    #[test]
    fn rustls_takes_it_for_mutual_tls() {
        let key = DeviceKey::generate().unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let built = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_client_auth_cert(vec![key.certificate_der().clone()], key.private_key_der());
        assert!(built.is_ok());
    }

    #[test]
    fn rubbish_is_not_a_key_and_a_key_does_not_print() {
        assert!(matches!(DeviceKey::from_pkcs8(b"rubbish"), Err(KeyError::NotAKey)));
        assert_eq!(format!("{:?}", DeviceKey::generate().unwrap()), "DeviceKey([secret])");
    }
}
