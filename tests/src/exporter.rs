//! kube-state-metrics beside a control plane: the exporter that every cluster with Prometheus has.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;

use crate::api_server::free_ports;
use crate::{Program, Service, Testbed};

impl Testbed {
    /// Starts kube-state-metrics as the administrator, with its defaults and these arguments. The name
    /// is that of its log. It returns at once: `/metrics` is refused at first, and then fills up.
    pub fn start_kube_state_metrics(&self, name: &str, arguments: &[&str]) -> Result<Service<'_>> {
        // It does not say which port the kernel has chosen.
        let (port, own_port) = free_ports()?;
        let ours = [
            format!("--kubeconfig={}", self.kubeconfig().display()),
            "--host=127.0.0.1".to_owned(),
            format!("--port={port}"),
            "--telemetry-host=127.0.0.1".to_owned(),
            format!("--telemetry-port={own_port}"),
        ];
        let arguments = arguments.iter().map(|&argument| argument.to_owned());
        let program = Program::KubeStateMetrics.path()?;
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        self.service(name, &program).start_at(addr, ours.into_iter().chain(arguments).collect())
    }
}
