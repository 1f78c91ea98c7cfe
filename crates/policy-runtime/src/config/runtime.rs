//! The keys that every service has.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::Problems;
use crate::telemetry;

/// A longer time is most likely a mistake of the unit.
const MOST_SECONDS: u32 = 24 * 60 * 60;

/// The part of the configuration that every service has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeConfig {
    /// Address and port to listen on.
    #[serde(deserialize_with = "address")]
    pub addr: SocketAddr,
    /// `log`
    pub log: LogConfig,
    /// `kube`
    pub kube: KubeConfig,
    /// `shutdown`
    pub shutdown: ShutdownConfig,
}

/// `log`: what is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogConfig {
    /// Format of the log on standard error.
    pub format: LogFormat,
    /// Level `off`, `error`, `warn`, `info`, `debug` or `trace`, also by module as in
    /// `info,hyper=warn`; a change in the file is applied within 10 seconds.
    pub level: String,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Text for people.
    Text,
}

/// `kube`: how to reach the API server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KubeConfig {
    /// Path of a kubeconfig; without it the pod's service account, or what kubectl uses.
    #[schemars(length(min = 1))]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; without it the current one.
    #[schemars(length(min = 1))]
    pub context: Option<String>,
}

/// `shutdown`: how the service ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShutdownConfig {
    /// Time from SIGTERM until work that has not ended is cut off; Kubernetes kills the process
    /// after 30 seconds by default.
    #[schemars(range(min = 1, max = MOST_SECONDS))]
    pub grace_seconds: u32,
    /// Part of the grace time, at its beginning, in which the service works on but is not ready,
    /// so that clients move to other replicas.
    #[schemars(range(max = MOST_SECONDS))]
    pub drain_seconds: u32,
}

impl RuntimeConfig {
    /// The defaults of a service that listens on this port.
    #[must_use]
    pub fn new(port: u16) -> Self {
        Self {
            addr: (Ipv4Addr::UNSPECIFIED, port).into(),
            log: LogConfig::default(),
            kube: KubeConfig::default(),
            shutdown: ShutdownConfig { grace_seconds: 25, drain_seconds: 0 },
        }
    }

    /// Adds what the schema cannot express.
    pub(super) fn check(&self, problems: &mut Problems) {
        if let Err(error) = telemetry::filter(&self.log.level) {
            problems.add(&["log.level"], error);
        }
        let ShutdownConfig { grace_seconds: grace, drain_seconds: drain } = self.shutdown;
        if drain >= grace {
            let what = format!(
                "the time to drain ({drain}) must be shorter than the grace time ({grace}), which \
                 it is a part of"
            );
            problems.add(&["shutdown.drainSeconds", "shutdown.graceSeconds"], what);
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Json, level: "info".to_owned() }
    }
}

impl ShutdownConfig {
    /// Time from the signal until work that has not ended is cut off.
    #[must_use]
    pub fn grace(&self) -> Duration {
        Duration::from_secs(self.grace_seconds.into())
    }

    /// Time from the signal until work is asked to end.
    #[must_use]
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds.into())
    }
}

/// The error of [`SocketAddr`] itself does not say what an address looks like.
fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        de::Error::custom(format_args!(
            "must be an IP address with port such as 0.0.0.0:8080 or [::]:8080, not `{text}`"
        ))
    })
}
