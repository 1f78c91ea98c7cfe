//! The configuration of TLS.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Problems;

/// `tls`: the server certificate, and which clients may call. A service with TLS returns it from
/// [`Configuration::tls`](crate::config::Configuration::tls).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsConfig {
    /// PEM file with the certificate, followed by the intermediate certificates of its chain; may
    /// change while the service runs.
    #[schemars(length(min = 1))]
    pub cert: Option<PathBuf>,
    /// PEM file with the private key of the certificate; may change with it.
    #[schemars(length(min = 1))]
    pub key: Option<PathBuf>,
    /// PEM file with the CAs of client certificates; without it clients need none. May change
    /// while the service runs.
    #[schemars(length(min = 1))]
    pub client_ca: Option<PathBuf>,
    /// Clients that may call, by the common name, a DNS name or a URI of their certificate;
    /// without it every client with a certificate of `tls.clientCa`.
    pub client_names: Vec<String>,
    /// Whether only such clients may get `/metrics` and `/debug/state`, too; `/healthz` and
    /// `/readyz` answer everybody.
    pub client_ca_covers_metrics: bool,
}

impl TlsConfig {
    /// The keys that also have a flag.
    pub const FLAGS: [&str; 2] = ["tls.cert", "tls.key"];

    /// Adds what the schema cannot express; the files are not read.
    pub fn check(&self, problems: &mut Problems) {
        match (&self.cert, &self.key) {
            (Some(_), None) => problems.add(&["tls.cert"], "needs its key, `tls.key`"),
            (None, Some(_)) => problems.add(&["tls.key"], "needs its certificate, `tls.cert`"),
            _ => {}
        }
        if !self.client_names.is_empty() && self.client_ca.is_none() {
            let what = "needs `tls.clientCa`: names are read from client certificates";
            problems.add(&["tls.clientNames"], what);
        }
        if self.client_ca_covers_metrics && self.client_ca.is_none() {
            let what = "needs `tls.clientCa`, which verifies the clients";
            problems.add(&["tls.clientCaCoversMetrics"], what);
        }
        if self.client_names.iter().any(String::is_empty) {
            problems.add(&["tls.clientNames"], "a name must not be empty");
        }
    }
}
