//! Certificates: the service's own, which changes while it runs, and those that callers show.
//!
//! ```text
//! files, by content ─┐
//!                    ├─ CertificateStore ── the next handshake; open connections go on
//! set(), by hand ────┘
//! ```
//!
//! What does not fit (a key of another certificate, half a file, a certificate that expired) is
//! refused, and what was served before stays. One provider of cryptography: ring.

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
pub(crate) use self::follow::Follower;
pub use self::store::CertificateStore;
pub(crate) use self::store::HTTP2;

/// Why a certificate, a key or a CA is not taken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not there, or is none that can be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The text holds no certificate that can be read.
    #[error("no certificate can be read: {0}")]
    Certificate(String),
    /// The text holds no private key that can be read.
    #[error("no private key can be read: {0}")]
    Key(String),
    /// The key is that of another certificate.
    #[error("certificate and key do not belong together")]
    Mismatch,
    /// The certificate's time is over.
    #[error("the certificate expired at {0}")]
    Expired(Time),
    /// The CA of callers cannot verify anybody.
    #[error("callers cannot be verified by this CA: {0}")]
    ClientCa(String),
    /// What rustls says to the rest.
    #[error("cannot set up TLS: {0}")]
    Setup(#[from] rustls::Error),
    /// One of the others, with the keys of the configuration that brought it about.
    #[error("{place}: {source}")]
    At {
        /// Keys and files.
        place: String,
        /// What is wrong with them.
        source: Box<TlsError>,
    },
}

impl TlsError {
    fn at(self, place: impl Into<String>) -> Self {
        Self::At { place: place.into(), source: Box::new(self) }
    }
}

/// A moment as certificates have it; shown as in RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(
    /// Seconds since 1970.
    pub i64,
);

impl Time {
    /// What the system's clock says.
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
