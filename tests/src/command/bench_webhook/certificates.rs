//! The certificate that the webhook and the baseline server share.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::{Launch, trusting};
use policy_kube::certificate::{CertificateNames, issue};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use time::OffsetDateTime;
use tokio_rustls::TlsConnector;

const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

pub(in crate::command) struct Certificates {
    /// The PEM file of the certificate authority.
    pub(super) authority: String,
    trusted: CertificateDer<'static>,
    certificate: String,
    key: String,
}

impl Certificates {
    /// Issues certificates for 127.0.0.1 into a folder.
    pub(super) fn issue(folder: &Path) -> Result<Self> {
        let names = CertificateNames { dns: Vec::new(), ips: vec![Ipv4Addr::LOCALHOST.into()] };
        let issued = issue(&names, OffsetDateTime::now_utc(), LIFETIME)?;
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text)?;
            Ok::<_, anyhow::Error>(path.to_str().context("the path is not UTF-8")?.to_owned())
        };
        Ok(Self {
            trusted: CertificateDer::from_pem_slice(issued.authority.certificate.as_bytes())?,
            authority: issued.authority.certificate,
            certificate: write("tls.crt", &issued.server.certificate)?,
            key: write("tls.key", &issued.server.key)?,
        })
    }

    /// Makes a program serve with this certificate.
    pub(super) fn give<'a>(&self, launch: Launch<'a>) -> Result<Launch<'a>> {
        launch
            .arguments(&["--tls-cert", &self.certificate, "--tls-key", &self.key])
            .https(std::slice::from_ref(&self.trusted))
    }

    /// A TLS client for HTTP/1.1 connections to such a program.
    pub(in crate::command) fn client(&self) -> Result<TlsConnector> {
        let mut config = trusting(std::slice::from_ref(&self.trusted))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsConnector::from(Arc::new(config)))
    }
}
