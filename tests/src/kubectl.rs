//! Calls of kubectl.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::programs::root;
use crate::{Run, Testbed};

/// For a definition to be served, on a busy machine.
const SERVED: Duration = Duration::from_secs(60);

impl Testbed {
    /// Runs kubectl as `admin`, once.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<Run> {
        self.kubectl_as(self.kubeconfig(), arguments)
    }

    /// Runs kubectl as `admin` with a standard input, for `-f -`.
    pub fn kubectl_stdin(&self, arguments: &[&str], stdin: &str) -> Result<Run> {
        Run::of(&mut self.command(self.kubeconfig(), arguments), Some(stdin))
    }

    /// Runs kubectl with a kubeconfig, such as that of [`Testbed::limited_user`].
    pub fn kubectl_as(&self, kubeconfig: &Path, arguments: &[&str]) -> Result<Run> {
        Run::of(&mut self.command(kubeconfig, arguments), None)
    }

    /// Applies manifests as `admin` by server-side apply, and takes over conflicting fields.
    pub fn apply(&self, yaml: &str) -> Result<()> {
        let arguments = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        self.kubectl_stdin(&arguments, yaml)?.succeeded()?;
        Ok(())
    }

    /// Installs the CRDs of policies and audit results with kubectl.
    pub fn install_definitions(&self) -> Result<()> {
        let crds = root().join("deploy/crds");
        let crds = crds.to_str().context("the path of the checkout is not UTF-8")?;
        let applied = self.kubectl(&["apply", "--server-side", "-o", "name", "-f", crds])?;
        self.wait_until_served(&applied.succeeded()?)
    }

    /// Applies CRDs, and waits until kubectl finds their kinds.
    pub fn apply_definitions(&self, yaml: &str) -> Result<()> {
        let apply = ["apply", "--server-side", "--force-conflicts", "-o", "name", "-f", "-"];
        self.wait_until_served(&self.kubectl_stdin(&apply, yaml)?.succeeded()?)
    }

    /// Waits for the kinds of CRDs, which `kubectl apply -o name` has printed: they are served some
    /// time after they are established.
    pub(crate) fn wait_until_served(&self, applied: &str) -> Result<()> {
        let prefix = "customresourcedefinition.apiextensions.k8s.io/";
        for kind in applied.lines().filter_map(|line| line.strip_prefix(prefix)) {
            self.wait_for(kind, SERVED, || {
                Ok(self.kubectl(&["get", kind, "--all-namespaces", "-o", "name"])?.code == Some(0))
            })?;
        }
        Ok(())
    }

    /// Applies `deploy/kustomize/base` with kubectl. A second call changes nothing, and fails where
    /// another field manager has changed a field in between.
    pub fn install_base(&self) -> Result<()> {
        self.apply_base(&["--server-side", "--field-manager=testbed-install"])
    }

    /// Applies `deploy/kustomize/base` with other options of `kubectl apply`. Without what runs: the
    /// services are processes here, and the API server cannot reach a Service.
    pub fn apply_base(&self, options: &[&str]) -> Result<()> {
        const LEFT_OUT: [&str; 3] =
            ["Deployment", "PodDisruptionBudget", "ValidatingWebhookConfiguration"];
        let base = root().join("deploy/kustomize/base");
        let base = base.to_str().context("the path of the checkout is not UTF-8")?;
        let all = self.kubectl(&["kustomize", base])?.succeeded()?;
        let is_left_out = |document: &&str| {
            LEFT_OUT.iter().any(|kind| document.contains(&format!("\nkind: {kind}\n")))
        };
        let documents = all.split("\n---\n").filter(|document| !is_left_out(document));
        let documents = documents.collect::<Vec<_>>().join("\n---\n");
        self.kubectl_stdin(&[&["apply", "-f", "-"][..], options].concat(), &documents)?
            .succeeded()?;
        Ok(())
    }

    /// Gives the operator the rights of `deploy/kustomize/remediation`.
    pub fn install_operator_remediation(&self) -> Result<()> {
        self.install_operator_rights("remediation")
    }

    /// Gives the operator the rights of that folder of `deploy/kustomize`.
    pub fn install_operator_rights(&self, folder: &str) -> Result<()> {
        let file = root().join("deploy/kustomize").join(folder).join("policy-operator.yaml");
        let file = file.to_str().context("the path of the checkout is not UTF-8")?;
        let apply = ["apply", "--server-side", "--field-manager=testbed-install", "-f", file];
        self.kubectl(&apply)?.succeeded()?;
        Ok(())
    }

    /// Installs a mutating webhook configuration without a webhook. The operator asks whether there
    /// is one before it patches; nothing makes the API server call it.
    pub fn install_empty_mutating_configuration(&self) -> Result<()> {
        self.apply(
            "{apiVersion: admissionregistration.k8s.io/v1, kind: MutatingWebhookConfiguration, \
             metadata: {name: kube-devops-policy-webhook}, webhooks: []}",
        )
    }

    /// Creates a namespace for the caller alone, and returns its name: the prefix and a number. Pods
    /// can be created in it at once.
    pub fn namespace(&self, prefix: &str) -> Result<String> {
        let name = format!("{prefix}-{}", self.namespaces.fetch_add(1, Ordering::Relaxed));
        self.kubectl(&["create", "namespace", &name])?.succeeded()?;
        if self.has_controllers() {
            self.wait_for_service_account(&name)?;
        }
        Ok(name)
    }

    /// Waits for the default `ServiceAccount` of a namespace, without which no pod can be created.
    pub(crate) fn wait_for_service_account(&self, namespace: &str) -> Result<()> {
        let account = ["wait", "--for=create", "serviceaccount/default", "--timeout=60s"];
        self.kubectl(&[&account[..], &["--namespace", namespace]].concat())?.succeeded()?;
        Ok(())
    }

    /// kubectl without the settings of the person who runs the suites.
    fn command(&self, kubeconfig: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.kubectl_program());
        command.args(arguments).current_dir(self.folder());
        command.env("KUBECONFIG", kubeconfig).env("KUBERC", "off");
        command.env("KUBECACHEDIR", self.folder().join("kubectl-cache"));
        // No garbage collection: it takes a fifth of the time of kubectl, which the suites call
        // some two thousand times, and which ends before its memory matters.
        command.env("GOGC", "off");
        command
    }
}
