//! Client certificates.

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

/// The client of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// Whether it has a certificate of `tls.clientCa` with one of `tls.clientNames`, if any are
    /// configured. Never, where no CA is configured.
    pub is_verified: bool,
    /// The common name of its certificate, else the first DNS name or URI, also where it is not one
    /// of `tls.clientNames`. It may hold any characters.
    pub name: Option<String>,
}

impl Peer {
    /// A client without a certificate.
    #[must_use]
    pub const fn unknown(address: SocketAddr) -> Self {
        Self { address, is_verified: false, name: None }
    }
}

/// Verifies client certificates by CA and name.
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
        // Kubelet probes and scrapes have no certificate; handlers that need one check the peer.
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .allow_unauthenticated()
            .build()
            .map_err(|error| TlsError::ClientCa(error.to_string()))?;
        Ok(Self { verifier, names: names.to_vec() })
    }

    /// The client with this certificate chain, which the verifier has accepted.
    pub(super) fn peer(&self, address: SocketAddr, chain: &[CertificateDer<'_>]) -> Peer {
        let names = chain.first().and_then(|leaf| Some(names(&parse(leaf).ok()?)));
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
    // An extension that cannot be parsed has no names.
    if let Ok(Some(others)) = certificate.subject_alternative_name() {
        names.extend(others.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) | GeneralName::URI(name) => Some((*name).to_owned()),
            _ => None,
        }));
    }
    names
}
