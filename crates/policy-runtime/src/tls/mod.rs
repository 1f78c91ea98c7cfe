//! Certificates: the server certificate, which changes while the service runs, and those of clients.
//!
//! ```text
//! CertificateFollower (files) ─┐
//!                              ├─ CertificateStore ── the next handshake
//! set() (issued certificates) ─┘
//! ```
//!
//! What cannot be used (a key of another certificate, half a file, an expired certificate) is
//! refused, and the previous certificate stays. Open connections keep the certificate of their
//! handshake. The only cryptography provider is ring.

mod certificate;
mod clients;
mod config;
mod follow;
mod store;
#[cfg(test)]
pub(crate) mod tests;

use std::path::PathBuf;
use std::{fmt, io};

pub use self::certificate::Certificate;
pub use self::clients::Peer;
pub use self::config::TlsConfig;
pub(crate) use self::follow::CertificateFollower;
pub use self::store::CertificateStore;
pub(crate) use self::store::HTTP2;

/// Why a certificate, a key or a CA cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The PEM text holds no valid certificate.
    #[error("no certificate can be read: {0}")]
    Certificate(String),
    /// The PEM text holds no valid private key.
    #[error("no private key can be read: {0}")]
    Key(String),
    /// The key is that of another certificate.
    #[error("certificate and key do not belong together")]
    Mismatch,
    /// The certificate has expired.
    #[error("the certificate expired at {0}")]
    Expired(Time),
    /// The client CA cannot be used.
    #[error("client certificates cannot be verified by this CA: {0}")]
    ClientCa(String),
    /// Any other error of rustls.
    #[error("cannot set up TLS: {0}")]
    Setup(#[from] rustls::Error),
    /// One of the others, with the keys of the configuration.
    #[error("{files}: {source}")]
    In {
        /// The keys and their files.
        files: String,
        /// What is wrong with them.
        source: Box<TlsError>,
    },
}

/// A time in whole seconds, as certificates hold it; displayed as in RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(
    /// Seconds since 1970.
    pub i64,
);

impl Time {
    /// The time of the system's clock.
    #[must_use]
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self(since.ok().and_then(|since| since.as_secs().try_into().ok()).unwrap_or_default())
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match k8s_openapi::jiff::Timestamp::from_second(self.0) {
            Ok(time) => time.fmt(f),
            Err(_) => write!(f, "{} s since 1970", self.0),
        }
    }
}
