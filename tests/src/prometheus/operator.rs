//! The Prometheus operator beside a control plane. Its Prometheus is a process here: a pod needs a
//! container runtime. So what the operator has generated for that pod is adapted to this machine: the
//! paths of files, the address of the API server, and the way to the pods.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{Prometheus, Scraped, hold_briefly};
use crate::poll::wait_for;
use crate::{ProcessKubelet, Program, Run, Testbed};

/// Deadline of what it does, on a busy machine.
const SURELY: Duration = Duration::from_secs(60);
const PROXY: &str = "kubectl-proxy";
/// A Prometheus that takes every `ServiceMonitor` and every `PrometheusRule`.
const PROMETHEUS: &str = "{apiVersion: monitoring.coreos.com/v1, kind: Prometheus, \
    metadata: {name: all, namespace: default}, spec: {replicas: 1, version: v3.5.0, \
    serviceAccountName: prometheus, evaluationInterval: 1s, scrapeInterval: 1s, scrapeTimeout: 1s, \
    serviceMonitorSelector: {}, serviceMonitorNamespaceSelector: {}, \
    ruleSelector: {}, ruleNamespaceSelector: {}}}";

impl Testbed {
    /// Starts the operator. Its definitions have to exist.
    pub fn start_prometheus_operator(&self) -> Result<()> {
        // It knows no kubeconfig, and the API server of the testbed no client certificates.
        let kubeconfig = format!("--kubeconfig={}", self.kubeconfig().display());
        let arguments = ["proxy".to_owned(), "--port=0".to_owned(), kubeconfig];
        self.processes.start(PROXY, self.kubectl_program(), &arguments)?;
        let addr = wait_for("the address of kubectl proxy", SURELY, || {
            self.processes.check(PROXY)?;
            let log = fs::read_to_string(self.processes.log(PROXY))?;
            Ok(log.trim().strip_prefix("Starting to serve on ").map(str::to_owned))
        })?;
        let program = Program::PrometheusOperator;
        let arguments =
            [format!("-apiserver=http://{addr}"), "-web.listen-address=127.0.0.1:0".to_owned()];
        self.processes.start(program.name(), &program.path()?, &arguments)
    }

    /// Creates a `Prometheus`, and runs what the operator makes of it. The rules hold for two seconds
    /// instead of minutes before they fire.
    pub fn start_generated_prometheus(
        &self,
        kubelet: &ProcessKubelet<'_>,
    ) -> Result<Prometheus<'_>> {
        let scraped = Scraped::new(self, kubelet)?;
        self.apply(PROMETHEUS)?;
        let mut found = Value::Null;
        let generated = wait_for("the operator to configure Prometheus", SURELY, || {
            self.processes.check(Program::PrometheusOperator.name())?;
            found = self.generated().unwrap_or_default();
            let jobs = found["scrape_configs"].as_array().map_or(0, Vec::len);
            Ok((jobs == 3).then_some(()))
        });
        generated
            .map_err(|error| self.processes.explain(Program::PrometheusOperator.name(), &error))?;
        let assets = self.folder().join("assets");
        self.write_data("secret", "prometheus-all-tls-assets-0", "| base64decode", &assets)?;
        let rules = self.folder().join("rules");
        self.write_data("configmap", "prometheus-all-rulefiles-0", "", &rules)?;
        for file in fs::read_dir(&rules)? {
            let path = file?.path();
            let mut groups: Value = serde_saphyr::from_str(&fs::read_to_string(&path)?)?;
            hold_briefly(&mut groups);
            fs::write(path, groups.to_string())?;
        }
        // The variables are those that its reloader would replace in the pod.
        let text =
            found.to_string().replace("$(SHARD)", "0").replace("$(POD_NAME)", "prometheus-all-0");
        let text = text.replace("/etc/prometheus/certs", &assets.display().to_string());
        let mut configuration: Value = serde_json::from_str(&text)?;
        configuration["rule_files"] = json!([rules.join("*.yaml")]);
        configuration["alerting"] = Value::Null;
        for job in configuration["scrape_configs"].as_array_mut().into_iter().flatten() {
            job["proxy_url"] = json!(scraped.proxy_url());
            for discovery in job["kubernetes_sd_configs"].as_array_mut().into_iter().flatten() {
                discovery["kubeconfig_file"] = json!(scraped.kubeconfig);
            }
        }
        self.start_prometheus_with(Program::Prometheus.name(), &configuration)
    }

    /// The configuration that the operator has generated.
    fn generated(&self) -> Result<Value> {
        let get = r#""$0" --kubeconfig "$1" get secret prometheus-all -o jsonpath='{.data.prometheus\.yaml\.gz}' \
            | base64 -d | gzip -dc"#;
        let mut shell = Command::new("sh");
        shell.args(["-c", get]).arg(self.kubectl_program()).arg(self.kubeconfig());
        let text = Run::of(&mut shell, None)?.succeeded()?;
        serde_saphyr::from_str(&text).context("the generated configuration")
    }

    /// Writes each entry of a Secret or `ConfigMap` as a file.
    fn write_data(&self, kind: &str, name: &str, decode: &str, folder: &Path) -> Result<()> {
        fs::create_dir(folder)?;
        let keys =
            ["get", kind, name, "-o=go-template={{range $key, $_ := .data}}{{$key}}\n{{end}}"];
        for key in self.kubectl(&keys)?.succeeded()?.lines() {
            let template = format!("-o=go-template={{{{index .data \"{key}\" {decode}}}}}");
            let text = self.kubectl(&["get", kind, name, &template])?.succeeded()?;
            fs::write(folder.join(key), text)?;
        }
        Ok(())
    }
}
