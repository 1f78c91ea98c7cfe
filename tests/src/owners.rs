//! The owners of workloads: who installs a workload and applies its later versions, and how.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::{Program, Run, Testbed};

/// An owner, with the field manager and the marks that it leaves on a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// `kubectl apply`.
    KubectlClientSide,
    /// `kubectl apply --server-side`.
    KubectlServerSide,
    /// Helm 3, and Helm 4 with `--server-side=false`: a three-way merge of the client.
    HelmClientSide,
    /// Helm 4, which uses server-side apply by default, without force.
    Helm,
    /// Flux' kustomize-controller. It forces by default
    /// (<https://github.com/fluxcd/pkg/blob/main/ssa/manager_apply.go>), and here does not, because
    /// enforce mode promises that no owner needs force.
    Flux,
    /// Argo CD with `ServerSideApply=true`. It forces by default
    /// (<https://argo-cd.readthedocs.io/en/stable/user-guide/sync-options/#server-side-apply>), and
    /// here does not, for the same reason.
    ArgoCd,
}

impl Owner {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::KubectlClientSide,
        Self::KubectlServerSide,
        Self::HelmClientSide,
        Self::Helm,
        Self::Flux,
        Self::ArgoCd,
    ];

    /// A name that can be part of one in Kubernetes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::KubectlClientSide => "kubectl-client-side",
            Self::KubectlServerSide => "kubectl-server-side",
            Self::HelmClientSide => "helm-client-side",
            Self::Helm => "helm",
            Self::Flux => "flux",
            Self::ArgoCd => "argo-cd",
        }
    }

    /// The field manager of what it applies, and the operation.
    #[must_use]
    pub fn manager(self) -> (&'static str, &'static str) {
        match self {
            Self::KubectlClientSide => ("kubectl-client-side-apply", "Update"),
            Self::KubectlServerSide => ("kubectl", "Apply"),
            Self::HelmClientSide => ("helm", "Update"),
            Self::Helm => ("helm", "Apply"),
            Self::Flux => ("kustomize-controller", "Apply"),
            Self::ArgoCd => ("argocd-controller", "Apply"),
        }
    }

    /// Installs a workload, or applies a changed one, and never forces anything. The error message
    /// of a refusal is on the standard error of the run.
    pub fn apply(self, testbed: &Testbed, workload: &Value) -> Result<Run> {
        let manager = format!("--field-manager={}", self.manager().0);
        let server_side = ["apply", "--server-side", &manager, "-f", "-"];
        match self {
            Self::KubectlClientSide => {
                testbed.kubectl_stdin(&["apply", "-f", "-"], &workload.to_string())
            }
            Self::KubectlServerSide => testbed.kubectl_stdin(&server_side, &workload.to_string()),
            Self::HelmClientSide => helm(testbed, workload, &["--server-side=false"]),
            Self::Helm => helm(testbed, workload, &[]),
            Self::Flux | Self::ArgoCd => {
                testbed.kubectl_stdin(&server_side, &self.marked(workload)?.to_string())
            }
        }
    }

    /// The workload with the marks by which the owner finds it again.
    fn marked(self, workload: &Value) -> Result<Value> {
        let (namespace, name) = place(workload)?;
        let kind = workload["kind"].as_str().unwrap_or_default();
        let (field, marks) = match self {
            Self::Flux => (
                "labels",
                json!({
                    "kustomize.toolkit.fluxcd.io/name": "apps",
                    "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
                }),
            ),
            Self::ArgoCd => (
                "annotations",
                json!({
                    "argocd.argoproj.io/tracking-id":
                        format!("shop:apps/{kind}:{namespace}/{name}"),
                }),
            ),
            _ => ("labels", json!({})),
        };
        let mut marked = workload.clone();
        for (key, value) in marks.as_object().into_iter().flatten() {
            marked["metadata"][field][key] = value.clone();
        }
        Ok(marked)
    }
}

/// Installs or upgrades the release of a workload, named like it, from a chart that holds it alone.
fn helm(testbed: &Testbed, workload: &Value, options: &[&str]) -> Result<Run> {
    let (namespace, name) = place(workload)?;
    let chart = testbed.folder().join("charts").join(namespace).join(name);
    fs::create_dir_all(chart.join("templates"))?;
    fs::write(chart.join("Chart.yaml"), format!("apiVersion: v2\nname: {name}\nversion: 0.1.0\n"))?;
    fs::write(chart.join("templates/workload.yaml"), workload.to_string())?;
    let mut helm = testbed.helm()?;
    helm.args(["upgrade", "--install", name]).arg(&chart).args(["--namespace", namespace]);
    Run::of(helm.args(options), None)
}

impl Testbed {
    /// Helm as `admin`, without the settings of the person who runs the suites. It is built if the
    /// cache lacks it.
    pub fn helm(&self) -> Result<Command> {
        let mut helm = Command::new(Program::Helm.path()?);
        helm.current_dir(self.folder()).env("KUBECONFIG", self.kubeconfig());
        for home in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            helm.env(home, self.folder().join("helm"));
        }
        Ok(helm)
    }
}

fn place(workload: &Value) -> Result<(&str, &str)> {
    let metadata = &workload["metadata"];
    metadata["namespace"].as_str().zip(metadata["name"].as_str()).context("no namespace or name")
}
