//! What is configured of TLS.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::{Flag, Problems};

/// The certificate that is served, and whom callers have to be. A service that has TLS holds it in
/// its configuration under the key `tls`, and gives it out by
/// [`Configuration::tls`](crate::config::Configuration::tls).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsConfig {
    /// `tls.cert`: a PEM file with the certificate and those that lead to its CA, the service's
    /// own first. May change while the service runs.
    pub cert: Option<PathBuf>,
    /// `tls.key`: a PEM file with the certificate's private key. May change with it.
    pub key: Option<PathBuf>,
    /// `tls.clientCa`: a PEM file with the CAs of callers. Without one, callers are not asked for
    /// a certificate. May change while the service runs.
    pub client_ca: Option<PathBuf>,
    /// `tls.clientNames`: the callers that are meant, by the common name, a DNS name or a URI of
    /// their certificate; by default whoever has a certificate of that CA.
    pub client_names: Vec<String>,
}

impl TlsConfig {
    /// The flags of a service that has TLS.
    pub const FLAGS: [Flag; 2] = [
        Flag {
            name: "tls-cert",
            key: "tls.cert",
            value: "FILE",
            help: "Serve this certificate (PEM, with those that lead to its CA)",
        },
        Flag {
            name: "tls-key",
            key: "tls.key",
            value: "FILE",
            help: "The private key of the certificate (PEM)",
        },
    ];

    /// Adds what is wrong with the values; the files are not looked at.
    pub(crate) fn check(&self, problems: &mut Problems) {
        let paths =
            [("tls.cert", &self.cert), ("tls.key", &self.key), ("tls.clientCa", &self.client_ca)];
        for (key, path) in paths {
            if path.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
                problems.add(&[key], "must not be empty");
            }
        }
        match (&self.cert, &self.key) {
            (Some(_), None) => problems.add(&["tls.cert"], "needs its key, `tls.key`"),
            (None, Some(_)) => problems.add(&["tls.key"], "needs its certificate, `tls.cert`"),
            _ => {}
        }
        if !self.client_names.is_empty() && self.client_ca.is_none() {
            let what = "names are only known of callers with a certificate: needs `tls.clientCa`";
            problems.add(&["tls.clientNames"], what);
        }
        if self.client_names.iter().any(String::is_empty) {
            problems.add(&["tls.clientNames"], "a name must not be empty");
        }
    }
}
