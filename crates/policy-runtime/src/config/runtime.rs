//! The keys that every service has.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, de};

use super::Problems;
use crate::telemetry;

/// Longer than this nothing is waited for: such a number is a mistake of the unit.
const MOST_SECONDS: u32 = 24 * 60 * 60;

/// What every service is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeConfig {
    /// `addr`: the address and port to listen on.
    #[serde(deserialize_with = "address")]
    pub addr: SocketAddr,
    /// `log`: what is logged, and how.
    pub log: LogConfig,
    /// `kube`: the way to the API server.
    pub kube: KubeConfig,
    /// `lease`: how replicas agree on the one that leads.
    pub lease: LeaseConfig,
    /// `shutdown`: how the service ends.
    pub shutdown: ShutdownConfig,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogConfig {
    /// `log.format`: `json` for machines or `text` for people; default `json`.
    pub format: LogFormat,
    /// `log.level`: `off`, `error`, `warn`, `info`, `debug` or `trace`, also for single modules
    /// as in `info,hyper=warn`; default `info`. May be changed in the file while the service runs.
    pub level: String,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Text for people.
    Text,
}

/// The way to the API server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KubeConfig {
    /// `kube.kubeconfig`: a kubeconfig file; by default what the client finds by itself.
    pub kubeconfig: Option<PathBuf>,
    /// `kube.context`: the context of the kubeconfig; by default its current one.
    pub context: Option<String>,
}

/// How replicas agree on the one that leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaseConfig {
    /// `lease.namespace`: where the Lease is; default `kube-devops`.
    pub namespace: String,
    /// `lease.name`: what the Lease is called; by default as the service.
    pub name: String,
    /// `lease.durationSeconds`: a leader that is silent for so long is replaced; default 15.
    pub duration_seconds: u32,
    /// `lease.renewDeadlineSeconds`: a leader that cannot renew for so long stops; default 10.
    pub renew_deadline_seconds: u32,
    /// `lease.retrySeconds`: the time between two tries; default 2.
    pub retry_seconds: u32,
}

/// How the service ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShutdownConfig {
    /// `shutdown.graceSeconds`: what has not ended by then is cut off; default 25, five less than
    /// Kubernetes waits by default.
    pub grace_seconds: u32,
    /// `shutdown.drainSeconds`: so long, within the grace, the service goes on as before, only not
    /// ready, for those that still call it; default 0.
    pub drain_seconds: u32,
}

impl RuntimeConfig {
    /// The defaults of a service.
    pub fn new(addr: impl Into<SocketAddr>, lease: &str) -> Self {
        Self {
            addr: addr.into(),
            log: LogConfig::default(),
            kube: KubeConfig::default(),
            lease: LeaseConfig::new(lease),
            shutdown: ShutdownConfig { grace_seconds: 25, drain_seconds: 0 },
        }
    }

    /// Adds what is wrong with values that have the right type.
    pub(super) fn check(&self, problems: &mut Problems) {
        if let Err(error) = telemetry::filter(&self.log.level) {
            problems.add(&["log.level"], error.to_string());
        }
        if self.kube.kubeconfig.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            problems.add(&["kube.kubeconfig"], "must not be empty");
        }
        if self.kube.context.as_ref().is_some_and(String::is_empty) {
            problems.add(&["kube.context"], "must not be empty");
        }
        self.lease.check(problems);
        self.shutdown.check(problems);
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Json, level: "info".to_owned() }
    }
}

impl LeaseConfig {
    fn new(name: &str) -> Self {
        Self {
            namespace: "kube-devops".to_owned(),
            name: name.to_owned(),
            duration_seconds: 15,
            renew_deadline_seconds: 10,
            retry_seconds: 2,
        }
    }

    /// How long a Lease holds without a sign of its leader.
    #[must_use]
    pub fn duration(&self) -> Duration {
        Duration::from_secs(self.duration_seconds.into())
    }

    /// How long a leader goes on without renewing.
    #[must_use]
    pub fn renew_deadline(&self) -> Duration {
        Duration::from_secs(self.renew_deadline_seconds.into())
    }

    /// The time between two tries.
    #[must_use]
    pub fn retry(&self) -> Duration {
        Duration::from_secs(self.retry_seconds.into())
    }

    fn check(&self, problems: &mut Problems) {
        const DURATION: &str = "lease.durationSeconds";
        const DEADLINE: &str = "lease.renewDeadlineSeconds";
        const RETRY: &str = "lease.retrySeconds";
        problems.check_label("lease.namespace", &self.namespace);
        problems.check_subdomain("lease.name", &self.name);
        check_seconds(DURATION, self.duration_seconds, problems);
        check_seconds(DEADLINE, self.renew_deadline_seconds, problems);
        check_seconds(RETRY, self.retry_seconds, problems);
        // The old leader has to have stopped before another may start, also by a slow clock.
        let (duration, deadline) = (self.duration_seconds, self.renew_deadline_seconds);
        if u64::from(duration) * 5 < u64::from(deadline) * 6 {
            let what = format!(
                "the duration ({duration}) must be at least a fifth longer than the renew \
                 deadline ({deadline})"
            );
            problems.add(&[DURATION, DEADLINE], what);
        }
        // Tries are spread by a fifth; at least one has to fit.
        let retry = self.retry_seconds;
        if u64::from(deadline) * 5 <= u64::from(retry) * 6 {
            let what = format!(
                "the renew deadline ({deadline}) must be more than a fifth longer than the time \
                 between two tries ({retry})"
            );
            problems.add(&[DEADLINE, RETRY], what);
        }
    }
}

impl ShutdownConfig {
    /// How long work may take to end.
    #[must_use]
    pub fn grace(&self) -> Duration {
        Duration::from_secs(self.grace_seconds.into())
    }

    /// How long the service goes on before its work ends.
    #[must_use]
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds.into())
    }

    fn check(&self, problems: &mut Problems) {
        const GRACE: &str = "shutdown.graceSeconds";
        let (grace, drain) = (self.grace_seconds, self.drain_seconds);
        check_seconds(GRACE, grace, problems);
        if drain >= grace && drain > 0 {
            let what = format!(
                "the time to drain ({drain}) must be shorter than the grace ({grace}), which it \
                 is a part of"
            );
            problems.add(&["shutdown.drainSeconds", GRACE], what);
        }
    }
}

fn check_seconds(key: &str, seconds: u32, problems: &mut Problems) {
    if !(1..=MOST_SECONDS).contains(&seconds) {
        problems.add(&[key], format!("must be from 1 to {MOST_SECONDS} seconds, not {seconds}"));
    }
}

/// An address; its own error would not say what one looks like.
fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        let expected = "an IP address with port such as 0.0.0.0:8080 or [::]:8080";
        de::Error::invalid_value(de::Unexpected::Str(&text), &expected)
    })
}
