//! What the Prometheus operator makes of the `ServiceMonitor`s, as far as they use it. `e2e monitoring`
//! asks the operator itself.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use policy_manifests::monitoring::service_monitors;
use serde_json::{Value, json};

use crate::{ProcessKubelet, Testbed};

/// What Prometheus may read, to find targets.
pub(crate) const RULES: &str = "[{apiGroups: [''], resources: [services, endpoints, pods], verbs: [get, list, watch]}, \
    {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [get, list, watch]}]";

pub(super) struct Scraped {
    pub(super) kubeconfig: PathBuf,
    authority: PathBuf,
    /// The way to the pods.
    proxy: SocketAddr,
}

impl Scraped {
    pub(super) fn new(testbed: &Testbed, kubelet: &ProcessKubelet<'_>) -> Result<Self> {
        let authority = testbed.folder().join("webhook-ca.crt");
        let secret = ["get", "secret", "policy-webhook-self-managed", "-n", "kube-devops"];
        let path = [r#"-o=go-template={{index .data "ca.crt" | base64decode}}"#];
        fs::write(&authority, testbed.kubectl(&[&secret[..], &path].concat())?.succeeded()?)?;
        Ok(Self {
            kubeconfig: testbed.service_account("default", "prometheus", RULES)?,
            authority,
            proxy: kubelet.proxy(),
        })
    }

    pub(super) fn proxy_url(&self) -> String {
        format!("socks5://{}", self.proxy)
    }

    pub(super) fn configurations(&self) -> Result<Vec<Value>> {
        let monitors = service_monitors("1s").into_iter().map(|monitor| {
            let monitor = serde_json::to_value(monitor)?;
            self.configuration(&monitor).with_context(|| format!("unexpected: {monitor}"))
        });
        monitors.collect()
    }

    fn configuration(&self, monitor: &Value) -> Option<Value> {
        let endpoint = &monitor["spec"]["endpoints"][0];
        let mut relabel = vec![keep("endpointslice_port_name", endpoint["port"].as_str()?)];
        for (label, value) in monitor["spec"]["selector"]["matchLabels"].as_object()? {
            let label = label.replace(['.', '/', '-'], "_");
            relabel.push(keep(&format!("service_label_{label}"), value.as_str()?));
        }
        for (from, to) in [
            ("namespace", "namespace"),
            ("service_name", "service"),
            ("pod_name", "pod"),
            ("service_name", "job"),
        ] {
            relabel.push(json!({ "source_labels": [meta(from)], "target_label": to }));
        }
        let mut configuration = json!({
            "job_name": monitor["metadata"]["name"],
            "honor_labels": endpoint["honorLabels"],
            "scrape_interval": endpoint["interval"],
            "scheme": endpoint["scheme"],
            "proxy_url": self.proxy_url(),
            "kubernetes_sd_configs": [{
                "role": "endpointslice",
                "kubeconfig_file": self.kubeconfig,
                "namespaces": { "names": [monitor["metadata"]["namespace"]] },
            }],
            "relabel_configs": relabel,
        });
        if endpoint["tlsConfig"].is_object() {
            let name = &endpoint["tlsConfig"]["serverName"];
            configuration["tls_config"] = json!({ "ca_file": self.authority, "server_name": name });
        }
        Some(configuration)
    }
}

fn meta(name: &str) -> String {
    format!("__meta_kubernetes_{name}")
}

fn keep(name: &str, value: &str) -> Value {
    json!({ "action": "keep", "source_labels": [meta(name)], "regex": value.replace('.', r"\.") })
}
