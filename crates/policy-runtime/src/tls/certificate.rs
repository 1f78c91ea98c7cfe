//! A certificate with its key.

use std::sync::Arc;

use rustls::InconsistentKeys;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::{Time, TlsError};

/// Facts of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The serial number, as `0a:1b:2c`.
    pub serial: String,
    /// The start of its validity.
    pub not_before: Time,
    /// The end of its validity.
    pub not_after: Time,
}

impl Certificate {
    /// Whether it has expired.
    #[must_use]
    pub fn is_expired(&self, now: Time) -> bool {
        self.not_after < now
    }

    fn of(der: &[u8]) -> Result<Self, TlsError> {
        let parsed = parse(der)?;
        let validity = parsed.validity();
        Ok(Self {
            serial: parsed.raw_serial_as_string(),
            not_before: Time(validity.not_before.timestamp()),
            not_after: Time(validity.not_after.timestamp()),
        })
    }
}

/// A certificate chain with its private key.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) certificate: Certificate,
    pub(super) key: Arc<CertifiedKey>,
}

impl Pair {
    /// Reads both; they must match, and not be expired.
    pub(super) fn from_pem(cert: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain = chain(cert)?;
        let key =
            PrivateKeyDer::from_pem_slice(key).map_err(|error| TlsError::Key(error.to_string()))?;
        let [leaf, ..] = chain.as_slice() else {
            return Err(TlsError::Certificate("the text holds none".to_owned()));
        };
        let certificate = Certificate::of(leaf)?;
        for issuer in &chain[1..] {
            parse(issuer)?;
        }
        if certificate.is_expired(Time::now()) {
            return Err(TlsError::Expired(certificate.not_after));
        }
        let key = ring::default_provider()
            .key_provider
            .load_private_key(key)
            .map_err(|error| TlsError::Key(error.to_string()))?;
        let key = CertifiedKey::new(chain, key);
        match key.keys_match() {
            Ok(()) => Ok(Self { certificate, key: Arc::new(key) }),
            Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                Err(TlsError::Mismatch)
            }
            Err(error) => Err(TlsError::Setup(error)),
        }
    }
}

/// The certificates of a PEM text, in order.
pub(super) fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::Certificate(error.to_string()))
}

pub(super) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, TlsError> {
    let parsed = X509Certificate::from_der(der);
    parsed.map(|(_, parsed)| parsed).map_err(|error| TlsError::Certificate(error.to_string()))
}
