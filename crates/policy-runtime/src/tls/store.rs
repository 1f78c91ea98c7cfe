//! The certificate for the next handshake.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::{ServerConfig, ServerConnection};
use tokio::sync::Notify;
use tracing::warn;

use super::certificate::Pair;
use super::clients::Clients;
use super::{Certificate, Peer, TlsError};

/// The name of HTTP/2 in a handshake (RFC 9113, section 3.2).
pub(crate) const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// The server certificate with its key, and the client CA. Clones share them. A change applies to
/// the next handshake; open connections keep theirs.
#[derive(Clone, Debug, Default)]
pub struct CertificateStore(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// For handshakes, which read it without a lock.
    served: ArcSwapOption<Served>,
    /// For handshakes before there is a certificate; issued when the first one needs it.
    bootstrap: OnceLock<Option<Arc<Served>>>,
    /// The parts that `served` is made of.
    parts: Mutex<Parts>,
    changed: Notify,
}

#[derive(Clone, Debug, Default)]
struct Parts {
    pair: Option<Pair>,
    clients: Option<Arc<Clients>>,
}

/// The TLS configuration of a handshake.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) config: Arc<ServerConfig>,
    certificate: Certificate,
    clients: Option<Arc<Clients>>,
    pub(crate) is_bootstrap: bool,
}

impl CertificateStore {
    /// An empty store: the service is not ready, and connections use a bootstrap certificate, so
    /// that kubelet probes of `/healthz` succeed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the certificate (PEM, followed by the intermediate certificates of its chain) and its
    /// key.
    ///
    /// # Errors
    /// They are invalid, do not match, or are expired. The previous ones stay.
    pub fn set(&self, cert: &[u8], key: &[u8]) -> Result<Certificate, TlsError> {
        let pair = Pair::from_pem(cert, key)?;
        let certificate = pair.certificate.clone();
        self.change(|parts| parts.pair = Some(pair))?;
        Ok(certificate)
    }

    /// Requests client certificates of these CAs (PEM). Clients with one of the names are verified;
    /// all of them, where there are no names.
    ///
    /// # Errors
    /// The CAs are invalid. The previous ones stay.
    pub fn set_clients(&self, ca: &[u8], names: &[String]) -> Result<(), TlsError> {
        let clients = Arc::new(Clients::from_pem(ca, names)?);
        self.change(|parts| parts.clients = Some(clients))
    }

    /// The certificate that is served; `None` before the first one.
    #[must_use]
    pub fn current(&self) -> Option<Certificate> {
        self.served().map(|served| served.certificate.clone())
    }

    pub(crate) fn served(&self) -> Option<Arc<Served>> {
        self.0.served.load_full()
    }

    /// The certificate for a handshake: a self-signed one while there is no other. Kubelet probes do
    /// not verify certificates
    /// (<https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/>);
    /// clients that do so refuse it.
    pub(crate) fn for_handshake(&self) -> Option<Arc<Served>> {
        self.served().or_else(|| self.0.bootstrap.get_or_init(bootstrap).clone())
    }

    /// Waits for a change since the last call.
    pub(super) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    fn change(&self, change: impl FnOnce(&mut Parts)) -> Result<(), TlsError> {
        // Locked until it is served, or the older of two changes could win.
        let mut current = self.0.parts.lock();
        let mut parts = current.clone();
        change(&mut parts);
        if let Some(pair) = &parts.pair {
            let served = Served::new(pair, parts.clients.clone())?;
            self.0.served.store(Some(Arc::new(served)));
        }
        *current = parts;
        self.0.changed.notify_one();
        Ok(())
    }
}

impl Served {
    fn new(pair: &Pair, clients: Option<Arc<Clients>>) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?;
        let builder = match &clients {
            Some(clients) => builder.with_client_cert_verifier(Arc::clone(&clients.verifier)),
            None => builder.with_no_client_auth(),
        };
        let resolver = SingleCertAndKey::from(pair.key.as_ref().clone());
        let mut config = builder.with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
        if clients.is_some() {
            // A resumed session would skip the check of the client certificate.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Self {
            config: Arc::new(config),
            certificate: pair.certificate.clone(),
            clients,
            is_bootstrap: false,
        })
    }

    /// The client, after the handshake.
    pub(crate) fn peer(&self, address: SocketAddr, session: &ServerConnection) -> Peer {
        let chain: &[CertificateDer<'_>] = session.peer_certificates().unwrap_or_default();
        match &self.clients {
            Some(clients) => clients.peer(address, chain),
            None => Peer::unknown(address),
        }
    }
}

/// A certificate until the service has one. Its name is reserved (RFC 2606).
fn bootstrap() -> Option<Arc<Served>> {
    let issued = rcgen::generate_simple_self_signed(["bootstrap.invalid".to_owned()]);
    let served = issued.map_err(|error| TlsError::Certificate(error.to_string())).and_then(|new| {
        let (certificate, key) = (new.cert.pem(), new.signing_key.serialize_pem());
        Served::new(&Pair::from_pem(certificate.as_bytes(), key.as_bytes())?, None)
    });
    served
        .inspect_err(
            |error| warn!(%error, "cannot issue the bootstrap certificate for kubelet probes"),
        )
        .ok()
        .map(|served| Arc::new(Served { is_bootstrap: true, ..served }))
}
