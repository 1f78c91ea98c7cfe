//! What a suite does to the cluster.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result};

use crate::programs::root;
use crate::{Run, Testbed};

impl Testbed {
    /// Runs kubectl as `admin`. Nothing is tried again.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<Run> {
        self.kubectl_as(self.kubeconfig(), arguments)
    }

    /// Runs kubectl as `admin`, with its standard input, for `-f -`.
    pub fn kubectl_stdin(&self, arguments: &[&str], stdin: &str) -> Result<Run> {
        Run::of(&mut self.command(self.kubeconfig(), arguments), Some(stdin))
    }

    /// Runs kubectl with a kubeconfig, such as that of [`Testbed::limited_user`].
    pub fn kubectl_as(&self, kubeconfig: &Path, arguments: &[&str]) -> Result<Run> {
        Run::of(&mut self.command(kubeconfig, arguments), None)
    }

    /// Applies manifests on the server's side, as `admin`, and takes over every field in them.
    pub fn apply(&self, yaml: &str) -> Result<()> {
        let arguments = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        self.kubectl_stdin(&arguments, yaml)?.succeeded()?;
        Ok(())
    }

    /// Installs the definitions of policies and audit results, as a user without `policyctl` would.
    pub fn install_definitions(&self) -> Result<()> {
        let crds = root().join("deploy/crds");
        let crds = crds.to_str().context("the path of the checkout is no UTF-8")?;
        self.kubectl(&["apply", "--server-side", "-f", crds])?.succeeded()?;
        let established = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"];
        self.kubectl(&established)?.succeeded()?;
        Ok(())
    }

    /// Installs what every installation has, `deploy/kustomize/base`, as a user would. Again is
    /// no change; whoever else has changed one of its fields meanwhile makes it fail.
    pub fn install_base(&self) -> Result<()> {
        self.apply_base(&["--server-side", "--field-manager=testbed-install"])
    }

    /// The same with other options of `kubectl apply`.
    pub fn apply_base(&self, options: &[&str]) -> Result<()> {
        let base = root().join("deploy/kustomize/base");
        let base = base.to_str().context("the path of the checkout is no UTF-8")?;
        self.kubectl(&[&["apply", "--kustomize", base][..], options].concat())?.succeeded()?;
        Ok(())
    }

    /// Makes a namespace that no other caller has, and gives its name: the prefix and a number.
    /// Pods can be created in it at once.
    pub fn namespace(&self, prefix: &str) -> Result<String> {
        let name = format!("{prefix}-{}", self.namespaces.fetch_add(1, Ordering::Relaxed));
        self.kubectl(&["create", "namespace", &name])?.succeeded()?;
        if self.has_controllers() {
            self.wait_for_service_account(&name)?;
        }
        Ok(name)
    }

    /// Waits for a namespace's default `ServiceAccount`, which each of its pods needs.
    pub(crate) fn wait_for_service_account(&self, namespace: &str) -> Result<()> {
        let account = ["wait", "--for=create", "serviceaccount/default", "--timeout=60s"];
        self.kubectl(&[&account[..], &["--namespace", namespace]].concat())?.succeeded()?;
        Ok(())
    }

    /// kubectl without any of the user's settings.
    fn command(&self, kubeconfig: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.kubectl_program());
        command.args(arguments).current_dir(self.folder());
        command.env("KUBECONFIG", kubeconfig).env("KUBERC", "off");
        command.env("KUBECACHEDIR", self.folder().join("kubectl-cache"));
        // Suites call it some two thousand times. Each process ends before the memory that it does
        // not collect matters, and takes a fifth less time.
        command.env("GOGC", "off");
        command
    }
}
