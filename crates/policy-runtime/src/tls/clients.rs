//! Who calls.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use super::TlsError;
use super::certificate::{chain, parse};

/// The other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Where it calls from.
    pub address: SocketAddr,
    /// Whether it has shown a certificate of `tls.clientCa` that is one of `tls.clientNames`,
    /// where any are given. Never, where no CA is configured.
    pub is_verified: bool,
    /// What its certificate calls it: the common name, else the first DNS name or URI; also where
    /// `tls.clientNames` does not have it. The CA stands for it, but not for its characters.
    pub name: Option<String>,
}

impl Peer {
    /// Somebody who has shown nothing.
    #[must_use]
    pub const fn unknown(address: SocketAddr) -> Self {
        Self { address, is_verified: false, name: None }
    }
}

/// The CAs and names of those who are meant to call.
#[derive(Debug)]
pub(super) struct Clients {
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    names: Vec<String>,
}

impl Clients {
    pub(super) fn from_pem(ca: &[u8], names: &[String]) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for root in chain(ca)? {
            roots.add(root).map_err(|error| TlsError::ClientCa(error.to_string()))?;
        }
        let provider = Arc::new(ring::default_provider());
        // Probes and scrapes come without a certificate: whom that is not enough for says so.
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .allow_unauthenticated()
            .build()
            .map_err(|error| TlsError::ClientCa(error.to_string()))?;
        Ok(Self { verifier, names: names.to_vec() })
    }

    /// Who has shown these certificates, which the verifier has accepted.
    pub(super) fn peer(&self, address: SocketAddr, shown: &[CertificateDer<'_>]) -> Peer {
        let names = shown.first().and_then(|leaf| Some(names(&parse(leaf).ok()?)));
        let Some(names) = names else { return Peer::unknown(address) };
        let is_verified =
            self.names.is_empty() || names.iter().any(|name| self.names.contains(name));
        Peer { address, is_verified, name: names.into_iter().next() }
    }
}

/// Common names, then DNS names and URIs.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let common = certificate.subject().iter_common_name();
    let mut names: Vec<String> =
        common.filter_map(|name| name.as_str().ok()).map(str::to_owned).collect();
    // An extension that cannot be read names nobody.
    if let Ok(Some(others)) = certificate.subject_alternative_name() {
        names.extend(others.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) | GeneralName::URI(name) => Some((*name).to_owned()),
            _ => None,
        }));
    }
    names
}
