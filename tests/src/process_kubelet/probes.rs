//! Probes, as a kubelet calls them
//! (<https://kubernetes.io/docs/concepts/workloads/pods/probes/>).

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use policy_runtime::testing::trusting_anybody;
use rustls::ClientConfig;

use super::network::PodNetwork;
use crate::http::Address;

/// One probe of a running container.
pub(super) struct Checker {
    path: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
    timeout: Duration,
    period: Duration,
    due: Instant,
    count: Count,
}

/// Successes or failures in a row, and what they mean.
struct Count {
    successes_needed: i32,
    failures_needed: i32,
    /// Successes above zero, failures below.
    row: i32,
    is_good: Option<bool>,
}

impl Checker {
    /// Reads a probe of the container, which starts now. The API server has filled in its defaults.
    pub(super) fn new(container: &Container, probe: &Probe, now: Instant) -> Result<Self> {
        let get = probe.http_get.as_ref().context("only probes by httpGet are supported")?;
        ensure!(get.host.is_none() && get.http_headers.is_none(), "a probe has a host or headers");
        let seconds = |value: Option<i32>, default: u64| {
            Duration::from_secs(value.and_then(|value| value.try_into().ok()).unwrap_or(default))
        };
        let is_https = get.scheme.as_deref() == Some("HTTPS");
        Ok(Self {
            path: get.path.clone().unwrap_or_else(|| "/".to_owned()),
            port: port(container, &get.port)?,
            tls: is_https.then(trusting_anybody).transpose()?.map(Arc::new),
            timeout: seconds(probe.timeout_seconds, 1),
            period: seconds(probe.period_seconds, 10),
            due: now + seconds(probe.initial_delay_seconds, 0),
            count: Count {
                successes_needed: probe.success_threshold.unwrap_or(1),
                failures_needed: probe.failure_threshold.unwrap_or(3),
                row: 0,
                is_good: None,
            },
        })
    }

    /// Calls the container if that is due. An error says why it failed.
    pub(super) fn call(&mut self, network: &PodNetwork, pod: Ipv4Addr) -> Result<()> {
        let now = Instant::now();
        if now < self.due {
            return Ok(());
        }
        self.due = now + self.period;
        let answer = self.ask(network.find(pod, self.port));
        self.count.add(answer.is_ok());
        answer
    }

    /// What the calls say; nothing before there were enough of them.
    pub(super) fn is_good(&self) -> Option<bool> {
        self.count.is_good
    }

    fn ask(&self, process: Option<SocketAddr>) -> Result<()> {
        let addr = process.with_context(|| format!("port {}: connection refused", self.port))?;
        let address = Address { addr, tls: self.tls.clone() };
        let (status, _) = address.get(&self.path, self.timeout)?;
        ensure!((200..400).contains(&status), "{} answered {status}", self.path);
        Ok(())
    }
}

impl Count {
    fn add(&mut self, is_success: bool) {
        let step = if is_success { 1 } else { -1 };
        self.row = if self.row.signum() == -step { step } else { self.row.saturating_add(step) };
        if self.row >= self.successes_needed {
            self.is_good = Some(true);
        } else if self.row <= -self.failures_needed {
            self.is_good = Some(false);
        }
    }
}

/// The port with that number or name.
fn port(container: &Container, port: &IntOrString) -> Result<u16> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            ports.find(|port| port.name.as_ref() == Some(name)).map(|port| port.container_port)
        }
    };
    let number = number.and_then(|number| number.try_into().ok());
    number.with_context(|| format!("the probe names port {port:?}, which the container lacks"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_row_of_the_threshold_changes_the_result() {
        let mut count = Count { successes_needed: 2, failures_needed: 3, row: 0, is_good: None };
        let mut after = |calls: &[bool]| {
            for &call in calls {
                count.add(call);
            }
            count.is_good
        };
        assert_eq!(after(&[true, false]), None);
        assert_eq!(after(&[true, true]), Some(true));
        assert_eq!(after(&[false, false, true]), Some(true));
        assert_eq!(after(&[false, false, false]), Some(false));
        assert_eq!(after(&[true]), Some(false));
        assert_eq!(after(&[true]), Some(true));
    }

    #[test]
    fn a_port_is_found_by_name() {
        let container: Container = serde_json::from_value(serde_json::json!({
            "name": "a", "ports": [{ "name": "https", "containerPort": 8443 }],
        }))
        .unwrap();
        assert_eq!(port(&container, &IntOrString::String("https".to_owned())).unwrap(), 8443);
        assert_eq!(port(&container, &IntOrString::Int(80)).unwrap(), 80);
        port(&container, &IntOrString::String("http".to_owned())).unwrap_err();
    }
}
